package storetest

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stayd/stayd/internal/store"
)

// Benchmark appends records of 1 KiB, one an append, from 1, 16, 64 and 256
// sessions at once, each of which waits for its last append before the next. It
// reports records a second.
func Benchmark(b *testing.B, f Factory) {
	for _, sessions := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("sessions=%d", sessions), func(b *testing.B) { benchmarkAppend(b, f, sessions) })
	}
}

func benchmarkAppend(b *testing.B, f Factory, sessions int) {
	b.Helper()
	s := f.Open(b)
	defer s.Close() // measured already
	epochs := claimAll(b.Context(), b, s)
	data := randomText(1024)

	// Records are sealed before the clock starts: hashing is the caller's work.
	work := make([][]*store.Append, sessions)
	for i := range b.N {
		n := i % sessions
		work[n] = append(work[n], nil)
	}
	for n := range work {
		id := fmt.Sprintf("session_%032d", n)
		l := &log{project: "p", session: id, epoch: epochs[store.ShardOf(id)]}
		for i := range work[n] {
			a := l.next(data)
			l.records = append(l.records, a.Records...)
			work[n][i] = a
		}
	}
	var failed atomic.Pointer[error]
	b.ResetTimer()
	together(sessions, func(n int) {
		for _, a := range work[n] {
			if err := s.Append(b.Context(), a); err != nil {
				failed.Store(&err)
				return
			}
		}
	})
	b.StopTimer()
	if err := failed.Load(); err != nil {
		b.Fatalf("append: %v", *err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// randomText returns a JSON string of n bytes that hardly compresses.
func randomText(n int) string {
	raw := make([]byte, n/2)
	rand.Read(raw) // never fails
	return `"` + hex.EncodeToString(raw)[:n-2] + `"`
}
