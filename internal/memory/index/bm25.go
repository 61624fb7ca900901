package index

import (
	"math"
	"math/bits"
	"slices"
)

// Scores of words are whole numbers, so that it does not matter in which order
// they are added up: the same records give the same scores in whatever segments
// they lie. A contribution is how rare the term is times what its frequency in
// the document is worth, each with 16 bits behind the point.
const fraction = 16

func (x *lexicon) score(term int, freq, length uint8) uint32 {
	return uint32(x.terms[term].rarity * uint64(x.worth[freq][length]) >> fraction)
}

// most returns the highest score that the impact allows.
func (x *lexicon) most(term int, m impact) uint32 {
	if m.freq == 0 {
		return 0
	}
	best := uint32(0)
	for i, freq := range [...]uint8{min(m.freq, 1), min(m.freq, 2), m.freq} {
		if length := m.lengths[i]; length != noLength {
			best = max(best, x.score(term, freq, length))
		}
	}
	return best
}

// cursor walks a term's list in one segment.
type cursor struct {
	list
	term  int // of the query
	most  uint32
	block int
	at, n int // in the block that is decoded
	docs  [blockDocs]uint32
	freqs frequencies
	ready bool // the block is decoded
}

const noDoc = math.MaxUint32

// open decodes the block that the cursor is in.
func (c *cursor) open() {
	if !c.ready {
		c.n, c.freqs = c.decode(c.block, &c.docs)
		c.at, c.ready = 0, true
	}
}

// doc is the document that the cursor stands on, noDoc at the end.
func (c *cursor) doc() uint32 {
	for c.block < c.blocks {
		c.open()
		if c.at < c.n {
			return c.docs[c.at&(blockDocs-1)]
		}
		c.block++
		c.ready = false
	}
	return noDoc
}

// reach moves to the block that may have the document, without decoding it, and
// reports whether there is one.
func (c *cursor) reach(doc uint32) bool {
	if c.directory == nil {
		return c.block < c.blocks
	}
	if c.block >= c.blocks || c.last(c.block) >= doc {
		return c.block < c.blocks
	}
	// Doubling steps, then halving ones: the document is mostly near.
	step, low := 1, c.block
	for low+step < c.blocks && c.last(low+step) < doc {
		low += step
		step *= 2
	}
	lo, hi := low+1, min(low+step, c.blocks)
	for lo < hi {
		if mid := (lo + hi) / 2; c.last(mid) < doc {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	c.block, c.ready = lo, false
	return lo < c.blocks
}

// freq returns how often the document has the term, which is in the block that
// the cursor reached if anywhere. Documents are asked for in their order.
func (c *cursor) freq(doc uint32) uint8 {
	c.open()
	at, n := c.at, c.n
	for at < n && c.docs[at&(blockDocs-1)] < doc {
		at++
	}
	c.at = at
	if at < n && c.docs[at&(blockDocs-1)] == doc {
		return c.freqs.at(at)
	}
	return 0
}

// window is how many documents are scored at a time.
const window = 1 << 12

// scorer finds the documents with the best words, by MaxScore: terms whose
// scores together cannot reach the worst of the best so far are only looked at
// for documents that have another.
type scorer struct {
	*lexicon
	top    *top
	scores [window]uint32
	found  [window / 64]uint64
	docs   []uint16 // of the window
}

// part offers the best documents of a part.
func (s *scorer) part(p *part, index int32, hidden bitmap) {
	cursors := s.cursors(p)
	// below[i] is what the first i terms can score together.
	below := make([]uint32, len(cursors)+1)
	for i, c := range cursors {
		below[i+1] = below[i] + c.most
	}
	for {
		essential := 0
		for essential < len(cursors) && float64(below[essential+1]) < s.top.floor {
			essential++
		}
		next := uint32(noDoc)
		for _, c := range cursors[essential:] {
			next = min(next, c.doc())
		}
		if next == noDoc {
			return
		}
		base := next &^ (window - 1)
		for _, c := range cursors[essential:] {
			s.collect(c, p.lengths, base)
		}
		s.finish(p, index, hidden, base, cursors[:essential], below)
	}
}

// cursors returns those of the query's terms that the part has, by what they can
// score, the least first.
func (s *scorer) cursors(p *part) []*cursor {
	var out []*cursor
	for i := range s.terms {
		t := p.terms.find(s.terms[i].hash, s.terms[i].text)
		if t < 0 || s.terms[i].rarity == 0 {
			continue
		}
		c := &cursor{list: p.list(t), term: i}
		switch {
		case c.blocks == 0:
			continue
		case c.directory != nil:
			c.most = s.most(i, readImpact(c.directory))
		default:
			c.doc()
			m := noImpact()
			for j, doc := range c.docs[:c.n] {
				m.add(c.freqs.at(j), p.lengths[doc])
			}
			c.most = s.most(i, m)
		}
		out = append(out, c)
	}
	slices.SortStableFunc(out, func(a, b *cursor) int { return int(int64(a.most) - int64(b.most)) })
	return out
}

// collect adds the scores of a term to the documents of the window.
func (s *scorer) collect(c *cursor, lengths []byte, base uint32) {
	if !c.reach(base) {
		return
	}
	rarity, once := s.terms[c.term].rarity, &s.worth[1]
	for doc := c.doc(); doc < base+window; doc = c.doc() {
		if doc < base {
			c.at++
			continue
		}
		at, n := c.at, c.n
		for ; at < n; at++ {
			d := c.docs[at&(blockDocs-1)]
			i := d - base
			if i >= window {
				break
			}
			worth := once[lengths[d]]
			if c.freqs.width > 0 {
				worth = s.worth[c.freqs.at(at)&maxFreqMask][lengths[d]]
			}
			s.scores[i] += uint32(rarity * uint64(worth) >> fraction)
			s.found[i>>6] |= 1 << (i & 63)
		}
		c.at = at
	}
}

// maxFreqMask spares a check of bounds: frequencies end at maxFreq.
const maxFreqMask = 15

// finish adds the scores of the other terms to the documents of the window that
// can still be among the best, offers these, and clears the window. Term after
// term, the highest first, leaves fewer of them.
func (s *scorer) finish(p *part, index int32, hidden bitmap, base uint32, rest []*cursor, below []uint32) {
	docs := s.reaching(below[len(rest)])
	for j := len(rest) - 1; j >= 0 && len(docs) > 0; j-- {
		docs = s.add(rest[j], p.lengths, base, docs, below[j])
	}
	for _, i := range docs {
		doc, score := base+uint32(i), float64(s.scores[i])
		if score >= s.top.floor && !hidden.has(int(doc)) {
			s.top.offer(hit{score: score, part: index, doc: doc, num: p.num(int(doc))})
		}
	}
	clear(s.scores[:])
}

// reaching returns the documents of the window that were found and that more
// could bring among the best.
func (s *scorer) reaching(more uint32) []uint16 {
	docs, floor := s.docs[:0], s.top.floor
	for w, word := range s.found {
		s.found[w] = 0
		for ; word != 0; word &= word - 1 {
			i := (w<<6 | bits.TrailingZeros64(word)) & (window - 1)
			if float64(s.scores[i]+more) >= floor {
				docs = append(docs, uint16(i))
			}
		}
	}
	s.docs = docs
	return docs
}

// add adds the scores of a term to those of the documents that it and terms of
// so much below it can bring among the best, and returns these.
func (s *scorer) add(c *cursor, lengths []byte, base uint32, docs []uint16, below uint32) []uint16 {
	kept, floor := docs[:0], s.top.floor
	for _, i := range docs {
		score := s.scores[i&(window-1)]
		if float64(score+below+c.most) < floor {
			continue
		}
		doc := base + uint32(i)
		if c.reach(doc) {
			if !c.ready && c.directory != nil && float64(score+below+s.most(c.term, c.impact(c.block))) < floor {
				continue
			}
			if f := c.freq(doc); f > 0 {
				s.scores[i&(window-1)] = score + s.score(c.term, f, lengths[doc])
			}
		}
		kept = append(kept, i)
	}
	return kept
}
