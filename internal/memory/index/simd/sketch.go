package simd

import (
	"encoding/binary"
	"math/bits"
)

// The query is compared with sketches by a few bits of how much each of its
// numbers counts, without its sign.
const (
	sketchBits = 3
	// MostAgreement is what one number adds to an agreement at most.
	MostAgreement = 1<<sketchBits - 1
	// sketchChunkBits are the signs that are compared at once.
	sketchChunkBits = 128
)

// SketchSize is how many bytes the sketch of a vector has.
func SketchSize(dims int) int {
	return (dims + sketchChunkBits - 1) / sketchChunkBits * (sketchChunkBits / 8)
}

// AppendSketch appends the signs of a vector's int8 numbers: a bit is set where
// one is not negative, and where there is none.
func AppendSketch(dst, numbers []byte) []byte {
	for range SketchSize(len(numbers)) / 8 {
		word := ^uint64(0)
		for i, x := range numbers[:min(64, len(numbers))] {
			word &^= uint64(x>>7) << i
		}
		dst = binary.LittleEndian.AppendUint64(dst, word)
		numbers = numbers[min(64, len(numbers)):]
	}
	return dst
}

// sketchChunk is what the query is to 128 signs. Everything is there twice, for
// two sketches at once.
type sketchChunk struct {
	negative [4]uint64             // where the query is negative
	planes   [sketchBits][4]uint64 // bits of how much a number counts
}

func newSketch(numbers []int8) []sketchChunk {
	s := make([]sketchChunk, SketchSize(len(numbers))/(sketchChunkBits/8))
	largest := 1
	for _, n := range numbers {
		largest = max(largest, int(n), -int(n))
	}
	for d, n := range numbers {
		c, word, bit := &s[d/sketchChunkBits], d%sketchChunkBits/64, uint64(1)<<(d%64)
		if n < 0 {
			c.negative[word] |= bit
			c.negative[word+2] |= bit
		}
		counts := (max(int(n), -int(n))*MostAgreement*2 + largest) / (2 * largest)
		for plane := range c.planes {
			if counts>>plane&1 != 0 {
				c.planes[plane][word] |= bit
				c.planes[plane][word+2] |= bit
			}
		}
	}
	return s
}

// Agreements sets out[i] to how well the signs of sketch i of sketches agree with
// the query's: to the sum of what the numbers count whose signs are the same.
// There are as many sketches as out has room for, one directly behind the other.
func (q *Query) Agreements(out []int32, sketches []byte) {
	size := SketchSize(len(q.numbers))
	if size == 0 {
		clear(out)
		return
	}
	sketches = sketches[:size*len(out)]
	done := 0
	if pairs := len(out) / 2; accelerated && pairs > 0 {
		agreements(&out[0], &sketches[0], pairs, len(q.sketch), &q.sketch[0])
		done = 2 * pairs
	}
	for i := done; i < len(out); i++ {
		out[i] = q.agreement(sketches[i*size:][:size])
	}
}

func (q *Query) agreement(signs []byte) int32 {
	sum := 0
	for i := range q.sketch {
		c := &q.sketch[i]
		for word := range sketchChunkBits / 64 {
			agree := binary.LittleEndian.Uint64(signs[16*i+8*word:]) ^ c.negative[word]
			sum += bits.OnesCount64(agree&c.planes[0][word]) +
				bits.OnesCount64(agree&c.planes[1][word])<<1 +
				bits.OnesCount64(agree&c.planes[2][word])<<2
		}
	}
	return int32(sum)
}
