package index

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
)

// probe is the vector of a query, made ready for many products.
type probe struct {
	model   string
	scale   float64
	numbers []int32 // by dimension
	sum     int32

	// Coarse is the query in 31 steps to either side, which leaves room for eight
	// products in the 16 bits of a lane: plus and minus have the dimensions on
	// their side, each filled up to a multiple of eight with nothing.
	step        int32
	plus, minus []coarse
	bias        int32   // what the vectors' being unsigned adds to the coarse product
	rest        float64 // norm of what the coarse query leaves out
}

type coarse struct {
	offset int
	factor uint64
}

const (
	coarseSteps = 31
	flushAfter  = 8
	laneMask    = 0x00ff00ff00ff00ff
	pairMask    = 0x0000ffff0000ffff
)

func newProbe(model string, v vector) *probe {
	p := &probe{model: model, scale: float64(v.scale), numbers: make([]int32, len(v.data))}
	largest := int32(1)
	for d, x := range v.data {
		n := int32(int8(x))
		p.numbers[d] = n
		p.sum += n
		largest = max(largest, n, -n)
	}
	p.step = (largest + coarseSteps - 1) / coarseSteps
	rest := int64(0)
	for d, n := range p.numbers {
		// Rounded to the nearest, away from the sign of n.
		steps := (max(n, -n) + p.step/2) / p.step
		if steps > coarseSteps {
			steps = coarseSteps
		}
		left := int64(max(n, -n) - steps*p.step)
		rest += left * left
		switch {
		case steps == 0:
		case n > 0:
			p.plus = append(p.plus, coarse{d * lanes, uint64(steps)})
			p.bias += 128 * steps
		default:
			p.minus = append(p.minus, coarse{d * lanes, uint64(steps)})
			p.bias -= 128 * steps
		}
	}
	p.rest = math.Sqrt(float64(rest))
	p.plus, p.minus = fill(p.plus), fill(p.minus)
	return p
}

func fill(c []coarse) []coarse {
	for len(c)%flushAfter != 0 {
		c = append(c, coarse{})
	}
	return c
}

// products adds up the coarse query's products with the eight vectors of a
// block, in the lanes 0, 2, 4, 6 and 1, 3, 5, 7.
func products(block []byte, dims []coarse) (sums [lanes]int32) {
	var even0, even1, odd0, odd1 uint64
	for len(dims) >= flushAfter {
		var even, odd uint64
		for _, c := range dims[:flushAfter] {
			w := binary.LittleEndian.Uint64(block[c.offset:])
			even += w & laneMask * c.factor
			odd += w >> 8 & laneMask * c.factor
		}
		even0 += even & pairMask
		even1 += even >> 16 & pairMask
		odd0 += odd & pairMask
		odd1 += odd >> 16 & pairMask
		dims = dims[flushAfter:]
	}
	return [lanes]int32{
		int32(uint32(even0)), int32(uint32(odd0)), int32(uint32(even1)), int32(uint32(odd1)),
		int32(even0 >> 32), int32(odd0 >> 32), int32(even1 >> 32), int32(odd1 >> 32),
	}
}

// dot returns the product of the query and one vector. It is exact, so it does
// not depend on where the vector lies.
func (p *probe) dot(g *vectorGroup, ordinal int) float64 {
	block := g.blocks[ordinal/lanes*lanes*g.dims+ordinal%lanes:]
	sum, at := int32(0), 0
	for _, n := range p.numbers {
		sum += n * int32(block[at])
		at += lanes
	}
	return float64(sum-128*p.sum) * float64(g.scale(ordinal)) * p.scale
}

// scan offers all vectors of the group that may be among the best to top. It
// first bounds each from above by the coarse query: what that leaves out is no
// longer than rest, and adds no more than rest times the vector's norm.
func (p *probe) scan(g *vectorGroup, part int32, seg *segment, hidden bitmap, top *top) {
	slackness := p.rest*g.norm + 1e-6
	size := lanes * g.dims
	for first := 0; first < g.n; first += lanes {
		if g.all && hidden != nil && hidden[first>>6]>>(first&63)&0xff == 0xff {
			continue
		}
		block := g.blocks[first/lanes*size:][:size]
		plus, minus := products(block, p.plus), products(block, p.minus)
		for lane := range min(lanes, g.n-first) {
			ordinal := first + lane
			approx := float64(plus[lane]-minus[lane]-p.bias) * float64(p.step)
			if (approx*float64(g.scale(ordinal))+slackness)*p.scale < top.floor {
				continue
			}
			doc := g.doc(ordinal)
			if hidden.has(doc) {
				continue
			}
			if score := p.dot(g, ordinal); score >= top.floor {
				top.offer(hit{score: score, part: part, doc: uint32(doc), num: seg.num(doc)})
			}
		}
	}
}

// hit is a document and what it scored.
type hit struct {
	score float64
	num   int64
	space int32
	part  int32
	doc   uint32
}

// better orders hits: by score, then number, then space.
func better(a, b hit) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.num, b.num), cmp.Compare(a.space, b.space))
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
	if better(h, t.hits[0]) < 0 {
		t.hits[0] = h
		t.sink(0)
		t.floor = t.hits[0].score
	}
}

func (t *top) sink(i int) {
	for {
		worst := i
		for _, child := range [2]int{2*i + 1, 2*i + 2} {
			if child < len(t.hits) && better(t.hits[child], t.hits[worst]) > 0 {
				worst = child
			}
		}
		if worst == i {
			return
		}
		t.hits[i], t.hits[worst] = t.hits[worst], t.hits[i]
		i = worst
	}
}

// sorted returns the hits, best first, and ends the use of t.
func (t *top) sorted() []hit {
	slices.SortFunc(t.hits, better)
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
