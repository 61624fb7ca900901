package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/store"
)

const (
	// sweepEvery is how often it is looked for what has expired.
	sweepEvery = time.Minute
	sweepLimit = 500
	// embedAtOnce is how many texts are made into vectors by one request.
	embedAtOnce = 64
	// embedPause is how long to wait after the embedder did not answer.
	embedPause = 5 * time.Second
)

// Run forgets what has expired and makes the vectors that are missing, until ctx
// ends. It returns when nothing of it goes on.
func (k *Keeper) Run(ctx context.Context) {
	defer k.tasks.Wait()
	sweep := time.NewTicker(sweepEvery)
	defer sweep.Stop()
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-sweep.C:
			if err := k.Expire(ctx); err != nil && ctx.Err() == nil {
				k.Log.Warn("expired memories could not be forgotten", "error", err)
			}
			continue
		case <-k.wake:
		case <-again:
		}
		again = nil
		if err := k.embedMissing(ctx); err != nil && ctx.Err() == nil {
			k.Log.Warn("vectors could not be made; it is tried again", "error", err)
			again = time.After(embedPause)
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
	receipt := newReceipt("expired", "")
	if err := k.erase(ctx, project, list, &receipt); err != nil || receipt.Spaces == 0 {
		return kept, err
	}
	return kept, k.sign(ctx, project, "", &receipt)
}

// unembedded notes that a space has records whose vectors are to be made.
func (k *Keeper) unembedded(name spaceName) {
	if k.Local {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note(name)
}

// note has the vectors of a space made that are missing. k.mu is held.
func (k *Keeper) note(name spaceName) {
	if k.Embedder == nil {
		return
	}
	k.dirty[name] = true
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// embedMissing makes the vectors of what was written since it last did.
func (k *Keeper) embedMissing(ctx context.Context) error {
	for {
		k.mu.Lock()
		var name spaceName
		for name = range k.dirty {
			break
		}
		delete(k.dirty, name)
		k.mu.Unlock()
		if name == (spaceName{}) {
			return nil
		}
		if err := k.Reembed(ctx, name.project, name.name); err != nil {
			k.mu.Lock()
			k.dirty[name] = true
			k.mu.Unlock()
			return err
		}
	}
}

// Reembed makes the vectors of all records of a space whose vectors are not of
// the embedder's model. Those of the model before serve until then.
func (k *Keeper) Reembed(ctx context.Context, project, space string) error {
	if k.Embedder == nil {
		return errors.New("no embedder is configured")
	}
	for after := int64(0); ; {
		records, err := k.Store.UnembeddedMemories(ctx, project, space, k.Embedder.Model(), after, embedAtOnce)
		if err != nil || len(records) == 0 {
			return err
		}
		if err := k.embedRecords(ctx, project, space, records); err != nil {
			return err
		}
		after = records[len(records)-1].Num
	}
}

func (k *Keeper) embedRecords(ctx context.Context, project, space string, records []memory.Record) error {
	texts := make([]string, len(records))
	for i := range records {
		texts[i] = records[i].Text
	}
	vectors, err := k.Embedder.Embed(ctx, texts)
	if err != nil {
		return fmt.Errorf("make vectors of %d records: %w", len(texts), err)
	}
	w := store.MemoryWrite{Project: project, Space: space}
	for i := range records {
		w.Vectors = append(w.Vectors, store.MemoryVector{Num: records[i].Num, Vector: embed.Encode(vectors[i]), Model: k.Embedder.Model()})
	}
	_, err = k.Store.WriteMemories(ctx, &w)
	return err
}
