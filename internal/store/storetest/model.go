package storetest

import (
	"errors"
	"fmt"
	"strconv"

	"pgregory.net/rapid"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

var modelCases = []testCase{{"RandomHistory", testRandomHistory}}

// testRandomHistory plays random histories and compares the store after each
// step with a model in memory. Each history has two projects of its own, so that
// one store serves them all.
func testRandomHistory(f *fixture) {
	history := 0
	rapid.Check(f.T, func(t *rapid.T) {
		history++
		m := &model{f: f, history: history, logs: map[string]*log{}, rows: map[string]store.Index{}}
		m.begin(t)
		t.Repeat(map[string]func(*rapid.T){
			"append":   m.append,
			"fork":     m.fork,
			"conflict": m.conflict,
			"fenced":   m.fenced,
			"collect":  m.collect,
			"list":     m.list,
			"page":     m.page,
			"":         m.compare,
		})
	})
}

type model struct {
	f       *fixture
	history int
	logs    map[string]*log
	rows    map[string]store.Index
	last    *log  // the log that the last step touched
	forks   int   // made so far
	blobs   int64 // of earlier histories
}

func (m *model) begin(t *rapid.T) {
	m.gather(t)
	m.blobs = m.stored(t)
}

func (m *model) gather(t *rapid.T) {
	if _, err := m.f.s.Collect(m.f.ctx, 0); err != nil {
		t.Fatalf("collect: %v", err)
	}
}

func (m *model) stored(t *rapid.T) int64 {
	u, err := m.f.s.Usage(m.f.ctx)
	if err != nil {
		t.Fatalf("usage: %v", err)
	}
	return u.Blobs
}

func (m *model) pick(t *rapid.T) *log {
	i := rapid.IntRange(0, 3).Draw(t, "session")
	if m.forks > 0 && rapid.Bool().Draw(t, "of a fork") {
		m.last = m.logs[m.forkID(rapid.IntRange(1, m.forks).Draw(t, "fork"))]
		return m.last
	}
	id := fmt.Sprintf("h%d-s%d", m.history, i)
	l := m.logs[id]
	if l == nil {
		l = m.f.log(fmt.Sprintf("h%d-p%d", m.history, i%2), id)
		m.logs[id] = l
	}
	m.last = l
	return l
}

// drawAppend makes a valid append. Large data is one of few, so that it is
// often there already.
func (m *model) drawAppend(t *rapid.T, l *log) *store.Append {
	var data []string
	for range rapid.IntRange(1, 4).Draw(t, "records") {
		if rapid.Bool().Draw(t, "large") {
			data = append(data, text(5000, strconv.Itoa(rapid.IntRange(0, 2).Draw(t, "content"))))
		} else {
			data = append(data, strconv.Itoa(rapid.Int().Draw(t, "content")))
		}
	}
	a := l.next(data...)
	for _, r := range a.Records {
		if rapid.IntRange(0, 3).Draw(t, "tree") == 0 {
			a.Trees = append(a.Trees, store.Tree{Seq: r.Seq, Root: event.Hash{byte(rapid.IntRange(1, 4).Draw(t, "root"))}})
		}
	}
	a.Erase = rapid.IntRange(0, 4).Draw(t, "erase") == 0
	if rapid.Bool().Draw(t, "index") {
		x := row(l.project, l.session, rapid.IntRange(0, 2).Draw(t, "created"))
		x.Status = rapid.SampledFrom([]string{"idle", "in_progress"}).Draw(t, "status")
		x.Deleted = rapid.IntRange(0, 5).Draw(t, "deleted") == 0
		a.Index = &x
	}
	return a
}

func (m *model) append(t *rapid.T) {
	l := m.pick(t)
	a := m.drawAppend(t, l)
	if err := m.f.s.Append(m.f.ctx, a); err != nil {
		t.Fatalf("append: %v", err)
	}
	l.took(a)
	if a.Index != nil {
		m.rows[l.session] = *a.Index
	}
}

func (m *model) forkID(n int) string { return fmt.Sprintf("h%d-f%d", m.history, n) }

// fork makes a session with the past of another, be it a fork.
func (m *model) fork(t *rapid.T) {
	parent := m.pick(t)
	if len(parent.records) == 0 {
		t.Skip("there is nothing to fork")
	}
	l := m.f.forkOf(parent, rapid.IntRange(1, len(parent.records)).Draw(t, "at"), m.forkID(m.forks+1))
	a := m.drawAppend(t, l)
	err := m.f.s.Append(m.f.ctx, a)
	if m.rows[parent.session].Deleted {
		if !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("fork of a deleted session: %v, want ErrNotFound", err)
		}
		return
	}
	if err != nil {
		t.Fatalf("fork: %v", err)
	}
	l.took(a)
	m.forks++
	m.logs[l.session] = l
	if a.Index != nil {
		m.rows[l.session] = *a.Index
	}
}

func (m *model) conflict(t *rapid.T) {
	l := m.pick(t)
	a := m.drawAppend(t, l)
	by := rapid.SampledFrom([]int64{-2, -1, 1, 2}).Draw(t, "off by")
	if a.Records[0].Seq+by < 1 {
		t.Skip("there is no record before the first")
	}
	a.Trees = nil
	for i := range a.Records {
		a.Records[i].Seq += by
	}
	if err := m.f.s.Append(m.f.ctx, a); !errors.Is(err, store.ErrConflict) {
		t.Fatalf("append off by %d: %v, want ErrConflict", by, err)
	}
}

func (m *model) fenced(t *rapid.T) {
	a := m.drawAppend(t, m.pick(t))
	a.Epoch += rapid.SampledFrom([]int64{-1, 1}).Draw(t, "off by")
	if err := m.f.s.Append(m.f.ctx, a); !errors.Is(err, store.ErrFenced) {
		t.Fatalf("append: %v, want ErrFenced", err)
	}
}

// collect compares what is stored then with what any session can still read.
func (m *model) collect(t *rapid.T) {
	m.gather(t)
	blobs := map[string]bool{}
	trees := map[string][]event.Hash{}
	for _, l := range m.logs {
		for _, r := range l.records {
			if store.IsBlob(r.Data) {
				blobs[l.project+string(r.Data)] = true
			}
		}
		for _, tree := range l.trees {
			trees[l.project] = append(trees[l.project], tree.Root)
		}
	}
	if got := m.stored(t) - m.blobs; got != int64(len(blobs)) {
		t.Fatalf("%d blobs are stored, %d are read", got, len(blobs))
	}
	for i := range 2 {
		project := fmt.Sprintf("h%d-p%d", m.history, i)
		m.f.wantTrees(project, trees[project]...)
	}
	if m.f.Failed() {
		t.Fatal("other trees are named")
	}
}

func (m *model) list(t *rapid.T) {
	project := fmt.Sprintf("h%d-p%d", m.history, rapid.IntRange(0, 1).Draw(t, "project"))
	got, err := m.f.s.Sessions(m.f.ctx, store.SessionQuery{Project: project, Limit: 100})
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	want := 0
	for _, x := range m.rows {
		if x.Project == project && !x.Deleted {
			want++
		}
	}
	if len(got) != want {
		t.Fatalf("list has %d rows, want %d", len(got), want)
	}
	for i, x := range got {
		if w := m.rows[x.Session]; x.Status != w.Status || !x.CreatedAt.Equal(w.CreatedAt) {
			t.Fatalf("row %+v, want %+v", x, w)
		}
		if i > 0 && (x.CreatedAt.After(got[i-1].CreatedAt) || x.CreatedAt.Equal(got[i-1].CreatedAt) && x.Session > got[i-1].Session) {
			t.Fatalf("%s is listed after %s", x.Session, got[i-1].Session)
		}
	}
}

func (m *model) page(t *rapid.T) {
	l := m.pick(t)
	after := rapid.IntRange(0, len(l.records)).Draw(t, "after")
	limit := rapid.IntRange(1, 5).Draw(t, "limit")
	got, err := m.f.s.Read(m.f.ctx, l.project, l.session, int64(after), limit)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	want := l.records[after:min(after+limit, len(l.records))]
	if len(got) != len(want) {
		t.Fatalf("read %d records after %d, want %d", len(got), after, len(want))
	}
	for i := range got {
		if got[i].Hash != want[i].Hash || string(got[i].Data) != string(want[i].Data) {
			t.Fatalf("record %d differs", want[i].Seq)
		}
	}
}

func (m *model) compare(t *rapid.T) {
	if m.last == nil {
		return
	}
	logs := []*log{m.last}
	if m.forks > 0 {
		logs = append(logs, m.logs[m.forkID(rapid.IntRange(1, m.forks).Draw(t, "compared"))])
	}
	for _, l := range logs {
		m.f.check(m.f.s, l)
		if m.f.Failed() {
			t.Fatalf("the log of %s is not what was written", l.session)
		}
	}
}
