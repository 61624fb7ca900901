package main

import (
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/stayd/stayd/internal/memory/embed/static/vocabulary"
)

const (
	dims       = 100
	directions = 2 // that are removed: one of each hundred dimensions, and one more
	steps      = 200
)

// isolate takes out of all vectors what they have in common: their mean, and the
// directions in which they vary most, which tell how frequent words are and not
// what they mean (Mu and Viswanath, All-but-the-Top, 2018). As a sum of such
// vectors has no part in those directions either, this is also the removal of the
// common component from texts (Arora, Liang and Ma 2017), done once.
func isolate(words []vocabulary.Source) {
	mean := make([]float64, dims)
	for _, w := range words {
		for i, x := range w.Vector {
			mean[i] += float64(x) / float64(len(words))
		}
	}
	for _, w := range words {
		for i := range w.Vector {
			w.Vector[i] -= float32(mean[i])
		}
	}
	for range directions {
		u := principal(covariance(words))
		for _, w := range words {
			along := 0.0
			for i, x := range w.Vector {
				along += u[i] * float64(x)
			}
			for i := range w.Vector {
				w.Vector[i] -= float32(along * u[i])
			}
		}
	}
}

func covariance(words []vocabulary.Source) *[dims][dims]float64 {
	var c [dims][dims]float64
	for _, w := range words {
		for i, x := range w.Vector {
			for j, y := range w.Vector {
				c[i][j] += float64(x) * float64(y)
			}
		}
	}
	return &c
}

// principal is the direction of the largest eigenvalue, by power iteration.
func principal(c *[dims][dims]float64) []float64 {
	u := make([]float64, dims)
	for i := range u {
		u[i] = math.Sin(float64(i + 1))
	}
	for range steps {
		next, sum := make([]float64, dims), 0.0
		for i := range next {
			for j, x := range u {
				next[i] += c[i][j] * x
			}
			sum += next[i] * next[i]
		}
		for i := range next {
			u[i] = next[i] / math.Sqrt(sum)
		}
	}
	return u
}

const (
	among      = 20_000 // words in which neighbours are looked for
	probes     = 500
	neighbours = 10
)

// measure says how far the vectors that were kept are from those that were given:
// the cosine between them, and how many of the ten nearest words stay among them.
func measure(w io.Writer, words []vocabulary.Source, v *vocabulary.Vocabulary) {
	words = words[:min(len(words), among)]
	exact, kept := make([][]float32, len(words)), make([][]float32, len(words))
	cosine := 0.0
	for i, s := range words {
		n, ok := v.Word(s.Word)
		if !ok {
			fmt.Fprintf(w, "the word %q is lost\n", s.Word) //nolint:errcheck // to a terminal
			return
		}
		k := make([]float32, dims)
		v.Add(k, n, 1)
		exact[i], kept[i] = unit(s.Vector), unit(k)
		cosine += float64(dot(exact[i], kept[i]))
	}
	same, total := 0, 0
	for i := 0; i < len(words); i += max(len(words)/probes, 1) {
		near := nearest(exact, i)
		for _, n := range nearest(kept, i) {
			total++
			if slices.Contains(near, n) {
				same++
			}
		}
	}
	fmt.Fprintf(w, "cosine with the exact vector %.4f; of the %d nearest words %.1f%% are the same\n", //nolint:errcheck // to a terminal
		cosine/float64(len(words)), neighbours, 100*float64(same)/float64(total))
}

func unit(v []float32) []float32 {
	out := slices.Clone(v)
	n := float32(math.Sqrt(float64(dot(v, v))))
	for i := range out {
		out[i] /= max(n, math.SmallestNonzeroFloat32)
	}
	return out
}

func dot(a, b []float32) float32 {
	s := float32(0)
	for i, x := range a {
		s += x * b[i]
	}
	return s
}

// nearest returns the words next to one, without it.
func nearest(vectors [][]float32, i int) []int {
	type scored struct {
		word int
		by   float32
	}
	var best []scored
	for j, v := range vectors {
		s := scored{j, dot(vectors[i], v)}
		if j == i || (len(best) == neighbours && s.by <= best[neighbours-1].by) {
			continue
		}
		at, _ := slices.BinarySearchFunc(best, s, func(a, b scored) int {
			if a.by >= b.by {
				return -1
			}
			return 1
		})
		best = slices.Insert(best, at, s)
		best = best[:min(len(best), neighbours)]
	}
	out := make([]int, len(best))
	for k, s := range best {
		out[k] = s.word
	}
	return out
}
