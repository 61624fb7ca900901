package index

import (
	"math"
	"slices"
)

// hit is a document and what it scored.
type hit struct {
	score float64
	num   int64
	space int32
	part  int32
	doc   uint32
}

// better orders hits: by score, then number, then space.
func better(a, b *hit) bool {
	switch {
	case a.score != b.score:
		return a.score > b.score
	case a.num != b.num:
		return a.num < b.num
	}
	return a.space < b.space
}

// top keeps the best so many hits. Which those are does not depend on the order
// in which they are offered.
type top struct {
	limit int
	space int32
	hits  []hit // a heap with the worst in front once it is full
	floor float64
}

func newTop(limit int) *top {
	return &top{limit: limit, floor: math.Inf(-1), hits: make([]hit, 0, limit)}
}

func (t *top) offer(h hit) {
	h.space = t.space
	if len(t.hits) < t.limit {
		t.hits = append(t.hits, h)
		if len(t.hits) == t.limit {
			for i := t.limit/2 - 1; i >= 0; i-- {
				t.sink(i)
			}
			t.floor = t.hits[0].score
		}
		return
	}
	if better(&h, &t.hits[0]) {
		t.hits[0] = h
		t.sink(0)
		t.floor = t.hits[0].score
	}
}

// sink moves a hit down to its place, the worse of its children up instead.
func (t *top) sink(i int) {
	moved := t.hits[i]
	for {
		child := 2*i + 1
		if child >= len(t.hits) {
			break
		}
		if child+1 < len(t.hits) && better(&t.hits[child], &t.hits[child+1]) {
			child++
		}
		if !better(&moved, &t.hits[child]) {
			break
		}
		t.hits[i] = t.hits[child]
		i = child
	}
	t.hits[i] = moved
}

// sorted returns the hits, best first, and ends the use of t.
func (t *top) sorted() []hit {
	slices.SortFunc(t.hits, func(a, b hit) int {
		if better(&a, &b) {
			return -1
		}
		return 1
	})
	return t.hits
}

// bitmap is a set of documents; nil is empty.
type bitmap []uint64

func (b bitmap) has(doc int) bool { return b != nil && b[doc>>6]>>(doc&63)&1 != 0 }

func (b bitmap) set(doc int) { b[doc>>6] |= 1 << (doc & 63) }

func newBitmap(docs int) bitmap { return make(bitmap, (docs+63)/64) }

// with returns a copy with room for docs.
func (b bitmap) with(docs int) bitmap {
	if b == nil {
		return newBitmap(docs)
	}
	return slices.Clone(b)
}
