package bench

import (
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/snapshot"
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

// BenchmarkRestore restores the workspace of the published figure from SQLite, for
// profiles.
func BenchmarkRestore(b *testing.B) {
	st, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "stayd.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer st.Close()
	from, sizes := filepath.Join(b.TempDir(), "original"), DefaultSizes()
	if err := makeTree(from, sizes.ResumeFiles, sizes.ResumeBytes); err != nil {
		b.Fatal(err)
	}
	tree, base, n := snapshot.New(st.Blobs(), "bench"), b.TempDir(), 0
	root, err := capture(b.Context(), tree, from)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(sizes.ResumeBytes)
	for b.Loop() {
		n++
		to := filepath.Join(base, strconv.Itoa(n))
		f, err := snapshot.OpenFolder(tree, to, to+".index")
		if err != nil {
			b.Fatal(err)
		}
		if err := f.Restore(b.Context(), root); err != nil {
			b.Fatal(err)
		}
	}
}
