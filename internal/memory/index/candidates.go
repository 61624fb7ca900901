package index

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// candidates returns the documents that are ranked: all where there are few.
func (s *search) candidates(ctx context.Context, pool int) ([]hit, error) {
	s.barred = make([]bitmap, len(s.parts))
	for i, p := range s.parts {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("search the index: %w", err)
		}
		s.barred[i] = p.barred(s.plan)
	}
	if len(s.lexicon.terms) == 0 && s.probe == nil {
		return nil, nil
	}
	if s.records() <= s.options.Whole {
		return s.all(), nil
	}
	words, vectors, err := s.retrieve(ctx, pool)
	if err != nil {
		return nil, err
	}
	return s.widen(fuse(words, vectors, pool)), nil
}

func (s *search) all() []hit {
	var out []hit
	for i, p := range s.parts {
		for doc := range p.docs {
			if !s.barred[i].has(doc) {
				out = append(out, hit{num: p.num(doc), space: s.spaceOf[i], part: int32(i), doc: uint32(doc)})
			}
		}
	}
	return out
}

// siftedShare is one in how many vectors is compared in full at least.
const siftedShare = 128

// retrieve returns the documents with the best words and with the nearest
// vectors.
func (s *search) retrieve(ctx context.Context, pool int) (words, vectors []hit, err error) {
	scorer := &scorer{lexicon: s.lexicon, top: newTop(pool)}
	near := newTop(pool)
	var sieve *sieve
	if s.probe != nil && s.records() > s.options.Exact {
		sieve = &s.scratch.sieve
		sieve.reset(len(s.probe.numbers), max(s.options.Sifted, s.records()/siftedShare, pool))
	}
	for i, p := range s.parts {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("search the index: %w", err)
		}
		scorer.top.space, near.space = s.spaceOf[i], s.spaceOf[i]
		scorer.part(p, int32(i), s.barred[i])
		if s.probe == nil {
			continue
		}
		for g := range p.groups {
			switch group := &p.groups[g]; {
			case !s.probe.fits(group):
			case sieve != nil:
				s.probe.sift(group, int32(i), int32(g), s.barred[i], &s.scratch.outcomes, sieve)
			default:
				s.probe.scan(group, int32(i), p.segment, s.barred[i], &s.scratch.outcomes, near)
			}
		}
	}
	if sieve != nil {
		s.compare(sieve, near)
	}
	return scorer.top.sorted(), near.sorted(), nil
}

// compare offers what the sieve kept by its exact product.
func (s *search) compare(sieve *sieve, near *top) {
	sieve.trim()
	for _, v := range sieve.kept {
		p := s.parts[v.part]
		group := &p.groups[v.group]
		near.space = s.spaceOf[v.part]
		ordinal := int(v.ordinal)
		var product [1]int32
		s.probe.query.Products(product[:], group.rows(ordinal, 1))
		if score := s.probe.score(group, ordinal, product[0]); score >= near.floor {
			doc := group.doc(ordinal)
			near.offer(hit{score: score, part: v.part, doc: uint32(doc), num: p.num(doc)})
		}
	}
}

// fusionRank is the constant of reciprocal rank fusion (Cormack et al., 2009).
const fusionRank = 60

type docKey struct {
	part int32
	doc  uint32
}

// fuse puts both lists together by reciprocal ranks and keeps the best of them,
// whose scores are those ranks.
func fuse(words, vectors []hit, keep int) []hit {
	all := make([]hit, 0, len(words)+len(vectors))
	places := make(map[docKey]int, len(words))
	for i, h := range words {
		h.score = 1 / float64(fusionRank+i+1)
		places[docKey{h.part, h.doc}] = i
		all = append(all, h)
	}
	for i, h := range vectors {
		h.score = 1 / float64(fusionRank+i+1)
		if place, ok := places[docKey{h.part, h.doc}]; ok {
			all[place].score += h.score
			continue
		}
		all = append(all, h)
	}
	slices.SortFunc(all, func(a, b hit) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.num, b.num), cmp.Compare(a.space, b.space))
	})
	return all[:min(keep, len(all))]
}

// Beside the best of many records stand candidates that no word puts forward:
// the answer to a question that has the words.
const (
	widened   = 60
	widenedBy = 2
)

// widen adds the turns beside the best candidates.
func (s *search) widen(found []hit) []hit {
	r := &ranker{search: s, sessions: map[sessionKey]int{}, slots: s.scratch.slots[:0]}
	seen := make(map[docKey]bool, len(found))
	for _, h := range found {
		seen[docKey{h.part, h.doc}] = true
	}
	best := found[:min(widened, len(found))]
	r.lay(best)
	for i, h := range best {
		for d := int32(-widenedBy); d <= widenedBy; d++ {
			at := r.turn(r.place[i], d)
			if at < 0 {
				continue
			}
			key := docKey{r.slots[at].part, r.slots[at].doc}
			if !seen[key] && !s.barred[key.part].has(int(key.doc)) {
				seen[key] = true
				found = append(found, hit{num: r.slots[at].num, space: h.space, part: key.part, doc: key.doc})
			}
		}
	}
	s.scratch.slots = r.slots
	return found
}
