package index

import (
	"slices"

	"github.com/stayd/stayd/internal/memory/embed/static/vocabulary"
)

// What of a soft match counts: words that are less alike are as good as unlike.
const leastAlike = 0.3

// The frequency of a term saturates as in BM25, and one that is there once in a
// document of average length is a full match, or nearly.
const (
	hardK    = 0.8
	hardB    = 0.4
	fullHard = 1.3
)

// match is what the terms of the query are worth in the slots, slot by slot.
type match struct {
	terms   int
	hard    []float32 // of the word itself, from 0 to 1
	soft    []float32 // of words that are like it, from 0 to 1
	counts  []uint8   // of the word itself
	lengths []int32   // by slot, of the document in terms
	rarest  []float32 // by slot, of its terms
	about   []bool    // by slot: it has the name of the first person named in the query
}

func (m *match) at(slot int32) (hard, soft []float32) {
	i := int(slot) * m.terms
	return m.hard[i : i+m.terms], m.soft[i : i+m.terms]
}

// dictionary knows what the terms of a part are to the query.
type dictionary struct {
	*part
	known  meanings
	terms  []int // of the query, in the part's dictionary, -1 where it has not
	person int   // the name of the first person named in the query, likewise
}

// dictionary makes one of a part ready, for so many words.
func (r *ranker) dictionary(d *dictionary, p *part, words int) {
	d.part, d.terms, d.person = p, d.terms[:0], -1
	d.known.expect(words / repeated)
	for i := range r.lexicon.terms {
		t := &r.lexicon.terms[i]
		d.terms = append(d.terms, p.terms.find(t.hash, t.text))
	}
	if len(r.people.terms) > 0 {
		name := []byte(r.people.terms[0])
		d.person = p.terms.find(hashOf(name), name)
	}
}

// read fills in the match of all slots.
func (r *ranker) read() {
	n := len(r.lexicon.terms)
	m := &r.match
	m.terms = n
	m.hard, m.soft = zeroed(m.hard, n*len(r.slots)), zeroed(m.soft, n*len(r.slots))
	m.counts, m.about = zeroed(m.counts, n*len(r.slots)), zeroed(m.about, len(r.slots))
	m.lengths, m.rarest = zeroed(m.lengths, len(r.slots)), zeroed(m.rarest, len(r.slots))
	words := make([]int, len(r.parts)) // of all slots, by part
	for i := range r.slots {
		s := &r.slots[i]
		begin, end := r.parts[s.part].bounds(int(s.doc))
		words[s.part] += end - begin
	}
	for len(r.dictionaries) < len(r.parts) {
		r.dictionaries = append(r.dictionaries, dictionary{})
	}
	ready := make([]bool, len(r.parts))
	for i := range r.slots {
		s := &r.slots[i]
		d := &r.dictionaries[s.part]
		if !ready[s.part] {
			r.dictionary(d, r.parts[s.part], words[s.part])
			ready[s.part] = true
		}
		r.readSlot(d, int32(i), int(s.doc))
	}
	for i := range ready {
		r.dictionaries[i].part = nil // a part that is merged away is not kept by this
	}
}

// repeated is how often a word is there in what is near candidates, about.
const repeated = 2

func (r *ranker) readSlot(d *dictionary, at int32, doc int) {
	m := &r.match
	hard, soft := m.at(at)
	counts := m.counts[int(at)*m.terms:][:m.terms]
	begin, end := d.bounds(doc)
	for i := begin; i < end; i++ {
		term := uint32(d.forward.at(i))
		k, known := d.known.find(term)
		if !known {
			d.known.set(k, r.meaning(d, int(term)))
		}
		m.about[at] = m.about[at] || k.named
		m.rarest[at] = max(m.rarest[at], k.rarity)
		if k.same >= 0 {
			counts[k.same] = min(counts[k.same]+1, maxFreq)
		}
		if k.soft >= 0 {
			for q, x := range r.likeness[k.soft:][:m.terms] {
				soft[q] = max(soft[q], x)
			}
		}
	}
	m.lengths[at] = int32(end - begin)
	k := hardK * (1 - hardB + hardB*float64(end-begin)/r.lexicon.average)
	for q, n := range counts {
		if n > 0 {
			f := float64(n)
			hard[q] = float32(min((1+hardK)*f/(f+k), fullHard) / fullHard)
			soft[q] = 1
		}
	}
}

// meaning works out what a term of the part is to the query.
func (r *ranker) meaning(d *dictionary, term int) meaning {
	word := int(d.words[term])
	k := meaning{
		term: uint32(term), same: int32(slices.Index(d.terms, term)), soft: -1,
		rarity: d.rarities[term], named: term == d.person,
	}
	if k.same >= 0 || word < 0 {
		return k
	}
	begin := len(r.likeness)
	for _, c := range r.comparisons {
		for i, cosine := range c.With(word) {
			if i >= len(c.terms) || cosine <= leastAlike {
				continue
			}
			if k.soft < 0 {
				k.soft = int32(begin)
				r.likeness = append(r.likeness, make([]float32, len(r.lexicon.terms))...)
			}
			r.likeness[begin+c.terms[i]] = min((cosine-leastAlike)/(1-leastAlike), 1)
		}
	}
	return k
}

// compareWords makes the query's words ready for being compared with others.
func (r *ranker) compareWords() {
	n := 0
	for q, t := range r.lexicon.terms {
		if t.word < 0 || t.name {
			continue
		}
		if n == 0 || len(r.comparisons[n-1].terms) == vocabulary.Compared {
			r.comparisons = slices.Grow(r.comparisons[:n], 1)[:n+1]
			c := &r.comparisons[n]
			c.words, c.terms = c.words[:0], c.terms[:0]
			n++
		}
		c := &r.comparisons[n-1]
		c.words, c.terms = append(c.words, t.word), append(c.terms, q)
	}
	r.comparisons = r.comparisons[:n]
	for i := range r.comparisons {
		c := &r.comparisons[i]
		c.Comparison = r.lexicon.vocabulary.Compare(c.words, c.Comparison)
	}
}

// comparison compares words with some of the query's terms.
type comparison struct {
	*vocabulary.Comparison
	words []int // in the vocabulary
	terms []int // of the query
}
