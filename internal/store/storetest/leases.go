package storetest

import (
	"time"

	"github.com/stayd/stayd/internal/store"
)

var leaseCases = []testCase{
	{"Claim", testClaim},
	{"Held", testClaimHeld},
	{"Expiry", testLeaseExpiry},
	{"Renew", testRenew},
	{"RenewTaken", testRenewTaken},
	{"Release", testRelease},
	{"Race", testClaimRace},
}

// claim returns the leases by shard.
func (f *fixture) claim(s store.Store, owner string, ttl time.Duration, shards ...int) map[int]store.Lease {
	f.Helper()
	list, err := s.Claim(f.ctx, owner, shards, ttl)
	if err != nil {
		f.Fatalf("claim by %s: %v", owner, err)
	}
	leases := map[int]store.Lease{}
	for _, l := range list {
		leases[l.Shard] = l
	}
	if len(list) != len(shards) || len(leases) != len(shards) {
		f.Fatalf("claim of %d shards returned %d leases of %d shards", len(shards), len(list), len(leases))
	}
	return leases
}

// waitClaim claims until the shard is the owner's.
func (f *fixture) waitClaim(owner string, shard int) store.Lease {
	f.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if l := f.claim(f.s, owner, time.Hour, shard)[shard]; l.Owner == owner {
			return l
		}
		time.Sleep(5 * time.Millisecond) // the store's clock gives no signal
	}
	f.Fatalf("%s never got shard %d", owner, shard)
	return store.Lease{}
}

func testClaim(f *fixture) {
	s := f.open(f.f.Open)
	leases := f.claim(s, "a", time.Hour, 0, 7, 255)
	for shard, l := range leases {
		if l.Owner != "a" || l.Epoch < 1 || l.ExpiresIn <= 59*time.Minute || l.ExpiresIn > time.Hour {
			f.Errorf("shard %d: %+v", shard, l)
		}
	}
	again := f.claim(s, "a", time.Hour, 7, 8)
	if again[7].Epoch <= leases[7].Epoch {
		f.Errorf("claimed again: epoch %d, was %d", again[7].Epoch, leases[7].Epoch)
	}
	if again[8].Owner != "a" {
		f.Errorf("shard 8: %+v", again[8])
	}
	f.claim(s, "a", time.Hour)
}

func testClaimHeld(f *fixture) {
	mine := f.claim(f.s, owner, time.Hour, 3)
	theirs := f.claim(f.s, "node-2", time.Hour, 3)
	if got := theirs[3]; got.Owner != owner || got.Epoch != mine[3].Epoch || got.ExpiresIn <= 59*time.Minute {
		f.Errorf("a held lease is seen as %+v, is %+v", got, mine[3])
	}
}

func testLeaseExpiry(f *fixture) {
	mine := f.claim(f.s, owner, 20*time.Millisecond, 3)
	theirs := f.waitClaim("node-2", 3)
	if theirs.Epoch <= mine[3].Epoch {
		f.Errorf("epoch %d follows %d", theirs.Epoch, mine[3].Epoch)
	}
	if l := f.claim(f.s, owner, time.Hour, 3)[3]; l.Owner != "node-2" {
		f.Errorf("the first owner took it back: %+v", l)
	}
}

func (f *fixture) renew(owner string, want int) {
	f.Helper()
	n, err := f.s.Renew(f.ctx, owner, time.Hour)
	if err != nil || n != want {
		f.Errorf("renew by %s: %d, %v; want %d", owner, n, err, want)
	}
}

func testRenew(f *fixture) {
	f.renew(owner, store.Shards)
	f.renew("node-2", 0)
	before := f.claim(f.s, owner, 20*time.Millisecond, 3)
	f.renew(owner, store.Shards)
	// Expired or not when it was renewed, nobody had taken it.
	got := f.claim(f.s, "node-2", time.Hour, 3)[3]
	if got.Owner != owner || got.Epoch != before[3].Epoch || got.ExpiresIn <= 59*time.Minute {
		f.Errorf("renewed lease: %+v, was %+v", got, before[3])
	}
	l := f.log("p", "s")
	if store.ShardOf("s") == 3 {
		f.Fatal("the session of this test must be of another shard")
	}
	f.append(l, `1`)
}

func testRenewTaken(f *fixture) {
	f.claim(f.s, owner, 20*time.Millisecond, 3)
	theirs := f.waitClaim("node-2", 3)
	f.renew(owner, store.Shards-1)
	if got := f.claim(f.s, owner, time.Hour, 3)[3]; got.Owner != "node-2" || got.Epoch != theirs.Epoch {
		f.Errorf("after the first owner's renewal: %+v, was %+v", got, theirs)
	}
	f.renew("node-2", 1)
}

func testRelease(f *fixture) {
	other := f.open(f.f.Open)
	f.claim(other, "b", time.Hour, 9)
	mine := f.claim(other, "a", time.Hour, 3, 4)
	if err := other.Release(f.ctx, "a"); err != nil {
		f.Fatalf("release: %v", err)
	}
	leases := f.claim(other, "c", time.Hour, 3, 4, 9)
	for _, shard := range []int{3, 4} {
		if l := leases[shard]; l.Owner != "c" || l.Epoch <= mine[shard].Epoch {
			f.Errorf("released shard %d: %+v, was %+v", shard, l, mine[shard])
		}
	}
	if leases[9].Owner != "b" {
		f.Errorf("shard 9 was another's: %+v", leases[9])
	}
	if err := other.Release(f.ctx, "nobody"); err != nil {
		f.Errorf("release of nothing: %v", err)
	}
}

// testClaimRace lets many owners on two nodes claim all shards at once. Each
// shard has one owner in the end, and all of them were told the same.
func testClaimRace(f *fixture) {
	one := f.open(f.f.Open)
	two := f.f.Reopen(f.T, one)
	defer two.Close() // a second handle on the same data
	nodes := []store.Store{one, two}
	owners := []string{"a", "b", "c", "d"}
	claimed := make([][]store.Lease, len(owners))
	together(len(owners), func(i int) {
		leases, err := nodes[i%2].Claim(f.ctx, owners[i], allShards(), time.Hour)
		if err != nil {
			f.Errorf("claim by %s: %v", owners[i], err)
		}
		claimed[i] = leases
	})
	holder := map[int]string{}
	for i, leases := range claimed {
		for _, l := range leases {
			if l.Owner != owners[i] {
				continue
			}
			if first, ok := holder[l.Shard]; ok {
				f.Errorf("shard %d went to %s and %s", l.Shard, first, owners[i])
			}
			holder[l.Shard] = owners[i]
		}
	}
	if len(holder) != store.Shards {
		f.Errorf("%d shards have an owner, want %d", len(holder), store.Shards)
	}
}
