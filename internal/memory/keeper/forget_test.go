package keeper_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

// hooked is a store that does something else before it does what it is told.
type hooked struct {
	store.Store
	forget, write, list func() error // nil does nothing
}

func before(hook func() error) error {
	if hook == nil {
		return nil
	}
	return hook()
}

func (s *hooked) ForgetMemories(ctx context.Context, project, space string, nums []int64) (int, error) {
	if err := before(s.forget); err != nil {
		return 0, err
	}
	return s.Store.ForgetMemories(ctx, project, space, nums)
}

func (s *hooked) WriteMemories(ctx context.Context, w *store.MemoryWrite) (store.MemoryWritten, error) {
	if err := before(s.write); err != nil {
		return store.MemoryWritten{}, err
	}
	return s.Store.WriteMemories(ctx, w)
}

func (s *hooked) ListMemories(ctx context.Context, q store.MemoryQuery) ([]memory.Record, error) {
	if err := before(s.list); err != nil {
		return nil, err
	}
	return s.Store.ListMemories(ctx, q)
}

// hook has the keeper work with a store with hooks, and returns these.
func (h *home) hook() *hooked {
	s := &hooked{Store: h.store}
	cfg := h.Config
	cfg.Store = s
	h.Keeper = keeper.New(cfg)
	return s
}

// TestForgettingGoesOnWhereItFailed fails at each step of forgetting in turn. What
// is asked for again reaches all that was left.
func TestForgettingGoesOnWhereItFailed(t *testing.T) {
	for failing := 1; ; failing++ {
		h := newHome(t)
		s := tellDrawn(h)
		hooks, n := h.hook(), 0
		hooks.forget = func() error {
			if n++; n == failing {
				return store.ErrUnavailable
			}
			return nil
		}
		_, err := h.Forget(t.Context(), "p", keeper.Selection{ID: s.turn.ID}, "")
		if err == nil {
			if failing < 5 {
				t.Fatalf("forgetting took %d steps, want 5 at least", failing-1)
			}
			h.isForgotten(&s)
			return
		}
		if !errors.Is(err, store.ErrUnavailable) {
			t.Fatal(err)
		}
		if _, err := h.Forget(t.Context(), "p", keeper.Selection{ID: s.turn.ID}, ""); err != nil {
			t.Errorf("again, after step %d failed: %v", failing, err)
		}
		h.isForgotten(&s)
		if got := h.left(); !same(got, unrelated()) {
			t.Errorf("left after step %d failed is %q", failing, got)
		}
	}
}

// TestDrawnWhileItsSourceIsForgotten writes a record while another keeper forgets
// what it is drawn from, at each moment of both.
func TestDrawnWhileItsSourceIsForgotten(t *testing.T) {
	late := func(h *home, s *drawnStory) error {
		_, _, err := h.Write(h.Context(), "p", []memory.Record{{
			Namespace: "/late/1", Strategy: memory.Semantic, Text: "Late: secret bees.", Source: memory.Source{RecordIDs: []string{s.fact.ID}},
		}})
		return err
	}
	refused := func(h *home, err error) {
		h.Helper()
		var bad *keeper.BadRecordError
		if !errors.As(err, &bad) || bad.Param != "source.memory_ids" {
			h.Errorf("a record whose source is forgotten is written: %v", err)
		}
	}
	for name, test := range map[string]func(h, other *home, hooks *hooked, s *drawnStory){
		"written while it is looked for what was drawn": func(h, other *home, hooks *hooked, s *drawnStory) {
			hooks.forget = func() error {
				hooks.forget = nil
				return late(other, s)
			}
			if _, err := h.Forget(h.Context(), "p", keeper.Selection{ID: s.turn.ID}, ""); err != nil {
				h.Error(err)
			}
		},
		"forgotten before it is looked for its source": func(h, other *home, _ *hooked, s *drawnStory) {
			if _, err := other.Forget(h.Context(), "p", keeper.Selection{ID: s.turn.ID}, ""); err != nil {
				h.Error(err)
			}
			refused(h, late(h, s))
		},
		"forgotten before it is written": func(h, other *home, hooks *hooked, s *drawnStory) {
			hooks.write = func() error {
				hooks.write = nil
				_, err := other.Forget(h.Context(), "p", keeper.Selection{ID: s.turn.ID}, "")
				return err
			}
			refused(h, late(h, s))
		},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(h *home) {
				s := tellDrawn(h)
				other := &home{T: h.T, Keeper: h.Keeper, store: h.store, now: h.now}
				test(h, other, h.hook(), &s)
				h.isForgotten(&s)
				if got := h.left(); !same(got, unrelated()) {
					h.Errorf("left is %q", got)
				}
			})
		})
	}
}

// TestListsBeginAnew forgets the record that a page of a list ended with.
func TestListsBeginAnew(t *testing.T) {
	h := newHome(t)
	records := make([]memory.Record, 4100)
	for i := range records {
		records[i] = memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Actor: "ann", Text: "Ann counts.", RecordedAt: date("2026-01-01").AddDate(0, 0, i)}
	}
	written, _, err := h.Write(t.Context(), "p", records)
	if err != nil {
		t.Fatal(err)
	}
	hooks, lists := h.hook(), 0
	hooks.list = func() error {
		if lists++; lists != 2 {
			return nil
		}
		_, err := h.store.ForgetMemories(t.Context(), "p", "/actors/ann", []int64{written[3999].Num})
		return err
	}
	receipt, err := h.Forget(t.Context(), "p", keeper.Selection{Actor: "ann"}, "")
	if err != nil || receipt.Records[memory.Semantic] != 4099 {
		t.Errorf("receipt %+v, %v; want the 4099 records that were there", receipt, err)
	}
	if got := h.left(); len(got) != 0 {
		t.Errorf("%d records are left", len(got))
	}
}

// TestSources says of what a record can be drawn.
func TestSources(t *testing.T) {
	h := newHome(t)
	there := h.fact("Ann has bees.")
	gone := h.fact("Ann had hens.")
	if _, err := h.Forget(t.Context(), "p", keeper.Selection{ID: gone.ID}, ""); err != nil {
		t.Fatal(err)
	}
	inBatch := memory.ID("p", "/actors/ann", "first")
	for name, c := range map[string]struct {
		records []memory.Record
		ok      bool
	}{
		"one that is there":               {[]memory.Record{{Source: memory.Source{RecordIDs: []string{there.ID}}}}, true},
		"one that is written with it":     {[]memory.Record{{ID: inBatch}, {Source: memory.Source{RecordIDs: []string{inBatch}}}}, true},
		"one that was forgotten":          {[]memory.Record{{Source: memory.Source{RecordIDs: []string{there.ID, gone.ID}}}}, false},
		"brought from elsewhere":          {[]memory.Record{{RecordedAt: date("2026-01-01"), Source: memory.Source{RecordIDs: []string{gone.ID}}}}, true},
		"a turn":                          {[]memory.Record{{Strategy: memory.Turn, Source: memory.Source{RecordIDs: []string{there.ID}}}}, false},
		"one that is not, and a good one": {[]memory.Record{{}, {Source: memory.Source{RecordIDs: []string{memory.ID("p", "/actors/ann", "none")}}}}, false},
	} {
		before := len(h.left())
		for i := range c.records {
			r := &c.records[i]
			r.Namespace, r.Text = "/actors/ann/facts", "Ann has honey."
			if r.Strategy == "" {
				r.Strategy = memory.Semantic
			}
		}
		_, _, err := h.Write(t.Context(), "p", c.records)
		var bad *keeper.BadRecordError
		if refused := errors.As(err, &bad) && bad.Param == "source.memory_ids"; refused == c.ok || err != nil && !refused {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(h.left()) - before; n != 0 && n != len(c.records) || (n == 0) == c.ok {
			t.Errorf("%s: %d of %d records were written", name, n, len(c.records))
		}
	}
}

// TestWrittenAgainAfterItsSourceExpired writes what was written before, as one
// does who was not told that it was.
func TestWrittenAgainAfterItsSourceExpired(t *testing.T) {
	h := newHome(t)
	turn := h.keep(memory.Record{Namespace: "/actors/ann/sessions/s1", Strategy: memory.Turn, Text: "I have bees.", ExpiresAt: h.now})
	fact := memory.Record{
		ID: memory.ID("p", "/actors/ann", "fact"), Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "Ann has bees.",
		Source: memory.Source{RecordIDs: []string{turn.ID}},
	}
	h.keep(fact)
	if err := h.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, repeated, err := h.Write(t.Context(), "p", []memory.Record{fact})
	if err != nil || !slices.Equal(repeated, []bool{true}) {
		t.Errorf("written again: %v, %v", repeated, err)
	}
	newer := h.update(h.memory(fact.ID), keeper.Change{Text: ptr("Ann has many bees.")})
	if !slices.Equal(newer.Source.RecordIDs, []string{turn.ID}) {
		t.Errorf("the newer version was drawn from %v", newer.Source.RecordIDs)
	}
	if got := h.left(); strings.Contains(strings.Join(got, " "), "I have") {
		t.Errorf("left is %q", got)
	}
}

// TestWrittenAgainAfterAConflict has a write refused, and its source forgotten
// before it is written again.
func TestWrittenAgainAfterAConflict(t *testing.T) {
	h := newHome(t)
	source := h.fact("Ann has bees.")
	drafts := []memory.Record{{
		Namespace: "/late/1", Strategy: memory.Semantic, Text: "Ann has honey.", Source: memory.Source{RecordIDs: []string{source.ID}},
	}}
	hooks := h.hook()
	hooks.write = func() error { return store.ErrConflict }
	if _, _, err := h.Write(t.Context(), "p", drafts); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("write: %v, want ErrConflict", err)
	}
	hooks.write = nil
	if _, err := h.Forget(t.Context(), "p", keeper.Selection{ID: source.ID}, ""); err != nil {
		t.Fatal(err)
	}
	var bad *keeper.BadRecordError
	if _, _, err := h.Write(t.Context(), "p", drafts); !errors.As(err, &bad) {
		t.Errorf("written again, without its source: %v", err)
	}
	if got := h.left(); len(got) != 0 {
		t.Errorf("left is %q", got)
	}
}

// watched is an embedder that does something else before it makes vectors.
type watched struct {
	embed.Embedder
	before func(texts []string) error
}

func (w *watched) Model() string { return "watched/1@100" }

func (w *watched) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	if err := w.before(texts); err != nil {
		return nil, err
	}
	return w.Embedder.Embed(ctx, texts)
}

// TestForgottenWhileItsVectorIsMade forgets a record whose text is on its way to
// an embedder.
func TestForgottenWhileItsVectorIsMade(t *testing.T) {
	h := newHome(t)
	secret := h.fact("Ann has secret bees.")
	h.fact("Ann plays chess.")
	e := &watched{Embedder: h.Embedder, before: func(texts []string) error {
		if !slices.Contains(texts, secret.Text) {
			return nil
		}
		_, err := h.Forget(t.Context(), "p", keeper.Selection{ID: secret.ID}, "")
		return err
	}}
	other, stop := h.with(keeper.Config{Embedder: e})
	h.until(map[string]int{e.Model(): 1})
	if got := other.ask(memory.Query{Text: "secret bees", Superseded: true}); !slices.Equal(got, []string{"Ann plays chess."}) {
		t.Errorf("found %q", got)
	}
	stop()
	if _, err := h.Get(t.Context(), "p", secret.ID); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("get: %v, want ErrNotFound", err)
	}
}

func (h *home) memory(id string) memory.Record {
	h.Helper()
	r, err := h.Get(h.Context(), "p", id)
	if err != nil {
		h.Fatal(err)
	}
	return r
}
