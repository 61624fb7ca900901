package keeper

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

const (
	// pageSize is how many records are listed at once: a store may have to sort all
	// that are left for each page.
	pageSize = 4000
	// spacesAtOnce is how many spaces are listed at once.
	spacesAtOnce = 1000
)

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

// changes is how often something was written in the project, forgetting aside. It
// only grows.
func (k *Keeper) changes(ctx context.Context, project string) (n int64, err error) {
	for after := ""; ; {
		list, err := k.Store.MemorySpaces(ctx, project, "/", after, spacesAtOnce)
		if err != nil {
			return 0, fmt.Errorf("list spaces: %w", err)
		}
		for i := range list {
			n += list[i].Change
		}
		if len(list) < spacesAtOnce {
			return n, nil
		}
		after = list[len(list)-1].Name
	}
}

// drawn is a record that rests on others.
type drawn struct {
	record  memory.Record // without its content
	sources []string
}

// addDrawn adds what was drawn from the records in any space of the project, from
// that again, and all versions of it. A turn is drawn from nothing.
func (k *Keeper) addDrawn(ctx context.Context, project string, records doomed) error {
	if len(records) == 0 {
		return nil
	}
	q := store.MemoryQuery{Project: project, Superseded: true, Asc: true}
	q.Strategies = slices.DeleteFunc(memory.Strategies(), func(s memory.Strategy) bool { return s == memory.Turn })
	var all []drawn
	err := k.all(ctx, q, func(r *memory.Record) {
		if len(r.Source.RecordIDs) > 0 {
			d := drawn{sources: r.Source.RecordIDs, record: memory.Record{
				ID: r.ID, Space: r.Space, Num: r.Num, Namespace: r.Namespace, Strategy: r.Strategy,
				Supersedes: r.Supersedes, SupersededBy: r.SupersededBy,
			}}
			all = append(all, d)
		}
	})
	if err != nil {
		return err
	}
	for grew := true; grew; {
		grew = false
		for i := range all {
			d := &all[i]
			if records[d.record.ID] != nil {
				continue
			}
			for _, id := range d.sources {
				if from := records[id]; from != nil {
					records.add(&d.record, from.depth+1, true)
					grew = true
					break
				}
			}
		}
		before := len(records)
		if err := k.addVersions(ctx, project, records); err != nil {
			return err
		}
		grew = grew || len(records) > before
	}
	return nil
}
