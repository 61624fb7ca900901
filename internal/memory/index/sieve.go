package index

import (
	"math"

	"github.com/stayd/stayd/internal/memory/index/simd"
)

// Where there are many records a search first looks at sketches of the vectors,
// and compares only those in full whose signs agree best with the query's.

// sieve keeps the vectors whose signs agree best: those of an agreement that is
// reached by fewer than it is to keep, and all with the one below. So what it
// keeps does not depend on the order in which they come.
type sieve struct {
	keep   int
	counts []int // by agreement
	above  int   // how many have floor or more
	floor  int32
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
	s.keep, s.counts, s.above, s.floor, s.kept = keep, zeroed(s.counts, min(simd.MostAgreement*dims, math.MaxUint16)+1), 0, 0, s.kept[:0]
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
		if v.agreement >= s.floor {
			kept = append(kept, v)
		}
	}
	s.kept = kept
}
