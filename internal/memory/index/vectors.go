package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/stayd/stayd/internal/memory/index/simd"
)

// vectorHead is what a group has in front: the length of the model's name, the
// dimension, how many vectors there are, and the size of the list behind.
const vectorHead = 4 + 4 + 8 + 8

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

// vectorGroup is the vectors of a segment that one model made.
type vectorGroup struct {
	model    string
	dims     int
	n        int
	docs     column // by ordinal; empty where all documents have a vector
	all      bool
	scales   []byte  // float32
	sum      []int64 // of all vectors
	numbers  []byte  // int8, by ordinal
	sketches []byte  // in blocks of simd.Block
}

// appendVectors appends a group. Vector i is of the document docs[i]; docs is
// nil where that is i.
func appendVectors(dst []byte, model string, dims int, docs []uint64, vectors []vector) []byte {
	var packed []byte
	if docs != nil {
		packed = appendColumn(nil, docs)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(model)))
	dst = binary.LittleEndian.AppendUint32(dst, uint32(dims))
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(vectors)))
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
	begin := len(dst)
	for _, v := range vectors {
		dst = append(dst, v.data...)
	}
	return simd.AppendSketches(dst, dst[begin:], dims)
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
	packed := binary.LittleEndian.Uint64(b[16:])
	b = b[vectorHead:]
	if dims == 0 || dims > maxDims || n > uint64(docs) || packed > uint64(len(b)) {
		return nil, false
	}
	sketches := uint64(simd.SketchSize(int(dims), int(n)))
	if uint64(len(b)) < name+packed+8*dims+4*n+sketches+dims*n {
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
	g.numbers, b = b[:dims*n], b[dims*n:]
	g.sketches = b[:sketches]
	return b[sketches:], true
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

// rows returns the numbers of so many vectors from first on.
func (g *vectorGroup) rows(first, n int) []byte {
	return g.numbers[first*g.dims:][: n*g.dims : n*g.dims]
}

func (g *vectorGroup) vector(ordinal int) vector {
	return vector{scale: g.scale(ordinal), data: g.rows(ordinal, 1)}
}
