package index

import "slices"

// merge makes one segment of neighbours, oldest first. Of a document that
// several of them have, the newest stays; whether it replaces one of before is
// what the oldest of them says. What segments count as first seen adds up. So the
// outcome depends on the segments alone, and never on who else is at work.
func merge(segments []*segment) ([]byte, error) {
	b := newBuilder(segments[0].from, segments[len(segments)-1].to)
	newest := map[int64]int{} // of documents that several segments have
	replaces := map[int64]bool{}
	for i, s := range segments {
		for j := range s.replaced.n {
			num := int64(s.replaced.at(j))
			if _, seen := newest[num]; !seen {
				replaces[num] = !hasNum(segments[:i], num)
			}
			newest[num] = i
		}
	}
	for i, s := range segments {
		b.take(s, func(num int64) (keep, repl bool) {
			last, repeated := newest[num]
			return !repeated || last == i, repeated && replaces[num]
		})
	}
	return b.segment()
}

func hasNum(segments []*segment, num int64) bool {
	for _, s := range segments {
		if s.find(num) >= 0 {
			return true
		}
	}
	return false
}

// take adds a segment's documents that are to be kept.
func (b *builder) take(s *segment, which func(num int64) (keep, replaces bool)) {
	terms := make([]uint32, s.terms.n)
	for t := range terms {
		terms[t] = b.term(b.terms.idOf(s.terms.string(t)))
		b.statDF[terms[t]] += uint32(s.statDF.at(t))
	}
	b.statDocs += s.statDocs
	b.statTokens += s.statTokens
	var names [nameKinds][]uint32
	for k := range names {
		names[k] = make([]uint32, s.nameTable[k].n)
		for i := range names[k] {
			names[k][i] = b.names[k].idOf(s.nameTable[k].string(i))
		}
	}
	b.rows = slices.Grow(b.rows, s.docs)
	b.forward = slices.Grow(b.forward, s.tokens)
	first := len(b.rows)
	byDoc := make([]int32, s.docs) // row behind first, plus 1
	for doc := range s.docs {
		num := s.num(doc)
		keep, replaces := which(num)
		if !keep {
			continue
		}
		w := row{
			num: num, position: s.positions.at(doc), time: noTime, superseded: s.superseded.at(doc) != 0,
			flags: uint8(s.flags.at(doc)), replaces: replaces, begin: len(b.forward),
		}
		if t, ok := s.time(doc); ok {
			w.time = t
		}
		for k := range names {
			w.names[k] = names[k][s.names[k].at(doc)]
		}
		begin, end := s.bounds(doc)
		for i := begin; i < end; i++ {
			b.forward = append(b.forward, terms[s.forward.at(i)])
		}
		w.end = len(b.forward)
		b.rows = append(b.rows, w)
		byDoc[doc] = int32(len(b.rows) - first)
	}
	for g := range s.groups {
		group := &s.groups[g]
		for i := range group.n {
			if at := byDoc[group.doc(i)]; at > 0 {
				r := &b.rows[first+int(at)-1]
				r.source, r.ordinal = group, i
			}
		}
	}
}

// time returns the beginning of the document's validity in microseconds of Unix
// time, and false where it is open.
func (s *segment) time(doc int) (int64, bool) {
	t := s.times.at(doc)
	return s.timeBase + int64(t-1), t != 0
}
