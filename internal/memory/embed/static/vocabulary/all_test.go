package vocabulary_test

import (
	"slices"
	"testing"

	"github.com/stayd/stayd/internal/memory/embed/static/vocabulary"
)

func TestAll(t *testing.T) {
	for _, n := range []int{1, 16, 17, 200} {
		words, b := build(t, n, 3, 1)
		v, err := vocabulary.Open(b)
		if err != nil {
			t.Fatal(err)
		}
		var want, got []string
		for _, w := range words {
			want = append(want, w.Word)
		}
		slices.Sort(want)
		for i, w := range v.All() {
			if i != len(got) {
				t.Errorf("%q has the number %d, want %d", w, i, len(got))
			}
			got = append(got, w)
		}
		if !slices.Equal(got, want) {
			t.Errorf("of %d words there are %q", n, got)
		}
	}
}

func FuzzAll(f *testing.F) {
	_, b := build(f, 40, 2, 1)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := vocabulary.Open(b)
		if err != nil {
			return
		}
		n := 0
		for range v.All() {
			n++
		}
		if n > v.Words() {
			t.Errorf("%d words of %d", n, v.Words())
		}
	})
}
