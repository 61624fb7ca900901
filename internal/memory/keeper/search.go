package keeper

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/index"
	"github.com/stayd/stayd/internal/memory/language"
	"github.com/stayd/stayd/internal/store"
)

// Found is what a search found.
type Found struct {
	Hits []memory.Hit // the best first
	// Context is the hits in words for a model, each with the number that it is
	// cited by, and Cited how many of the hits are in it. Tokens is its size, about.
	Context string
	Cited   int
	Tokens  int
	// Spaces is how many were searched.
	Spaces int
	// WordsOnly is set where records have vectors and the question could not be made
	// into one, and says why.
	WordsOnly string
	// NotReranked says why the hits are in the order of the index, where they were to
	// be reranked: context.DeadlineExceeded where that took too long, and else what the
	// reranker returned. It is for who runs the process, as it may say where the
	// reranker is and what it said.
	NotReranked error
}

// TooBroadError is a search below a prefix with too many spaces.
type TooBroadError struct{ Prefix string }

func (e *TooBroadError) Error() string {
	return fmt.Sprintf("More than %d spaces (the first two segments of a namespace) lie below '%s'. Search below a longer prefix.", memory.MaxSpaces, e.Prefix)
}

// Search finds what is relevant to a question. Every write that was acknowledged
// before is seen.
func (k *Keeper) Search(ctx context.Context, q memory.Query) (Found, error) {
	found := Found{}
	if q.Limit <= 0 {
		q.Limit = memory.DefaultLimit
	}
	q.Limit = min(q.Limit, memory.MaxLimit)
	searched, err := k.searched(ctx, &q)
	if err != nil {
		return found, err
	}
	found.Spaces = len(searched)
	names, spaces := make([]string, len(searched)), make([]*index.Space, len(searched))
	for i := range searched {
		names[i] = searched[i].Name
		if spaces[i], err = k.fresh(ctx, &searched[i]); err != nil {
			return found, err
		}
	}
	plans, err := k.plans(ctx, &q, spaces, &found)
	if err != nil {
		return found, err
	}
	limit := q.Limit
	if k.Reranking != nil {
		q.Limit = min(max(limit, k.Reranking.Top), memory.MaxLimit)
	}
	if found.Hits, err = k.hits(ctx, &q, names, spaces, plans); err != nil {
		return found, err
	}
	if k.Reranking != nil {
		found.NotReranked = k.rerank(ctx, q.Text, found.Hits)
		if found.NotReranked != nil && ctx.Err() != nil { // the caller is away, which says nothing of the reranker
			return found, fmt.Errorf("rerank what was found: %w", ctx.Err())
		}
		if found.NotReranked != nil {
			k.warnNotReranked(found.NotReranked)
		}
		found.Hits = found.Hits[:min(limit, len(found.Hits))]
	}
	found.Context, found.Cited, found.Tokens = Pack(found.Hits, q.MaxTokens)
	return found, nil
}

// searched lists the spaces in which there may be records that are meant, in the
// order of their names.
func (k *Keeper) searched(ctx context.Context, q *memory.Query) ([]store.MemorySpace, error) {
	var found []store.MemorySpace
	for i, prefix := range q.Namespaces {
		if prefix != "/" {
			ns, err := memory.ParseNamespace(prefix)
			if err != nil {
				return nil, &BadRecordError{Param: "namespaces", Message: err.Error()}
			}
			q.Namespaces[i] = ns
		}
		list, err := k.Store.MemorySpaces(ctx, q.Project, q.Namespaces[i], "", memory.MaxSpaces+1)
		if err != nil {
			return nil, err
		}
		for i := range list {
			if !slices.ContainsFunc(found, func(sp store.MemorySpace) bool { return sp.Name == list[i].Name }) {
				found = append(found, list[i])
			}
		}
		if len(found) > memory.MaxSpaces {
			return nil, &TooBroadError{Prefix: prefix}
		}
	}
	slices.SortFunc(found, func(a, b store.MemorySpace) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

func (k *Keeper) plan(q *memory.Query) *index.Plan {
	now := k.Now()
	plan := &index.Plan{
		Text: language.Analyse(q.Text), Namespaces: q.Namespaces, Filter: q.Filter,
		Superseded: q.Superseded || !q.KnownAt.IsZero(), Now: now, Asked: language.Ask(q.Text, now),
	}
	return plan
}

// hits reads the records that the index puts forward, and leaves out those that
// are not meant after all: it knows nothing of metadata and of times but one.
func (k *Keeper) hits(ctx context.Context, q *memory.Query, names []string, spaces []*index.Space, plans []*index.Plan) ([]memory.Hit, error) {
	options := index.Defaults()
	var hits []memory.Hit
	for read, limit := 0, q.Limit+q.Limit/2+4; ; limit *= 4 {
		candidates, err := k.candidates(ctx, spaces, plans, limit, options)
		if err != nil {
			return nil, err
		}
		records, err := k.read(ctx, q.Project, names, candidates[min(read, len(candidates)):])
		if err != nil {
			return nil, err
		}
		for _, c := range candidates[min(read, len(candidates)):] {
			r, ok := records[place{c.Space, c.Num}]
			if ok && k.meant(q, &r) {
				hits = append(hits, memory.Hit{Record: r, Score: c.Score})
			}
		}
		if read = len(candidates); len(hits) >= q.Limit || read < limit {
			if q.KnownAt.IsZero() { // what was known then, nobody had used since
				prefer(hits, k.Now())
			}
			return hits[:min(len(hits), q.Limit)], nil
		}
		// What goes on from a search has to be within its pool, and of one plan.
		options.Pool = max(options.Pool, 4*limit)
		if limit >= index.Defaults().Pool || len(plans) > 1 {
			hits, read = nil, 0
		}
	}
}

type place struct {
	space int
	num   int64
}

func (k *Keeper) read(ctx context.Context, project string, names []string, candidates []index.Candidate) (map[place]memory.Record, error) {
	nums := map[int][]int64{}
	for _, c := range candidates {
		nums[c.Space] = append(nums[c.Space], c.Num)
	}
	out := make(map[place]memory.Record, len(candidates))
	for i, list := range nums {
		records, err := k.Store.MemoriesByNum(ctx, project, names[i], list)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			out[place{i, r.Num}] = r
		}
	}
	return out, nil
}

// meant reports whether the record is what the query asks for.
func (k *Keeper) meant(q *memory.Query, r *memory.Record) bool {
	now := k.Now()
	switch {
	case !slices.ContainsFunc(q.Namespaces, func(p string) bool { return p == "/" || memory.Below(r.Namespace, p) }),
		r.Expired(now),
		!q.Filter.Matches(r):
		return false
	case !q.KnownAt.IsZero() && !q.Superseded:
		if !r.KnownAt(q.KnownAt) {
			return false
		}
	case !q.KnownAt.IsZero():
		if q.KnownAt.Before(r.RecordedAt) {
			return false
		}
	case !q.Superseded && !r.SupersededAt.IsZero():
		return false
	}
	return q.ValidAt.IsZero() || r.ValidAt(q.ValidAt)
}

var _ Store = store.Store(nil)
