package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed/static"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
)

// home is a keeper on a store of its own, whose time the test sets.
type home struct {
	*testing.T
	*keeper.Keeper
	store store.Store
	now   time.Time
}

func newHome(t *testing.T) *home {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stayd.db"), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return newHomeOn(t, s)
}

func newHomeOn(t *testing.T, s store.Store) *home {
	t.Helper()
	words, err := static.New()
	if err != nil {
		t.Fatal(err)
	}
	h := &home{T: t, store: s, now: date("2026-05-01")}
	h.Keeper = keeper.New(keeper.Config{
		Store: s, Embedder: words, Local: true, Now: func() time.Time { return h.now }, Log: slog.New(slog.DiscardHandler),
	})
	return h
}

func date(s string) time.Time {
	t, err := time.Parse("2006-01-02", s)
	if err != nil {
		panic(err)
	}
	return t
}

func (h *home) fact(text string) memory.Record {
	h.Helper()
	return h.keep(memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Actor: "ann", Text: text})
}

func (h *home) keep(r memory.Record) memory.Record {
	h.Helper()
	list, _, err := h.Write(h.Context(), "p", []memory.Record{r})
	if err != nil {
		h.Fatalf("write %q: %v", r.Text, err)
	}
	return list[0]
}

func (h *home) ask(q memory.Query) []string {
	h.Helper()
	q.Project = "p"
	if q.Namespaces == nil {
		q.Namespaces = []string{"/actors/ann"}
	}
	found, err := h.Search(h.Context(), q)
	if err != nil {
		h.Fatalf("search %q: %v", q.Text, err)
	}
	texts := make([]string, len(found.Hits))
	for i := range found.Hits {
		texts[i] = found.Hits[i].Text
	}
	return texts
}

func TestWhatWasWrittenIsFound(t *testing.T) {
	h := newHome(t)
	h.fact("Ann lives in Lisbon.")
	h.fact("Ann has a dog named Bruno.")
	h.fact("Ann is allergic to peanuts.")
	if got := h.ask(memory.Query{Text: "What is the name of Ann's dog?", Limit: 1}); !slices.Equal(got, []string{"Ann has a dog named Bruno."}) {
		t.Errorf("found %q", got)
	}
	h.fact("Bruno, the dog, had puppies.")
	if got := h.ask(memory.Query{Text: "puppies", Limit: 1}); !slices.Equal(got, []string{"Bruno, the dog, had puppies."}) {
		t.Errorf("a write was not seen by the next search: %q", got)
	}
	if got := h.ask(memory.Query{Text: "dog", Namespaces: []string{"/actors/an"}}); len(got) != 0 {
		t.Errorf("a prefix that ends within a segment found %q", got)
	}
}

func TestBelief(t *testing.T) {
	h := newHome(t)
	paris := h.fact("Ann lives in Paris.")
	h.now = date("2026-06-01")
	text := "Ann lives in Berlin."
	from := date("2026-05-20")
	berlin, err := h.Update(t.Context(), "p", paris.ID, keeper.Change{Text: &text, ValidFrom: &from})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		q    memory.Query
		want []string
	}{
		{"now", memory.Query{}, []string{"Ann lives in Berlin."}},
		{"on 3 May", memory.Query{KnownAt: date("2026-05-03")}, []string{"Ann lives in Paris."}},
		{"before anything was known", memory.Query{KnownAt: date("2026-04-30")}, []string{}},
		{"what was true before the move", memory.Query{ValidAt: date("2026-05-10")}, []string{}},
		{"what is true after the move", memory.Query{ValidAt: date("2026-05-20")}, []string{"Ann lives in Berlin."}},
	} {
		c.q.Text = "Where does Ann live?"
		if got := h.ask(c.q); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if got := h.ask(memory.Query{Text: "Where does Ann live?", Superseded: true}); len(got) != 2 {
		t.Errorf("with what was replaced: %q", got)
	}
	var superseded *keeper.SupersededError
	if _, err := h.Update(t.Context(), "p", paris.ID, keeper.Change{Text: &text}); !errors.As(err, &superseded) || superseded.By != berlin.ID {
		t.Errorf("an update of what was superseded: %v", err)
	}
	versions, err := h.History(t.Context(), "p", berlin.ID)
	if err != nil || len(versions) != 2 || versions[0].ID != paris.ID || versions[1].ID != berlin.ID || versions[0].SupersededBy != berlin.ID {
		t.Errorf("history: %+v, %v", versions, err)
	}
}

func TestUpdateAgainIsTheSame(t *testing.T) {
	h := newHome(t)
	r := h.fact("Ann likes tea.")
	text := "Ann likes coffee."
	for range 2 {
		got, err := h.Update(t.Context(), "p", r.ID, keeper.Change{Key: "k", Text: &text})
		if err != nil || got.Text != text || got.Supersedes != r.ID {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	if got := h.ask(memory.Query{Text: "What does Ann like?"}); !slices.Equal(got, []string{text}) {
		t.Errorf("found %q", got)
	}
}

func TestFilters(t *testing.T) {
	h := newHome(t)
	h.keep(memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "The invoice is paid.", Metadata: map[string]string{"topic": "money"}})
	h.keep(memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "The invoice is red.", Origin: memory.OriginTool})
	h.keep(memory.Record{Namespace: "/actors/ann/likes", Strategy: memory.Preference, Text: "No invoice by mail, please."})
	for _, c := range []struct {
		name string
		q    memory.Query
		want []string
	}{
		{"metadata", memory.Query{Filter: memory.Filter{Metadata: map[string]string{"topic": "money"}}}, []string{"The invoice is paid."}},
		{"strategy", memory.Query{Filter: memory.Filter{Strategies: []memory.Strategy{memory.Preference}}}, []string{"No invoice by mail, please."}},
		{"namespace", memory.Query{Namespaces: []string{"/actors/ann/likes"}}, []string{"No invoice by mail, please."}},
		{"foreign", memory.Query{Filter: memory.Filter{ExcludeForeign: true}}, []string{"No invoice by mail, please.", "The invoice is paid."}},
	} {
		c.q.Text = "invoice"
		got := h.ask(c.q)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A filter that hardly any of many records meets still finds those that do.
func TestRareMetadata(t *testing.T) {
	h := newHome(t)
	for i := range 40 {
		records := make([]memory.Record, 50)
		for j := range records {
			records[j] = memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: fmt.Sprintf("Parcel %d was sent.", i*50+j)}
			if n := i*50 + j; n == 7 || n == 1900 {
				records[j].Metadata = map[string]string{"lost": "yes"}
			}
		}
		if _, _, err := h.Write(t.Context(), "p", records); err != nil {
			t.Fatal(err)
		}
	}
	got := h.ask(memory.Query{Text: "parcel", Filter: memory.Filter{Metadata: map[string]string{"lost": "yes"}}})
	slices.Sort(got)
	if !slices.Equal(got, []string{"Parcel 1900 was sent.", "Parcel 7 was sent."}) {
		t.Errorf("found %q", got)
	}
}

func TestForget(t *testing.T) {
	h := newHome(t)
	turn := h.keep(memory.Record{Namespace: "/actors/ann/sessions/s1", Strategy: memory.Turn, Actor: "ann", Text: "I moved to Oslo.", Source: memory.Source{SessionID: "s1"}})
	h.keep(memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Actor: "ann", Text: "Ann lives in Oslo.", Source: memory.Source{SessionID: "s2", RecordIDs: []string{turn.ID}}})
	h.fact("Ann plays chess.")
	receipt, err := h.Forget(t.Context(), "p", keeper.Selection{SessionID: "s1"}, "asked by Ann")
	if err != nil {
		t.Fatal(err)
	}
	if receipt.Class != "session" || receipt.Derived != 1 || receipt.Records[memory.Turn] != 1 || receipt.Records[memory.Semantic] != 1 || !receipt.Verify() {
		t.Errorf("receipt %+v", receipt)
	}
	if got := h.ask(memory.Query{Text: "Where does Ann live? Oslo"}); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "Oslo") }) {
		t.Errorf("still found: %q", got)
	}
	list, err := h.Receipts(t.Context(), store.ObjectQuery{Project: "p", Limit: 10})
	if err != nil || len(list) != 1 || !list[0].Verify() || list[0].ID != receipt.ID {
		t.Errorf("receipts %+v, %v", list, err)
	}
	list[0].Records[memory.Turn] = 2
	if list[0].Verify() {
		t.Error("a receipt that was changed verifies")
	}
}

func TestRules(t *testing.T) {
	h := newHome(t)
	if _, err := h.SetRule(t.Context(), "p", keeper.Rule{Namespace: "/actors/ann/sessions", ExpireAfterSeconds: 3600}); err != nil {
		t.Fatal(err)
	}
	h.keep(memory.Record{Namespace: "/actors/ann/sessions/s1", Strategy: memory.Turn, Text: "The code is 4711.", Source: memory.Source{SessionID: "s1"}})
	h.fact("The code of the door is secret.")
	if got := h.ask(memory.Query{Text: "code"}); len(got) != 2 {
		t.Errorf("before: %q", got)
	}
	h.now = h.now.Add(time.Hour)
	if got := h.ask(memory.Query{Text: "code"}); !slices.Equal(got, []string{"The code of the door is secret."}) {
		t.Errorf("what has expired is found: %q", got)
	}
	hold := keeper.Rule{Namespace: "/actors/ann", Hold: true, Reason: "case 12"}
	if _, err := h.SetRule(t.Context(), "p", hold); err != nil {
		t.Fatal(err)
	}
	var held *keeper.HeldError
	if _, err := h.Forget(t.Context(), "p", keeper.Selection{Namespace: "/actors/ann"}, ""); !errors.As(err, &held) || held.Rule != hold {
		t.Errorf("what is held was forgotten: %v", err)
	}
	count := func() int {
		list, err := h.List(t.Context(), store.MemoryQuery{Project: "p", Superseded: true, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if err := h.Expire(t.Context()); err != nil || count() != 2 {
		t.Errorf("what is held has expired: %d records, %v", count(), err)
	}
	if _, err := h.SetRule(t.Context(), "p", keeper.Rule{Namespace: "/actors/ann"}); err != nil {
		t.Fatal(err)
	}
	if err := h.Expire(t.Context()); err != nil || count() != 1 {
		t.Errorf("what has expired is there: %d records, %v", count(), err)
	}
}

// A keeper that begins later, and one beside it, see the same.
func TestIndexesComeBack(t *testing.T) {
	h := newHome(t)
	for i := range 100 {
		records := make([]memory.Record, 100)
		for j := range records {
			records[j] = memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: fmt.Sprintf("Box %d stands in hall %d.", i*100+j, i)}
		}
		if _, _, err := h.Write(t.Context(), "p", records); err != nil {
			t.Fatal(err)
		}
		h.ask(memory.Query{Text: "hall 7"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	h.Keeper.Run(ctx) // waits for what is being stored
	pieces, err := h.store.Segments(t.Context(), "p", "/actors/ann")
	if err != nil || len(pieces) == 0 {
		t.Fatalf("no piece of the index was stored: %v", err)
	}
	q := memory.Query{Text: "What stands in hall 42? Box 4217?", Limit: 20}
	before := h.ask(q)
	h.Keeper = keeper.New(h.Config)
	if after := h.ask(q); !slices.Equal(before, after) || len(after) != 20 {
		t.Errorf("before %q\nafter %q", before, after)
	}
}

// What an index was made of anew, record by record, is stored as a piece where it
// took many: who reads it the next time reads that.
func TestIndexReadAnewIsStored(t *testing.T) {
	for _, c := range []struct{ records, pieces int }{{255, 0}, {256, 1}} {
		h := newHome(t)
		records := make([]memory.Record, c.records)
		for i := range records {
			records[i] = memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: fmt.Sprintf("Box %d stands in hall %d.", i, i/10)}
		}
		q := memory.Query{Text: "What stands in hall 12? Box 127?", Limit: 20}
		if _, _, err := h.Write(t.Context(), "p", records); err != nil {
			t.Fatal(err)
		}
		want := h.ask(q)
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			h.Keeper.Run(ctx) // waits for what is being stored
			list, err := h.store.Segments(t.Context(), "p", "/actors/ann")
			if err != nil || len(list) != c.pieces {
				t.Errorf("%d records: %d pieces, want %d; %v", c.records, len(list), c.pieces, err)
			}
			h.Keeper = keeper.New(h.Config)
			if got := h.ask(q); !slices.Equal(got, want) || len(got) != 20 {
				t.Errorf("%d records: found %q, want %q", c.records, got, want)
			}
		}
	}
}

func TestRefusals(t *testing.T) {
	h := newHome(t)
	ok := memory.Record{Namespace: "/actors/ann/facts", Strategy: memory.Semantic, Text: "x"}
	for _, c := range []struct {
		param  string
		change func(*memory.Record)
	}{
		{"namespace", func(r *memory.Record) { r.Namespace = "/a//b" }},
		{"strategy", func(r *memory.Record) { r.Strategy = "guess" }},
		{"text", func(r *memory.Record) { r.Text = "" }},
		{"text", func(r *memory.Record) { r.Text = strings.Repeat("x", keeper.MaxText+1) }},
		{"text", func(r *memory.Record) { r.Text = "a\x00b" }},
		{"text", func(r *memory.Record) { r.Text = "\xff" }},
		{"confidence", func(r *memory.Record) { r.Confidence = 2 }},
		{"valid_to", func(r *memory.Record) { r.ValidFrom, r.ValidTo = date("2026-01-02"), date("2026-01-01") }},
	} {
		r := ok
		c.change(&r)
		var bad *keeper.BadRecordError
		if _, _, err := h.Write(t.Context(), "p", []memory.Record{r}); !errors.As(err, &bad) || bad.Param != c.param {
			t.Errorf("%s: %v", c.param, err)
		}
	}
	if _, err := h.Forget(t.Context(), "p", keeper.Selection{}, ""); err == nil {
		t.Error("nothing was forgotten without an error")
	}
	if _, err := h.Forget(t.Context(), "p", keeper.Selection{Actor: "a", SessionID: "s"}, ""); err == nil {
		t.Error("two things were forgotten at once")
	}
}
