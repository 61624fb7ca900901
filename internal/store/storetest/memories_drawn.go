package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// drawn checks what rests on the records with the ids, by the keys of their texts.
func (f *fixture) drawn(s store.Store, project string, ids []string, want ...string) {
	f.Helper()
	list, err := s.DrawnMemories(f.ctx, project, ids)
	if err != nil {
		f.Fatalf("what was drawn: %v", err)
	}
	got := make([]string, 0, len(list))
	for i := range list {
		r := &list[i]
		whole := f.memory(project, r.ID)
		got = append(got, strings.TrimPrefix(whole.Text, "the text of "))
		whole.Metadata, whole.Vector, whole.Text = nil, nil, ""
		f.same("what was drawn", *r, whole)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		f.Errorf("of %q was drawn %q, want %q", ids, got, want)
	}
}

// What rests on a record is found by its id wherever it stands, whether the record
// is there or not, and no longer when it is forgotten itself.
func testMemoryDrawn(f *fixture) {
	from := func(namespace, key string, ids ...string) memory.Record {
		r := fact("p", namespace, key)
		r.Source = memory.Source{SessionID: "s", ItemIDs: []string{"item_0190a5d0c3f27b4e8f6a1b2c3d4e5f60"}, Speaker: "Ann", RecordIDs: ids, External: "x"}
		r.Metadata = map[string]string{"a": "b"}
		return r
	}
	a, gone := fact("p", alice, "a"), memory.ID("p", alice, "never written")
	f.remember(a)
	b := f.remember(from(alice+"/facts", "b", a.ID, gone, a.ID))[0]
	c := f.remember(from("/actors/bob/facts", "c", b.ID, "no id", a.ID), from("/actors/bob", "d"))[0]
	newer := from(alice, "e")
	newer.Supersedes = a.ID
	e := f.writeMemories(&store.MemoryWrite{Project: "p", Space: alice, Add: []memory.Record{newer}, Supersede: []store.Supersession{{ID: a.ID, By: newer.ID, At: at(2)}}}).Records[0]
	other := from(alice, "other", a.ID)
	other.Project, other.ID = "q", memory.ID("q", alice, "other")
	f.remember(other)
	f.remember(from(alice+"/facts", "b", a.ID, c.ID)) // was written before

	f.drawn(f.s, "p", []string{a.ID}, "b", "c", "e")
	f.drawn(f.s, "p", []string{gone}, "b")
	f.drawn(f.s, "p", []string{a.ID, b.ID, gone, "no id"}, "b", "c", "e")
	f.drawn(f.s, "p", []string{c.ID, e.ID})
	f.drawn(f.s, "p", []string{"no id"})
	f.drawn(f.s, "p", nil)
	f.drawn(f.s, "nobody", []string{a.ID})

	for _, r := range []memory.Record{b, a} {
		if n, err := f.s.ForgetMemories(f.ctx, "p", r.Space, []int64{r.Num, 1 << 40}); err != nil || n > 1 {
			f.Fatalf("forget: %d, %v", n, err)
		}
	}
	for _, s := range []store.Store{f.s, f.reopen()} {
		f.drawn(s, "p", []string{a.ID, gone}, "c", "e")
		f.drawn(s, "p", []string{b.ID}, "c")
	}
	f.remember(from(alice+"/facts", "b", gone))
	f.drawn(f.s, "p", []string{a.ID, gone}, "b", "c", "e")
}

// BeforeSources are records of the space /a/1 of the project p as stores had them
// before it was noted what they rest on. AfterSources checks that what rests on them
// is found.
func BeforeSources(id func(key string) string) []memory.Record {
	record := func(key string, strategy memory.Strategy, source memory.Source) memory.Record {
		return memory.Record{ID: id(key), Strategy: strategy, Text: key, Source: source}
	}
	long := strings.Repeat("long ", 100)
	b := record("b", memory.Semantic, memory.Source{TurnID: "turn_1", ItemIDs: []string{"item_0190a5d0c3f27b4e8f6a1b2c3d4e5f60"}, RecordIDs: []string{id("a"), id("x")}, Speaker: long})
	c := record("c", memory.Preference, memory.Source{ItemIDs: []string{long}, RecordIDs: []string{"foreign", id("b"), id("a")}, Position: -12345, External: long})
	d := record("d", memory.Core, memory.Source{Label: "home"})
	d.Supersedes = id("c")
	var all []string
	for i := range 150 {
		all = append(all, id(fmt.Sprint("other ", i)))
	}
	e := record("e", memory.Summary, memory.Source{TurnID: "turn_0190a5d0c3f27b4e8f6a1b2c3d4e5f60", ItemIDs: []string{id("a")}, RecordIDs: append(all, id("d"), all[0], id("b")), Model: "m"})
	e.Supersedes = id("b")
	f := record("f", memory.Episodic, memory.Source{RecordIDs: []string{"mem_", id("a")}})
	list := []memory.Record{record("a", memory.Turn, memory.Source{TurnID: "turn_1", Position: 1}), b, c, d, e, f}
	for i := range list {
		list[i].Project, list[i].Space, list[i].Namespace, list[i].Origin, list[i].RecordedAt = "p", "/a/1", "/a/1", memory.OriginClient, at(i)
	}
	return list
}

// AfterSources is what comes of BeforeSources.
func AfterSources(t testing.TB, s store.Store, id func(key string) string) {
	t.Helper()
	for key, want := range map[string]string{"a": "bcf", "b": "ce", "c": "d", "d": "e", "e": "", "x": "b", "y": "", "other 0": "e", "other 149": "e"} {
		list, err := s.DrawnMemories(t.Context(), "p", []string{id(key)})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for i := range list {
			got = append(got, list[i].ID)
		}
		slices.Sort(got)
		var ids []string
		for _, other := range want {
			ids = append(ids, id(string(other)))
		}
		slices.Sort(ids)
		if !slices.Equal(got, ids) {
			t.Errorf("on %s rest %q, want %q", key, got, ids)
		}
	}
}
