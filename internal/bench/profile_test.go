package bench

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/store/sqlite"
)

// BenchmarkSteps measures the engine with 64 sessions at once, for profiles.
func BenchmarkSteps(b *testing.B) {
	st, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "stayd.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	e, err := start(b.Context(), st, "bench", newLoad())
	if err != nil {
		b.Fatal(err)
	}
	defer e.stop()
	for b.Loop() {
		rate, err := e.throughput(b.Context(), 64, "b", 3*time.Second)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(rate, "steps/s")
	}
}
