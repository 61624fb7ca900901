package postgres_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
)

// A write of memories has found that its session is there, and is not committed yet,
// when the session is deleted: the deletion waits for it.
func TestDeletionWaitsForMemories(t *testing.T) {
	url := pgtest.Start(t)
	s := openStore(t, url)
	l := &awayLog{s: s, session: "s", epoch: claim(t, s)[store.ShardOf("s")]}
	appendRow := func(deleted bool) error {
		r := l.next()
		x := store.Index{Project: "p", Session: "s", Status: "idle", CreatedAt: time.UnixMicro(1), UpdatedAt: time.UnixMicro(2), Deleted: deleted}
		err := s.Append(t.Context(), &store.Append{Project: "p", Session: "s", Epoch: l.epoch, Records: []event.Record{r}, Index: &x, Erase: deleted})
		l.written = append(l.written, r)
		return err
	}
	if err := appendRow(false); err != nil {
		t.Fatal(err)
	}
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close(context.WithoutCancel(t.Context()))
	waiting := func(n int, done <-chan error) {
		t.Helper()
		for range time.Tick(10 * time.Millisecond) {
			select {
			case err := <-done:
				t.Fatalf("the session was deleted before the memories were there: %v", err)
			default:
			}
			var got int
			err := db.QueryRow(t.Context(), `SELECT count(DISTINCT pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.database OR l.database IS NULL
				WHERE d.datname = current_database() AND NOT l.granted`).Scan(&got)
			if err != nil {
				t.Fatal(err)
			}
			if got == n {
				return
			}
		}
	}
	tx, err := db.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE memories IN SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	written, deleted := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.WriteMemories(t.Context(), &store.MemoryWrite{Project: "p", Space: "/a/1", Session: "s", Add: []memory.Record{{
			ID: memory.ID("p", "/a/1", "k"), Namespace: "/a/1", Strategy: memory.Turn, Origin: memory.OriginUser, Text: "x", RecordedAt: time.UnixMicro(1),
		}}})
		written <- err
	}()
	waiting(1, deleted)
	go func() { deleted <- appendRow(true) }()
	waiting(2, deleted)
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-deleted; err != nil {
		t.Error(err)
	}
	if _, list, err := s.MemoryChanges(t.Context(), "p", "/a/1", 0, 10); err != nil || len(list) != 1 {
		t.Errorf("when the session is deleted %d memories are there, %v; want 1", len(list), err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}
