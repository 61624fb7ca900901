package agents

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/store"
)

// objectKind is a kind of objects, whose data is a T.
type objectKind[T any] struct {
	kind string // of the store
	what string // in messages
}

// read returns an object of the project.
func (k objectKind[T]) read(c *httpapi.Call, a *api, id string) (*store.Object, *T, error) {
	row, err := a.Store.Object(c.Context(), c.Project, k.kind, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, httpapi.NotFound(k.what, id)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read %s %s: %w", k.what, id, err)
	}
	data, err := k.decode(&row)
	return &row, data, err
}

func (k objectKind[T]) decode(row *store.Object) (*T, error) {
	data := new(T)
	if err := json.Unmarshal(row.Data, data); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w: %w", k.what, row.ID, err, store.ErrCorrupt)
	}
	return data, nil
}

// create stores a new object. The error is store.ErrConflict where the id is
// taken.
func (k objectKind[T]) create(c *httpapi.Call, a *api, id string, data *T, tree *event.Hash) (*store.Object, error) {
	now := a.Now().UTC().Truncate(time.Microsecond)
	row := &store.Object{Project: c.Project, Kind: k.kind, ID: id, Version: 1, CreatedAt: now, UpdatedAt: now, Tree: tree}
	var err error
	if row.Data, err = httpapi.Marshal(data); err != nil {
		return nil, fmt.Errorf("encode %s: %w", k.what, err)
	}
	if err := a.Store.CreateObject(c.Context(), *row); err != nil {
		return nil, fmt.Errorf("create %s: %w", k.what, err)
	}
	return row, nil
}

// update stores the next version of what was read. The error is
// store.ErrConflict where another was first.
func (k objectKind[T]) update(c *httpapi.Call, a *api, row *store.Object, data *T) error {
	row.Version++
	row.UpdatedAt = a.Now().UTC().Truncate(time.Microsecond)
	var err error
	if row.Data, err = httpapi.Marshal(data); err != nil {
		return fmt.Errorf("encode %s: %w", k.what, err)
	}
	err = a.Store.UpdateObject(c.Context(), *row)
	if errors.Is(err, store.ErrNotFound) {
		return httpapi.NotFound(k.what, row.ID)
	}
	if err != nil {
		return fmt.Errorf("change %s %s: %w", k.what, row.ID, err)
	}
	return nil
}

// list returns a page of objects, and one more where there is one.
func (k objectKind[T]) list(c *httpapi.Call, a *api, p httpapi.Page) ([]store.Object, error) {
	rows, err := a.Store.ListObjects(c.Context(), store.ObjectQuery{Project: c.Project, Kind: k.kind, After: p.After, Asc: p.Asc, Limit: p.Limit + 1})
	if errors.Is(err, store.ErrNotFound) {
		return nil, httpapi.Invalid("after", "No "+k.what+" found with id '"+p.After+"'.")
	}
	if err != nil {
		return nil, fmt.Errorf("list objects of the kind %s: %w", k.kind, err)
	}
	return rows, nil
}

func (k objectKind[T]) delete(c *httpapi.Call, a *api, id string) error {
	err := a.Store.DeleteObject(c.Context(), c.Project, k.kind, id)
	if errors.Is(err, store.ErrNotFound) {
		return httpapi.NotFound(k.what, id)
	}
	if err != nil {
		return fmt.Errorf("delete %s %s: %w", k.what, id, err)
	}
	return nil
}

// remembered is the last requests that changed an object, by which a repetition
// is known.
type remembered []event.Input

// repeated reports whether the request was taken before, and remembers it.
func (r *remembered) repeated(in event.Input) (bool, error) {
	if in.Key == "" {
		return false, nil
	}
	i := slices.IndexFunc(*r, func(u event.Input) bool { return u.Key == in.Key })
	switch {
	case i >= 0 && (*r)[i] == in:
		return true, nil
	case i >= 0:
		return false, keyReused()
	}
	*r = append(*r, in)
	*r = (*r)[max(0, len(*r)-rememberedUpdates):]
	return false, nil
}
