package index

import (
	"cmp"
	"slices"
)

// reach is how many turns away a turn still matters to another.
const reach = 8

// slot is a document that is looked at: a candidate, or a turn near one.
type slot struct {
	part     int32
	doc      uint32
	num      int64
	position uint64
	// first and end bound the slots of its stretch, which is turns of one session in
	// their order: all that are within reach of a candidate of it, and perhaps more.
	first, end int32
}

// conversation is a session that candidates are of, in all parts of its space.
type conversation struct{ pieces [2]int } // in the ranker's pieces, from and to

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
func (r *ranker) conversation(h hit) int32 {
	p := r.parts[h.part]
	number := int(p.names[nameSession].at(int(h.doc)))
	if c, ok := r.sessions[sessionKey{h.part, uint32(number)}]; ok {
		return c
	}
	c := int32(len(r.conversations))
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

// placed is a candidate by its place in a conversation.
type placed struct {
	conversation int32
	position     uint64
	candidate    int
}

// lay makes slots of the candidates and of what is within reach of them, and
// notes for each candidate which is its.
func (r *ranker) lay(candidates []hit) {
	r.place, r.talk = sized(r.place, len(candidates)), sized(r.talk, len(candidates))
	r.turns = r.turns[:0]
	for i, h := range candidates {
		p := r.parts[h.part]
		position := p.positions.at(int(h.doc))
		r.talk[i] = r.conversation(h)
		if r.talk[i] >= 0 && position > 0 {
			r.turns = append(r.turns, placed{r.talk[i], position, i})
		} else {
			r.place[i] = r.alone(h)
		}
	}
	turns := r.turns
	slices.SortFunc(turns, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.conversation, b.conversation), cmp.Compare(a.position, b.position))
	})
	for len(turns) > 0 {
		n := 1
		for n < len(turns) && turns[n].conversation == turns[0].conversation && turns[n].position-turns[n-1].position <= 2*reach {
			n++
		}
		r.stretch(candidates, turns[:n])
		turns = turns[n:]
	}
}

// stretch makes the slots of turns that are within reach of each other.
func (r *ranker) stretch(candidates []hit, turns []placed) {
	c := &r.conversations[turns[0].conversation]
	from, to := turns[0].position-min(turns[0].position, reach), turns[len(turns)-1].position+reach
	first := len(r.slots)
	for _, piece := range r.pieces[c.pieces[0]:c.pieces[1]] {
		r.collect(piece, max(from, 1), max(to, from))
	}
	added := r.slots[first:]
	slices.SortFunc(added, func(a, b slot) int {
		return cmp.Or(cmp.Compare(a.position, b.position), cmp.Compare(a.num, b.num))
	})
	for i := range added {
		added[i].first, added[i].end = int32(first), int32(len(r.slots))
	}
	for _, t := range turns {
		for len(added) > 0 && added[0].position < t.position {
			added = added[1:]
			first++
		}
		h := candidates[t.candidate]
		at := slices.IndexFunc(added, func(s slot) bool {
			return s.position != t.position || s.part == h.part && s.doc == h.doc
		})
		if at < 0 || added[at].position != t.position {
			r.place[t.candidate] = r.alone(h) // an index that is corrupt says so of its sessions
			continue
		}
		r.place[t.candidate] = int32(first + at)
	}
}

// alone makes a slot of a document that nothing stands beside.
func (r *ranker) alone(h hit) int32 {
	at := int32(len(r.slots))
	r.slots = append(r.slots, slot{part: h.part, doc: h.doc, num: h.num, first: at, end: at + 1})
	return at
}

// collect adds the slots of the piece at positions from one to another.
func (r *ranker) collect(piece sessionPiece, from, to uint64) {
	p := r.parts[piece.part]
	gone := p.hidden
	if r.plan.Superseded {
		gone = p.replaced
	}
	lo, hi := piece.begin, piece.end
	for lo < hi {
		if mid := (lo + hi) / 2; p.positions.at(int(p.sessions.at(mid))) < from {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	for ; lo < piece.end; lo++ {
		doc := int(p.sessions.at(lo))
		position := p.positions.at(doc)
		if position > to {
			return
		}
		if !gone.has(doc) {
			r.slots = append(r.slots, slot{part: piece.part, doc: uint32(doc), num: p.num(doc), position: position})
		}
	}
}

// turn returns the slot of the turn so many before (less than 0) or behind the
// slot's, and -1 where there is none.
func (r *ranker) turn(at int32, distance int32) int32 {
	s := &r.slots[at]
	i := at + distance
	if i < s.first || i >= s.end {
		return -1
	}
	if p := r.slots[i].position; max(p, s.position)-min(p, s.position) > reach {
		return -1
	}
	return i
}
