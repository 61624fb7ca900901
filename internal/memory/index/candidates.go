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
	return s.widen(s.fuse(words, vectors, pool)), nil
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

// siftedShare is one in how many of the records that are searched is compared in full
// at least, where that is more than Options.Sifted.
const siftedShare = 128

// retrieve returns the documents with the best words and with the nearest
// vectors.
func (s *search) retrieve(ctx context.Context, pool int) (words, vectors []hit, err error) {
	scorer := &s.scratch.scorer
	scorer.lexicon, scorer.top = s.lexicon, newTop(pool)
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
				s.probe.sift(group, int32(i), int32(g), s.barred[i], &s.scratch.room, sieve)
			default:
				s.probe.scan(group, int32(i), p.segment, s.barred[i], &s.scratch.room, near)
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
	ordinals, products := &s.scratch.room.ordinals, &s.scratch.room.products
	for kept := sieve.kept; len(kept) > 0; {
		part, g, n := kept[0].part, kept[0].group, 0
		for n < min(len(kept), compared) && kept[n].part == part && kept[n].group == g {
			ordinals[n] = kept[n].ordinal
			n++
		}
		p, group := s.parts[part], &s.parts[part].groups[g]
		s.probe.query.ProductsAt(products[:n], group.numbers, ordinals[:n])
		near.space = s.spaceOf[part]
		for i, ordinal := range ordinals[:n] {
			if score := s.probe.score(group, int(ordinal), products[i]); score >= near.floor {
				doc := group.doc(int(ordinal))
				near.offer(hit{score: score, part: part, doc: uint32(doc), num: p.num(doc)})
			}
		}
		kept = kept[n:]
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
func (s *search) fuse(words, vectors []hit, keep int) []hit {
	all, places := s.scratch.merged[:0], s.scratch.seen
	clear(places)
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
	s.scratch.merged = all
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
	r, seen := s.ranker(), s.scratch.seen
	clear(seen)
	for i, h := range found {
		seen[docKey{h.part, h.doc}] = i
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
			if _, ok := seen[key]; !ok && !s.barred[key.part].has(int(key.doc)) {
				seen[key] = len(found)
				found = append(found, hit{num: r.slots[at].num, space: h.space, part: key.part, doc: key.doc})
			}
		}
	}
	s.scratch.merged = found
	return found
}
