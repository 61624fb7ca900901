package index

import (
	"math/bits"

	"github.com/stayd/stayd/internal/memory/index/simd"
)

// probe is the vector of a query, made ready for many products.
type probe struct {
	model   string
	scale   float64
	numbers []int8
	query   *simd.Query
}

func newProbe(model string, v vector) *probe {
	p := &probe{model: model, scale: float64(v.scale), numbers: make([]int8, len(v.data))}
	for d, x := range v.data {
		p.numbers[d] = int8(x)
	}
	p.query = simd.NewQuery(p.numbers)
	return p
}

// fits reports whether the group's vectors can be compared with the query's.
func (p *probe) fits(g *vectorGroup) bool { return g.model == p.model && g.dims == len(p.numbers) }

// compared is how many vectors are compared at a time, in whole blocks of sketches.
const compared = 16 * simd.Block

// room is for what so many vectors are to the query.
type room struct {
	ordinals   [compared]int32
	products   [compared]int32
	agreements [compared]uint16
	reached    [compared / simd.Block]uint32
}

// score returns what the vector scores whose numbers have the product. Products
// are exact, so that scores do not depend on where vectors lie.
func (p *probe) score(g *vectorGroup, ordinal int, product int32) float64 {
	return float64(product) * float64(g.scale(ordinal)) * p.scale
}

// scan offers all vectors of the group to top.
func (p *probe) scan(g *vectorGroup, part int32, seg *segment, hidden bitmap, r *room, top *top) {
	for first := 0; first < g.n; first += compared {
		products := r.products[:min(compared, g.n-first)]
		p.query.Products(products, g.rows(first, len(products)))
		for i, product := range products {
			score := p.score(g, first+i, product)
			if score < top.floor {
				continue
			}
			if doc := g.doc(first + i); !hidden.has(doc) {
				top.offer(hit{score: score, part: part, doc: uint32(doc), num: seg.num(doc)})
			}
		}
	}
}

// sift offers the sketches of a group to the sieve.
func (p *probe) sift(g *vectorGroup, part, group int32, hidden bitmap, r *room, to *sieve) {
	for first := 0; first < g.n; first += compared {
		n := min(compared, g.n-first)
		blocks := (n + simd.Block - 1) / simd.Block
		sketches := g.sketches[first/simd.Block*simd.BlockSize(g.dims):]
		p.query.Agreements(r.agreements[:blocks*simd.Block], r.reached[:], sketches, uint16(to.floor))
		for b, reached := range r.reached[:blocks] {
			for ; reached != 0; reached &= reached - 1 {
				i := b*simd.Block + bits.TrailingZeros32(reached)
				if agreement := int32(r.agreements[i]); i < n && agreement >= to.floor && !hidden.has(g.doc(first+i)) {
					to.offer(sifted{part, group, int32(first + i), agreement})
				}
			}
		}
	}
}
