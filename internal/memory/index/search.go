package index

import (
	"context"
	"fmt"
	"slices"
)

// Options are the parameters of a search.
type Options struct {
	K1, B float64 // of BM25
	// Pool is how many documents the words, and how many the vectors, put forward,
	// and how many of all these the second ranking looks at; it is at least the
	// limit of the search.
	Pool int
	// Exact is up to how many records all vectors are compared in full. Beyond it
	// Sifted of them are, or, where the limit is higher, so many.
	Exact, Sifted int
	// Weights of the second ranking.
	Weights Weights
}

// Defaults returns the options that searches are measured with.
func Defaults() Options {
	return Options{K1: 1.2, B: 0.75, Pool: 300, Exact: 100_000, Sifted: 1 << 13, Weights: DefaultWeights()}
}

// Candidate is a record that was found. Records that are equal in Score are in
// the order of their numbers.
type Candidate struct {
	Space    int // its place in the spaces that were searched
	Num      int64
	Score    float64
	Features Features
}

// Search returns up to limit records that the plan asks for, the best first.
// Where the caller has to leave some out and wants more, it asks again with a
// higher limit: what a search returns goes on from what the same one with a
// lower limit returned, as long as both are within Options.Pool. All spaces are
// searched as they are at the beginning.
func Search(ctx context.Context, spaces []*Space, plan *Plan, limit int, o Options) ([]Candidate, error) {
	if limit <= 0 {
		return nil, nil
	}
	s := &search{plan: plan, options: o}
	if len(plan.Vector) > 0 {
		v, err := parseVector(plan.Vector)
		if err != nil {
			return nil, fmt.Errorf("search the index: %w", err)
		}
		s.probe = newProbe(plan.VectorModel, v)
	}
	for i, space := range spaces {
		first := len(s.parts)
		s.parts = append(s.parts, space.view.Load().parts...)
		s.spaces = append(s.spaces, partRange{first, len(s.parts)})
		for range len(s.parts) - first {
			s.spaceOf = append(s.spaceOf, int32(i))
		}
	}
	s.lexicon = newLexicon(plan, s.parts, o)
	pool := max(limit, o.Pool)
	words, vectors, err := s.retrieve(ctx, pool)
	if err != nil {
		return nil, err
	}
	out := s.rank(fuse(words, vectors, pool))
	return slices.Clip(out[:min(limit, len(out))]), nil
}

// search is one search over the states of the spaces that it began with.
type search struct {
	plan    *Plan
	options Options
	lexicon *lexicon
	probe   *probe // nil where the query has no vector
	parts   []*part
	spaceOf []int32     // by part
	spaces  []partRange // by space
}

type partRange struct{ first, end int }

// retrieve returns the documents with the best words and with the nearest
// vectors.
func (s *search) retrieve(ctx context.Context, pool int) (words, vectors []hit, err error) {
	scorer := &scorer{lexicon: s.lexicon, top: newTop(pool)}
	near := newTop(pool)
	var sieve *sieve
	if s.probe != nil && s.records() > s.options.Exact {
		sieve = newSieve(len(s.probe.numbers), max(s.options.Sifted, pool))
	}
	for i, p := range s.parts {
		if err := ctx.Err(); err != nil {
			return nil, nil, fmt.Errorf("search the index: %w", err)
		}
		hidden := p.barred(s.plan)
		scorer.top.space, near.space = s.spaceOf[i], s.spaceOf[i]
		scorer.part(p, int32(i), hidden)
		if s.probe == nil {
			continue
		}
		for g := range p.groups {
			switch group := &p.groups[g]; {
			case !s.probe.fits(group):
			case sieve != nil:
				s.probe.sift(group, int32(i), int32(g), hidden, sieve)
			default:
				s.probe.scan(group, int32(i), p.segment, hidden, near)
			}
		}
	}
	if sieve != nil {
		s.compare(sieve, near)
	}
	return scorer.top.sorted(), near.sorted(), nil
}

// records is how many there are, whatever the plan asks for.
func (s *search) records() int {
	n := 0
	for _, p := range s.parts {
		n += p.docs - p.lost
	}
	return n
}

// compare offers what the sieve kept by its exact product.
func (s *search) compare(sieve *sieve, near *top) {
	sieve.trim()
	for _, v := range sieve.kept {
		p := s.parts[v.part]
		group := &p.groups[v.group]
		near.space = s.spaceOf[v.part]
		if score := s.probe.dot(group, int(v.ordinal)); score >= near.floor {
			doc := group.doc(int(v.ordinal))
			near.offer(hit{score: score, part: v.part, doc: uint32(doc), num: p.num(doc)})
		}
	}
}

// fits reports whether the group's vectors can be compared with the query's.
func (p *probe) fits(g *vectorGroup) bool { return g.model == p.model && g.dims == len(p.numbers) }
