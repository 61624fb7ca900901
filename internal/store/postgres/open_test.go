package postgres_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
)

// exec runs the statements on the database, beside the store.
func exec(t *testing.T, url, statements string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.PgConn().Exec(t.Context(), statements).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// first returns the first column of the query's first row.
func first[T any](t *testing.T, url, query string) (v T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), query).Scan(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

func openStore(t *testing.T, url string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestManyNodesStartAtOnce(t *testing.T) {
	url := pgtest.Start(t)
	var nodes sync.WaitGroup
	for range 6 {
		nodes.Go(func() {
			s, err := postgres.Open(t.Context(), url)
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(s.Ping(t.Context()), s.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	nodes.Wait()
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	url := pgtest.Start(t)
	openStore(t, url)
	exec(t, url, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (9000, true)`)
	_, err := postgres.Open(t.Context(), url)
	if err == nil || !strings.Contains(err.Error(), "schema version 9000") {
		t.Fatalf("open: %v, want a word about version 9000", err)
	}
}

func TestNoServer(t *testing.T) {
	_, err := postgres.Open(t.Context(), "postgres://127.0.0.1:1/none?connect_timeout=5")
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("open: %v, want ErrUnavailable", err)
	}
}

// TestReadOnlyServer is a standby that was not promoted yet, or a database that
// the operator closed for writing.
func TestReadOnlyServer(t *testing.T) {
	url := pgtest.Start(t)
	s := openStore(t, url)
	l := &awayLog{s: s, session: "s", epoch: claim(t, s)[store.ShardOf("s")]}
	exec(t, url, `ALTER DATABASE `+first[string](t, url, `SELECT quote_ident(current_database())`)+` SET default_transaction_read_only = on`)
	s = openAgain(t, s, url)
	if err := s.Ping(t.Context()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("ping: %v, want ErrUnavailable", err)
	}
	if err := s.Append(t.Context(), l.append()); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("append: %v, want ErrUnavailable", err)
	}
}

func openAgain(t *testing.T, s *postgres.Store, url string) *postgres.Store {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return openStore(t, url)
}

// TestAppendIsDurable has a database whose sessions do not wait for the disk.
func TestAppendIsDurable(t *testing.T) {
	url := pgtest.Start(t)
	s := openStore(t, url)
	exec(t, url, `ALTER DATABASE `+first[string](t, url, `SELECT quote_ident(current_database())`)+` SET synchronous_commit = off;
		CREATE TABLE seen (setting text);
		CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO seen VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
		CREATE TRIGGER see BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION see()`)
	s = openAgain(t, s, url)
	l := &awayLog{s: s, session: "s", epoch: claim(t, s)[store.ShardOf("s")]}
	if err := s.Append(t.Context(), l.append()); err != nil {
		t.Fatal(err)
	}
	if got := first[string](t, url, `SELECT setting FROM seen`); got != "on" {
		t.Errorf("synchronous_commit was %s, want on", got)
	}
}

// TestCitusIsFound stands in for Citus with functions that note their calls:
// the tables are distributed once, and the store then works in lanes.
func TestCitusIsFound(t *testing.T) {
	url := pgtest.Start(t)
	exec(t, url, `
		INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
			VALUES (99999, 'citus', 10, 2200, false, '12');
		CREATE TABLE pg_dist_partition (n serial, logicalrelid regclass, how text);
		CREATE FUNCTION create_distributed_table(name regclass, col text, colocate_with text DEFAULT 'default') RETURNS void
			LANGUAGE sql AS $$ INSERT INTO pg_dist_partition (logicalrelid, how) VALUES (name, col || ' with ' || colocate_with) $$;
		CREATE FUNCTION create_reference_table(name regclass) RETURNS void
			LANGUAGE sql AS $$ INSERT INTO pg_dist_partition (logicalrelid, how) VALUES (name, 'everywhere') $$`)
	s := openAgain(t, openStore(t, url), url)
	got := first[string](t, url, `SELECT string_agg(logicalrelid || ' by ' || how, '; ' ORDER BY n) FROM pg_dist_partition`)
	want := "leases by shard with default; records by shard with leases; sessions by shard with leases; blobs by shard with leases; " +
		"pasts by shard with leases; forks by shard with leases; trees by shard with leases; pieces by shard with leases; " +
		"memory_spaces by shard with leases; memories by shard with leases; memory_sources by shard with leases; memory_segments by shard with leases; " +
		"memory_names by everywhere; objects by everywhere"
	if got != want {
		t.Errorf("distributed %q, want %q", got, want)
	}
	epochs := claim(t, s)
	for _, id := range []string{"a", "b", "c"} {
		l := &awayLog{s: s, session: id, epoch: epochs[store.ShardOf(id)]}
		if err := s.Append(t.Context(), l.append()); err != nil {
			t.Fatal(err)
		}
	}
}
