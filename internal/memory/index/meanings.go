package index

import "math/bits"

// meaning is what a term of a document is to the query.
type meaning struct {
	term   uint32 // in the part's dictionary
	same   int32  // the term of the query that it is, -1 for none
	soft   int32  // where its likenesses begin in the ranker's, -1 where all are 0
	rarity float32
	named  bool   // it is the name of the first person named in the query
	search uint32 // the one that it is known in
}

// meanings are those of the terms of one part that were looked at, by term: a
// table with open addresses, less than half of it in use. Those of searches before
// count as none.
type meanings struct {
	table  []meaning // a power of two
	used   int
	search uint32
}

const fewestMeanings = 1 << 9

// expect makes room for so many terms, and forgets those of before.
func (m *meanings) expect(terms int) {
	size := max(1<<bits.Len(uint(2*terms)), fewestMeanings)
	m.used = 0
	if m.search++; len(m.table) < size || m.search == 0 {
		m.table, m.search = make([]meaning, max(size, len(m.table))), 1
	}
}

// find returns what is known of the term, and otherwise the place for it.
func (m *meanings) find(term uint32) (k *meaning, known bool) {
	if 2*m.used >= len(m.table) {
		m.grow()
	}
	// Multiplied by 2^32 over the golden ratio, neighbours lie far apart (Knuth).
	at := term * 2654435769 >> (32 - bits.Len(uint(len(m.table)-1)))
	for {
		k := &m.table[at]
		if k.search != m.search {
			return k, false
		}
		if k.term == term {
			return k, true
		}
		at = (at + 1) & uint32(len(m.table)-1)
	}
}

// set puts in what the term is, where find said.
func (m *meanings) set(k *meaning, to meaning) {
	*k = to
	k.search = m.search
	m.used++
}

func (m *meanings) grow() {
	old := m.table
	m.table, m.used = make([]meaning, 4*len(old)), 0
	for i := range old {
		if old[i].search == m.search {
			k, _ := m.find(old[i].term)
			m.set(k, old[i])
		}
	}
}
