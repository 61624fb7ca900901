package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

// counting is a store that counts the rows of memories and spaces that it answers
// with.
type counting struct {
	store.Store
	rows int
}

func (s *counting) Memory(ctx context.Context, project, id string) (memory.Record, error) {
	r, err := s.Store.Memory(ctx, project, id)
	s.rows++
	return r, err
}

func (s *counting) ListMemories(ctx context.Context, q store.MemoryQuery) ([]memory.Record, error) {
	list, err := s.Store.ListMemories(ctx, q)
	s.rows += len(list)
	return list, err
}

func (s *counting) DrawnMemories(ctx context.Context, project string, ids []string) ([]memory.Record, error) {
	list, err := s.Store.DrawnMemories(ctx, project, ids)
	s.rows += len(list)
	return list, err
}

func (s *counting) MemorySpaces(ctx context.Context, project, namespace, after string, limit int) ([]store.MemorySpace, error) {
	list, err := s.Store.MemorySpaces(ctx, project, namespace, after, limit)
	s.rows += len(list)
	return list, err
}

// To forget one memory reads that, what was drawn from it and the versions of both,
// however many others there are, and in however many spaces.
func TestForgettingOneReadsNoOthers(t *testing.T) {
	onBoth(t, func(h *home) {
		counted := &counting{Store: h.store}
		cfg := h.Config
		cfg.Store = counted
		k := keeper.New(cfg)
		reads := func(actor string) int {
			draw := func(text string, from ...string) memory.Record {
				return h.keep(memory.Record{Namespace: "/actors/" + actor + "/facts", Strategy: memory.Semantic, Text: text, Source: memory.Source{RecordIDs: from}})
			}
			fact := draw("Ann has a dog.")
			text := "Ann has two dogs."
			newer := h.update(draw("Ann likes dogs.", fact.ID), keeper.Change{Text: &text})
			draw("Ann wants a third one.", newer.ID)
			counted.rows = 0
			receipt, err := k.Forget(h.Context(), "p", keeper.Selection{ID: fact.ID}, "")
			if err != nil || receipt.Records[memory.Semantic] != 4 {
				h.Errorf("forgotten: %+v, %v; want 4", receipt.Records, err)
			}
			return counted.rows
		}
		alone := reads("one")
		var others []memory.Record
		for i := range 400 {
			others = append(others, memory.Record{Namespace: fmt.Sprintf("/actors/%d/facts", i%40), Strategy: memory.Semantic, Text: "Somebody has a cat."})
		}
		written, _, err := h.Write(h.Context(), "p", others)
		if err != nil {
			h.Fatal(err)
		}
		for i := range others {
			others[i].Text, others[i].Source.RecordIDs = "They like cats.", []string{written[i].ID}
		}
		if _, _, err := h.Write(h.Context(), "p", others); err != nil {
			h.Fatal(err)
		}
		if among := reads("two"); among != alone || among > 20 {
			h.Errorf("among 800 others in 40 spaces %d rows were read, and %d without them", among, alone)
		}
	})
}

// A newer version that is written while the older one is forgotten is forgotten too.
func TestUpdatedWhileItIsForgotten(t *testing.T) {
	onBoth(t, func(h *home) {
		r := h.fact("Ann has a secret.")
		other := &home{T: h.T, Keeper: h.Keeper, store: h.store, now: h.now}
		hooks := h.hook()
		hooks.forget = func() error {
			hooks.forget = nil
			text := "Ann has another secret."
			other.update(r, keeper.Change{Text: &text})
			return nil
		}
		receipt, err := h.Forget(h.Context(), "p", keeper.Selection{ID: r.ID}, "")
		if err != nil || receipt.Records[memory.Semantic] != 2 {
			h.Errorf("forgotten: %+v, %v; want both versions", receipt.Records, err)
		}
		if left := h.left(); len(left) != 0 {
			h.Errorf("left is %q", left)
		}
	})
}

// Once a session is deleted it writes nothing, neither anew nor in the place of
// another, though the write had begun before.
func TestDeletedSessionsWriteNothing(t *testing.T) {
	onBoth(t, func(h *home) {
		old := h.fact("Ann lives in Lisbon.")
		text := "Ann lives in Porto."
		for name, write := range map[string]func(session string) error{
			"a new memory": func(session string) error {
				_, _, err := h.WriteFor(h.Context(), "p", session, []memory.Record{{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: text}})
				return err
			},
			"a newer version": func(session string) error {
				_, err := h.Update(h.Context(), "p", old.ID, keeper.Change{Session: session, Text: &text})
				return err
			},
		} {
			hooks := h.hook()
			hooks.write = func() error { return h.deleteSession(name) }
			if err := write(name); !errors.Is(err, store.ErrNotFound) {
				h.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
		if left := h.left(); !slices.Equal(left, []string{old.Text}) {
			h.Errorf("left is %q", left)
		}
	})
}

// deleteSession makes a session and deletes it.
func (h *home) deleteSession(id string) error {
	shard := store.ShardOf(id)
	leases, err := h.store.Claim(h.Context(), "test", []int{shard}, time.Hour)
	if err != nil {
		return err
	}
	r := event.Record{Session: id, Seq: 1, Time: h.now, Kind: event.KindSessionDeleted, Version: 1, Data: []byte(`{}`), Salt: make([]byte, event.SaltSize)}
	r.Seal(event.Hash{})
	x := store.Index{Project: "p", Session: id, Status: "idle", CreatedAt: h.now, UpdatedAt: h.now, Deleted: true}
	return h.store.Append(h.Context(), &store.Append{Project: "p", Session: id, Epoch: leases[0].Epoch, Records: []event.Record{r}, Index: &x})
}
