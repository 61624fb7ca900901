package keeper

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/index"
)

// questionWait is how long a search waits for the vector of its question, before
// it goes on without.
const questionWait = 10 * time.Second

// plans says how the spaces are searched: once for each model whose vectors their
// records have, and by words alone where there is none. Nothing is asked of an
// embedder that no record has a vector of. It fails only where the caller went away.
func (k *Keeper) plans(ctx context.Context, q *memory.Query, spaces []*index.Space, found *Found) ([]*index.Plan, error) {
	plan := k.plan(q)
	var plans []*index.Plan
	for _, e := range k.Questions {
		model := e.Model()
		if q.Text == "" || !slices.ContainsFunc(spaces, func(s *index.Space) bool { return slices.Contains(s.Models(), model) }) {
			continue
		}
		vector, err := question(ctx, e, q.Text)
		if err != nil && ctx.Err() != nil { // which says nothing of the embedder
			return nil, fmt.Errorf("make the vector of the question: %w", ctx.Err())
		}
		k.sayOutage(model, err)
		if err != nil {
			found.WordsOnly = err.Error()
			continue
		}
		own := *plan
		own.Vector, own.VectorModel = vector, model
		plans = append(plans, &own)
	}
	if len(plans) == 0 {
		return []*index.Plan{plan}, nil
	}
	found.WordsOnly = ""
	return plans, nil
}

// outage is what was said of an embedder that failed to make vectors of questions.
type outage struct {
	said  time.Time // when it was last said that it fails
	lasts bool      // it was not said since then that it works again
}

// sayOutage says that the model's embedder fails, once until it works again, and then
// that it does. One that does now this and now that is spoken of every warnEvery.
func (k *Keeper) sayOutage(model string, err error) {
	now := k.Now()
	k.mu.Lock()
	o := k.outages[model]
	begins := err != nil && !o.lasts && now.Sub(o.said) >= warnEvery
	ends := err == nil && o.lasts
	switch {
	case begins:
		k.outages[model] = outage{said: now, lasts: true}
	case ends:
		k.outages[model] = outage{said: o.said}
	}
	k.mu.Unlock()
	if begins {
		k.Log.Warn("a question is not searched by its vector", "model", model, "error", err)
	}
	if ends {
		k.Log.Info("questions are searched by their vectors again", "model", model)
	}
}

func question(ctx context.Context, e embed.Embedder, text string) ([]byte, error) {
	bounded, cancel := context.WithTimeout(ctx, questionWait)
	defer cancel()
	vectors, err := e.Embed(bounded, []string{text})
	if err != nil && ctx.Err() == nil && bounded.Err() != nil {
		return nil, fmt.Errorf("the vector of the question was not there within %s", questionWait)
	}
	if err != nil {
		return nil, err
	}
	return embed.Encode(vectors[0]), nil
}

// candidates searches the indexes by each of the plans, when it is its turn, and
// returns up to limit records of each, the best first. A record that several find
// has the best of their scores, which differ in the part of the vectors alone.
func (k *Keeper) candidates(ctx context.Context, spaces []*index.Space, plans []*index.Plan, limit int, o index.Options) ([]index.Candidate, error) {
	if err := k.slots.Acquire(ctx, 1); err != nil {
		return nil, fmt.Errorf("wait for a turn to search: %w", err)
	}
	defer k.slots.Release(1)
	if len(plans) == 1 {
		return index.Search(ctx, spaces, plans[0], limit, o)
	}
	best := map[place]index.Candidate{}
	for _, plan := range plans {
		list, err := index.Search(ctx, spaces, plan, limit, o)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			at := place{c.Space, c.Num}
			if old, ok := best[at]; !ok || c.Score > old.Score {
				best[at] = c
			}
		}
	}
	all := make([]index.Candidate, 0, len(best))
	for _, c := range best {
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b index.Candidate) int {
		return cmp.Or(cmp.Compare(b.Score, a.Score), cmp.Compare(a.Num, b.Num), cmp.Compare(a.Space, b.Space))
	})
	return all, nil
}
