package storetest

import (
	"errors"
	"time"

	"github.com/stayd/stayd/internal/store"
)

var fenceCases = []testCase{
	{"WrongEpoch", testWrongEpoch},
	{"NeverClaimed", testNeverClaimed},
	{"Reclaimed", testReclaimed},
	{"OtherNode", testFencedByOtherNode},
	{"OtherShards", testFenceOtherShards},
}

func (f *fixture) fenced(what string, s store.Store, a *store.Append) {
	f.Helper()
	if err := s.Append(f.ctx, a); !errors.Is(err, store.ErrFenced) {
		f.Errorf("%s: %v, want ErrFenced", what, err)
	}
}

func testWrongEpoch(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `1`)
	for _, d := range []int64{-1, 1, 1 << 40} {
		a := l.next(`2`)
		a.Epoch += d
		f.fenced("wrong epoch", f.s, a)
	}
	a := l.next(`2`)
	a.Epoch = 0
	f.fenced("no epoch", f.s, a)
	f.check(f.s, l)
}

func testNeverClaimed(f *fixture) {
	s := f.open(f.f.Open)
	for _, epoch := range []int64{0, 1, -1} {
		a := f.log("p", "s").next(`1`)
		a.Epoch = epoch
		f.fenced("shard that nobody ever claimed", s, a)
	}
	f.check(s, f.log("p", "s"))
}

func testReclaimed(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `1`)
	stale := l.next(`2`)
	f.epochs = claimAll(f.ctx, f, f.s)
	f.fenced("epoch before the owner's own second claim", f.s, stale)
	l.epoch = f.epochs[store.ShardOf("s")]
	f.append(l, `2`)
	f.check(f.s, l)
}

// testFencedByOtherNode is the node that comes back late: its lease went to
// another process behind its back.
func testFencedByOtherNode(f *fixture) {
	l := f.log("p", "s")
	f.append(l, `1`)
	other := f.reopen()
	if err := other.Release(f.ctx, owner); err != nil {
		f.Fatalf("release: %v", err)
	}
	leases, err := other.Claim(f.ctx, "node-2", []int{store.ShardOf("s")}, time.Hour)
	if err != nil || len(leases) != 1 || leases[0].Owner != "node-2" {
		f.Fatalf("claim by the other node: %+v, %v", leases, err)
	}
	f.fenced("lease taken by another node", f.s, l.next(`2`))

	l.epoch = leases[0].Epoch
	a := l.next(`2`)
	if err := other.Append(f.ctx, a); err != nil {
		f.Fatalf("append by the new owner: %v", err)
	}
	l.took(a)
	f.check(f.s, l)
	f.check(other, l)

	// The first node takes the shard back and finds the head where it is now.
	if err := other.Release(f.ctx, "node-2"); err != nil {
		f.Fatalf("release: %v", err)
	}
	f.epochs = claimAll(f.ctx, f, f.s)
	back := f.log("p", "s")
	back.records = l.records[:1]
	if err := f.s.Append(f.ctx, back.next(`"lost"`)); !errors.Is(err, store.ErrConflict) {
		f.Errorf("append at the head of before: %v, want ErrConflict", err)
	}
	back.records = l.records
	f.append(back, `3`)
	f.check(other, back)
}

// testFenceOtherShards loses one shard and keeps the others.
func testFenceOtherShards(f *fixture) {
	lost, kept := f.log("p", "s"), f.log("p", "t")
	if store.ShardOf("s") == store.ShardOf("t") {
		f.Fatal("the sessions of this test must be of two shards")
	}
	leases, err := f.s.Claim(f.ctx, owner, []int{store.ShardOf("s")}, time.Hour)
	if err != nil || len(leases) != 1 {
		f.Fatalf("claim: %+v, %v", leases, err)
	}
	f.fenced("shard that was claimed again", f.s, lost.next(`1`))
	f.append(kept, `1`)
	f.check(f.s, kept)
}
