package session

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"

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
	s.Items = append(s.Items, Entry{Item: it, Step: step, OutputIndex: output, digest: itemDigest(it)})
}

// changeItem replaces an item by a changed copy.
func (s *State) changeItem(id string, change func(*event.Item)) {
	i, ok := s.items[id]
	if !ok || i < 0 {
		return
	}
	it := *s.Items[i].Item
	change(&it)
	s.Items[i].Item, s.Items[i].digest = &it, itemDigest(&it)
}

// closeItem gives an item that is still in progress its last status.
func (s *State) closeItem(id, status string) {
	s.changeItem(id, func(it *event.Item) {
		if it.Status == event.StatusInProgress {
			it.Status = status
		}
	})
}

func itemDigest(it *event.Item) event.Hash {
	data, err := json.Marshal(it)
	if err != nil {
		// An item that holds invalid raw JSON cannot have been decoded from a log.
		panic(fmt.Sprintf("session: encode item %s: %v", it.ID, err))
	}
	return sha256.Sum256(data)
}
