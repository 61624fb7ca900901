package bench

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
)

// TestRun shows that every figure is measured: that steps are made, timed and
// counted, and that what is stored of a long turn is in proportion.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	r, err := Run(t.Context(), Options{
		Run: "test", Dir: dir, Duration: 200 * time.Millisecond, Progress: func(s string) { t.Log(s) },
		Open: func(ctx context.Context, name string) (store.Store, error) {
			return sqlite.Open(ctx, filepath.Join(dir, name+".db"), sqlite.Options{})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", *r)
	for name, rate := range map[string]float64{
		"raw 1": r.RawLimit1, "raw 64": r.RawLimit64, "1": r.Steps1, "16": r.Steps16, "64": r.Steps64, "256": r.Steps256,
		"p50": r.StepP50MS, "p99": r.StepP99MS,
	} {
		if rate <= 0 {
			t.Errorf("%s was not measured", name)
		}
	}
	// A turn that stored its whole conversation with every call would come to
	// about a hundred.
	if r.BytesPerNewByte <= 0 || r.BytesPerNewByte > 1.3 {
		t.Errorf("%.2f bytes were stored for each new byte", r.BytesPerNewByte)
	}
}
