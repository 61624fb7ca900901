package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// Vectors lie in blocks of eight, dimension by dimension: the first numbers of
// the eight, then their second ones. So one read gets eight numbers that a
// search multiplies by the same number of the query, four at a time in the lanes
// of a word.
const lanes = 8

// vectorHead is what a group has in front: the length of the model's name, the
// dimension, how many vectors there are, the longest norm, and the size of the
// list behind.
const vectorHead = 4 + 4 + 8 + 8 + 8

// vector is one as it is encoded: numbers from -127 to 127 and what to multiply
// them by.
type vector struct {
	scale float32
	data  []byte // int8
}

// vectorHeader is the scale in front of an encoded vector.
const vectorHeader = 4

// parseVector reads an encoded vector without copying it.
func parseVector(b []byte) (vector, error) {
	if len(b) <= vectorHeader {
		return vector{}, fmt.Errorf("a vector has %d bytes, fewer than a scale and one dimension", len(b))
	}
	v := vector{scale: math.Float32frombits(binary.LittleEndian.Uint32(b)), data: b[vectorHeader:]}
	if !(v.scale >= 0 && v.scale <= math.MaxFloat32) {
		return vector{}, errors.New("the scale of a vector is negative or no number")
	}
	return v, nil
}

func (v vector) norm() float64 {
	sum := 0
	for _, x := range v.data {
		sum += int(int8(x)) * int(int8(x))
	}
	return float64(v.scale) * math.Sqrt(float64(sum))
}

// vectorGroup is the vectors of a segment that one model made.
type vectorGroup struct {
	model   string
	dims    int
	n       int
	norm    float64 // no vector is longer
	docs    column  // by ordinal; empty where all documents have a vector
	all     bool
	scales  []byte    // float32
	unscale []float32 // by block: one divided by its largest scale, rounded down
	sum     []int64   // of all vectors
	signs   []byte    // sketches by ordinal
	blocks  []byte
}

// appendVectors appends a group. Vector i is of the document docs[i]; docs is
// nil where that is i.
func appendVectors(dst []byte, model string, dims int, docs []uint64, vectors []vector) []byte {
	norm := 0.0
	for _, v := range vectors {
		norm = max(norm, v.norm())
	}
	var packed []byte
	if docs != nil {
		packed = appendColumn(nil, docs)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(model)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(dims))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(vectors)))
	dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(norm))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(packed)))
	dst = append(append(dst, model...), packed...)
	sum := make([]int64, dims)
	for _, v := range vectors {
		v.add(sum, 1)
	}
	for _, x := range sum {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(x))
	}
	for _, v := range vectors {
		dst = binary.LittleEndian.AppendUint32(dst, math.Float32bits(v.scale))
	}
	for _, v := range vectors {
		dst = appendSketch(dst, v)
	}
	begin := len(dst)
	dst = append(dst, make([]byte, (len(vectors)+lanes-1)/lanes*lanes*dims)...)
	blocks := dst[begin:]
	for i, v := range vectors {
		block := blocks[i/lanes*lanes*dims:]
		for d, x := range v.data {
			// Unsigned, so that a lane never borrows from its neighbour.
			block[d*lanes+i%lanes] = x ^ 0x80
		}
	}
	return dst
}

// readVectors reads the groups that fill the bytes.
func readVectors(b []byte, groups, docs int) ([]vectorGroup, error) {
	if groups > len(b)/vectorHead {
		return nil, fmt.Errorf("the vectors: %w", errCorrupt)
	}
	out := make([]vectorGroup, groups)
	for i := range out {
		rest, ok := out[i].read(b, docs)
		if !ok {
			return nil, fmt.Errorf("the vectors: %w", errCorrupt)
		}
		b = rest
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("what follows the vectors: %w", errCorrupt)
	}
	return out, nil
}

func (g *vectorGroup) read(b []byte, docs int) (rest []byte, ok bool) {
	if len(b) < vectorHead {
		return nil, false
	}
	name := uint64(binary.LittleEndian.Uint32(b))
	dims, n := uint64(binary.LittleEndian.Uint32(b[4:])), binary.LittleEndian.Uint64(b[8:])
	g.norm = math.Float64frombits(binary.LittleEndian.Uint64(b[16:]))
	packed := binary.LittleEndian.Uint64(b[24:])
	b = b[vectorHead:]
	if dims == 0 || dims > maxDims || n > uint64(docs) || packed > uint64(len(b)) || !(g.norm >= 0) {
		return nil, false
	}
	blocks := (n + lanes - 1) / lanes * lanes * dims
	signs := 8 * uint64(sketchWords(int(dims))) * n
	if uint64(len(b)) < name+packed+8*dims+4*n+signs+blocks {
		return nil, false
	}
	g.dims, g.n = int(dims), int(n)
	g.model, b = string(b[:name]), b[name:]
	if g.all = packed == 0; !g.all {
		var err error
		if g.docs, err = readColumn(b[:packed], g.n); err != nil || !g.docs.below(uint64(docs)) {
			return nil, false
		}
		for i := 1; i < g.n; i++ {
			if g.docs.at(i) <= g.docs.at(i-1) {
				return nil, false
			}
		}
	} else if g.n != docs {
		return nil, false
	}
	b = b[packed:]
	g.sum = make([]int64, dims)
	for d := range g.sum {
		g.sum[d] = int64(binary.LittleEndian.Uint64(b[8*d:]))
	}
	b = b[8*dims:]
	g.scales, b = b[:4*n], b[4*n:]
	g.unscale = make([]float32, (g.n+lanes-1)/lanes)
	for i := range g.unscale {
		largest := float32(0)
		for j := i * lanes; j < min(g.n, (i+1)*lanes); j++ {
			largest = max(largest, g.scale(j))
		}
		if largest > 0 {
			g.unscale[i] = 1 / largest * (1 - 1e-6)
		}
	}
	g.signs, b = b[:signs], b[signs:]
	g.blocks = b[:blocks]
	return b[blocks:], true
}

// maxDims bounds the dimension of a vector.
const maxDims = 1 << 14

func (g *vectorGroup) doc(ordinal int) int {
	if g.all {
		return ordinal
	}
	return int(g.docs.at(ordinal))
}

// ordinal returns the place of the document's vector, and -1 where it has none.
func (g *vectorGroup) ordinal(doc int) int {
	if g.all {
		return doc
	}
	lo, hi := 0, g.n
	for lo < hi {
		if mid := (lo + hi) / 2; int(g.docs.at(mid)) < doc {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < g.n && int(g.docs.at(lo)) == doc {
		return lo
	}
	return -1
}

func (g *vectorGroup) scale(ordinal int) float32 {
	return math.Float32frombits(binary.LittleEndian.Uint32(g.scales[4*ordinal:]))
}

// block is where the vector lies: every eighth byte from the first on is one of
// its numbers.
func (g *vectorGroup) block(ordinal int) []byte {
	return g.blocks[ordinal/lanes*lanes*g.dims+ordinal%lanes:]
}

// vector copies one out of its block.
func (g *vectorGroup) vector(ordinal int) vector {
	v := vector{scale: g.scale(ordinal), data: make([]byte, g.dims)}
	block := g.block(ordinal)
	for d := range v.data {
		v.data[d] = block[d*lanes] ^ 0x80
	}
	return v
}
