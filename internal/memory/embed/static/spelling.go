package static

import (
	"hash/fnv"
	"math"
)

// The pieces of a word that its spelling is compared by, in characters, with a
// mark at either end.
const (
	shortest = 3
	longest  = 5
)

// addSpelling adds to dst the vector of a word that is not known: the sum of
// pseudo-random ones for its pieces, which are the same wherever the piece
// occurs, brought to the length. Words that share pieces are alike.
func addSpelling(dst []float32, word string, length float64) {
	marked := "<" + word + ">"
	sum := make([]int32, len(dst))
	var starts []int
	for i := range marked {
		starts = append(starts, i)
	}
	starts = append(starts, len(marked))
	for n := shortest; n <= longest; n++ {
		for i := 0; i+n < len(starts); i++ {
			addRandom(sum, marked[starts[i]:starts[i+n]])
		}
	}
	square := 0.0
	for _, x := range sum {
		square += float64(x) * float64(x)
	}
	scale := float32(length / math.Sqrt(max(square, 1)))
	for i, x := range sum {
		dst[i] += scale * float32(x)
	}
}

// addRandom adds numbers from -128 to 127 that are drawn by splitmix64 (Steele,
// Lea and Flood 2014) from the piece's hash, eight by eight.
func addRandom(sum []int32, piece string) {
	h := fnv.New64a()
	h.Write([]byte(piece)) //nolint:gosec // a hash never fails
	state, bits := h.Sum64(), uint64(0)
	for i := range sum {
		if i%8 == 0 {
			state += 0x9e3779b97f4a7c15
			bits = state
			bits = (bits ^ bits>>30) * 0xbf58476d1ce4e5b9
			bits = (bits ^ bits>>27) * 0x94d049bb133111eb
			bits ^= bits >> 31
		}
		sum[i] += int32(int8(bits))
		bits >>= 8
	}
}
