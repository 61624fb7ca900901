package simd

import "math"

// The query is compared with sketches by a few bits of how much each of its
// numbers counts, without its sign.
const (
	// MostAgreement is what one number adds to an agreement at most.
	MostAgreement = 7
	// Block is how many sketches lie together: first the signs of the first eight
	// numbers of all of them, a byte each, then of the next eight.
	Block = 32
	// signs are how many a byte has.
	signs = 8
)

// BlockSize is how many bytes a block of sketches has.
func BlockSize(dims int) int { return Block * bytesOf(dims) }

// SketchSize is how many bytes so many sketches have, in whole blocks.
func SketchSize(dims, n int) int { return (n + Block - 1) / Block * BlockSize(dims) }

func bytesOf(dims int) int { return (dims + signs - 1) / signs }

// AppendSketches appends the signs of rows of int8 numbers, one row directly behind
// the other: a bit is set where a number is not negative.
func AppendSketches(dst, rows []byte, dims int) []byte {
	begin := len(dst)
	dst = append(dst, make([]byte, SketchSize(dims, len(rows)/dims))...)
	sketches := dst[begin:]
	for i := range len(rows) / dims {
		block := sketches[i/Block*BlockSize(dims):]
		for d, x := range rows[i*dims:][:dims] {
			block[d/signs*Block+i%Block] |= (^x >> 7) << (d % signs)
		}
	}
	return dst
}

// table says what the four signs in half a byte add to an agreement.
type table [16]uint8

// newTables returns two for each byte of a sketch, of its low half and its high one.
func newTables(numbers []int8) []table {
	out := make([]table, 2*bytesOf(len(numbers)))
	largest := 1
	for _, n := range numbers {
		largest = max(largest, int(n), -int(n))
	}
	for d, n := range numbers {
		counts := (max(int(n), -int(n))*MostAgreement*2 + largest) / (2 * largest)
		t, bit := &out[d/4], d%4
		for signs := range t {
			if (signs>>bit&1 != 0) == (n >= 0) {
				t[signs] += uint8(counts)
			}
		}
	}
	return out
}

// Agreements sets agreements[i] to how well the signs of sketch i agree with the
// query's: to the sum of what the numbers count whose signs are the same, or to 65535
// if that is more. Sketches are as many whole blocks as agreements has room for. Of
// each block, the bits of one number of reached are set where an agreement is least
// or more.
func (q *Query) Agreements(agreements []uint16, reached []uint32, sketches []byte, least uint16) {
	blocks := len(agreements) / Block
	if blocks == 0 || len(q.tables) == 0 {
		return
	}
	agreements, reached, sketches = agreements[:blocks*Block], reached[:blocks], sketches[:blocks*BlockSize(len(q.numbers))]
	if accelerated {
		sift(&agreements[0], &reached[0], &sketches[0], blocks, bytesOf(len(q.numbers)), &q.tables[0], least)
		return
	}
	for b := range reached {
		q.block(agreements[b*Block:][:Block], sketches[b*BlockSize(len(q.numbers)):])
		reached[b] = 0
		for i, agreement := range agreements[b*Block:][:Block] {
			if agreement >= least {
				reached[b] |= 1 << i
			}
		}
	}
}

func (q *Query) block(agreements []uint16, sketches []byte) {
	clear(agreements)
	for at := 0; at < len(q.tables); at += 2 {
		low, high := &q.tables[at], &q.tables[at+1]
		for i, signs := range sketches[at/2*Block:][:len(agreements)] {
			sum := uint32(agreements[i]) + uint32(low[signs&15]) + uint32(high[signs>>4])
			agreements[i] = uint16(min(sum, math.MaxUint16))
		}
	}
}
