package vocabulary_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory/embed/static/vocabulary"
)

// build makes a file of words that share beginnings, in some order.
func build(t testing.TB, n, dims, parts int) ([]vocabulary.Source, []byte) {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	words := make([]vocabulary.Source, n)
	for i := range words {
		w := fmt.Sprintf("w%b", random.Perm(n * 3)[0]*1000+i)
		words[i] = vocabulary.Source{Word: w, Stem: w[:len(w)-1], Rank: i + 1}
		for range dims {
			words[i].Vector = append(words[i].Vector, float32(random.NormFloat64()))
		}
	}
	b, err := vocabulary.Build(words, parts)
	if err != nil {
		t.Fatal(err)
	}
	return words, b
}

func TestWordsAreFound(t *testing.T) {
	for _, n := range []int{1, 15, 16, 17, 200} {
		words, b := build(t, n, 7, 3)
		v, err := vocabulary.Open(b)
		if err != nil {
			t.Fatal(err)
		}
		if v.Words() != n || v.Dimension() != 7 {
			t.Errorf("%d words of %d dimensions, want %d of 7", v.Words(), v.Dimension(), n)
		}
		stems := map[string]bool{}
		for _, w := range words {
			place, ok := v.Word(w.Word)
			if !ok {
				t.Fatalf("of %d, the word %q is not found", n, w.Word)
			}
			if r := v.Rank(place); math.Abs(math.Log(r/float64(w.Rank))) > 0.03 {
				t.Errorf("%q has the rank %v, want %d", w.Word, r, w.Rank)
			}
			// With no more words than centroids, each has its own vector.
			got := make([]float32, 7)
			v.Add(got, place, 2)
			for i, x := range got {
				if math.Abs(float64(x-2*w.Vector[i])) > 0.2 {
					t.Errorf("%q has twice %v, want twice %v", w.Word, got, w.Vector)
					break
				}
			}
			if !stems[w.Stem] {
				stems[w.Stem] = true
				if s, ok := v.Stem(w.Stem); !ok || s != place {
					t.Errorf("the stem %q is of word %d, %t, want %d", w.Stem, s, ok, place)
				}
			}
			for _, other := range []string{w.Word + "0x", w.Word[:len(w.Word)-1] + "2", "a" + w.Word, ""} {
				if _, ok := v.Word(other); ok {
					t.Errorf("%q is found", other)
				}
			}
		}
	}
}

func TestBuildRefuses(t *testing.T) {
	one := vocabulary.Source{Word: "a", Vector: []float32{1}}
	for name, words := range map[string][]vocabulary.Source{
		"no words":             nil,
		"a word without bytes": {{Vector: []float32{1}}},
		"other dimensions":     {one, {Word: "b", Vector: []float32{1, 2}}},
		"a long word":          {{Word: strings.Repeat("a", 256), Vector: []float32{1}}},
	} {
		if _, err := vocabulary.Build(words, 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzOpen(f *testing.F) {
	_, b := build(f, 40, 4, 2)
	f.Add(b, "w1")
	f.Add(b[:len(b)-1], "w1")
	f.Fuzz(func(_ *testing.T, b []byte, word string) {
		v, err := vocabulary.Open(b)
		if err != nil {
			return
		}
		for _, find := range []func(string) (int, bool){v.Word, v.Stem} {
			if w, ok := find(word); ok {
				v.Rank(w)
				v.Add(make([]float32, v.Dimension()), w, 1)
			}
		}
	})
}

func TestCompare(t *testing.T) {
	words, b := build(t, 300, 20, 7)
	v, err := vocabulary.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	var c *vocabulary.Comparison
	for _, n := range []int{0, 1, 4, 5, vocabulary.Compared, 2} {
		c = v.Compare(places(t, v, words[:n]), c)
		for _, w := range words {
			got := c.With(places(t, v, []vocabulary.Source{w})[0])
			for i := range got {
				want := 0.0
				if i < n {
					want = cosine(v, w.Word, words[i].Word)
				}
				if math.Abs(float64(got[i])-want) > 0.003 {
					t.Fatalf("of %d words, %q is %v to %q, want %v", n, w.Word, got[i], words[i].Word, want)
				}
			}
		}
	}
}

func places(t *testing.T, v *vocabulary.Vocabulary, words []vocabulary.Source) []int {
	t.Helper()
	out := make([]int, len(words))
	for i, w := range words {
		place, ok := v.Word(w.Word)
		if !ok {
			t.Fatalf("the word %q is not found", w.Word)
		}
		out[i] = place
	}
	return out
}

func cosine(v *vocabulary.Vocabulary, a, b string) float64 {
	var dot, na, nb float64
	x, y := make([]float32, v.Dimension()), make([]float32, v.Dimension())
	i, _ := v.Word(a)
	j, _ := v.Word(b)
	v.Add(x, i, 1)
	v.Add(y, j, 1)
	for d := range x {
		dot += float64(x[d]) * float64(y[d])
		na += float64(x[d]) * float64(x[d])
		nb += float64(y[d]) * float64(y[d])
	}
	return dot / math.Sqrt(na*nb)
}

func BenchmarkCompare(b *testing.B) {
	words, data := build(b, 3000, 100, 33)
	v, err := vocabulary.Open(data)
	if err != nil {
		b.Fatal(err)
	}
	compared := make([]int, vocabulary.Compared)
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			v.Compare(compared, nil)
		}
	})
	c := v.Compare(compared, nil)
	b.Run("with", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			c.With(i % len(words))
		}
	})
	b.Run("find", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			v.Stem(words[i%len(words)].Stem)
		}
	})
}
