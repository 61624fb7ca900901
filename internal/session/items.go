package session

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/stayd/stayd/internal/event"
)

// reserveItem takes an item's id, which must be new.
func (s *State) reserveItem(id string) error {
	if _, ok := s.items[id]; ok || id == "" {
		return fmt.Errorf("item %q exists: %w", id, ErrImpossible)
	}
	s.items[id] = -1
	return nil
}

// addItem appends an item of the turn to the conversation.
func (s *State) addItem(it *event.Item, step int, t *Turn) error {
	if err := s.reserveItem(it.ID); err != nil {
		return err
	}
	output := -1
	if it.Type != event.ItemFunctionCallOutput {
		output = t.Outputs
		t.Outputs++
	}
	s.appendItem(it, step, output)
	return nil
}

func (s *State) appendItem(it *event.Item, step, output int) {
	s.items[it.ID] = len(s.Items)
	s.Items = append(s.Items, Entry{Item: it, Step: step, OutputIndex: output})
}

// changeItem replaces an item by a changed copy.
func (s *State) changeItem(id string, change func(*event.Item)) {
	i, ok := s.items[id]
	if !ok || i < 0 {
		return
	}
	it := *s.Items[i].Item
	change(&it)
	en := &s.Items[i]
	en.Item, en.digest, en.call, en.output = &it, event.Hash{}, nil, nil
}

// closeItem gives an item that is still in progress its last status.
func (s *State) closeItem(id, status string) {
	s.changeItem(id, func(it *event.Item) {
		if it.Status == event.StatusInProgress {
			it.Status = status
		}
	})
}

// itemDigest is the SHA-256 of what a model is given of an item. Every text has
// its length in front of it, so that no two items have the same encoding.
func itemDigest(it *event.Item) event.Hash {
	d := digester{hash: sha256.New()}
	for _, s := range []string{it.Type, it.ID, it.Status, it.Role, it.Phase, it.CallID, it.Name, it.ServerLabel, it.Error} {
		d.text(s)
	}
	for _, parts := range [][]event.Content{it.Content, it.Summary} {
		d.number(len(parts))
		for i := range parts {
			d.text(parts[i].Type)
			d.text(parts[i].Text)
			d.text(parts[i].ImageURL)
		}
	}
	for _, raw := range [][]byte{it.Arguments, it.Output, it.Provider} {
		d.number(len(raw))
		d.hash.Write(raw)
	}
	if it.ExitCode != nil {
		d.number(*it.ExitCode)
	}
	return event.Hash(d.hash.Sum(nil))
}

type digester struct {
	hash hash.Hash
	buf  []byte
}

func (d *digester) text(s string) {
	d.buf = binary.AppendVarint(d.buf[:0], int64(len(s)))
	d.buf = append(d.buf, s...)
	d.hash.Write(d.buf)
}

func (d *digester) number(n int) {
	d.buf = binary.AppendVarint(d.buf[:0], int64(n))
	d.hash.Write(d.buf)
}
