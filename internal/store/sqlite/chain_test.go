package sqlite_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// chain is the log of one session as it was acknowledged.
type chain struct {
	session string
	epoch   int64
	records []event.Record
}

func claim(tb testing.TB, s store.Store) (epochs [store.Shards]int64) {
	tb.Helper()
	shards := make([]int, store.Shards)
	for i := range shards {
		shards[i] = i
	}
	leases, err := s.Claim(tb.Context(), "node", shards, time.Hour)
	if err != nil {
		tb.Fatalf("claim: %v", err)
	}
	for _, l := range leases {
		epochs[l.Shard] = l.Epoch
	}
	return epochs
}

func newChain(epochs [store.Shards]int64, session string) *chain {
	return &chain{session: session, epoch: epochs[store.ShardOf(session)]}
}

func (c *chain) next(data string) *store.Append {
	r := event.Record{
		Session: c.session, Seq: int64(len(c.records) + 1), Time: time.UnixMicro(1_700_000_000_000_000),
		Kind: event.KindEffectFinished, Version: event.Version, Data: []byte(data), Salt: make([]byte, event.SaltSize),
	}
	rand.Read(r.Salt) // never fails
	var prev event.Hash
	if n := len(c.records); n > 0 {
		prev = c.records[n-1].Hash
	}
	r.Seal(prev)
	return &store.Append{Project: "project", Session: c.session, Epoch: c.epoch, Records: []event.Record{r}}
}

func (c *chain) took(a *store.Append) { c.records = append(c.records, a.Records...) }

func (c *chain) append(tb testing.TB, s store.Store, data string) {
	tb.Helper()
	a := c.next(data)
	if err := s.Append(tb.Context(), a); err != nil {
		tb.Fatalf("append to %s: %v", c.session, err)
	}
	c.took(a)
}

// check compares the whole log with what was acknowledged.
func (c *chain) check(tb testing.TB, s store.Store) {
	tb.Helper()
	got, err := s.Read(tb.Context(), "project", c.session, 0, len(c.records)+10)
	if err != nil {
		tb.Errorf("read %s: %v", c.session, err)
		return
	}
	if len(got) != len(c.records) {
		tb.Errorf("%s has %d records, want %d", c.session, len(got), len(c.records))
		return
	}
	var prev event.Hash
	for i := range got {
		if err := got[i].Verify(prev); err != nil || !bytes.Equal(got[i].Data, c.records[i].Data) {
			tb.Errorf("record %d of %s is not what was written: %v", i+1, c.session, err)
			return
		}
		prev = got[i].Hash
	}
}

// noise returns a JSON string of n bytes that hardly compresses.
func noise(n int) string {
	raw := make([]byte, n*3/4)
	rand.Read(raw) // never fails
	return `"` + base64.StdEncoding.EncodeToString(raw)[:n-2] + `"`
}
