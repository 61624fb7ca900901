package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/store"
)

var forkCases = []testCase{
	{"Chain", testForkChain},
	{"Pages", testForkPages},
	{"Head", testForkHead},
	{"NotFound", testForkNotFound},
	{"Malformed", testForkMalformed},
	{"Fenced", testForkFenced},
	{"EarlyInAPast", testForkEarly},
	{"DeletedParent", testForkDeletedParent},
	{"EraseParent", testForkEraseParent},
	{"EraseChain", testForkEraseChain},
	{"EraseFork", testForkErase},
	{"ForkOfForgotten", testForkOfForgotten},
	{"NeverMade", testForkNeverMade},
	{"Many", testForkMany},
	{"RacesWithErase", testForkRacesWithErase},
	{"SecondNode", testForkSecondNode},
}

// forkOf is the log of a session that is about to have the first seq records of
// another.
func (f *fixture) forkOf(parent *log, seq int, session string) *log {
	l := f.log(parent.project, session)
	l.records = slices.Clone(parent.records[:seq])
	l.parent = &store.Parent{Session: parent.session, Seq: int64(seq)}
	for _, t := range parent.trees {
		if t.Seq <= int64(seq) {
			l.trees = append(l.trees, t)
		}
	}
	return l
}

// fork makes such a session with one record of its own.
func (f *fixture) fork(parent *log, seq int, session string) *log {
	f.Helper()
	l := f.forkOf(parent, seq, session)
	f.append(l, `"first of `+session+`"`)
	return l
}

func (f *fixture) checkAll(s store.Store, logs ...*log) {
	f.Helper()
	for _, l := range logs {
		f.check(s, l)
	}
}

// delete marks a session as deleted and forgets its records.
func (f *fixture) delete(l *log) {
	f.Helper()
	a := l.next(`"deleted"`)
	x := row(l.project, l.session, 1)
	x.Deleted = true
	a.Index, a.Erase = &x, true
	f.mustAppend(l, a)
}

// forked is a session of records 1 to n, each of which is a blob of its own.
func (f *fixture) forked(session string, n int) *log {
	f.Helper()
	l := f.put(row("p", session, 1))
	for len(l.records) < n {
		f.append(l, text(6000, session+strconv.Itoa(len(l.records)+1)))
	}
	return l
}

func testForkChain(f *fixture) {
	logs := []*log{f.put(row("p", "s0", 0))}
	f.append(logs[0], `2`, text(9000, "three"), `4`, `5`)
	for i := 1; i < 30; i++ {
		parent := logs[i-1]
		l := f.fork(parent, len(parent.records)-i%3, fmt.Sprintf("s%d", i))
		f.append(l, text(9000, strconv.Itoa(i)), `"x"`)
		logs = append(logs, l)
	}
	for _, l := range logs {
		f.append(l, `"last"`)
	}
	f.checkAll(f.s, logs...)
	f.checkAll(f.reopen(), logs...)
	u, err := f.s.Usage(f.ctx)
	if err != nil || u.Sessions != 30 || u.Records != 6+29*4 || u.Blobs != 30 {
		f.Errorf("usage: %+v, %v; want 30 sessions, 122 records, 30 blobs", u, err)
	}
}

func testForkPages(f *fixture) {
	a := f.forked("a", 7)
	b := f.fork(a, 5, "b")
	f.append(b, `7`, text(5000, "8"), `9`)
	c := f.fork(b, 8, "c")
	f.append(c, `10`, `11`)
	for _, l := range []*log{a, b, c} {
		for after := range len(l.records) + 2 {
			for limit := range len(l.records) + 2 {
				got, err := f.s.Read(f.ctx, "p", l.session, int64(after), limit)
				if err != nil {
					f.Fatalf("read: %v", err)
				}
				first := min(after, len(l.records))
				want := l.records[first:min(first+limit, len(l.records))]
				f.same(fmt.Sprintf("read %s after %d, limit %d", l.session, after, limit), got, want)
			}
		}
	}
}

func testForkHead(f *fixture) {
	a := f.forked("a", 4)
	far := f.forkOf(a, 4, "b")
	far.parent.Seq, far.records = 5, append(far.records, a.records[3])
	if err := f.s.Append(f.ctx, far.next(`1`)); !errors.Is(err, store.ErrConflict) {
		f.Errorf("fork after the parent's end: %v, want ErrConflict", err)
	}
	b := f.forkOf(a, 3, "b")
	orphan := b.next(`4`)
	orphan.Parent = nil
	if err := f.s.Append(f.ctx, orphan); !errors.Is(err, store.ErrConflict) {
		f.Errorf("fork without its parent: %v, want ErrConflict", err)
	}
	first := b.next(`4`)
	f.mustAppend(b, first)
	if err := f.s.Append(f.ctx, first); !errors.Is(err, store.ErrConflict) {
		f.Errorf("same fork again: %v, want ErrConflict", err)
	}
	if err := f.s.Append(f.ctx, f.forkOf(a, 2, "b").next(`3`)); !errors.Is(err, store.ErrConflict) {
		f.Errorf("fork at another place with an id that is taken: %v, want ErrConflict", err)
	}
	if err := f.s.Append(f.ctx, f.forkOf(b, 2, "a").next(`3`)); !errors.Is(err, store.ErrConflict) {
		f.Errorf("fork of its fork: %v, want ErrConflict", err)
	}
	f.append(b, `5`, `6`)
	again := b.next(`7`)
	f.mustAppend(b, again)
	if err := f.s.Append(f.ctx, again); !errors.Is(err, store.ErrConflict) {
		f.Errorf("same append again: %v, want ErrConflict", err)
	}
	f.checkAll(f.s, a, b)

	f.delete(a)
	if err := f.s.Append(f.ctx, first); !errors.Is(err, store.ErrConflict) {
		f.Errorf("same fork once its parent is deleted: %v, want ErrConflict", err)
	}
	f.checkAll(f.s, a, b)
}

func testForkNotFound(f *fixture) {
	a := f.forked("a", 3)
	other := f.forkOf(a, 3, "b")
	other.project = "q"
	nobody := f.forkOf(a, 3, "c")
	nobody.parent.Session = "nobody"
	for name, l := range map[string]*log{"parent of another project": other, "no parent": nobody} {
		if err := f.s.Append(f.ctx, l.next(`4`)); !errors.Is(err, store.ErrNotFound) {
			f.Errorf("%s: %v, want ErrNotFound", name, err)
		}
		got, err := f.s.Read(f.ctx, l.project, l.session, 0, 10)
		if err != nil || len(got) != 0 {
			f.Errorf("%s: %d records are there, %v", name, len(got), err)
		}
	}
}

func testForkMalformed(f *fixture) {
	a := f.forked("a", 3)
	for name, change := range map[string]func(*store.Append){
		"of itself":      func(a *store.Append) { a.Parent = &store.Parent{Session: "b", Seq: 3} },
		"of nothing":     func(a *store.Append) { a.Parent = &store.Parent{Session: "a", Seq: 0} },
		"gap":            func(a *store.Append) { a.Parent = &store.Parent{Session: "a", Seq: 2} },
		"tree of parent": func(a *store.Append) { a.Trees = []store.Tree{{Seq: 3}} },
		"tree of none":   func(a *store.Append) { a.Trees = []store.Tree{{Seq: 5}} },
	} {
		x := f.forkOf(a, 3, "b").next(`4`)
		change(x)
		if err := f.s.Append(f.ctx, x); err == nil {
			f.Errorf("%s: the append was taken", name)
		}
	}
	f.checkAll(f.s, a, f.log("p", "b"))
}

func testForkFenced(f *fixture) {
	a := f.forked("a", 3)
	b := f.forkOf(a, 3, "b")
	x := b.next(`4`)
	x.Epoch++
	if err := f.s.Append(f.ctx, x); !errors.Is(err, store.ErrFenced) {
		f.Errorf("fork under a wrong epoch: %v, want ErrFenced", err)
	}
	f.check(f.s, f.log("p", "b"))
	f.append(b, `4`)
	f.check(f.s, b)
}

// testForkEarly forks a fork at a record that it has from its own parent.
func testForkEarly(f *fixture) {
	a := f.forked("a", 6)
	b := f.fork(a, 5, "b")
	c := f.fork(b, 3, "c")
	d := f.fork(c, 3, "d")
	e := f.fork(d, 2, "e")
	f.checkAll(f.s, a, b, c, d, e)
	f.delete(a)
	f.delete(b)
	f.delete(c)
	f.checkAll(f.s, a, b, c, d, e)
	f.collect(0, 3) // the fourth to the sixth of a
	f.checkAll(f.s, a, b, c, d, e)
	f.delete(d)
	f.collect(0, 1)
	f.checkAll(f.s, a, b, c, d, e)
	f.delete(e)
	f.collect(0, 1) // the first of a is no blob
	f.blobs(0)
}

func testForkDeletedParent(f *fixture) {
	a := f.forked("a", 4)
	b := f.fork(a, 3, "b")
	f.delete(a)
	if _, err := f.s.Session(f.ctx, "p", "a"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("deleted parent: %v, want ErrNotFound", err)
	}
	for _, seq := range []int{1, 3, 5} {
		err := f.s.Append(f.ctx, f.forkOf(a, seq, "c").next(`"x"`))
		if !errors.Is(err, store.ErrNotFound) {
			f.Errorf("fork of a deleted parent at %d: %v, want ErrNotFound", seq, err)
		}
	}
	c := f.fork(b, 2, "c")
	f.append(b, `5`)
	f.checkAll(f.s, a, b, c)
	f.checkAll(f.reopen(), a, b, c)
}

// testForkEraseParent has forks at the third and fifth of eight records.
func testForkEraseParent(f *fixture) {
	a := f.forked("a", 8) // 2 to 8 are blobs
	b, c := f.fork(a, 3, "b"), f.fork(a, 5, "c")
	f.blobs(7)
	f.erase(a)
	f.collect(0, 3)
	f.checkAll(f.s, a, b, c)
	f.delete(c)
	f.collect(0, 2)
	f.checkAll(f.s, a, b, c)
	f.append(a, text(6000, "new"))
	f.delete(b)
	f.collect(0, 2)
	f.blobs(1)
	f.checkAll(f.s, a, b, c)
	f.checkAll(f.reopen(), a, b, c)
}

// testForkEraseChain deletes a chain from its begin, so that only the last
// session still has what the others wrote.
func testForkEraseChain(f *fixture) {
	a := f.forked("a", 3)
	b := f.fork(a, 3, "b")
	f.append(b, text(6000, "b5"), text(6000, "b6"))
	c := f.fork(b, 5, "c")
	f.append(c, text(6000, "c7"))
	d := f.fork(c, 6, "d")
	logs := []*log{a, b, c, d}
	f.blobs(5)
	f.delete(a)
	f.collect(0, 0)
	f.delete(b)
	f.collect(0, 1) // the sixth of b
	f.delete(c)
	f.collect(0, 1) // the seventh of c
	f.blobs(3)
	f.checkAll(f.s, logs...)
	f.checkAll(f.reopen(), logs...)
	f.delete(d)
	f.collect(time.Hour, 0)
	f.collect(0, 3)
	f.blobs(0)
	f.checkAll(f.s, logs...)
}

// testForkErase has a fork forget what its parent still has.
func testForkErase(f *fixture) {
	a := f.forked("a", 3)
	b := f.fork(a, 2, "b")
	f.erase(b)
	f.collect(0, 0)
	f.checkAll(f.s, a, b)
	c := f.fork(b, 2, "c")
	f.append(b, text(6000, "b"))
	f.checkAll(f.s, a, b, c)
	f.delete(a)
	f.collect(0, 2)
	f.blobs(1)
	f.checkAll(f.s, a, b, c)
}

// testForkOfForgotten forks a session that has forgotten what an older fork
// still has: the new one does not get it back.
func testForkOfForgotten(f *fixture) {
	a := f.forked("a", 3)
	b := f.fork(a, 3, "b")
	f.erase(a)
	c, d := f.fork(a, 2, "c"), f.fork(a, 4, "d")
	e := f.fork(d, 3, "e")
	logs := []*log{a, b, c, d, e}
	f.checkAll(f.s, logs...)
	f.delete(b)
	f.collect(0, 2)
	f.checkAll(f.s, logs...)
}

// testForkNeverMade is refused a fork for its epoch, after its parent may have
// been told of it.
func testForkNeverMade(f *fixture) {
	a := f.forked("a", 3)
	x := f.forkOf(a, 3, "b").next(`4`)
	x.Epoch++
	if err := f.s.Append(f.ctx, x); !errors.Is(err, store.ErrFenced) {
		f.Errorf("fork under a wrong epoch: %v, want ErrFenced", err)
	}
	f.delete(a)
	if _, err := f.s.Collect(f.ctx, 0); err != nil {
		f.Fatalf("collect: %v", err)
	}
	f.blobs(0)
	f.check(f.s, a)
}

// testForkMany counts what many forks of one session store, and has them read
// on when it is deleted.
func testForkMany(f *fixture) {
	const forks = 400
	a := f.put(row("p", "a", 1))
	for i := range 50 {
		f.append(a, text(3000, strconv.Itoa(i)), text(20_000, strconv.Itoa(i)))
	}
	before, err := f.s.Usage(f.ctx)
	if err != nil {
		f.Fatalf("usage: %v", err)
	}
	logs := make([]*log, forks)
	together(16, func(n int) {
		for i := n; i < forks; i += 16 {
			l := f.forkOf(a, 101, fmt.Sprintf("session_%030d", i))
			x := row("p", l.session, i)
			add := l.next(text(200, "fork"))
			add.Index = &x
			if err := f.s.Append(f.ctx, add); err != nil {
				f.Errorf("fork: %v", err)
				return
			}
			l.took(add)
			logs[i] = l
		}
	})
	if f.Failed() {
		return
	}
	after, err := f.s.Usage(f.ctx)
	if err != nil {
		f.Fatalf("usage: %v", err)
	}
	if after.Records != before.Records+forks || after.Blobs != before.Blobs || after.Sessions != before.Sessions+forks {
		f.Errorf("usage: %+v, before the forks %+v", after, before)
	}
	f.delete(a)
	f.checkAll(f.s, a, logs[0], logs[forks-1])
	for _, l := range logs[:20] {
		f.delete(l)
	}
	f.collect(0, 0)
	f.checkAll(f.s, logs[0], logs[forks-1])
}

// testForkRacesWithErase forks a session while it is deleted. A fork that was
// made has all its records.
func testForkRacesWithErase(f *fixture) {
	for round := range 8 {
		a := f.forked(fmt.Sprintf("a%d", round), 3)
		forks := make([]*log, 9) // the one in the middle deletes
		for i := range forks {
			forks[i] = f.forkOf(a, 3, fmt.Sprintf("f%d-%d", round, i))
		}
		made := make([]bool, len(forks))
		together(len(forks), func(i int) {
			if i == len(forks)/2 {
				x := row("p", a.session, 1)
				x.Deleted = true
				end := a.next(`"deleted"`)
				end.Index, end.Erase = &x, true
				if err := f.s.Append(f.ctx, end); err != nil {
					f.Errorf("delete: %v", err)
					return
				}
				a.took(end)
				return
			}
			l := forks[i]
			add := l.next(`"x"`)
			switch err := f.s.Append(f.ctx, add); {
			case err == nil:
				l.took(add)
				made[i] = true
			case !errors.Is(err, store.ErrNotFound):
				f.Errorf("fork: %v, want ErrNotFound", err)
			}
		})
		if _, err := f.s.Collect(f.ctx, time.Hour); err != nil {
			f.Fatalf("collect: %v", err)
		}
		f.check(f.s, a)
		for i, l := range forks {
			if made[i] {
				f.check(f.s, l)
			}
		}
	}
}

// testForkSecondNode forks through one store what another writes and deletes.
func testForkSecondNode(f *fixture) {
	other := f.reopen()
	a := f.forked("a", 3)
	b := f.forkOf(a, 3, "b")
	x := b.next(`4`)
	if err := other.Append(f.ctx, x); err != nil {
		f.Fatalf("fork: %v", err)
	}
	b.took(x)
	f.delete(a)
	f.collect(0, 0)
	f.checkAll(other, a, b)
	if err := other.Append(f.ctx, f.forkOf(a, 3, "c").next(`4`)); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("fork of what another node deleted: %v, want ErrNotFound", err)
	}
	f.append(b, `5`)
	f.checkAll(other, a, b)
}
