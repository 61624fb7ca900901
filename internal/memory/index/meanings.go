package index

import "math/bits"

// meaning is what a term of a document is to the query.
type meaning struct {
	term   uint32 // in the part's dictionary
	same   int32  // the term of the query that it is, -1 for none
	soft   int32  // where its likenesses begin in the ranker's, -1 where all are 0
	rarity float32
	named  bool // it is the name of the first person named in the query
	known  bool
}

// meanings are those of the terms of one part that were looked at, by term: a
// table with open addresses, less than half of it in use.
type meanings struct {
	table []meaning // a power of two
	used  int
}

const fewestMeanings = 1 << 9

// expect makes room for so many terms, and forgets those of before.
func (m *meanings) expect(terms int) {
	m.table, m.used = zeroed(m.table, max(1<<bits.Len(uint(2*terms)), fewestMeanings)), 0
}

// find returns the place of the term, where it is or is to be put.
func (m *meanings) find(term uint32) *meaning {
	if 2*m.used >= len(m.table) {
		m.grow()
	}
	// Multiplied by 2^32 over the golden ratio, neighbours lie far apart (Knuth).
	at := term * 2654435769 >> (32 - bits.Len(uint(len(m.table)-1)))
	for {
		k := &m.table[at]
		if !k.known || k.term == term {
			return k
		}
		at = (at + 1) & uint32(len(m.table)-1)
	}
}

func (m *meanings) grow() {
	old := m.table
	m.table = make([]meaning, max(4*len(old), fewestMeanings))
	m.used = 0
	for i := range old {
		if old[i].known {
			*m.find(old[i].term) = old[i]
			m.used++
		}
	}
}
