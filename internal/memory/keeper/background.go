package keeper

import (
	"context"
	"fmt"
	"time"
)

const (
	// sweepEvery is how often it is looked for what has expired.
	sweepEvery = time.Minute
	sweepLimit = 500
)

// Run forgets what has expired, makes the vectors that are missing and counts uses,
// until ctx ends. It returns when nothing of it goes on.
func (k *Keeper) Run(ctx context.Context) {
	defer k.tasks.Wait()
	if k.Embedder != nil {
		k.tasks.Go(func() { k.makeVectors(ctx) })
	}
	k.tasks.Go(func() { k.countUses(ctx) })
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
		}
		if err := k.Expire(ctx); err != nil && ctx.Err() == nil {
			k.Log.Warn("expired memories could not be forgotten", "error", err)
		}
	}
}

// Expire forgets what has expired and is not held. What was drawn from it stays,
// until its own time is over.
func (k *Keeper) Expire(ctx context.Context) error {
	for limit := sweepLimit; ; {
		records, err := k.Store.ExpiredMemories(ctx, k.Now(), limit)
		if err != nil {
			return fmt.Errorf("list expired memories: %w", err)
		}
		byProject := map[string]doomed{}
		for i := range records {
			r := &records[i]
			if byProject[r.Project] == nil {
				byProject[r.Project] = doomed{}
			}
			byProject[r.Project].add(r, 0, false)
		}
		kept := 0
		for project, list := range byProject {
			n, err := k.expire(ctx, project, list)
			if err != nil {
				return err
			}
			kept += n
		}
		if len(records) < limit {
			return nil
		}
		limit = kept + sweepLimit // those that are held are listed again
	}
}

// expire forgets those of the records that are not held, and returns how many
// are. Another process may do the same: each has a receipt of what it erased.
func (k *Keeper) expire(ctx context.Context, project string, list doomed) (kept int, err error) {
	rules, err := k.rules(ctx, project)
	if err != nil {
		return 0, err
	}
	for id, d := range list {
		if held(rules, d.namespace) != nil {
			delete(list, id)
			kept++
		}
	}
	if len(list) == 0 {
		return kept, nil
	}
	key, err := k.signer(ctx)
	if err != nil {
		return kept, err
	}
	receipt := newReceipt("expired", "")
	if err := k.erase(ctx, project, list, &receipt); err != nil || receipt.Spaces == 0 {
		return kept, err
	}
	return kept, k.sign(ctx, key, project, "", &receipt)
}
