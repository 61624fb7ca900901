package index_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/index"
)

// filled is a space of n chat turns, in the pieces that a keeper leaves it in.
func filled(b *testing.B, n, dims int) (*index.Space, *corpus) {
	b.Helper()
	c := newCorpus(9, 50_000, dims)
	s := index.New()
	var spent time.Duration
	for at := 0; at < n; {
		batch := make([]memory.Record, min(1000, n-at))
		for i := range batch {
			batch[i] = c.record(int64(at + i + 1))
		}
		at += len(batch)
		begin := time.Now()
		apply(b, s, batch...)
		store(b, s, min(n, 32_000))
		spent += time.Since(begin)
	}
	b.Logf("%d records in %v: %.0f a second; %+v, %.0f bytes a record", n, spent.Round(time.Millisecond),
		float64(n)/spent.Seconds(), s.Stats(), float64(s.Stats().Bytes)/float64(n))
	return s, c
}

func store(b *testing.B, s *index.Space, least int) {
	b.Helper()
	for _, rewrite := range []func() (*index.Piece, error){func() (*index.Piece, error) { return s.Seal(least) }, s.Compact} {
		p, err := rewrite()
		if err != nil {
			b.Fatal(err)
		}
		if p != nil {
			s.Stored(p)
		}
	}
}

// BenchmarkSearch gives the time of a search by one at a time, and how many a
// second there are with sixteen at once.
func BenchmarkSearch(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		for _, dims := range []int{0, 100} {
			b.Run(fmt.Sprintf("records=%d/dims=%d", n, dims), func(b *testing.B) {
				s, c := filled(b, n, dims)
				plans := make([]*index.Plan, 300)
				for i := range plans {
					plans[i] = c.plan(5, 15)
				}
				runtime.GC()
				b.Run("one", func(b *testing.B) { measure(b, plans, s) })
				b.Run("sixteen", func(b *testing.B) { atOnce(b, 16, plans, s) })
			})
		}
	}
}

func measure(b *testing.B, plans []*index.Plan, spaces ...*index.Space) {
	b.Helper()
	var times []time.Duration
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		search(b, plans[i%len(plans)], 30, index.Defaults(), spaces[i%len(spaces)])
		times = append(times, time.Since(begin))
	}
	slices.Sort(times)
	for _, p := range []int{50, 99} {
		b.ReportMetric(float64(times[len(times)*p/100].Microseconds())/1000, fmt.Sprintf("p%d-ms", p))
	}
}

func atOnce(b *testing.B, clients int, plans []*index.Plan, space *index.Space) {
	b.Helper()
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1))
				if i > b.N {
					return
				}
				if _, err := index.Search(context.Background(), []*index.Space{space}, plans[i%len(plans)], 30, index.Defaults()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "searches/s")
}

// BenchmarkSpaces searches a thousand spaces of a thousand records, one of them
// at a time, and sixty-four at once.
func BenchmarkSpaces(b *testing.B) {
	c := newCorpus(10, 20_000, 100)
	records := c.records(1000)
	spaces := make([]*index.Space, 1000)
	bytes := int64(0)
	for i := range spaces {
		spaces[i] = index.New()
		apply(b, spaces[i], records...)
		bytes += spaces[i].Stats().Bytes
	}
	b.Logf("%.0f bytes a record", float64(bytes)/float64(1000*len(records)))
	plans := make([]*index.Plan, 300)
	for i := range plans {
		plans[i] = c.plan(5, 15)
	}
	b.Run("one", func(b *testing.B) { measure(b, plans, spaces...) })
	b.Run("sixtyfour", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			search(b, plans[i%len(plans)], 30, index.Defaults(), spaces[:64]...)
		}
	})
}

// BenchmarkApply writes one record after another, each seen at once.
func BenchmarkApply(b *testing.B) {
	c := newCorpus(11, 50_000, 100)
	s := index.New()
	for i := int64(1); b.Loop(); i++ {
		apply(b, s, c.record(i))
	}
}

func BenchmarkLoad(b *testing.B) {
	c := newCorpus(12, 50_000, 100)
	s := index.New()
	apply(b, s, c.records(100_000)...)
	p, err := s.Seal(1)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := index.New().Load(p.Data); err != nil {
			b.Fatal(err)
		}
	}
}
