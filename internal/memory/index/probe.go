package index

import (
	"encoding/binary"
	"math"
)

// probe is the vector of a query, made ready for many products.
type probe struct {
	model   string
	scale   float64
	numbers []int32 // by dimension
	sum     int32

	// The coarse query has 31 steps to either side, which leaves room for eight
	// products in the 16 bits of a lane.
	step   int32
	coarse []coarse // by dimension
	bias   int32    // what the numbers' being unsigned adds to the coarse product
	rest   float64  // norm of what the coarse query leaves out

	sketch sketch
}

// coarse is a dimension of the coarse query. One that is negative is multiplied
// without its sign, and what it meets is turned around instead: so all is
// positive and adds up in lanes.
type coarse struct {
	flip   uint64 // all ones where it is negative
	factor uint64
}

const (
	coarseSteps = 31
	flushAfter  = 8
	laneMask    = 0x00ff00ff00ff00ff
	pairMask    = 0x0000ffff0000ffff
)

func newProbe(model string, v vector) *probe {
	p := &probe{
		model: model, scale: float64(v.scale), numbers: make([]int32, len(v.data)), coarse: make([]coarse, len(v.data)),
	}
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
		size := max(n, -n)
		steps := min((size+p.step/2)/p.step, coarseSteps)
		left := int64(size - steps*p.step)
		rest += left * left
		p.coarse[d].factor = uint64(steps)
		if n < 0 {
			p.coarse[d].flip = ^uint64(0)
			p.bias += 127 * steps
		} else {
			p.bias += 128 * steps
		}
	}
	p.rest = math.Sqrt(float64(rest))
	p.sketch = newSketch(p.numbers)
	return p
}

// products adds up the products of the coarse query with the eight vectors of a
// block. Two sums are in each word.
func (p *probe) products(block []byte) (sums04, sums26, sums15, sums37 uint64) {
	dims := p.coarse
	for len(dims) >= flushAfter && len(block) >= flushAfter*lanes {
		b, q := (*[flushAfter * lanes]byte)(block), (*[flushAfter]coarse)(dims)
		w := binary.LittleEndian.Uint64(b[:8]) ^ q[0].flip
		even, odd := w&laneMask*q[0].factor, w>>8&laneMask*q[0].factor
		w = binary.LittleEndian.Uint64(b[8:16]) ^ q[1].flip
		even, odd = even+w&laneMask*q[1].factor, odd+w>>8&laneMask*q[1].factor
		w = binary.LittleEndian.Uint64(b[16:24]) ^ q[2].flip
		even, odd = even+w&laneMask*q[2].factor, odd+w>>8&laneMask*q[2].factor
		w = binary.LittleEndian.Uint64(b[24:32]) ^ q[3].flip
		even, odd = even+w&laneMask*q[3].factor, odd+w>>8&laneMask*q[3].factor
		w = binary.LittleEndian.Uint64(b[32:40]) ^ q[4].flip
		even, odd = even+w&laneMask*q[4].factor, odd+w>>8&laneMask*q[4].factor
		w = binary.LittleEndian.Uint64(b[40:48]) ^ q[5].flip
		even, odd = even+w&laneMask*q[5].factor, odd+w>>8&laneMask*q[5].factor
		w = binary.LittleEndian.Uint64(b[48:56]) ^ q[6].flip
		even, odd = even+w&laneMask*q[6].factor, odd+w>>8&laneMask*q[6].factor
		w = binary.LittleEndian.Uint64(b[56:]) ^ q[7].flip
		even, odd = even+w&laneMask*q[7].factor, odd+w>>8&laneMask*q[7].factor
		sums04, sums26 = sums04+even&pairMask, sums26+even>>16&pairMask
		sums15, sums37 = sums15+odd&pairMask, sums37+odd>>16&pairMask
		block, dims = block[flushAfter*lanes:], dims[flushAfter:]
	}
	for d := range dims {
		w := binary.LittleEndian.Uint64(block[d*lanes:]) ^ dims[d].flip
		even, odd := w&laneMask*dims[d].factor, w>>8&laneMask*dims[d].factor
		sums04, sums26 = sums04+even&pairMask, sums26+even>>16&pairMask
		sums15, sums37 = sums15+odd&pairMask, sums37+odd>>16&pairMask
	}
	return sums04, sums26, sums15, sums37
}

// dot returns the product of the query and one vector. It is exact, so it does
// not depend on where the vector lies.
func (p *probe) dot(g *vectorGroup, ordinal int) float64 {
	block, numbers := g.block(ordinal), p.numbers
	var sum, sum1, sum2, sum3 int32
	for len(numbers) >= 4 && len(block) > 3*lanes {
		b, n := (*[3*lanes + 1]byte)(block), (*[4]int32)(numbers)
		sum += n[0] * int32(b[0])
		sum1 += n[1] * int32(b[lanes])
		sum2 += n[2] * int32(b[2*lanes])
		sum3 += n[3] * int32(b[3*lanes])
		block, numbers = block[min(4*lanes, len(block)):], numbers[4:]
	}
	for d, n := range numbers {
		sum += n * int32(block[d*lanes])
	}
	sum += sum1 + sum2 + sum3
	return float64(sum-128*p.sum) * float64(g.scale(ordinal)) * p.scale
}

// scan offers all vectors of the group that may be among the best to top. It
// first bounds each from above by the coarse query: what that leaves out is no
// longer than rest, and adds no more than rest times the vector's norm.
func (p *probe) scan(g *vectorGroup, part int32, seg *segment, hidden bitmap, top *top) {
	size := lanes * g.dims
	floor, above := math.Inf(-1), 0.0
	for first := 0; first < g.n; first += lanes {
		if g.all && hidden != nil && hidden[first>>6]>>(first&63)&0xff == 0xff {
			continue
		}
		if top.floor != floor {
			floor = top.floor
			above = p.above(g, floor)
		}
		least := p.least(above * float64(g.unscale[first/lanes]))
		sums04, sums26, sums15, sums37 := p.products(g.blocks[first/lanes*size:][:size])
		if reaches(sums04, least)|reaches(sums26, least)|reaches(sums15, least)|reaches(sums37, least) == 0 {
			continue
		}
		sums := [lanes]uint32{
			uint32(sums04), uint32(sums15), uint32(sums26), uint32(sums37),
			uint32(sums04 >> 32), uint32(sums15 >> 32), uint32(sums26 >> 32), uint32(sums37 >> 32),
		}
		for lane, sum := range sums[:min(lanes, g.n-first)] {
			ordinal := first + lane
			if p.bound(g, ordinal, sum) < floor {
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

// signs are the highest bits of the two sums in a word; no sum has one.
const signs = 1<<63 | 1<<31

// reaches has a sign bit where a sum is not below that of least.
func reaches(sums, least uint64) uint64 { return ((sums | signs) - least) & signs }

// above returns what the coarse product of a vector of scale 1 must be at least
// for the score. Products below nothing are all as good as nothing, as they grow
// with the least scale and not with the largest.
func (p *probe) above(g *vectorGroup, score float64) float64 {
	if above := (score - p.slackness(g)) / (float64(p.step) * p.scale); above > 0 {
		return above
	}
	return math.Inf(-1)
}

// least returns the coarse product, bias included, as a search compares it:
// twice in a word.
func (p *probe) least(product float64) uint64 {
	if !(product > 0) {
		return 0
	}
	least := uint64(p.bias) + uint64(min(product, math.MaxInt32/2))
	return least<<32 | least
}

// bound returns what the vector with the coarse product scores at most.
func (p *probe) bound(g *vectorGroup, ordinal int, sum uint32) float64 {
	return float64(int32(sum)-p.bias)*float64(p.step)*float64(g.scale(ordinal))*p.scale + p.slackness(g)
}

// slackness is what the coarse query leaves out at most, and more than rounding
// adds.
func (p *probe) slackness(g *vectorGroup) float64 { return p.rest*g.norm*p.scale + 1e-6 }
