package keeper

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

const (
	// countEvery is how often the uses that were noted are counted in the store.
	countEvery = 10 * time.Second
	// countWithin is how long that may take when the process ends.
	countWithin = 5 * time.Second
	// maxNoted is of how many records uses are noted in between; those of others are
	// not counted.
	maxNoted = 10_000
)

// used is a record that was used.
type used struct{ project, id string }

// Used notes that an answer cited the records. It writes nothing: the uses are
// counted some seconds later, all at once, and those that a process had yet to
// count when it was killed are not. What was only given to a model is not used:
// a ranking that counted it would prove itself right.
func (k *Keeper) Used(project string, ids ...string) {
	at := k.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, id := range ids {
		n, ok := k.noted[used{project, id}]
		if !ok && len(k.noted) >= maxNoted {
			continue
		}
		k.noted[used{project, id}] = store.MemoryUse{ID: id, Times: n.Times + 1, At: at}
	}
}

// CountUses counts in the store what was noted. What cannot be counted is not
// noted again, as it may have been counted all the same.
func (k *Keeper) CountUses(ctx context.Context) error {
	k.mu.Lock()
	noted := k.noted
	k.noted = map[used]store.MemoryUse{}
	k.mu.Unlock()
	byProject := map[string][]store.MemoryUse{}
	for u, use := range noted {
		byProject[u.project] = append(byProject[u.project], use)
	}
	var failed error
	for project, uses := range byProject {
		failed = errors.Join(failed, k.Store.UseMemories(ctx, project, uses))
	}
	return failed
}

// countUses counts uses now and then until ctx ends, and then once more.
func (k *Keeper) countUses(ctx context.Context) {
	ticker := time.NewTicker(countEvery)
	defer ticker.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-ticker.C:
			k.countNoted(ctx)
		}
	}
	k.countNoted(ctx)
}

// countNoted counts what was noted, whether ctx has ended or not.
func (k *Keeper) countNoted(ctx context.Context) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), countWithin)
	defer cancel()
	if err := k.CountUses(limited); err != nil {
		k.Log.Warn("uses of memories could not be counted, and are left out", "error", err)
	}
}

const (
	// usedWorth is what many uses just now add to a score. The least of the index's
	// weights are of this size: uses decide between records that match alike.
	usedWorth = 0.1
	// usedHalfLife is the age in which that halves.
	usedHalfLife = 90 * 24 * time.Hour
)

// worth is what a record's uses add to its score.
func worth(r *memory.Record, now time.Time) float64 {
	if r.Uses <= 0 {
		return 0
	}
	often := float64(r.Uses) / float64(r.Uses+1)
	age := max(now.Sub(r.UsedAt), 0)
	return usedWorth * often * math.Exp2(-float64(age)/float64(usedHalfLife))
}

// prefer adds to the scores what uses are worth, and moves a hit before those that
// were better without it and no longer are. What the index has put behind others
// in spite of its score, for their sessions, stays behind them.
func prefer(hits []memory.Hit, now time.Time) {
	plain := make([]float64, len(hits))
	for i := range hits {
		plain[i] = hits[i].Score
		hits[i].Score += worth(&hits[i].Record, now)
		for j := i; j > 0 && plain[j-1] >= plain[j] && hits[j-1].Score < hits[j].Score; j-- {
			hits[j-1], hits[j] = hits[j], hits[j-1]
			plain[j-1], plain[j] = plain[j], plain[j-1]
		}
	}
}
