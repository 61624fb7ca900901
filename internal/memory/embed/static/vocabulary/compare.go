package vocabulary

import "math"

// Comparison compares words with up to Compared others, many times over. For
// each part it has the products of the compared words with everything that the
// part can be, so that a word is compared with all of them by reading one place a
// part.
type Comparison struct {
	v     *Vocabulary
	n     int
	sums  []sums  // by part and code
	zero  float32 // what a product of 0 is after all parts
	scale float32
}

// Compared is how many words a Comparison holds.
const Compared = 8

// sums are eight in lanes of 16 bits.
type sums [2]uint64

// Compare makes the words ready for being compared, in the place of what the
// comparison was before; nil is a new one. There are at most Compared.
func (v *Vocabulary) Compare(words []int, c *Comparison) *Comparison {
	if c == nil || c.v != v {
		c = &Comparison{v: v, sums: make([]sums, v.parts*centroids)}
	}
	c.n = len(words)
	lanes := v.lanes(words)
	longest := float32(math.SmallestNonzeroFloat32) // product of a word's part and a centroid
	for p := range v.parts {
		from, to := part(p, v.parts, v.dims)
		for i := range words {
			square := float32(0)
			for d := from; d < to; d++ {
				square += lanes[d][i] * lanes[d][i]
			}
			longest = max(longest, float32(math.Sqrt(float64(square*v.longest[p]))))
		}
	}
	// A product lies so many steps from its zero that all parts fit into a lane.
	steps := float32(max((math.MaxUint16/v.parts-1)/2, 1))
	c.scale, c.zero = longest/steps, steps*float32(v.parts)
	for d := range lanes {
		for i := range lanes[d] {
			lanes[d][i] *= steps / longest
		}
	}
	for p := range v.parts {
		from, to := part(p, v.parts, v.dims)
		for code := range centroids {
			c.sums[p*centroids+code] = products(v.codebooks[from*centroids+code*(to-from):][:to-from], lanes[from:to], steps+0.5)
		}
	}
	return c
}

// products multiplies the numbers with all lanes and rounds the sums; zero is
// where the lanes begin. It is written out so that the sums stay in registers.
func products(numbers []float32, lanes [][Compared]float32, zero float32) sums {
	s0, s1, s2, s3, s4, s5, s6, s7 := zero, zero, zero, zero, zero, zero, zero, zero
	for d, x := range numbers {
		l := &lanes[d]
		s0, s1, s2, s3 = s0+x*l[0], s1+x*l[1], s2+x*l[2], s3+x*l[3]
		s4, s5, s6, s7 = s4+x*l[4], s5+x*l[5], s6+x*l[6], s7+x*l[7]
	}
	return sums{
		uint64(int32(s0)) | uint64(int32(s1))<<16 | uint64(int32(s2))<<32 | uint64(int32(s3))<<48,
		uint64(int32(s4)) | uint64(int32(s5))<<16 | uint64(int32(s6))<<32 | uint64(int32(s7))<<48,
	}
}

// lanes returns the words' vectors, of length 1, dimension by dimension.
func (v *Vocabulary) lanes(words []int) [][Compared]float32 {
	out := make([][Compared]float32, v.dims)
	for i, w := range words {
		vector, square := make([]float32, v.dims), 0.0
		v.Add(vector, w, 1)
		for _, x := range vector {
			square += float64(x) * float64(x)
		}
		scale := float32(1 / math.Sqrt(max(square, math.SmallestNonzeroFloat32)))
		for d, x := range vector {
			out[d][i] = x * scale
		}
	}
	return out
}

// With returns the cosines of a word with the words compared, in their order.
func (c *Comparison) With(word int) (cosines [Compared]float32) {
	length := c.v.lengths[word]
	if length == 0 {
		return cosines
	}
	var low, high uint64
	at := 0
	for _, code := range c.v.codes[word*c.v.parts : (word+1)*c.v.parts] {
		i := at + int(code)
		low += c.sums[i][0]
		high += c.sums[i][1]
		at += centroids
	}
	scale := c.scale / length
	for i := range cosines[:c.n] {
		sum := low
		if i >= 4 {
			sum = high
		}
		cosines[i] = (float32(uint16(sum>>(i%4*16))) - c.zero) * scale
	}
	return cosines
}
