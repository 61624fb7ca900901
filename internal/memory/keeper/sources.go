package keeper

import (
	"context"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// sources reads what the records were drawn from, by id, be it in the store or
// among them. What is not there is left out.
func (k *Keeper) sources(ctx context.Context, project string, records []memory.Record) (map[string]*memory.Record, error) {
	found, looked := map[string]*memory.Record{}, map[string]bool{}
	for i := range records {
		if id := records[i].ID; id != "" {
			found[id], looked[id] = &records[i], true
		}
	}
	for i := range records {
		for _, id := range records[i].Source.RecordIDs {
			if looked[id] {
				continue
			}
			looked[id] = true
			s, err := k.Store.Memory(ctx, project, id)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read what a memory was drawn from: %w", err)
			}
			found[id] = &s
		}
	}
	return found, nil
}

// checkSources refuses a record that was drawn from one that is not there, and
// was not written before: it may have been forgotten since it was read. A writer
// that says when the record was recorded brings it from elsewhere, where the
// others may have stayed.
func (k *Keeper) checkSources(ctx context.Context, project string, r *memory.Record, sources map[string]*memory.Record) error {
	if len(r.Source.RecordIDs) > 0 && r.Strategy == memory.Turn {
		return &BadRecordError{Param: "source.memory_ids", Message: "A turn is what was said, and is not drawn from other memories."}
	}
	if !r.RecordedAt.IsZero() {
		return nil
	}
	for _, id := range r.Source.RecordIDs {
		if sources[id] != nil {
			continue
		}
		if r.ID != "" {
			_, err := k.Store.Memory(ctx, project, r.ID)
			if !errors.Is(err, store.ErrNotFound) {
				return err
			}
		}
		return MissingSource(id)
	}
	return nil
}

// MissingSource is the error of a record that was drawn from one that is not there.
func MissingSource(id string) error {
	return &BadRecordError{
		Param:   "source.memory_ids",
		Message: fmt.Sprintf("The memory '%s', from which this one was drawn, is not there. It was forgotten, or never was.", id),
	}
}

// recheckSources erases what was just written where something that it was drawn
// from is no longer there. Forget looks for what was drawn after it has erased, and
// so one of both finds it.
func (k *Keeper) recheckSources(ctx context.Context, project string, written []memory.Record, repeated []bool, before map[string]*memory.Record) error {
	after, err := k.sources(ctx, project, written)
	if err != nil {
		return err
	}
	late, missing := doomed{}, ""
	for i := range written {
		for _, id := range written[i].Source.RecordIDs {
			if before[id] != nil && after[id] == nil {
				missing = id
				if !repeated[i] {
					late.add(&written[i], 0, false)
				}
			}
		}
	}
	if missing == "" {
		return nil
	}
	receipt := newReceipt("", "")
	if err := k.erase(ctx, project, late, &receipt); err != nil {
		return err
	}
	return MissingSource(missing)
}
