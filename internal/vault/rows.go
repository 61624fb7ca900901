package vault

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// idFor is the id of what a request makes: a function of its idempotency key, so
// that a repetition finds what was made, or else a new one that sorts by time.
func idFor(prefix string, in event.Input, parts ...string) string {
	if in.Key != "" {
		return event.DeriveID(prefix, append(parts, in.Key)...)
	}
	u := uuid.Must(uuid.NewV7())
	return prefix + "_" + hex.EncodeToString(u[:])
}

func (v *Vaults) time() time.Time { return v.now().UTC().Truncate(time.Microsecond) }

// insert stores a new row. The error is store.ErrConflict where the id is taken.
func (v *Vaults) insert(ctx context.Context, project, kind, id string, data any) (*store.Object, error) {
	now := v.time()
	row := &store.Object{Project: project, Kind: kind, ID: id, Version: 1, CreatedAt: now, UpdatedAt: now}
	var err error
	if row.Data, err = json.Marshal(data); err != nil {
		return nil, fmt.Errorf("encode %s %s: %w", kind, id, err)
	}
	return row, v.store.CreateObject(ctx, *row)
}

// replace stores the next version of what was read. The error is
// store.ErrConflict where another was first.
func (v *Vaults) replace(ctx context.Context, row *store.Object, data any) error {
	row.UpdatedAt = v.time()
	return v.keep(ctx, row, data)
}

// keep is replace of what does not count as a change.
func (v *Vaults) keep(ctx context.Context, row *store.Object, data any) error {
	row.Version++
	var err error
	if row.Data, err = json.Marshal(data); err != nil {
		return fmt.Errorf("encode %s %s: %w", row.Kind, row.ID, err)
	}
	return v.store.UpdateObject(ctx, *row)
}

// attempts is how often a change is made again after another was first.
const attempts = 8

func again(change func() error) error {
	for n := 1; ; n++ {
		if err := change(); !errors.Is(err, store.ErrConflict) || n == attempts {
			return err
		}
	}
}

// missing says what was not found, or else what was being done.
func missing(err error, what, id, doing string) error {
	if errors.Is(err, store.ErrNotFound) {
		return &NotFoundError{What: what, ID: id}
	}
	return fmt.Errorf("%s %s %s: %w", doing, what, id, err)
}

// scanned is how many rows are read at a time.
const scanned = 100

// list pages through rows until it has one more than the limit of those that
// pass. An id to begin after that is not there is a *ValueError.
func list[T any](ctx context.Context, st store.Objects, project, kind, what string, p Page, pass func(*store.Object) (T, bool, error)) ([]T, error) {
	found := []T{}
	q := store.ObjectQuery{Project: project, Kind: kind, After: p.After, Asc: p.Asc, Limit: min(p.Limit+1, scanned)}
	for {
		rows, err := st.ListObjects(ctx, q)
		if errors.Is(err, store.ErrNotFound) {
			if q.After != p.After {
				return nil, fmt.Errorf("list %ss: one was deleted meanwhile: %w", what, store.ErrUnavailable)
			}
			return nil, &ValueError{Param: "after", Message: "No " + what + " found with id '" + p.After + "'."}
		}
		if err != nil {
			return nil, fmt.Errorf("list %ss: %w", what, err)
		}
		for i := range rows {
			one, ok, err := pass(&rows[i])
			if err != nil {
				return nil, err
			}
			if !ok {
				continue
			}
			if found = append(found, one); len(found) > p.Limit {
				return found, nil
			}
		}
		if len(rows) < q.Limit {
			return found, nil
		}
		q.After, q.Limit = rows[len(rows)-1].ID, scanned
	}
}
