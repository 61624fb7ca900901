package storetest

import (
	"errors"
	"slices"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

var treeCases = []testCase{
	{"Named", testTreeNamed},
	{"Forks", testTreeForks},
	{"Refused", testTreeRefused},
}

func (f *fixture) wantTrees(project string, want ...event.Hash) {
	f.Helper()
	got, err := f.s.Trees(f.ctx, project)
	if err != nil {
		f.Errorf("trees of %s: %v", project, err)
		return
	}
	order := func(a, b event.Hash) int { return slices.Compare(a[:], b[:]) }
	want = slices.Clone(want)
	slices.SortFunc(want, order)
	slices.SortFunc(got, order)
	f.same("trees of "+project, got, slices.Compact(want))
}

// tree is an append of one record that names trees.
func (f *fixture) tree(l *log, roots ...byte) {
	f.Helper()
	a := l.next(`"tree"`)
	for _, r := range roots {
		a.Trees = append(a.Trees, store.Tree{Seq: a.Records[0].Seq, Root: event.Hash{r}})
	}
	f.mustAppend(l, a)
}

func testTreeNamed(f *fixture) {
	f.wantTrees("p")
	l, m := f.log("p", "s"), f.log("q", "s2")
	f.tree(l, 1, 2, 1)
	f.append(l, `2`)
	f.tree(l, 2, 3)
	f.tree(m, 4)
	o := object("p", "o", 1)
	o.Kind, o.Tree = store.KindEnvironment, &event.Hash{5}
	f.createObject(o)
	f.wantTrees("p", event.Hash{1}, event.Hash{2}, event.Hash{3}, event.Hash{5})
	f.wantTrees("q", event.Hash{4})
	f.wantTrees("nobody")

	a := l.next(`"tombstone"`)
	a.Erase, a.Trees = true, []store.Tree{{Seq: a.Records[0].Seq, Root: event.Hash{3}}}
	f.mustAppend(l, a)
	f.wantTrees("p", event.Hash{3}, event.Hash{5})
	o.Version, o.Tree = 2, &event.Hash{6}
	if err := f.s.UpdateObject(f.ctx, o); err != nil {
		f.Fatalf("update: %v", err)
	}
	f.wantTrees("p", event.Hash{3}, event.Hash{6})
	if err := f.s.DeleteObject(f.ctx, "p", o.Kind, o.ID); err != nil {
		f.Fatalf("delete: %v", err)
	}
	f.erase(l)
	f.wantTrees("p")
	f.wantTrees("q", event.Hash{4})
}

func testTreeForks(f *fixture) {
	a := f.log("p", "a")
	f.tree(a, 1)
	f.tree(a, 2)
	f.tree(a, 3)
	b := f.fork(a, 2, "b")
	f.tree(b, 4)
	f.delete(a)
	f.wantTrees("p", event.Hash{1}, event.Hash{2}, event.Hash{4})
	c := f.fork(b, 1, "c")
	f.delete(b)
	f.collect(0, 0)
	f.wantTrees("p", event.Hash{1})
	f.delete(c)
	f.collect(0, 0)
	f.wantTrees("p")
	f.checkAll(f.s, a, b, c)
}

func testTreeRefused(f *fixture) {
	l := f.log("p", "s")
	f.tree(l, 1)
	a := l.next(`2`)
	a.Trees = []store.Tree{{Seq: 2, Root: event.Hash{2}}}
	a.Epoch++
	if err := f.s.Append(f.ctx, a); !errors.Is(err, store.ErrFenced) {
		f.Errorf("append under a wrong epoch: %v, want ErrFenced", err)
	}
	f.wantTrees("p", event.Hash{1})
}
