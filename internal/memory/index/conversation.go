package index

import (
	"github.com/stayd/stayd/internal/memory/language"
)

// conversation is a session that candidates are of, in all parts of its space.
type conversation struct {
	hits   int
	best   float64
	pieces [2]int // in the ranker's pieces, from and to
}

// sessionPiece is where a part has the session's documents, in its order of
// sessions and positions.
type sessionPiece struct {
	part       int32
	begin, end int
}

// sessionKey is a session by its number in a part.
type sessionKey struct {
	part   int32
	number uint32
}

// conversation returns the document's place in conversations, and -1 where it is
// of none.
func (r *ranker) conversation(h hit) int {
	p := r.parts[h.part]
	number := int(p.names[nameSession].at(int(h.doc)))
	if c, ok := r.sessions[sessionKey{h.part, uint32(number)}]; ok {
		return c
	}
	c := len(r.conversations)
	name := p.nameTable[nameSession].string(number)
	if len(name) == 0 {
		c = -1
	}
	hash, first := hashOf(name), len(r.pieces)
	for i := r.spaces[h.space].first; i < r.spaces[h.space].end; i++ {
		p := r.parts[i]
		if n := p.nameTable[nameSession].find(hash, name); n >= 0 {
			r.sessions[sessionKey{int32(i), uint32(n)}] = c
			r.pieces = append(r.pieces, sessionPiece{int32(i), int(p.sessStart.at(n)), int(p.sessStart.at(n + 1))})
		}
	}
	if c >= 0 {
		r.conversations = append(r.conversations, conversation{pieces: [2]int{first, len(r.pieces)}})
	}
	return c
}

// turn returns the document at the position, that with the lowest number where
// there are several, and false where there is none.
func (r *ranker) turn(c *conversation, position uint64) (found docKey, ok bool) {
	lowest := int64(0)
	for _, piece := range r.pieces[c.pieces[0]:c.pieces[1]] {
		p := r.parts[piece.part]
		lo, hi := piece.begin, piece.end
		for lo < hi {
			if mid := (lo + hi) / 2; p.positions.at(int(p.sessions.at(mid))) < position {
				lo = mid + 1
			} else {
				hi = mid
			}
		}
		for ; lo < piece.end; lo++ {
			doc := int(p.sessions.at(lo))
			if p.positions.at(doc) != position {
				break
			}
			if num := p.num(doc); !p.replaced.has(doc) && (!ok || num < lowest) {
				found, ok, lowest = docKey{piece.part, uint32(doc)}, true, num
			}
		}
	}
	return found, ok
}

// around returns the better BM25 score of the two documents so far before and
// behind in the conversation.
func (r *ranker) around(h hit, c *conversation, distance uint64) float64 {
	best := uint64(0)
	position := r.parts[h.part].positions.at(int(h.doc))
	if position == 0 {
		return 0
	}
	for _, other := range [2]uint64{position - distance, position + distance} {
		if other == 0 || other > position+distance {
			continue
		}
		if key, ok := r.turn(c, other); ok {
			score, _ := r.words(key.part, int(key.doc))
			best = max(best, score)
		}
	}
	return float64(best) / (1 << fraction)
}

// speaks reports whether the query names the document's speaker.
func (r *ranker) speaks(h hit) bool {
	name := r.parts[h.part].name(nameSpeaker, int(h.doc))
	if len(name) == 0 {
		return false
	}
	named, known := r.speakers[string(name)]
	if !known {
		for _, term := range language.Analyse(string(name)).Terms {
			for i := range r.lexicon.terms {
				named = named || r.lexicon.terms[i].named && string(r.lexicon.terms[i].text) == term
			}
		}
		r.speakers[string(name)] = named
	}
	return named
}
