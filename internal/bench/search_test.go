package bench

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
)

func searchOptions(dir string) SearchOptions {
	return SearchOptions{
		Run: "bench", Duration: time.Millisecond, Records: []int{4, 400}, Spaces: []int{1, 8}, Clients: []int{1, 3},
		Open: func(ctx context.Context, name string) (store.Store, error) {
			return sqlite.Open(ctx, filepath.Join(dir, name+".db"), sqlite.Options{})
		},
		Progress: func(string) {},
	}
}

func TestSearch(t *testing.T) {
	r, err := Search(t.Context(), searchOptions(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	type shape struct{ Records, Spaces, Clients int }
	var got []shape
	for _, m := range r.Memories {
		if m.WritesPerS <= 0 || m.Records == 400 && m.StoredBytes <= 0 || m.FirstMS <= 0 || m.Found < 0.9 || m.Found > 1 {
			t.Errorf("%+v", m)
		}
		for _, s := range m.Searches {
			got = append(got, shape{m.Records, m.Spaces, s.Clients})
			if s.PerS <= 0 || s.Count < s.Clients || s.P50MS <= 0 || s.P99MS < s.P50MS {
				t.Errorf("%+v", s)
			}
		}
	}
	// Four records are not in eight spaces.
	want := []shape{{4, 1, 1}, {4, 1, 3}, {400, 1, 1}, {400, 1, 3}, {400, 8, 1}, {400, 8, 3}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// BenchmarkSearch measures one search at a time of 100,000 records, for profiles.
func BenchmarkSearch(b *testing.B) {
	o := searchOptions(b.TempDir())
	o.Records, o.Spaces, o.Clients, o.Duration = []int{100_000}, []int{1}, []int{1}, 10*time.Second
	for b.Loop() {
		r, err := Search(b.Context(), o)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(r.Memories[0].Searches[0].P99MS, "p99-ms")
	}
}
