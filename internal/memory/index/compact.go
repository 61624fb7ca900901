package index

import (
	"math/bits"
	"slices"
)

// Pieces are merged when this many of about one size stand side by side; sizes
// are classes of eight times the size.
const (
	mergeAt   = 8
	classBits = 3
	// maxTail bounds what Apply merges, so that it never takes long; larger pieces
	// are left to Seal and Compact, which hold up nobody.
	maxTail = 1 << 15
)

func class(docs int) int { return bits.Len(uint(docs)) / classBits }

// tidy merges the small parts at the end of the view that no store has.
func (v *view) tidy() error {
	for {
		first, docs := len(v.parts), 0
		top := class(v.parts[len(v.parts)-1].docs)
		for first > 0 {
			p := v.parts[first-1]
			if p.stored || p.held || class(p.docs) > top || docs+p.docs > maxTail {
				break
			}
			docs += p.docs
			first--
		}
		if len(v.parts)-first < mergeAt {
			return nil
		}
		merged, err := mergeParts(v.parts[first:])
		if err != nil {
			return err
		}
		v.parts = append(v.parts[:first:first], merged.over(v.parts[first:], false))
	}
}

func mergeParts(parts []*part) (*segment, error) {
	segments := make([]*segment, len(parts))
	for i, p := range parts {
		segments[i] = p.segment
	}
	data, err := merge(segments)
	if err != nil {
		return nil, err
	}
	return openSegment(data)
}

// over returns the part that takes the place of those that the segment was
// merged from. What is replaced in the newest of them that has it is replaced.
func (s *segment) over(parts []*part, stored bool) *part {
	var replaced bitmap
	seen := map[int64]bool{}
	for _, p := range slices.Backward(parts) {
		if p.lost > 0 {
			for doc := range p.docs {
				if num := p.num(doc); p.replaced.has(doc) && !seen[num] {
					if replaced == nil {
						replaced = newBitmap(s.docs)
					}
					replaced.set(s.find(num))
				}
			}
		}
		for i := range p.segment.replaced.n {
			seen[int64(p.segment.replaced.at(i))] = true
		}
	}
	return newPart(s, replaced, stored)
}

// Seal makes one piece of all that no store has, where that is at least so many
// documents, and returns nothing where it is less. It may take long, and keeps
// neither searches nor Apply waiting. Tell Stored when the piece is kept.
func (s *Space) Seal(least int) (*Piece, error) {
	return s.rewrite(func(parts []*part) (first, end int) {
		first, docs := len(parts), 0
		for first > 0 && !parts[first-1].stored {
			first--
			docs += parts[first].docs
		}
		if docs < max(least, 1) {
			return 0, 0
		}
		return first, len(parts)
	})
}

// Compact merges stored pieces where there are many of a size, or where half of
// the documents are replaced, and returns nothing where there is nothing to do.
// It may take long, and keeps neither searches nor Apply waiting. Tell Stored
// when the piece is kept.
func (s *Space) Compact() (*Piece, error) {
	return s.rewrite(func(parts []*part) (first, end int) {
		docs, lost := 0, 0
		for end < len(parts) && parts[end].stored {
			docs += parts[end].docs
			lost += parts[end].lost
			end++
		}
		if end > 1 && 2*lost >= docs {
			return 0, end
		}
		for first = range end {
			top, last := class(parts[first].docs), first
			for last < end && class(parts[last].docs) <= top {
				last++
			}
			if last-first >= mergeAt {
				return first, last
			}
		}
		return 0, 0
	})
}

// rewrite merges the parts from first to end that choose returns, where there
// are any.
func (s *Space) rewrite(choose func(parts []*part) (first, end int)) (*Piece, error) {
	s.merging.Lock()
	defer s.merging.Unlock()
	s.mu.Lock()
	held := s.view.Load().clone()
	first, end := choose(held.parts)
	for i := first; i < end; i++ {
		held.owned(held.parts[i]).held = true
	}
	s.view.Store(held)
	s.mu.Unlock()
	if first == end {
		return nil, nil
	}
	from, to := held.parts[first].from, held.parts[end-1].to
	merged, err := held.parts[first].segment, error(nil)
	if end-first > 1 {
		merged, err = mergeParts(held.parts[first:end])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.view.Load().clone()
	first = slices.IndexFunc(next.parts, func(p *part) bool { return p.from == from })
	end = first + end - slices.IndexFunc(held.parts, func(p *part) bool { return p.from == from })
	if err != nil {
		for i := first; i < end; i++ {
			next.owned(next.parts[i]).held = false
		}
		s.view.Store(next)
		return nil, err
	}
	next.parts = slices.Replace(next.parts, first, end, merged.over(next.parts[first:end], false))
	s.view.Store(next)
	return &Piece{From: from, To: to, Data: merged.bytes}, nil
}

// Stored says that the piece is kept by the store, so that Seal does not make it
// again.
func (s *Space) Stored(p *Piece) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.view.Load().clone()
	for _, q := range next.parts {
		if q.from == p.From && q.to == p.To {
			next.owned(q).stored = true
		}
	}
	s.view.Store(next)
}
