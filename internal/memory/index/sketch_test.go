package index_test

import (
	"fmt"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/index"
)

// What is looked at before vectors are compared in full is all of their signs, of
// vectors of any dimension: one that differs from the rest in any of its words is
// not sifted out for what it is in the others.
func TestSketchesAreWhole(t *testing.T) {
	for _, dims := range []int{40, 64, 90, 100, 128, 150} {
		for word := range (dims + 63) / 64 {
			t.Run(fmt.Sprintf("%d/%d", dims, word), func(t *testing.T) {
				decides := func(d int) bool { return d/64 == word }
				query, target, decoy := make([]float64, dims), make([]float64, dims), make([]float64, dims)
				for d := range dims {
					query[d], target[d], decoy[d] = 0.1, -0.1, 0.1
					if decides(d) {
						query[d], target[d], decoy[d] = 1, 1, -1
					}
				}
				var records []memory.Record
				for n := range 300 {
					r := fact(int64(n+1), "a fact")
					v := decoy
					if n == 170 {
						v = target
					}
					r.Vector, r.VectorModel = encode(v), "m"
					records = append(records, r)
				}
				s := index.New()
				apply(t, s, records...)
				o := index.Options{Pool: 5, Exact: 1, Sifted: 5, Weights: index.Weights{Vector: 1}}
				found := search(t, &index.Plan{Vector: encode(query), VectorModel: "m"}, 1, o, s)
				if len(found) != 1 || found[0].Num != 171 {
					t.Errorf("found %v, want the record 171", nums(found))
				}
			})
		}
	}
}
