package index

import (
	"encoding/binary"
	"math/bits"
)

// Where there are many records a search first looks at a sketch of the vectors,
// which is the sign of each number, and compares only those in full whose signs
// agree best with the query.
const (
	sketchBits = 3 // of the query's numbers, without their signs
	sketchTop  = 1<<sketchBits - 1
)

func sketchWords(dims int) int { return (dims + 63) / 64 }

// appendSketch appends the signs of a vector; a bit is set where one is not
// negative.
func appendSketch(dst []byte, v vector) []byte {
	for d := 0; d < len(v.data); d += 64 {
		word := uint64(0)
		for i, x := range v.data[d:min(d+64, len(v.data))] {
			word |= uint64(^x>>7) << i
		}
		dst = binary.LittleEndian.AppendUint64(dst, word)
	}
	return dst
}

// sketch is the query as it is compared with signs, by words of 64 dimensions.
type sketch []sketchWord

type sketchWord struct {
	negative uint64             // dimensions in which the query is negative
	planes   [sketchBits]uint64 // bits of how much a dimension counts
}

func newSketch(numbers []int32) sketch {
	s := make(sketch, sketchWords(len(numbers)))
	largest := int32(1)
	for _, n := range numbers {
		largest = max(largest, n, -n)
	}
	for d, n := range numbers {
		w, bit := &s[d/64], uint64(1)<<(d%64)
		if n < 0 {
			w.negative |= bit
		}
		size := (max(n, -n)*sketchTop*2 + largest) / (2 * largest)
		for plane := range w.planes {
			if size>>plane&1 != 0 {
				w.planes[plane] |= bit
			}
		}
	}
	return s
}

// agreement adds up what the dimensions count in which the signs agree.
func (s sketch) agreement(signs []byte) int {
	sum := 0
	for i := range s {
		sum += s[i].agreement(binary.LittleEndian.Uint64(signs[8*i:]))
	}
	return sum
}

func (w sketchWord) agreement(signs uint64) int {
	agree := signs ^ w.negative
	return bits.OnesCount64(agree&w.planes[0]) + bits.OnesCount64(agree&w.planes[1])<<1 + bits.OnesCount64(agree&w.planes[2])<<2
}

// sieve keeps the vectors whose signs agree best: those of an agreement that is
// reached by fewer than it is to keep, and all with the one below. So what it
// keeps does not depend on the order in which they come.
type sieve struct {
	keep   int
	counts []int // by agreement
	above  int   // how many have floor or more
	floor  int
	kept   []sifted
}

type sifted struct {
	part      int32
	group     int32
	ordinal   int32
	agreement int32
}

// reset empties the sieve.
func (s *sieve) reset(dims, keep int) {
	s.keep, s.counts, s.above, s.floor, s.kept = keep, zeroed(s.counts, sketchTop*dims+1), 0, 0, s.kept[:0]
}

func (s *sieve) offer(v sifted) {
	s.counts[v.agreement]++
	s.above++
	s.kept = append(s.kept, v)
	for s.above-s.counts[s.floor] >= s.keep {
		s.above -= s.counts[s.floor]
		s.floor++
	}
	if len(s.kept) >= 2*s.above && len(s.kept) >= 2*s.keep {
		s.trim()
	}
}

// trim leaves out what is below the floor.
func (s *sieve) trim() {
	kept := s.kept[:0]
	for _, v := range s.kept {
		if int(v.agreement) >= s.floor {
			kept = append(kept, v)
		}
	}
	s.kept = kept
}

// sift offers the vectors of a group to the sieve.
func (p *probe) sift(g *vectorGroup, part, group int32, hidden bitmap, to *sieve) {
	if len(p.sketch) == 2 {
		p.siftTwo(g, part, group, hidden, to)
		return
	}
	size := 8 * len(p.sketch)
	for ordinal := range g.n {
		agreement := p.sketch.agreement(g.signs[ordinal*size:][:size])
		if agreement < to.floor || hidden.has(g.doc(ordinal)) {
			continue
		}
		to.offer(sifted{part, group, int32(ordinal), int32(agreement)})
	}
}

// siftTwo is sift of sketches of two words, as those of the embedded vectors are:
// in a loop of its own the query stays in registers.
func (p *probe) siftTwo(g *vectorGroup, part, group int32, hidden bitmap, to *sieve) {
	first, second, signs := p.sketch[0], p.sketch[1], g.signs
	for ordinal := int32(0); len(signs) >= 16; ordinal++ {
		agreement := first.agreement(binary.LittleEndian.Uint64(signs)) + second.agreement(binary.LittleEndian.Uint64(signs[8:]))
		signs = signs[16:]
		if agreement >= to.floor && !hidden.has(g.doc(int(ordinal))) {
			to.offer(sifted{part, group, ordinal, int32(agreement)})
		}
	}
}
