package postgres_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
)

// TestBytesPerFork bounds what each of many forks of one session adds to the
// tables and their indexes.
func TestBytesPerFork(t *testing.T) {
	const forks = 2000
	const measure = `SELECT sum(pg_total_relation_size(c))::bigint
		FROM unnest('{records,sessions,blobs,pasts,forks,trees}'::regclass[]) AS c`
	url := pgtest.Start(t)
	s := openStore(t, url)
	epochs := claim(t, s)
	parent := &awayLog{s: s, session: "parent", epoch: epochs[store.ShardOf("parent")]}
	for range 50 {
		a := parent.append()
		if err := s.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		parent.written = append(parent.written, a.Records...)
	}
	before := first[int64](t, url, measure)
	for i := range forks {
		l := &awayLog{s: s, session: fmt.Sprintf("session_%032d", i), written: append([]event.Record(nil), parent.written...)}
		l.epoch = epochs[store.ShardOf(l.session)]
		a := l.append()
		a.Parent = &store.Parent{Session: "parent", Seq: 50}
		a.Index = &store.Index{Project: "p", Session: l.session, Status: "idle", CreatedAt: time.Unix(1, 0), UpdatedAt: time.Unix(1, 0)}
		if err := s.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	each := (first[int64](t, url, measure) - before) / forks
	t.Logf("a fork adds %d bytes", each)
	if each > 2048 {
		t.Errorf("a fork adds %d bytes, want at most 2048", each)
	}
}

// TestForkNeverMade stands in for a node that died between the two commits of a
// fork: the parent's records stay for the grace and no longer.
func TestForkNeverMade(t *testing.T) {
	url := pgtest.Start(t)
	s := openStore(t, url)
	l := &awayLog{s: s, session: "s", epoch: claim(t, s)[store.ShardOf("s")]}
	exec(t, url, fmt.Sprintf(`INSERT INTO forks (shard, project, session, seq, fork, claimed, erased, made_at)
		VALUES (%d, 'p', 's', 1, 'dead', 1, 0, now())`, store.ShardOf("s")))
	for range 2 {
		a := l.append()
		a.Erase = len(l.written) == 1
		if err := s.Append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		l.written = append(l.written, a.Records...)
	}
	for _, c := range []struct {
		grace time.Duration
		want  int
	}{{time.Hour, 1}, {0, 0}} {
		if _, err := s.Collect(t.Context(), c.grace); err != nil {
			t.Fatal(err)
		}
		if got := first[int](t, url, `SELECT count(*) FROM forks`); got != c.want {
			t.Errorf("%d claims after a grace of %v, want %d", got, c.grace, c.want)
		}
		if got := first[int](t, url, `SELECT count(salt) FROM records WHERE seq = 1`); got != c.want {
			t.Errorf("%d records have their data after a grace of %v, want %d", got, c.grace, c.want)
		}
	}
}

func TestDamagedPieces(t *testing.T) {
	blobtest.RunCorrupt(t, func(t *testing.T) (blob.Store, func(string, event.Hash, []byte)) {
		t.Helper()
		url := pgtest.Start(t)
		return openStore(t, url).Blobs(), func(_ string, name event.Hash, kept []byte) {
			exec(t, url, fmt.Sprintf(`UPDATE pieces SET data = '\x%x' WHERE hash = '\x%s'`, kept, name))
		}
	})
}
