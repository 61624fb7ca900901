package vocabulary

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"
)

// Source is a word that a file is built from.
type Source struct {
	Word   string // at most 255 bytes
	Stem   string // of which it is one word
	Rank   int    // by frequency, from 1
	Vector []float32
}

// rounds and trained bound the search for codebooks: how often they are made
// better, and how many words they are made from.
const (
	rounds  = 20
	trained = 1 << 16
)

// Build returns the file of the words, which come in the order of their
// frequency, with vectors in so many parts. The same words give the same file.
func Build(words []Source, parts int) ([]byte, error) {
	if len(words) == 0 || parts < 1 || parts > len(words[0].Vector) {
		return nil, fmt.Errorf("a vocabulary of %d words in %d parts", len(words), parts)
	}
	dims := len(words[0].Vector)
	for _, w := range words {
		if len(w.Vector) != dims || len(w.Word) > maxWord || len(w.Stem) > maxWord || w.Word == "" {
			return nil, fmt.Errorf("the word %q has %d dimensions, not %d, or is empty or too long", w.Word, len(w.Vector), dims)
		}
	}
	books, codes := quantise(words, parts, dims)
	order := make([]int, len(words))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(words[a].Word, words[b].Word) })

	stemmed := stemTable(words, order)
	b := make([]byte, 0, 5<<20)
	for _, n := range []int{magic, dims, parts, len(words), len(stemmed)} {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	for _, x := range books {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	spelled := make([]string, len(words))
	for i, w := range order {
		spelled[i] = words[w].Word
		b = append(b, codes[w*parts:(w+1)*parts]...)
	}
	for _, w := range order {
		b = append(b, byte(min(math.Round(math.Log(float64(words[w].Rank))*logRank), 255)))
	}
	stems := make([]string, len(stemmed))
	for i, s := range stemmed {
		stems[i] = s.stem
		b = binary.LittleEndian.AppendUint32(b, uint32(s.word))
	}
	return appendDictionary(appendDictionary(b, spelled), stems), nil
}

type stemWord struct {
	stem string
	word int
}

// stemTable has the most frequent word of each stem, by its place in the order,
// where that is not spelled like the stem.
func stemTable(words []Source, order []int) []stemWord {
	best := map[string]int{}
	for i := len(words) - 1; i >= 0; i-- {
		best[words[i].Stem] = i
	}
	var out []stemWord
	for place, w := range order {
		if best[words[w].Stem] == w && words[w].Stem != words[w].Word {
			out = append(out, stemWord{words[w].Stem, place})
		}
	}
	slices.SortFunc(out, func(a, b stemWord) int { return cmp.Compare(a.stem, b.stem) })
	return out
}

// quantise finds the codebooks of all parts and the codes of all words.
func quantise(words []Source, parts, dims int) (books []float32, codes []byte) {
	books = make([]float32, dims*centroids)
	codes = make([]byte, len(words)*parts)
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for p := range parts {
		group.Go(func() error {
			from, to := part(p, parts, dims)
			points := make([][]float32, len(words))
			for i, w := range words {
				points[i] = w.Vector[from:to]
			}
			book := books[from*centroids : to*centroids]
			train(book, points[:min(len(points), trained)], uint64(p))
			for i, x := range points {
				codes[i*parts+p] = byte(closest(book, x))
			}
			return nil
		})
	}
	group.Wait() //nolint:errcheck,gosec // none of them returns one
	return books, codes
}

// train is k-means (Lloyd 1982) from points that are chosen at random.
func train(book []float32, points [][]float32, seed uint64) {
	n := len(points[0])
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // the same codebooks at every run
	choice := random.Perm(len(points))
	for c := range centroids {
		copy(book[c*n:(c+1)*n], points[choice[c%len(choice)]])
	}
	sums, counts := make([]float64, len(book)), make([]int, centroids)
	for range rounds {
		clear(sums)
		clear(counts)
		for _, x := range points {
			c := closest(book, x)
			counts[c]++
			for i, v := range x {
				sums[c*n+i] += float64(v)
			}
		}
		for c, count := range counts {
			for i := range n {
				if count > 0 {
					book[c*n+i] = float32(sums[c*n+i] / float64(count))
				} else {
					book[c*n+i] = points[random.IntN(len(points))][i]
				}
			}
		}
	}
}

// closest returns the centroid next to x.
func closest(book, x []float32) int {
	best, least := 0, float32(math.MaxFloat32)
	n := len(x)
	for c := range centroids {
		d := float32(0)
		for i, y := range book[c*n : (c+1)*n] {
			d += (x[i] - y) * (x[i] - y)
		}
		if d < least {
			best, least = c, d
		}
	}
	return best
}
