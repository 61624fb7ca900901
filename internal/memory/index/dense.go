package index

import (
	"math"
	"slices"
)

// Vectors of texts point more or less the same way: what they have in common
// says nothing, and is taken away before they are compared. What is taken away of
// few vectors is less than their mean, as they have more in common by chance.
const fewVectors = 20

// meanBits are behind the point in sums of vectors, which are whole numbers, so
// that the order of the vectors does not matter.
const meanBits = 20

// add adds the vector to the sum, or takes it away where times is -1.
func (v vector) add(sum []int64, times int64) {
	scale := times * int64(math.Round(float64(v.scale)*(1<<meanBits)*128))
	for d, x := range v.data {
		sum[d] += int64(int8(x)) * scale
	}
}

// vectorSum is the sum of some vectors.
type vectorSum struct {
	numbers []int64
	count   int
}

// nearness compares the vectors of slots with that of the query.
type nearness struct {
	mean    []float64
	query   []float64 // less the mean, of length 1
	where   []int32   // by slot: where its vector ends in numbers, 0 for not read, -1 for none
	numbers []float64 // of the vectors that were read
	sum     []float64 // for adding up
	common  []int64   // the sum of all vectors
}

// room returns numbers for a vector.
func (n *nearness) room(dims int) []float64 {
	end := len(n.numbers) + dims
	n.numbers = slices.Grow(n.numbers, dims)[:end]
	return n.numbers[end-dims:]
}

// compareVectors makes the query ready for being compared with slots, where it has
// a vector.
func (r *ranker) compareVectors() {
	if r.probe == nil {
		return
	}
	n, dims, count := &r.near, len(r.probe.numbers), 0
	n.mean, n.query, n.sum = zeroed(n.mean, dims), zeroed(n.query, dims), zeroed(n.sum, dims)
	n.where, n.numbers, n.common = zeroed(n.where, len(r.slots)), n.numbers[:0], zeroed(n.common, dims)
	for _, p := range r.parts {
		for g := range p.groups {
			if group := &p.groups[g]; r.probe.fits(group) {
				for d, x := range p.sums[g].numbers {
					n.common[d] += x
				}
				count += p.sums[g].count
			}
		}
	}
	for d := range n.mean {
		n.mean[d] = float64(n.common[d]) / ((1 << meanBits) * 128) / float64(count+fewVectors)
		n.query[d] = float64(r.probe.numbers[d])*r.probe.scale - n.mean[d]
	}
	length := math.Sqrt(product(n.query, n.query))
	for d := range n.query {
		n.query[d] /= max(length, 1e-9)
	}
}

func product(a, b []float64) float64 {
	sum := 0.0
	for i, x := range a {
		sum += x * b[i]
	}
	return sum
}

// vector returns the slot's vector less the mean, and nil where it has none.
func (r *ranker) vector(at int32) []float64 {
	if at < 0 {
		return nil
	}
	dims := len(r.near.mean)
	if end := int(r.near.where[at]); end != 0 {
		return r.near.numbers[max(end-dims, 0):max(end, 0)]
	}
	var out []float64
	p, doc := r.parts[r.slots[at].part], int(r.slots[at].doc)
	for g := range p.groups {
		group := &p.groups[g]
		if !r.probe.fits(group) {
			continue
		}
		if ordinal := group.ordinal(doc); ordinal >= 0 {
			out = r.near.room(group.dims)
			v := group.vector(ordinal)
			for d, x := range v.data {
				out[d] = float64(int8(x))*float64(v.scale) - r.near.mean[d]
			}
		}
	}
	r.near.where[at] = -1
	if out != nil {
		r.near.where[at] = int32(len(r.near.numbers))
	}
	return out
}

// cosines compares the slot's vector with the query's, alone and with those of
// the turns beside it, and reports whether it has one.
func (r *ranker) cosines(at int32) (alone, beside float64, ok bool) {
	if r.probe == nil {
		return 0, 0, false
	}
	own := r.vector(at)
	if len(own) == 0 {
		return 0, 0, false
	}
	const ownWeight = 1.5
	sum := r.near.sum
	for d, x := range own {
		sum[d] = ownWeight * x
	}
	for _, distance := range [...]int32{-1, 1} {
		for d, x := range r.vector(r.turn(at, distance)) {
			sum[d] += x
		}
	}
	return r.near.cosine(own), r.near.cosine(sum), true
}

func (n *nearness) cosine(v []float64) float64 {
	return product(v, n.query) / max(math.Sqrt(product(v, v)), 1e-9)
}
