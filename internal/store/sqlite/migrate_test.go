package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/store/storetest"
)

// firstSchema makes a file by the first migration alone.
func firstSchema(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "stayd.db")
	script, err := os.ReadFile("migrations/0001_init.sql")
	if err != nil {
		t.Fatal(err)
	}
	tamper(t, path, `PRAGMA journal_mode = WAL`)
	tamper(t, path, string(script))
	tamper(t, path, `CREATE TABLE schema_versions (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL, is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
		INSERT INTO schema_versions (version_id, is_applied) VALUES (0, 1), (1, 1)`)
	return path
}

// TestMigrateFirstSchema opens a file that the first version wrote: its agents
// are objects, its log goes on and can be forked.
func TestMigrateFirstSchema(t *testing.T) {
	path := firstSchema(t)
	tamper(t, path, `INSERT INTO agents (project, id, version, created_at, updated_at, data) VALUES
		('project', 'agent_1', 3, 1700000000000001, 1700000000000002, CAST('{"name":"one"}' AS BLOB)),
		('project', 'agent_2', 1, 1700000000000003, 1700000000000003, CAST('{}' AS BLOB)),
		('other', 'agent_1', 1, 1700000000000004, 1700000000000004, CAST('{"name":"other"}' AS BLOB))`)
	c := newChain([store.Shards]int64{}, "s")
	c.took(c.next(`1`))
	c.took(c.next(`"two"`))
	tamper(t, path, `INSERT INTO projects (num, id) VALUES (1, 'project')`)
	tamper(t, path, `INSERT INTO sessions (num, project, id, shard, status, metadata, updated_at, agent_id, created_at)
		VALUES (7, 1, 's', ?, 'idle', '{}', 5, 'agent_1', 5)`, store.ShardOf("s"))
	for _, r := range c.records {
		tamper(t, path, `INSERT INTO records (session, seq, time, kind, version, salt, digest, hash, data) VALUES (7, ?, ?, ?, ?, ?, ?, ?, ?)`,
			r.Seq, r.Time.UnixMicro(), string(r.Kind), r.Version, r.Salt, r.Digest[:], r.Hash[:], r.Data)
	}

	s := open(t, path)
	got, err := s.ListObjects(t.Context(), store.ObjectQuery{Project: "project", Kind: store.KindAgent, Asc: true, Limit: 10})
	if err != nil {
		t.Fatal(err)
	}
	want := []store.Object{
		{
			Project: "project", Kind: "agent", ID: "agent_1", Version: 3, Data: []byte(`{"name":"one"}`),
			CreatedAt: time.UnixMicro(1700000000000001).UTC(), UpdatedAt: time.UnixMicro(1700000000000002).UTC(),
		},
		{
			Project: "project", Kind: "agent", ID: "agent_2", Version: 1, Data: []byte(`{}`),
			CreatedAt: time.UnixMicro(1700000000000003).UTC(), UpdatedAt: time.UnixMicro(1700000000000003).UTC(),
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("agents (-want +got):\n%s", d)
	}
	if o, err := s.Object(t.Context(), "other", store.KindAgent, "agent_1"); err != nil || string(o.Data) != `{"name":"other"}` {
		t.Errorf("agent of another project: %s, %v", o.Data, err)
	}
	epochs := claim(t, s)
	c.epoch = epochs[store.ShardOf("s")]
	c.append(t, s, `3`)
	c.check(t, s)
	fork(t, s, epochs, c, 2, "f").check(t, s)
	mustClose(t, s)
}

// TestMigrateForks opens a file with forks that were made before these could be
// listed.
func TestMigrateForks(t *testing.T) {
	path := firstSchema(t)
	for _, name := range []string{"0002_objects", "0003_forks", "0004_trees"} {
		script, err := os.ReadFile("migrations/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		tamper(t, path, string(script))
	}
	tamper(t, path, `INSERT INTO schema_versions (version_id, is_applied) VALUES (2, 1), (3, 1), (4, 1)`)
	tamper(t, path, `INSERT INTO projects (num, id) VALUES (1, 'project')`)
	tamper(t, path, `INSERT INTO sessions (num, project, id, shard, status, metadata, updated_at, agent_id, created_at, parent, parent_seq) VALUES
		(1, 1, 'a', 1, 'idle', '{}', 1, '', 1, NULL, NULL), (2, 1, 'b', 1, 'idle', '{}', 2, '', 2, 1, 3),
		(3, 1, 'c', 1, 'idle', '{}', 3, '', 3, 2, 4), (4, 1, 'd', 1, 'idle', '{}', 4, '', 4, 1, 1)`)

	s := open(t, path)
	for of, want := range map[string][]string{"a": {"b", "d"}, "b": {"c"}, "c": nil} {
		rows, err := s.Sessions(t.Context(), store.SessionQuery{Project: "project", ForkedFrom: of, Asc: true, Limit: 10})
		var got []string
		for _, x := range rows {
			got = append(got, x.Session)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("forks of %s: %v, %v; want %v", of, got, err, want)
		}
	}
	mustClose(t, s)
}

// TestMigrateMemorySources opens a file with memories that were written before it
// was noted what they rest on.
func TestMigrateMemorySources(t *testing.T) {
	path := firstSchema(t)
	for i, name := range []string{"0002_objects", "0003_forks", "0004_trees", "0005_forked_from", "0006_memories", "0008_session_actor"} {
		script, err := os.ReadFile("migrations/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		tamper(t, path, string(script))
		tamper(t, path, `INSERT INTO schema_versions (version_id, is_applied) VALUES (?, 1)`, []int{2, 3, 4, 5, 6, 8}[i])
	}
	tamper(t, path, `INSERT INTO projects (num, id) VALUES (1, 'p')`)
	tamper(t, path, `INSERT INTO memory_spaces (num, project, name, change, epoch, records) VALUES (1, 1, '/a/1', 9, 0, 6)`)
	id := func(key string) string { return memory.ID("p", "/a/1", key) }
	for i, r := range storetest.BeforeSources(id) {
		packed, _ := store.PackMemoryID(r.ID)
		var before any
		if b, ok := store.PackMemoryID(r.Supersedes); ok {
			before = b[:]
		}
		strategy, _ := store.StrategyNumber(r.Strategy)
		tamper(t, path, `INSERT INTO memories (num, change, project, id, strategy, origin, recorded_at, uses, supersedes, source, text)
			VALUES (?, ?, 1, ?, ?, 0, 1, 0, ?, ?, ?)`, 1<<32|(i+1), i+1, packed[:], strategy, before, store.PackSource(&r.Source), r.Text)
	}
	s := open(t, path)
	storetest.AfterSources(t, s, id)
	mustClose(t, s)

	fresh := filepath.Join(t.TempDir(), "stayd.db")
	s = open(t, fresh)
	if _, err := s.WriteMemories(t.Context(), &store.MemoryWrite{Project: "p", Space: "/a/1", Add: storetest.BeforeSources(id)}); err != nil {
		t.Fatal(err)
	}
	mustClose(t, s)
	if d := cmp.Diff(memorySources(t, fresh), memorySources(t, path)); d != "" {
		t.Errorf("it is not what a write notes (-write +migration):\n%s", d)
	}
}

// memorySources lists what rests on what in a file.
func memorySources(t *testing.T, path string) (list []string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`SELECT drawn || ' ' || hex(source) FROM memory_sources ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var row string
		if err := rows.Scan(&row); err != nil {
			t.Fatal(err)
		}
		list = append(list, row)
	}
	if rows.Err() != nil || len(list) == 0 {
		t.Fatalf("%s has %d sources, %v", path, len(list), rows.Err())
	}
	return list
}

// What was drawn from a memory is looked up, and not looked for among all.
func TestDrawnMemoriesAreLookedUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stayd.db")
	mustClose(t, open(t, path))
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(`EXPLAIN QUERY PLAN `+sqlite.DrawnQuery(3), 1, 2, 3, "p")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		if err := rows.Scan(&id, &parent, &unused, &detail); err != nil {
			t.Fatal(err)
		}
		plan = append(plan, detail)
	}
	text := strings.Join(plan, "\n")
	for _, want := range []string{"SEARCH memory_sources USING PRIMARY KEY (source=?)", "SEARCH m USING INTEGER PRIMARY KEY (rowid=?)"} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan does not have %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "SCAN") || rows.Err() != nil {
		t.Errorf("the plan reads a whole table: %v\n%s", rows.Err(), text)
	}
}
