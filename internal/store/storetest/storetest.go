// Package storetest is the suite that every store passes whole. It owns what
// the contract in package store means in detail; it may not know any
// implementation, nor ask one for anything that is not in the contract.
package storetest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// Factory makes the stores that the suite exercises.
type Factory struct {
	// Open returns a fresh, empty store. The suite closes it.
	Open func(tb testing.TB) store.Store
	// Reopen returns another store over the data of one that Open returned, which
	// may be closed, or open still as on another node. The suite closes it.
	Reopen func(tb testing.TB, s store.Store) store.Store
}

// Run exercises the whole contract.
func Run(t *testing.T, f Factory) {
	t.Helper()
	for _, group := range []struct {
		name  string
		cases []testCase
	}{
		{"Log", logCases},
		{"Fence", fenceCases},
		{"Concurrent", concurrentCases},
		{"Blob", blobCases},
		{"Fork", forkCases},
		{"Tree", treeCases},
		{"Index", indexCases},
		{"Objects", objectCases},
		{"Memories", memoryCases},
		{"Leases", leaseCases},
		{"Life", lifeCases},
		{"Model", modelCases},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.cases {
				t.Run(c.name, func(t *testing.T) { c.run(newFixture(t, f)) })
			}
		})
	}
	t.Run("Blobs", func(t *testing.T) {
		blobtest.Run(t, func(t *testing.T) blob.Store {
			t.Helper()
			fx := &fixture{T: t, f: f, ctx: t.Context()}
			return fx.open(f.Open).Blobs()
		})
	})
}

type testCase struct {
	name string
	run  func(*fixture)
}

// fixture is an empty store whose shards are all held by the suite.
type fixture struct {
	*testing.T
	f      Factory
	s      store.Store
	ctx    context.Context // the test's own
	epochs [store.Shards]int64
}

const owner = "node-1"

// start is the time of the suite's first record. It has microseconds, which is
// what stores keep.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123_456_000, time.UTC)

func newFixture(t *testing.T, f Factory) *fixture {
	t.Helper()
	fx := &fixture{T: t, f: f, ctx: t.Context()}
	fx.s = fx.open(f.Open)
	fx.epochs = claimAll(fx.ctx, fx, fx.s)
	return fx
}

func (f *fixture) open(open func(testing.TB) store.Store) store.Store {
	f.Helper()
	s := open(f.T)
	f.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.Errorf("close: %v", err)
		}
	})
	return s
}

func (f *fixture) reopen() store.Store {
	f.Helper()
	return f.open(func(tb testing.TB) store.Store {
		tb.Helper()
		return f.f.Reopen(tb, f.s)
	})
}

func allShards() []int {
	shards := make([]int, store.Shards)
	for i := range shards {
		shards[i] = i
	}
	return shards
}

func claimAll(ctx context.Context, tb testing.TB, s store.Store) (epochs [store.Shards]int64) {
	tb.Helper()
	leases, err := s.Claim(ctx, owner, allShards(), time.Hour)
	if err != nil {
		tb.Fatalf("claim all shards: %v", err)
	}
	if len(leases) != store.Shards {
		tb.Fatalf("claim returned %d leases, want %d", len(leases), store.Shards)
	}
	for _, l := range leases {
		epochs[l.Shard] = l.Epoch
	}
	return epochs
}

// log is what a session's log is expected to hold.
type log struct {
	project, session string
	epoch            int64
	records          []event.Record
	parent           *store.Parent // until the first append of a fork
	trees            []store.Tree
}

func (f *fixture) log(project, session string) *log {
	return &log{project: project, session: session, epoch: f.epochs[store.ShardOf(session)]}
}

// next builds an append of these data at the head of the log, without taking it
// into the log.
func (l *log) next(data ...string) *store.Append {
	a := &store.Append{Project: l.project, Session: l.session, Epoch: l.epoch, Parent: l.parent}
	var prev event.Hash
	if n := len(l.records); n > 0 {
		prev = l.records[n-1].Hash
	}
	for i, d := range data {
		r := event.Record{
			Session: l.session,
			Seq:     int64(len(l.records) + i + 1),
			Kind:    event.KindTurnCreated,
			Version: event.Version,
			Data:    []byte(d),
		}
		r.Time = start.Add(time.Duration(r.Seq) * time.Microsecond)
		salt := sha256.Sum256(fmt.Appendf(nil, "%s %d", l.session, r.Seq))
		r.Salt = salt[:event.SaltSize]
		r.Seal(prev)
		prev = r.Hash
		a.Records = append(a.Records, r)
	}
	return a
}

// took notes that the store took the append.
func (l *log) took(a *store.Append) {
	if a.Erase {
		for i := range l.records {
			l.records[i].Data, l.records[i].Salt = nil, nil
		}
		l.trees = nil
	}
	l.parent = nil
	l.records = append(l.records, a.Records...)
	l.trees = append(l.trees, a.Trees...)
}

func (f *fixture) append(l *log, data ...string) {
	f.Helper()
	f.mustAppend(l, l.next(data...))
}

func (f *fixture) mustAppend(l *log, a *store.Append) {
	f.Helper()
	if err := f.s.Append(f.ctx, a); err != nil {
		f.Fatalf("append %d records from %d to %s: %v", len(a.Records), a.Records[0].Seq, l.session, err)
	}
	l.took(a)
}

// check reads the whole log and compares it with what was written.
func (f *fixture) check(s store.Store, l *log) {
	f.Helper()
	got, err := s.Read(f.ctx, l.project, l.session, 0, len(l.records)+10)
	if err != nil {
		f.Errorf("read %s: %v", l.session, err)
		return
	}
	f.same("log of "+l.session, got, l.records)
	verify(f, got)
}

func verify(tb testing.TB, records []event.Record) {
	tb.Helper()
	var prev event.Hash
	for i := range records {
		if err := records[i].Verify(prev); err != nil {
			tb.Errorf("verify: %v", err)
			return
		}
		prev = records[i].Hash
	}
}

// wholeBytes compares data at once and not byte by byte, which takes seconds for
// a few MiB.
var wholeBytes = cmp.FilterValues(
	func(a, b []byte) bool { return len(a) > 0 || len(b) > 0 },
	cmp.Comparer(bytes.Equal))

// same compares with times by instant, and an empty list as none.
func (f *fixture) same(what string, got, want any) {
	f.Helper()
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), wholeBytes); d != "" {
		f.Errorf("%s differs (-want +got):\n%.4000s", what, d)
	}
}

func text(n int, seed string) string {
	const unit = " the store keeps what it was given;"
	s := `{"t":"` + seed + strings.Repeat(unit, n/len(unit)+1)
	return s[:n-2] + `"}`
}
