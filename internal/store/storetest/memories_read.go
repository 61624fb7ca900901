package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// listMemories compares the keys of the records that are listed, which are the
// ends of their texts.
func (f *fixture) listMemories(q store.MemoryQuery, want ...string) {
	f.Helper()
	if q.Project == "" {
		q.Project = "p"
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	list, err := f.s.ListMemories(f.ctx, q)
	if err != nil {
		f.Errorf("list memories %+v: %v", q, err)
		return
	}
	f.same(fmt.Sprintf("list memories %+v", q), keys(list), want)
}

func keys(list []memory.Record) (keys []string) {
	for i := range list {
		keys = append(keys, list[i].Text[len("the text of "):])
	}
	return keys
}

func testMemoryList(f *fixture) {
	// The ids, which settle the order of what was recorded at the same time, are
	// hashes: they are put in their order first.
	same := []memory.Record{fact("p", alice, "x"), fact("p", alice, "y")}
	if same[0].ID > same[1].ID {
		same[0], same[1] = same[1], same[0]
	}
	for i := range same {
		same[i].RecordedAt, same[i].Text = at(5), fmt.Sprintf("the text of same%d", i)
	}
	early, late, bob := fact("p", alice, "early"), fact("p", alice, "late"), fact("p", "/actors/bob", "bob")
	early.RecordedAt, bob.RecordedAt, late.RecordedAt = at(1), at(7), at(9)
	f.remember(late, same[1], early, same[0])
	f.remember(bob)
	other := f.remember(fact("q", alice, "other"))[0]

	ids := []string{early.ID, same[0].ID, same[1].ID, bob.ID, late.ID}
	asc := []string{"early", "same0", "same1", "bob", "late"}
	desc := []string{"late", "bob", "same1", "same0", "early"}
	f.listMemories(store.MemoryQuery{Asc: true}, asc...)
	f.listMemories(store.MemoryQuery{}, desc...)
	for i := range asc {
		f.listMemories(store.MemoryQuery{Asc: true, After: ids[i]}, asc[i+1:]...)
		f.listMemories(store.MemoryQuery{After: ids[len(ids)-1-i]}, desc[i+1:]...)
	}
	f.listMemories(store.MemoryQuery{Limit: 2, After: late.ID}, "bob", "same1")
	f.listMemories(store.MemoryQuery{Namespace: alice, After: late.ID}, "same1", "same0", "early")
	f.listMemories(store.MemoryQuery{Namespace: alice, Asc: true, After: bob.ID}, "late")
	f.listMemories(store.MemoryQuery{Project: "nobody"})
	for _, after := range []string{other.ID, memory.ID("p", alice, "none"), "none"} {
		if _, err := f.s.ListMemories(f.ctx, store.MemoryQuery{Project: "p", After: after, Limit: 10}); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("cursor %s: %v, want ErrNotFound", after, err)
		}
	}
}

func testMemoryListFilters(f *fixture) {
	actors, sessions := []string{"", "a", "b", "a/b"}, []string{"s1", "s2", ""}
	strategies := memory.Strategies()
	var all []memory.Record
	for i := range 24 {
		r := fact("p", fmt.Sprintf("/actors/%d/notes", i%2), fmt.Sprintf("%02d", i))
		r.RecordedAt, r.Actor, r.Source.SessionID, r.Strategy = at(i), actors[i%4], sessions[i%3], strategies[i%6]
		if i%5 > 0 {
			r.Metadata = map[string]string{"mod": strconv.Itoa(i % 5), "a.b\"c": "x"}
		}
		all = append(all, f.remember(r)[0])
	}
	replaced := all[7]
	f.writeMemories(&store.MemoryWrite{Project: "p", Space: replaced.Space, Supersede: []store.Supersession{{ID: replaced.ID, By: all[9].ID, At: at(30)}}})

	for name, c := range map[string]struct {
		q    store.MemoryQuery
		take func(i int) bool
	}{
		"actor":         {store.MemoryQuery{Actor: "a/b"}, func(i int) bool { return i%4 == 3 }},
		"session":       {store.MemoryQuery{SessionID: "s2"}, func(i int) bool { return i%3 == 1 }},
		"both":          {store.MemoryQuery{Actor: "a", SessionID: "s2"}, func(i int) bool { return i%4 == 1 && i%3 == 1 }},
		"strategies":    {store.MemoryQuery{Strategies: []memory.Strategy{memory.Core, memory.Turn}}, func(i int) bool { return i%6 == 5 || i%6 == 0 }},
		"metadata":      {store.MemoryQuery{Metadata: map[string]string{"mod": "2", "a.b\"c": "x"}}, func(i int) bool { return i%5 == 2 }},
		"wrong pair":    {store.MemoryQuery{Metadata: map[string]string{"mod": "2", "a.b\"c": "y"}}, func(int) bool { return false }},
		"namespace":     {store.MemoryQuery{Namespace: "/actors/1"}, func(i int) bool { return i%2 == 1 }},
		"in namespace":  {store.MemoryQuery{Namespace: "/actors/1/notes", Actor: "a"}, func(i int) bool { return i%4 == 1 }},
		"session below": {store.MemoryQuery{Namespace: "/actors", SessionID: "s1"}, func(i int) bool { return i%3 == 0 }},
		"in session":    {store.MemoryQuery{Namespace: "/actors/0", SessionID: "s1"}, func(i int) bool { return i%6 == 0 }},
		"no actor":      {store.MemoryQuery{Actor: "nobody"}, func(int) bool { return false }},
		"all":           {store.MemoryQuery{}, func(int) bool { return true }},
	} {
		f.Run(name, func(t *testing.T) {
			in := *f
			in.T = t
			for _, superseded := range []bool{false, true} {
				var want []string
				for i := range all {
					if c.take(i) && (superseded || i != 7) {
						want = append(want, fmt.Sprintf("%02d", i))
					}
				}
				c.q.Superseded, c.q.Asc = superseded, true
				in.listMemories(c.q, want...)
			}
		})
	}
}

func testMemoryListBelow(f *fixture) {
	for i, ns := range []string{"/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/cd", "/a/b/c!", "/a/bc", "/ab", "/a!", "/a/b!/c", "/A/b/c"} {
		r := fact("p", ns, ns)
		r.RecordedAt = at(i)
		f.remember(r)
	}
	for ns, want := range map[string][]string{
		"":         {"/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/cd", "/a/b/c!", "/a/bc", "/ab", "/a!", "/a/b!/c", "/A/b/c"},
		"/":        {"/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/cd", "/a/b/c!", "/a/bc", "/ab", "/a!", "/a/b!/c", "/A/b/c"},
		"/a":       {"/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/cd", "/a/b/c!", "/a/bc", "/a/b!/c"},
		"/a/":      {"/a", "/a/b", "/a/b/c", "/a/b/c/d", "/a/b/cd", "/a/b/c!", "/a/bc", "/a/b!/c"},
		"/a/b":     {"/a/b", "/a/b/c", "/a/b/c/d", "/a/b/cd", "/a/b/c!"},
		"/a/b/c":   {"/a/b/c", "/a/b/c/d"},
		"/a/b/c/d": {"/a/b/c/d"},
		"/a/b/d":   nil,
		"/a/x":     nil,
		"/b":       nil,
	} {
		f.listMemories(store.MemoryQuery{Namespace: ns, Asc: true}, want...)
	}
}

func testMemorySpaces(f *fixture) {
	for _, ns := range []string{"/a/2", "/a", "/a/1/x", "/ab/1", "/a!", "/b/1/y/z", "/b/2"} {
		f.remember(fact("p", ns, ns))
	}
	f.remember(fact("q", "/a/9", "other"))
	projects, err := f.s.MemoryProjects(f.ctx)
	if err != nil {
		f.Fatalf("projects: %v", err)
	}
	f.same("projects", projects, []string{"p", "q"})
	for ns, want := range map[string][]string{
		"/":          {"/a", "/a!", "/a/1", "/a/2", "/ab/1", "/b/1", "/b/2"},
		"":           {"/a", "/a!", "/a/1", "/a/2", "/ab/1", "/b/1", "/b/2"},
		"/a":         {"/a", "/a/1", "/a/2"},
		"/a/1":       {"/a/1"},
		"/a/1/x":     {"/a/1"},
		"/b/1/other": {"/b/1"},
		"/c":         nil,
	} {
		for _, limit := range []int{1, 2, 100} {
			var got []string
			for after := ""; ; {
				list, err := f.s.MemorySpaces(f.ctx, "p", ns, after, limit)
				if err != nil {
					f.Fatalf("spaces below %s: %v", ns, err)
				}
				for _, sp := range list {
					f.same("space "+sp.Name, sp, store.MemorySpace{Project: "p", Name: sp.Name, Change: 1, Records: 1})
					got = append(got, sp.Name)
				}
				if len(list) < limit {
					break
				}
				after = list[len(list)-1].Name
			}
			f.same("spaces below "+ns, got, want)
		}
	}
	if _, err := f.s.MemorySpaces(f.ctx, "p", "/a//b", "", 1); err == nil {
		f.Error("spaces below a namespace that is none were listed")
	}
}

func testMemoryExpired(f *fixture) {
	for i, end := range []int{30, 10, 20, 0} {
		project := []string{"p", "q"}[i%2]
		r := fact(project, alice, strconv.Itoa(end))
		if end > 0 {
			r.ExpiresAt = at(end)
		}
		f.remember(r)
	}
	for before, want := range map[int][]string{5: nil, 10: {"10"}, 29: {"10", "20"}, 99: {"10", "20", "30"}} {
		list, err := f.s.ExpiredMemories(f.ctx, at(before), 10)
		if err != nil {
			f.Fatalf("expired: %v", err)
		}
		f.same(fmt.Sprintf("expired before %d", before), keys(list), want)
	}
	list, err := f.s.ExpiredMemories(f.ctx, at(99), 1)
	if err != nil || len(list) != 1 || list[0].Project != "q" || !list[0].ExpiresAt.Equal(at(10)) {
		f.Errorf("longest expired: %+v, %v", list, err)
	}
}

func testMemoryUnembedded(f *fixture) {
	var records []memory.Record
	for i, model := range []string{"", "m", "n", "m", ""} {
		r := fact("p", alice, strconv.Itoa(i+1))
		if model != "" {
			r.Vector, r.VectorModel = []byte{1}, model
		}
		records = append(records, r)
	}
	f.remember(records...)
	f.remember(fact("p", "/actors/bob", "bob"))
	for _, c := range []struct {
		model string
		after int64
		limit int
		want  []string
	}{
		{"m", 0, 10, []string{"1", "3", "5"}},
		{"m", 1, 1, []string{"3"}},
		{"m", 5, 10, nil},
		{"n", -5, 10, []string{"1", "2", "4", "5"}},
		{"new", 2, 2, []string{"3", "4"}},
		{"new", 0, 10, []string{"1", "2", "3", "4", "5"}},
	} {
		list, err := f.s.UnembeddedMemories(f.ctx, "p", alice, c.model, c.after, c.limit)
		if err != nil {
			f.Fatalf("unembedded: %v", err)
		}
		f.same(fmt.Sprintf("without a vector of %s after %d", c.model, c.after), keys(list), c.want)
	}
	if list, err := f.s.UnembeddedMemories(f.ctx, "p", "/actors/none", "m", 0, 10); err != nil || len(list) != 0 {
		f.Errorf("unembedded of no space: %d, %v", len(list), err)
	}
}

// testMemoryOtherProject has two projects with the same spaces, and looks for
// the records of one from the other.
func testMemoryOtherProject(f *fixture) {
	p, q := fact("p", alice, "p"), fact("q", alice, "q")
	p.Actor, p.Source.SessionID, q.Actor, q.Source.SessionID = "a", "s", "a", "s"
	f.remember(p)
	stored := f.remember(q)[0]
	for _, id := range []string{p.ID, "mem_", "", "mem_zz" + p.ID[6:]} {
		if _, err := f.s.Memory(f.ctx, "q", id); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("record %q of another project: %v, want ErrNotFound", id, err)
		}
	}
	for _, query := range []store.MemoryQuery{{}, {Actor: "a"}, {SessionID: "s"}, {Namespace: alice}, {Namespace: "/actors"}, {Namespace: alice, Actor: "a"}} {
		query.Project = "q"
		f.listMemories(query, "q")
	}
	_, list := f.changes("q", 0, 10)
	f.same("changes", list, []memory.Record{stored})
	if n, err := f.s.ForgetMemories(f.ctx, "r", alice, []int64{1}); n != 0 || err != nil {
		f.Errorf("forget by a project without a space: %d, %v", n, err)
	}
	if n, err := f.s.ForgetMemories(f.ctx, "p", alice, []int64{1, 1 << 32, 2<<32 | 1}); n != 1 || err != nil {
		f.Errorf("forget: %d, %v", n, err)
	}
	f.same("record of the other project", f.memory("q", q.ID), stored)
	f.listMemories(store.MemoryQuery{Project: "q", Actor: "a", SessionID: "s"}, "q")
}
