package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
)

// TestServerAwayAndBack ends the server twice while sessions append. The
// appends under way get ErrUnavailable and no other error, the store finds the
// server again by itself, and every log holds what was acknowledged.
func TestServerAwayAndBack(t *testing.T) {
	for name, open := range modes {
		t.Run(name, func(t *testing.T) { testAwayAndBack(t, open) })
	}
}

func testAwayAndBack(t *testing.T, open func(context.Context, string) (*postgres.Store, error)) {
	t.Helper()
	cluster := pgtest.NewCluster(t)
	s, err := open(t.Context(), cluster.Database(t, "away"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	answers := make(chan error)
	done := make(chan struct{})
	var appenders sync.WaitGroup
	logs := make([]*awayLog, 16)
	epochs := claim(t, s)
	for i := range logs {
		id := fmt.Sprintf("session-%d", i)
		logs[i] = &awayLog{s: s, session: id, epoch: epochs[store.ShardOf(id)]}
		appenders.Go(func() { logs[i].run(t.Context(), answers, done) })
	}
	for _, end := range []func(testing.TB){cluster.Crash, cluster.Stop} {
		await(t, answers, 200, nil)
		end(t)
		await(t, answers, 100, store.ErrUnavailable)
		cluster.Start(t)
	}
	await(t, answers, 200, nil)
	close(done)
	appenders.Wait()
	for _, l := range logs {
		l.check(t)
	}
}

// await takes answers until n of them are want. None but success and
// ErrUnavailable may come.
func await(t *testing.T, answers <-chan error, n int, want error) {
	t.Helper()
	stuck := time.After(2 * time.Minute)
	for n > 0 {
		select {
		case err := <-answers:
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Fatal(err)
			}
			if errors.Is(err, want) {
				n--
			}
		case <-stuck:
			t.Fatalf("%d answers %v are missing", n, want)
		}
	}
}

func claim(t *testing.T, s store.Store) map[int]int64 {
	t.Helper()
	shards := make([]int, store.Shards)
	for i := range shards {
		shards[i] = i
	}
	leases, err := s.Claim(t.Context(), "node", shards, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	epochs := make(map[int]int64)
	for _, l := range leases {
		epochs[l.Shard] = l.Epoch
	}
	return epochs
}

// awayLog appends to one session, and knows what was acknowledged.
type awayLog struct {
	s       store.Store
	session string
	epoch   int64
	written []event.Record // acknowledged, or found in the log
	acked   int            // of these
}

// run appends until done, and answers what came of each append and read.
func (l *awayLog) run(ctx context.Context, answers chan<- error, done <-chan struct{}) {
	unsure := false // whether the last append took place
	for {
		var err error
		if unsure {
			var found []event.Record
			if found, err = l.s.Read(ctx, "p", l.session, int64(len(l.written)), 10); err == nil {
				l.written = append(l.written, found...)
				unsure = false
			}
		} else {
			r := l.next()
			err = l.s.Append(ctx, &store.Append{Project: "p", Session: l.session, Epoch: l.epoch, Records: []event.Record{r}})
			if unsure = err != nil; !unsure {
				l.written = append(l.written, r)
				l.acked++
			}
		}
		select {
		case answers <- err:
		case <-done:
			return
		}
	}
}

func (l *awayLog) next() event.Record {
	n := len(l.written)
	r := event.Record{
		Session: l.session, Seq: int64(n + 1), Time: time.Unix(int64(n), 0), Kind: event.KindTurnEnded, Version: 1,
		Data: fmt.Appendf(nil, `"%d"`, n), Salt: make([]byte, event.SaltSize),
	}
	var last event.Hash
	if n > 0 {
		last = l.written[n-1].Hash
	}
	r.Seal(last)
	return r
}

func (l *awayLog) check(t *testing.T) {
	t.Helper()
	got, err := l.s.Read(t.Context(), "p", l.session, 0, len(l.written)+10)
	if err != nil {
		t.Fatal(err)
	}
	// The last append may have been answered after the test was done.
	if len(got) != len(l.written) && len(got) != len(l.written)+1 {
		t.Fatalf("%s has %d records, want %d", l.session, len(got), len(l.written))
	}
	if l.acked == 0 {
		t.Errorf("%s: nothing was acknowledged", l.session)
	}
	var last event.Hash
	for i := range got {
		if err := got[i].Verify(last); err != nil {
			t.Fatal(err)
		}
		last = got[i].Hash
		if i < len(l.written) && last != l.written[i].Hash {
			t.Fatalf("%s: record %d is not the one that was acknowledged", l.session, i+1)
		}
	}
}
