package keeper

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/memory"
)

// Reranking has a model look again at the best of what was found.
type Reranking struct {
	// Rerank returns the places of the texts in the order of their relevance to the
	// question.
	Rerank func(ctx context.Context, question string, texts []string) ([]int, error)
	Top    int           // how many of the best it is given
	Within time.Duration // how long a search waits for it
}

// warnEvery is how often it is said at most that a reranker, or an embedder of
// questions, does not answer.
const warnEvery = time.Minute

// rerank puts the best hits into the order that the reranker gives them. Where it
// does not, in time, they stay as they are, and the error says why.
func (k *Keeper) rerank(ctx context.Context, question string, hits []memory.Hit) error {
	best := hits[:min(k.Reranking.Top, len(hits))]
	if question == "" || len(best) < 2 {
		return nil
	}
	texts := make([]string, len(best))
	for i := range best {
		texts[i] = Words(&best[i].Record)
	}
	within := k.Reranking.Within
	limited, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("the reranker did not answer within %s: %w", within, context.DeadlineExceeded))
	defer cancel()
	order, err := k.Reranking.Rerank(limited, question, texts)
	if err == nil {
		err = permutation(order, len(best))
	}
	if err != nil {
		return err
	}
	reorder(best, slices.Clone(order))
	return nil
}

// permutation refuses an order that leaves something out or has it twice.
func permutation(order []int, n int) error {
	seen := make([]bool, n)
	for _, i := range order {
		if i < 0 || i >= n || seen[i] {
			return fmt.Errorf("the reranker put %d texts into the order %v", n, order)
		}
		seen[i] = true
	}
	if len(order) != n {
		return fmt.Errorf("the reranker put %d texts into the order %v", n, order)
	}
	return nil
}

// reorder puts the hits into the order, but that none which rests on foreign words
// overtakes one that does not: words that are made to match do not make themselves
// trusted. The scores stay with the places, as those of the index and of a
// reranker do not compare.
func reorder(hits []memory.Hit, order []int) {
	out := make([]memory.Hit, 0, len(hits))
	for len(order) > 0 {
		trusted := len(hits) // the first that is left
		for _, i := range order {
			if !hits[i].Origin.Foreign() {
				trusted = min(trusted, i)
			}
		}
		n := slices.IndexFunc(order, func(i int) bool { return !hits[i].Origin.Foreign() || i < trusted })
		out = append(out, hits[order[n]])
		order = slices.Delete(order, n, n+1)
	}
	for i := range out {
		out[i].Score = hits[i].Score
	}
	copy(hits, out)
}

func (k *Keeper) warnNotReranked(err error) {
	now := k.Now()
	k.mu.Lock()
	due := now.Sub(k.warned) >= warnEvery
	if due {
		k.warned = now
	}
	k.mu.Unlock()
	if due {
		k.Log.Warn("what a search found could not be reranked, and stays in the order of the index", "error", err)
	}
}
