package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// pageSize is how many records are listed at once: a store may have to sort all
// that are left for each page.
const pageSize = 4000

// listAttempts is how often a list is begun anew because the record that a page
// ended with was forgotten.
const listAttempts = 10

// all reads every record that the query selects, some of them more than once.
func (k *Keeper) all(ctx context.Context, q store.MemoryQuery, each func(*memory.Record)) error {
	q.Limit = pageSize
	for attempt := 1; ; {
		records, err := k.Store.ListMemories(ctx, q)
		if errors.Is(err, store.ErrNotFound) && q.After != "" && attempt < listAttempts {
			q.After = ""
			attempt++
			continue
		}
		if err != nil {
			return fmt.Errorf("list memories: %w", err)
		}
		for i := range records {
			each(&records[i])
		}
		if len(records) < q.Limit {
			return nil
		}
		q.After = records[len(records)-1].ID
	}
}

// addVersions adds all versions of what the records say.
func (k *Keeper) addVersions(ctx context.Context, project string, records doomed) error {
	look := make([]*doomedRecord, 0, len(records))
	for _, d := range records {
		look = append(look, d)
	}
	for len(look) > 0 {
		d := look[len(look)-1]
		look = look[:len(look)-1]
		for _, id := range d.versions {
			if id == "" || records[id] != nil {
				continue
			}
			r, err := k.Store.Memory(ctx, project, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			look = append(look, records.add(&r, d.depth+1, d.derived))
		}
	}
	return nil
}

// sourcesAtOnce is of how many records it is asked at once what rests on them.
const sourcesAtOnce = 1000

// addDrawn adds what was drawn from the records in any space of the project, from
// that again, and all versions of it. It reads no more than that.
func (k *Keeper) addDrawn(ctx context.Context, project string, records doomed) error {
	looked := map[string]bool{}
	for {
		var look []string
		for id := range records {
			if !looked[id] {
				looked[id] = true
				look = append(look, id)
			}
		}
		if len(look) == 0 {
			return nil
		}
		for ids := range slices.Chunk(look, sourcesAtOnce) {
			found, err := k.Store.DrawnMemories(ctx, project, ids)
			if err != nil {
				return err
			}
			for i := range found {
				records.addResting(&found[i])
			}
		}
		if err := k.addVersions(ctx, project, records); err != nil {
			return err
		}
	}
}

// addResting adds a record where it rests on one of the others: as a version, or as
// what was drawn from it.
func (d doomed) addResting(r *memory.Record) {
	if before := d[r.Supersedes]; before != nil {
		d.add(r, before.depth+1, before.derived)
		return
	}
	for _, id := range r.Source.RecordIDs {
		if from := d[id]; from != nil {
			d.add(r, from.depth+1, true)
			return
		}
	}
}
