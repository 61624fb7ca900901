package storetest

import (
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/store"
)

var indexCases = []testCase{
	{"RoundTrip", testIndexRoundTrip},
	{"Unchanged", testIndexUnchanged},
	{"List", testList},
	{"Cursor", testCursor},
	{"OtherProject", testIndexOtherProject},
	{"Deleted", testIndexDeleted},
	{"Metadata", testListMetadata},
	{"Forks", testListForks},
	{"Due", testDue},
	{"DueChanges", testDueChanges},
}

// put writes a session of one record with this index row.
func (f *fixture) put(x store.Index) *log {
	f.Helper()
	l := f.log(x.Project, x.Session)
	f.update(l, x)
	return l
}

func (f *fixture) update(l *log, x store.Index) {
	f.Helper()
	a := l.next(`{}`)
	a.Index = &x
	f.mustAppend(l, a)
}

func at(seconds int) time.Time { return start.Add(time.Duration(seconds) * time.Second) }

func wake(seconds int) *time.Time {
	t := at(seconds)
	return &t
}

func row(project, session string, created int) store.Index {
	return store.Index{Project: project, Session: session, Status: "idle", CreatedAt: at(created), UpdatedAt: at(created)}
}

func testIndexRoundTrip(f *fixture) {
	x := store.Index{
		Project: "p", Session: "s", AgentID: "agent_1", ForkedFrom: "r", Actor: "a", Status: "in_progress",
		Metadata:  map[string]string{"k": "v", "": "empty key", "e": "", `quo"te's`: "ü €", "case": "A"},
		CreatedAt: at(1), UpdatedAt: at(2), WakeAt: wake(3),
	}
	l := f.put(x)
	got, err := f.s.Session(f.ctx, "p", "s")
	if err != nil {
		f.Fatalf("session: %v", err)
	}
	f.same("row", got, x)
	if got.CreatedAt.Location() != time.UTC || got.WakeAt.Location() != time.UTC {
		f.Error("times are not in UTC")
	}

	x.Metadata, x.WakeAt, x.AgentID, x.ForkedFrom, x.Actor, x.Status, x.UpdatedAt = nil, nil, "", "", "", "failed", at(9)
	f.update(l, x)
	got, err = f.reopen().Session(f.ctx, "p", "s")
	if err != nil {
		f.Fatalf("session: %v", err)
	}
	f.same("row", got, x)
}

func testIndexUnchanged(f *fixture) {
	x := row("p", "s", 1)
	l := f.put(x)
	f.append(l, `2`)
	got, err := f.s.Session(f.ctx, "p", "s")
	if err != nil {
		f.Fatalf("session: %v", err)
	}
	f.same("row", got, x)
}

func (f *fixture) list(q store.SessionQuery, want ...string) {
	f.Helper()
	if q.Project == "" {
		q.Project = "p"
	}
	if q.Limit == 0 {
		q.Limit = 100
	}
	rows, err := f.s.Sessions(f.ctx, q)
	if err != nil {
		f.Errorf("list %+v: %v", q, err)
		return
	}
	f.same(fmt.Sprintf("list %+v", q), ids(rows), want)
}

func ids(rows []store.Index) []string {
	var list []string
	for _, r := range rows {
		list = append(list, r.Session)
	}
	return list
}

func testList(f *fixture) {
	for i, s := range []string{"c", "a", "d", "b"} {
		x := row("p", s, i)
		x.AgentID = []string{"one", "two"}[i%2]
		f.put(x)
	}
	f.put(row("q", "z", 0))
	f.append(f.log("p", "without a row"), `1`)

	f.list(store.SessionQuery{}, "b", "d", "a", "c")
	f.list(store.SessionQuery{Asc: true}, "c", "a", "d", "b")
	f.list(store.SessionQuery{Limit: 2}, "b", "d")
	f.list(store.SessionQuery{Asc: true, Limit: 3}, "c", "a", "d")
	f.list(store.SessionQuery{AgentID: "two"}, "b", "a")
	f.list(store.SessionQuery{AgentID: "one", Asc: true, Limit: 1}, "c")
	f.list(store.SessionQuery{AgentID: "three"})
	f.list(store.SessionQuery{Project: "q"}, "z")
	f.list(store.SessionQuery{Project: "nobody"})
}

// testCursor has three sessions of one moment, which are told apart by id.
func testCursor(f *fixture) {
	for _, s := range []string{"t3", "t1", "t2"} {
		f.put(row("p", s, 5))
	}
	f.put(row("p", "early", 1))
	f.put(row("p", "late", 9))

	asc := []string{"early", "t1", "t2", "t3", "late"}
	desc := []string{"late", "t3", "t2", "t1", "early"}
	for i := range asc {
		f.list(store.SessionQuery{Asc: true, After: asc[i]}, asc[i+1:]...)
		f.list(store.SessionQuery{After: desc[i]}, desc[i+1:]...)
	}
	f.list(store.SessionQuery{Asc: true, After: "t1", Limit: 2}, "t2", "t3")
	f.list(store.SessionQuery{After: "t2", Limit: 1}, "t1")

	_, err := f.s.Sessions(f.ctx, store.SessionQuery{Project: "p", After: "nobody", Limit: 10})
	if !errors.Is(err, store.ErrNotFound) {
		f.Errorf("cursor that is not there: %v, want ErrNotFound", err)
	}
}

func testIndexOtherProject(f *fixture) {
	f.put(row("p", "s", 1))
	f.put(row("q", "t", 1))
	if _, err := f.s.Session(f.ctx, "q", "s"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("row of another project: %v, want ErrNotFound", err)
	}
	_, err := f.s.Sessions(f.ctx, store.SessionQuery{Project: "q", After: "s", Limit: 10})
	if !errors.Is(err, store.ErrNotFound) {
		f.Errorf("cursor of another project: %v, want ErrNotFound", err)
	}
}

func testIndexDeleted(f *fixture) {
	f.put(row("p", "a", 1))
	l := f.put(row("p", "b", 2))
	f.put(row("p", "c", 3))
	x := row("p", "b", 2)
	x.Deleted = true
	f.update(l, x)

	if _, err := f.s.Session(f.ctx, "p", "b"); !errors.Is(err, store.ErrNotFound) {
		f.Errorf("deleted row: %v, want ErrNotFound", err)
	}
	f.list(store.SessionQuery{Asc: true}, "a", "c")
	// Who deletes what he has listed must be able to list on from there.
	f.list(store.SessionQuery{Asc: true, After: "b"}, "c")
	f.list(store.SessionQuery{After: "b"}, "a")
	f.check(f.s, l)
}

func testListMetadata(f *fixture) {
	for i, m := range []map[string]string{
		{"team": "red", "env": "prod"},
		{"team": "red", "env": "test"},
		{"team": "blue", "env": "prod"},
		{"Team": "red"},
		{"team": "re", "x": "d"},
		{"red": "team"},
		nil,
	} {
		x := row("p", fmt.Sprintf("s%d", i), i)
		x.Metadata = m
		x.AgentID = []string{"one", "two"}[i%2]
		f.put(x)
	}
	meta := func(kv ...string) (m map[string]string) {
		m = map[string]string{}
		for i := 0; i < len(kv); i += 2 {
			m[kv[i]] = kv[i+1]
		}
		return m
	}
	f.list(store.SessionQuery{Asc: true, Metadata: meta("team", "red")}, "s0", "s1")
	f.list(store.SessionQuery{Asc: true, Metadata: meta("team", "red", "env", "prod")}, "s0")
	f.list(store.SessionQuery{Metadata: meta("env", "prod")}, "s2", "s0")
	f.list(store.SessionQuery{Metadata: meta("env", "prod"), Limit: 1}, "s2")
	f.list(store.SessionQuery{Metadata: meta("env", "prod"), After: "s2"}, "s0")
	f.list(store.SessionQuery{Metadata: meta("team", "red"), AgentID: "two"}, "s1")
	f.list(store.SessionQuery{Metadata: meta("team", "%")})
	f.list(store.SessionQuery{Metadata: meta("team", "")})
	f.list(store.SessionQuery{Metadata: meta("a.b", "x")})
	f.list(store.SessionQuery{Metadata: meta(`a"b`, "x")})
	f.list(store.SessionQuery{Metadata: map[string]string{}, Limit: 1}, "s6")
}

// testListForks has forks of a session, a fork of one of them, and one of another
// project, with two actors and nobody.
func testListForks(f *fixture) {
	a := f.put(row("p", "a", 0))
	f.append(a, `2`, `3`)
	fork := func(of *log, seq int, session string, created int) *log {
		l := f.forkOf(of, seq, session)
		x := row(of.project, session, created)
		x.ForkedFrom, x.AgentID, x.Metadata = of.session, []string{"one", "two"}[created%2], map[string]string{"n": session}
		x.Actor = []string{"", "ana", "bob"}[created%3]
		f.update(l, x)
		return l
	}
	b := fork(a, 3, "b", 2)
	fork(a, 1, "c", 1)
	fork(b, 4, "d", 3)
	fork(a, 2, "e", 4)
	fork(f.put(row("q", "z", 0)), 1, "y", 1)

	check := func(s store.Store) {
		f.s = s
		f.list(store.SessionQuery{ForkedFrom: "a"}, "e", "b", "c")
		f.list(store.SessionQuery{ForkedFrom: "a", Asc: true}, "c", "b", "e")
		f.list(store.SessionQuery{ForkedFrom: "a", After: "e", Limit: 1}, "b")
		f.list(store.SessionQuery{ForkedFrom: "a", Asc: true, After: "c"}, "b", "e")
		f.list(store.SessionQuery{ForkedFrom: "a", AgentID: "one"}, "e", "b")
		f.list(store.SessionQuery{ForkedFrom: "a", Metadata: map[string]string{"n": "c"}}, "c")
		f.list(store.SessionQuery{ForkedFrom: "b"}, "d")
		f.list(store.SessionQuery{ForkedFrom: "d"})
		f.list(store.SessionQuery{ForkedFrom: "nobody"})
		f.list(store.SessionQuery{ForkedFrom: "z"})
		f.list(store.SessionQuery{Project: "q", ForkedFrom: "z"}, "y")
		f.list(store.SessionQuery{Project: "q", ForkedFrom: "a"})
		f.list(store.SessionQuery{Actor: "ana"}, "e", "c")
		f.list(store.SessionQuery{Actor: "bob", ForkedFrom: "a"}, "b")
		f.list(store.SessionQuery{Actor: "ana", After: "e"}, "c")
		f.list(store.SessionQuery{Actor: "nobody"})
		f.list(store.SessionQuery{Project: "q", Actor: "ana"}, "y")
	}
	check(f.s)
	check(f.reopen())

	f.delete(b)
	f.list(store.SessionQuery{ForkedFrom: "a"}, "e", "c")
	f.list(store.SessionQuery{ForkedFrom: "b"}, "d")
	f.delete(a)
	f.list(store.SessionQuery{ForkedFrom: "a"}, "e", "c")
}

func (f *fixture) due(shards []int, before time.Time, limit int, want ...string) {
	f.Helper()
	rows, err := f.s.Due(f.ctx, shards, before, limit)
	if err != nil {
		f.Errorf("due: %v", err)
		return
	}
	f.same("due", ids(rows), want)
}

func testDue(f *fixture) {
	for i, s := range []string{"d", "b", "c", "a"} {
		x := row([]string{"p", "q"}[i%2], s, 0)
		x.WakeAt = wake(10 * (i + 1))
		f.put(x)
	}
	f.put(row("p", "never", 0))
	all := allShards()

	f.due(all, at(9), 10)
	f.due(all, at(10), 10, "d")
	f.due(all, at(35), 10, "d", "b", "c")
	f.due(all, at(99), 10, "d", "b", "c", "a")
	f.due(all, at(99), 2, "d", "b")
	f.due([]int{store.ShardOf("c")}, at(99), 10, "c")
	f.due([]int{store.ShardOf("a"), store.ShardOf("b")}, at(99), 10, "b", "a")
	f.due(nil, at(99), 10)

	rows, err := f.s.Due(f.ctx, all, at(20), 10)
	if err != nil || len(rows) != 2 {
		f.Fatalf("due: %d rows, %v", len(rows), err)
	}
	want := row("q", "b", 0)
	want.WakeAt = wake(20)
	f.same("row that is due", rows[1], want)
}

func testDueChanges(f *fixture) {
	x := row("p", "s", 0)
	x.WakeAt = wake(10)
	l := f.put(x)
	f.due(allShards(), at(10), 10, "s")
	x.WakeAt = wake(20)
	f.update(l, x)
	f.due(allShards(), at(10), 10)
	f.due(allShards(), at(20), 10, "s")
	x.WakeAt = nil
	f.update(l, x)
	f.due(allShards(), at(99), 10)
	// A deleted session may have work left: its environment to be taken down.
	x.WakeAt, x.Deleted = wake(30), true
	f.update(l, x)
	f.due(allShards(), at(30), 10, "s")
}
