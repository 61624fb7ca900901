package storetest

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// BenchmarkMemories measures writes one at a time and in batches of 100, the poll
// that finds nothing new, and 30 records by number.
func BenchmarkMemories(b *testing.B, f Factory) {
	for _, batch := range []int{1, 100} {
		b.Run(fmt.Sprintf("write=%d", batch), func(b *testing.B) {
			s := f.Open(b)
			defer s.Close() // measured already
			n := 0
			for b.Loop() {
				n += batch
				rememberTurns(b, s, n-batch, n)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
	b.Run("read", func(b *testing.B) {
		s := f.Open(b)
		defer s.Close() // measured already
		const n = 10_000
		for i := 0; i < n; i += 100 {
			rememberTurns(b, s, i, i+100)
		}
		b.Run("poll", func(b *testing.B) {
			for b.Loop() {
				if sp, list, err := s.MemoryChanges(b.Context(), "p", alice, n, 1000); err != nil || sp.Change != n || len(list) != 0 {
					b.Fatalf("%+v, %d changes, %v", sp, len(list), err)
				}
			}
		})
		nums := make([]int64, 30)
		for i := range nums {
			nums[i] = int64(i*331 + 1)
		}
		b.Run("numbers=30", func(b *testing.B) {
			for b.Loop() {
				if list, err := s.MemoriesByNum(b.Context(), "p", alice, nums); err != nil || len(list) != len(nums) {
					b.Fatalf("%d records, %v", len(list), err)
				}
			}
		})
	})
}

// rememberTurns writes turns of 20 words with a vector of 100 bytes.
func rememberTurns(tb testing.TB, s store.Store, from, to int) {
	tb.Helper()
	w := &store.MemoryWrite{Project: "p", Space: alice}
	for i := from; i < to; i++ {
		w.Add = append(w.Add, turn(i))
	}
	if _, err := s.WriteMemories(tb.Context(), w); err != nil {
		tb.Fatal(err)
	}
}

// turn is a message of 20 words as a session leaves it.
func turn(i int) memory.Record {
	words := []string{"river", "walked", "yesterday", "morning", "kettle", "the", "with", "quietly", "garden", "never", "seven", "people"}
	r := fact("p", alice+"/turns", strconv.Itoa(i))
	r.Strategy, r.Actor, r.ValidFrom, r.RecordedAt = memory.Turn, "alice", at(i), at(i)
	r.Text = ""
	for j := range 20 {
		r.Text += words[(i*7+j*j+i/12*j)%len(words)] + " "
	}
	r.Source = memory.Source{
		SessionID: fmt.Sprintf("session_%032x", i/50), TurnID: fmt.Sprintf("turn_%032x", i/2), ItemIDs: []string{fmt.Sprintf("msg_%032x", i)},
		Speaker: "Alice", Position: int64(i%50 + 1),
	}
	r.Vector, r.VectorModel = []byte(randomText(100)), "hash-384"
	return r
}
