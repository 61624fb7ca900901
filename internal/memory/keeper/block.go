package keeper

import (
	"context"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// blockPage is how many core blocks are read at once.
const blockPage = 100

// Block returns the core block with the label that stands in the namespace, as it
// was known at the time, or as it is where that is zero. It returns nil where
// there is none.
func (k *Keeper) Block(ctx context.Context, project, namespace, label string, knownAt time.Time) (*memory.Record, error) {
	q := store.MemoryQuery{
		Project: project, Namespace: namespace, Strategies: []memory.Strategy{memory.Core}, Superseded: !knownAt.IsZero(), Limit: blockPage,
	}
	for {
		list, err := k.Store.ListMemories(ctx, q)
		if err != nil {
			return nil, err
		}
		for i := range list {
			r := &list[i]
			if r.Source.Label == label && !r.Expired(k.Now()) && (knownAt.IsZero() || r.KnownAt(knownAt)) {
				return r, nil
			}
		}
		if len(list) < q.Limit {
			return nil, nil
		}
		q.After = list[len(list)-1].ID
	}
}
