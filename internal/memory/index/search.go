package index

import (
	"context"
	"fmt"

	"github.com/stayd/stayd/internal/memory/embed/static"
)

// Options are the parameters of a search.
type Options struct {
	K1, B float64 // of BM25
	// Whole is up to how many records all are candidates. Of more, words and vectors
	// put forward up to Pool records each, and of these as many are candidates, with
	// what stands beside the best; it is at least the limit of the search.
	Whole, Pool int
	// Exact is up to how many records all vectors are compared in full. Beyond it
	// Sifted of them are or one in 128, whichever is more, and at least the limit.
	Exact, Sifted int
	// Weights of the features.
	Weights Weights
}

// Defaults returns the options that searches are measured with.
func Defaults() Options {
	return Options{K1: 1.2, B: 0.75, Whole: 2000, Pool: 60, Exact: 100_000, Sifted: 1 << 10, Weights: DefaultWeights()}
}

// Candidate is a record that was found. Candidates are in the order of their
// scores, but that some of one session make place for others, and in the order of
// their numbers where they are equal.
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
	words, err := static.Words()
	if err != nil {
		return nil, fmt.Errorf("search the index: %w", err)
	}
	s := &search{plan: plan, options: o, scratch: scratches.Get().(*scratch)}
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
	s.people = newPeople(plan, s.parts)
	s.lexicon = newLexicon(plan, s.parts, s.people, words, o)
	candidates, err := s.candidates(ctx, max(limit, o.Pool))
	if err != nil {
		return nil, err
	}
	found := s.rank(candidates, limit)
	s.scratch.put()
	return found, nil
}

// search is one search over the states of the spaces that it began with.
type search struct {
	plan    *Plan
	options Options
	people  *people
	lexicon *lexicon
	probe   *probe // nil where the query has no vector
	scratch *scratch
	parts   []*part
	barred  []bitmap    // by part: what must not be found
	spaceOf []int32     // by part
	spaces  []partRange // by space
}

type partRange struct{ first, end int }

// records is how many there are, whatever the plan asks for.
func (s *search) records() int {
	n := 0
	for _, p := range s.parts {
		n += p.docs - p.lost
	}
	return n
}
