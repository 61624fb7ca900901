package index

import "github.com/stayd/stayd/internal/memory/index/simd"

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

// compared is how many vectors are compared at a time.
const compared = 512

// outcomes are numbers of so many vectors.
type outcomes [compared]int32

// score returns what the vector scores whose numbers have the product. Products
// are exact, so that scores do not depend on where vectors lie.
func (p *probe) score(g *vectorGroup, ordinal int, product int32) float64 {
	return float64(product) * float64(g.scale(ordinal)) * p.scale
}

// scan offers all vectors of the group to top.
func (p *probe) scan(g *vectorGroup, part int32, seg *segment, hidden bitmap, room *outcomes, top *top) {
	for first := 0; first < g.n; first += compared {
		products := room[:min(compared, g.n-first)]
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
func (p *probe) sift(g *vectorGroup, part, group int32, hidden bitmap, room *outcomes, to *sieve) {
	size := simd.SketchSize(g.dims)
	for first := 0; first < g.n; first += compared {
		agreements := room[:min(compared, g.n-first)]
		p.query.Agreements(agreements, g.sketches[first*size:])
		for i, agreement := range agreements {
			if agreement >= to.floor && !hidden.has(g.doc(first+i)) {
				to.offer(sifted{part, group, int32(first + i), agreement})
			}
		}
	}
}
