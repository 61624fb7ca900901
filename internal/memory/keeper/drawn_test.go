package keeper_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

// drawnStory is a turn, what was drawn from it, from that again, and so on, each in a
// space of its own, with a record beside each that has nothing to do with it.
type drawnStory struct {
	turn, fact, newFact, wish, lesson memory.Record
}

func tellDrawn(h *home) (s drawnStory) {
	h.Helper()
	other := func(namespace string) {
		h.keep(memory.Record{Namespace: namespace, Strategy: memory.Semantic, Text: "Something else of " + namespace + "."})
	}
	s.turn = h.keep(memory.Record{
		Namespace: "/chats/s1", Strategy: memory.Turn, Actor: "ann", Text: "I keep secret bees.", ValidFrom: date("2026-04-01"),
		Source: memory.Source{SessionID: "s1", Speaker: "Ann"},
	})
	draw := func(namespace string, strategy memory.Strategy, text string, from memory.Record) memory.Record {
		return h.keep(memory.Record{Namespace: namespace, Strategy: strategy, Text: text, Source: memory.Source{RecordIDs: []string{from.ID}}})
	}
	s.fact = draw("/actors/ann/facts", memory.Semantic, "Ann keeps secret bees.", s.turn)
	s.newFact = h.update(s.fact, keeper.Change{Text: ptr("Ann keeps secret bees and hens.")})
	// It names the version that was replaced.
	s.wish = draw("/teams/blue", memory.Preference, "The team wants secret honey.", s.fact)
	s.lesson = draw("/actors/bob/lessons", memory.Episodic, "Honey for the team was a success, a secret one.", s.wish)
	for _, namespace := range []string{"/chats/s1", "/actors/ann/facts", "/teams/blue", "/actors/bob/lessons"} {
		other(namespace)
	}
	return s
}

func (s *drawnStory) all() []memory.Record {
	return []memory.Record{s.turn, s.fact, s.newFact, s.wish, s.lesson}
}

func (h *home) update(r memory.Record, c keeper.Change) memory.Record {
	h.Helper()
	newer, err := h.Update(h.Context(), "p", r.ID, c)
	if err != nil {
		h.Fatal(err)
	}
	return newer
}

// left lists the texts of all that is in the store.
func (h *home) left() []string {
	h.Helper()
	list, err := h.List(h.Context(), store.MemoryQuery{Project: "p", Superseded: true, Asc: true, Limit: 100})
	if err != nil {
		h.Fatal(err)
	}
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = list[i].Text
	}
	return texts
}

// unrelated is what stays.
func unrelated() []string {
	return []string{"Something else of /chats/s1.", "Something else of /actors/ann/facts.", "Something else of /teams/blue.", "Something else of /actors/bob/lessons."}
}

// TestForgettingReachesWhatWasDrawn forgets a turn by each name that it has.
func TestForgettingReachesWhatWasDrawn(t *testing.T) {
	onBoth(t, func(h *home) {
		for n, c := range []struct {
			class   string
			by      func(s *drawnStory) keeper.Selection
			derived int
		}{
			{"session", func(*drawnStory) keeper.Selection { return keeper.Selection{SessionID: "s1"} }, 4},
			{"actor", func(*drawnStory) keeper.Selection { return keeper.Selection{Actor: "ann"} }, 4},
			{"record", func(s *drawnStory) keeper.Selection { return keeper.Selection{ID: s.turn.ID} }, 4},
		} {
			s := tellDrawn(h)
			if got := h.ask(memory.Query{Text: "secret", Namespaces: []string{"/"}, Superseded: true, Limit: 20}); len(got) != 5+4*(n+1) {
				h.Fatalf("before: %q", got)
			}
			receipt, err := h.Forget(h.Context(), "p", c.by(&s), "asked for")
			if err != nil {
				h.Fatal(err)
			}
			want := map[memory.Strategy]int{memory.Turn: 1, memory.Semantic: 2, memory.Preference: 1, memory.Episodic: 1}
			if receipt.Class != c.class || !maps.Equal(receipt.Records, want) || receipt.Derived != c.derived || receipt.Spaces != 4 || receipt.Reason != "asked for" || !receipt.Verify() {
				h.Errorf("%s: receipt %+v", c.class, receipt)
			}
			h.isForgotten(&s)
			if got := h.left(); len(got) != 4*(n+1) || slices.ContainsFunc(got, func(text string) bool { return strings.Contains(text, "secret") }) {
				h.Errorf("%s: left is %q", c.class, got)
			}
		}
	})
}

// isForgotten looks for the records by every way.
func (h *home) isForgotten(s *drawnStory) {
	h.Helper()
	for _, r := range s.all() {
		if _, err := h.Get(h.Context(), "p", r.ID); !errors.Is(err, store.ErrNotFound) {
			h.Errorf("get %q: %v, want ErrNotFound", r.Text, err)
		}
		if _, err := h.History(h.Context(), "p", r.ID); !errors.Is(err, store.ErrNotFound) {
			h.Errorf("history of %q: %v, want ErrNotFound", r.Text, err)
		}
	}
	for _, q := range []memory.Query{{}, {Superseded: true}, {KnownAt: h.now}, {KnownAt: h.now, Superseded: true}} {
		q.Text, q.Namespaces, q.Limit = "secret bees and honey", []string{"/"}, 50
		for _, text := range h.ask(q) {
			if strings.Contains(text, "secret") {
				h.Errorf("%+v finds %q", q, text)
			}
		}
	}
}

// TestForgettingWhatWasDrawnLeavesItsSources forgets a record in the middle.
func TestForgettingWhatWasDrawnLeavesItsSources(t *testing.T) {
	h := newHome(t)
	s := tellDrawn(h)
	receipt, err := h.Forget(t.Context(), "p", keeper.Selection{ID: s.newFact.ID}, "")
	if err != nil {
		t.Fatal(err)
	}
	if want := map[memory.Strategy]int{memory.Semantic: 2, memory.Preference: 1, memory.Episodic: 1}; !maps.Equal(receipt.Records, want) || receipt.Derived != 2 {
		t.Errorf("receipt %+v, want the records %v, 2 of them derived", receipt, want)
	}
	if got, want := h.left(), append([]string{"I keep secret bees."}, unrelated()...); !same(got, want) {
		t.Errorf("left is %q, want %q", got, want)
	}
}

func same(got, want []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want)))
}

// TestAHoldOnWhatWasDrawn keeps all that it would be forgotten with.
func TestAHoldOnWhatWasDrawn(t *testing.T) {
	onBoth(t, func(h *home) {
		s := tellDrawn(h)
		hold := keeper.Rule{Namespace: "/actors/bob", Hold: true, Reason: "case 12"}
		if _, err := h.SetRule(h.Context(), "p", hold); err != nil {
			h.Fatal(err)
		}
		for _, sel := range []keeper.Selection{{SessionID: "s1"}, {ID: s.fact.ID}, {Namespace: "/teams"}, {Actor: "ann"}} {
			var held *keeper.HeldError
			if _, err := h.Forget(h.Context(), "p", sel, ""); !errors.As(err, &held) || held.Rule != hold {
				h.Errorf("forget %+v: %v, want that it is held", sel, err)
			}
		}
		if got := h.left(); len(got) != 9 {
			h.Errorf("left is %q, want all", got)
		}
		if list, err := h.Receipts(h.Context(), store.ObjectQuery{Project: "p", Limit: 10}); err != nil || len(list) != 0 {
			h.Errorf("%d receipts of nothing, %v", len(list), err)
		}
		if _, err := h.SetRule(h.Context(), "p", keeper.Rule{Namespace: "/actors/bob"}); err != nil {
			h.Fatal(err)
		}
		if _, err := h.Forget(h.Context(), "p", keeper.Selection{SessionID: "s1"}, ""); err != nil {
			h.Errorf("forget what is no longer held: %v", err)
		}
		h.isForgotten(&s)
	})
}

// TestReceiptsSayNothing looks in receipts for what was forgotten.
func TestReceiptsSayNothing(t *testing.T) {
	h := newHome(t)
	s := tellDrawn(h)
	receipt, err := h.Forget(t.Context(), "p", keeper.Selection{SessionID: "s1"}, "asked for")
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(receipt)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.all() {
		for _, word := range []string{"secret", "bees", "honey", "ann", "s1", r.ID, r.Namespace} {
			if strings.Contains(strings.ToLower(string(data)), word) {
				t.Errorf("the receipt says %q: %s", word, data)
			}
		}
	}
	var stored keeper.Receipt
	if err := json.Unmarshal(data, &stored); err != nil || !stored.Verify() {
		t.Errorf("the receipt does not verify as it comes out of JSON: %v", err)
	}
	for name, change := range map[string]func(r *keeper.Receipt){
		"class": func(r *keeper.Receipt) { r.Class = "actor" }, "subject": func(r *keeper.Receipt) { r.Subject = r.Subject[1:] + "0" },
		"reason": func(r *keeper.Receipt) { r.Reason = "" }, "derived": func(r *keeper.Receipt) { r.Derived++ },
		"spaces": func(r *keeper.Receipt) { r.Spaces++ }, "at": func(r *keeper.Receipt) { r.At = r.At.AddDate(0, 0, 1) },
		"id": func(r *keeper.Receipt) { r.ID += "0" }, "records": func(r *keeper.Receipt) { r.Records = map[memory.Strategy]int{memory.Turn: 9} },
		"key": func(r *keeper.Receipt) { r.Key = strings.Repeat("00", 32) }, "no key": func(r *keeper.Receipt) { r.Key = "" },
	} {
		changed := stored
		change(&changed)
		if changed.Verify() {
			t.Errorf("a receipt with another %s verifies", name)
		}
	}
	h.said("2026-04-01", "Again.")
	other := keeper.New(h.Config)
	again, err := other.Forget(t.Context(), "p", keeper.Selection{SessionID: "s1"}, "")
	if err != nil || again.Key != receipt.Key || again.Subject == receipt.Subject {
		t.Errorf("another keeper's receipt of the same session: %+v, %v; want the same key and another subject", again, err)
	}
}

// TestPiecesOfIndexesAreForgotten looks for a word in the pieces of the index that
// the store has, before and after.
func TestPiecesOfIndexesAreForgotten(t *testing.T) {
	onBoth(t, func(h *home) {
		const space, word = "/actors/ann", "zanzibar"
		var secret memory.Record
		for i := range 9 {
			records := make([]memory.Record, 500)
			for j := range records {
				records[j] = memory.Record{Namespace: space + "/facts", Strategy: memory.Semantic, Text: fmt.Sprintf("Box %d stands in hall %d.", i*500+j, i)}
			}
			if i == 3 {
				records[77].Text = "Ann went to Zanzibar."
			}
			written, _, err := h.Write(h.Context(), "p", records)
			if err != nil {
				h.Fatal(err)
			}
			if i == 3 {
				secret = written[77]
			}
		}
		if n := h.sealed(space, word); n == 0 {
			h.Fatal("no piece of the index has the word: this test proves nothing")
		}
		if _, err := h.Forget(h.Context(), "p", keeper.Selection{ID: secret.ID}, ""); err != nil {
			h.Fatal(err)
		}
		if pieces, err := h.store.Segments(h.Context(), "p", space); err != nil || len(pieces) != 0 {
			h.Errorf("%d pieces of the index are there after something was forgotten, %v", len(pieces), err)
		}
		if n := h.sealed(space, word); n != 0 {
			h.Errorf("%d pieces of the index have the word after it was forgotten", n)
		}
		if pieces, err := h.store.Segments(h.Context(), "p", space); err != nil || len(pieces) == 0 {
			h.Errorf("the index was not stored again: %v", err)
		}
	})
}

// sealed searches a space, waits until what is stored of its index is, and counts
// the pieces that have the word.
func (h *home) sealed(space, word string) (n int) {
	h.Helper()
	for _, text := range h.ask(memory.Query{Text: "Where is hall 7? " + word, Namespaces: []string{space}, Limit: 50}) {
		if strings.Contains(strings.ToLower(text), word) {
			n++
		}
	}
	ctx, cancel := context.WithCancel(h.Context())
	cancel()
	h.Keeper.Run(ctx)
	pieces, err := h.store.Segments(h.Context(), "p", space)
	if err != nil {
		h.Fatal(err)
	}
	found := 0
	for _, g := range pieces {
		data, err := h.store.SegmentData(h.Context(), "p", space, g)
		if err != nil {
			h.Fatal(err)
		}
		if bytes.Contains(data, []byte(word)) {
			found++
		}
	}
	if (found > 0) != (n > 0) {
		h.Errorf("%d records with the word are found, and it is in %d pieces", n, found)
	}
	return found
}
