package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/pgtest"
)

func TestStartGivesAnEmptyDatabaseEachTime(t *testing.T) {
	first, second := pgtest.Start(t), pgtest.Start(t)
	query[int64](t, first, "CREATE TABLE seen (n bigint); INSERT INTO seen VALUES (1)")
	if got := query[int64](t, second, "SELECT count(*) FROM pg_tables WHERE tablename = 'seen'"); got != 0 {
		t.Fatalf("the second database has the first one's table")
	}
}

func TestServerKeepsItsPromises(t *testing.T) {
	if got := query[string](t, pgtest.Start(t), "SHOW fsync"); got != "on" {
		t.Fatalf("fsync is %q, want on", got)
	}
}

func TestClusterKeepsWhatWasCommitted(t *testing.T) {
	c := pgtest.NewCluster(t)
	url := c.Database(t, "kept")
	query[int64](t, url, "CREATE TABLE seen (n bigint); INSERT INTO seen VALUES (7)")
	for name, end := range map[string]func(testing.TB){"stop": c.Stop, "crash": c.Crash} {
		end(t)
		if _, err := pgx.Connect(t.Context(), url); err == nil {
			t.Fatalf("%s: the server still answers", name)
		}
		c.Start(t)
		if got := query[int64](t, url, "SELECT n FROM seen"); got != 7 {
			t.Fatalf("%s: read %d, want 7", name, got)
		}
	}
}

// query returns the first value of the statement's last result, or zero where
// it has none.
func query[T any](t *testing.T, url, sql string) (v T) {
	t.Helper()
	ctx := context.Background()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := conn.Close(ctx); err != nil {
			t.Error(err)
		}
	}()
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&v); err != nil {
			t.Fatal(err)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return v
}
