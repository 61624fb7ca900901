package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
)

// append is the next append of one record.
func (l *awayLog) append() *store.Append {
	return &store.Append{Project: "p", Session: l.session, Epoch: l.epoch, Records: []event.Record{l.next()}}
}

// inModes runs the test on an open store of each mode.
func inModes(t *testing.T, test func(t *testing.T, s *postgres.Store, url string)) {
	t.Helper()
	for name, open := range modes {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Start(t)
			s, err := open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			test(t, s, url)
		})
	}
}

// TestFullDisk has the server say what it says when a table cannot grow.
func TestFullDisk(t *testing.T) {
	inModes(t, func(t *testing.T, s *postgres.Store, url string) {
		t.Helper()
		exec(t, url, `CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			RAISE EXCEPTION 'could not extend file' USING ERRCODE = 'disk_full'; END $$;
			CREATE TRIGGER no_room BEFORE INSERT ON records FOR EACH ROW EXECUTE FUNCTION no_room()`)
		l := &awayLog{s: s, session: "s", epoch: claim(t, s)[store.ShardOf("s")]}
		if err := s.Append(t.Context(), l.append()); !errors.Is(err, store.ErrFull) {
			t.Errorf("append: %v, want ErrFull", err)
		}
		exec(t, url, `DROP TRIGGER no_room ON records`)
		if err := s.Append(t.Context(), l.append()); err != nil {
			t.Errorf("append once there is room: %v", err)
		}
	})
}

// TestRefusedValue appends rows that the server does not take among others that
// it takes.
func TestRefusedValue(t *testing.T) {
	inModes(t, func(t *testing.T, s *postgres.Store, _ string) {
		t.Helper()
		epochs := claim(t, s)
		var wg sync.WaitGroup
		for i := range 40 {
			id := fmt.Sprintf("session-%d", i)
			l := &awayLog{s: s, session: id, epoch: epochs[store.ShardOf(id)]}
			wg.Go(func() {
				a := l.append()
				now := time.Unix(0, 0)
				a.Index = &store.Index{Project: "p", Session: id, CreatedAt: now, UpdatedAt: now}
				if i%4 == 0 {
					a.Index.Metadata = map[string]string{"k": "\x00"}
				}
				err := s.Append(t.Context(), a)
				if refused := i%4 == 0; (err != nil) != refused {
					t.Errorf("append %d: %v, want an error: %v", i, err, refused)
				}
				for _, known := range []error{store.ErrConflict, store.ErrFenced, store.ErrUnavailable, store.ErrFull} {
					if errors.Is(err, known) {
						t.Errorf("append %d: %v is no such error", i, err)
					}
				}
			})
		}
		wg.Wait()
		list, err := s.Sessions(t.Context(), store.SessionQuery{Project: "p", Limit: 100})
		if err != nil || len(list) != 30 {
			t.Errorf("%d sessions were written, %v; want 30", len(list), err)
		}
	})
}

func TestDamage(t *testing.T) {
	for name, damage := range map[string]string{
		"other content": `UPDATE blobs SET data = (SELECT data FROM blobs ORDER BY hash LIMIT 1)`,
		"no zstd":       `UPDATE blobs SET data = '\x00'`,
		"blob gone":     `DELETE FROM blobs`,
		"short name":    `UPDATE records SET blob = '\x00' WHERE blob IS NOT NULL`,
		"short hash":    `UPDATE records SET hash = '\x00'`,
	} {
		t.Run(name, func(t *testing.T) {
			url := pgtest.Start(t)
			s := openStore(t, url)
			epochs := claim(t, s)
			for _, id := range []string{"a", "b"} {
				a := (&awayLog{s: s, session: id, epoch: epochs[store.ShardOf(id)]}).append()
				a.Records[0].Data = []byte(`"` + strings.Repeat(id, 5000) + `"`)
				a.Records[0].Seal(event.Hash{})
				if err := s.Append(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			exec(t, url, damage)
			_, errA := s.Read(t.Context(), "p", "a", 0, 10)
			_, errB := s.Read(t.Context(), "p", "b", 0, 10)
			if err := errors.Join(errA, errB); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("read: %v, want ErrCorrupt", err)
			}
		})
	}
}

// TestClaimWaitsForAppends: a lease that changes hands while an append under it
// is on its way lets the append through or fences it, and never loses one that
// was acknowledged.
func TestClaimWaitsForAppends(t *testing.T) {
	inModes(t, func(t *testing.T, s *postgres.Store, url string) {
		t.Helper()
		other := openStore(t, url)
		l := &awayLog{s: s, session: "s"}
		shard := store.ShardOf("s")
		for range 30 {
			leases, err := s.Claim(t.Context(), "one", []int{shard}, time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			l.epoch = leases[0].Epoch
			taken := make(chan error, 1)
			for written := 0; ; written++ {
				if written == 1 { // while appends go on
					go func() { taken <- steal(t.Context(), other, shard) }()
				}
				a := l.append()
				err := s.Append(t.Context(), a)
				if err == nil {
					l.written = append(l.written, a.Records...)
					l.acked++
					continue
				}
				if !errors.Is(err, store.ErrFenced) {
					t.Fatalf("append: %v, want ErrFenced", err)
				}
				break
			}
			if err := <-taken; err != nil {
				t.Fatal(err)
			}
			if err := other.Release(t.Context(), "two"); err != nil {
				t.Fatal(err)
			}
		}
		l.check(t)
	})
}

func steal(ctx context.Context, s *postgres.Store, shard int) error {
	if err := s.Release(ctx, "one"); err != nil {
		return err
	}
	_, err := s.Claim(ctx, "two", []int{shard}, time.Hour)
	return err
}
