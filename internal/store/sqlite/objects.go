package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

const objectColumns = "SELECT project, kind, id, version, created_at, updated_at, data, tree FROM objects WHERE project = ? AND kind = ?"

// CreateObject stores a new object.
func (s *Store) CreateObject(ctx context.Context, o store.Object) error {
	err := s.writer.do(ctx, func(t *tx) error {
		_, found, err := t.one(stmtObjectVersion, o.Project, o.Kind, o.ID)
		if err != nil {
			return err
		}
		if found {
			return refuse(store.ErrConflict, "the id is taken")
		}
		_, err = t.exec(stmtAddObject, o.Project, o.Kind, o.ID, o.Version, micros(o.CreatedAt), micros(o.UpdatedAt), objectData(o), hashOrNull(o.Tree))
		return err
	})
	if err != nil {
		return fmt.Errorf("create %s %s: %w", o.Kind, o.ID, err)
	}
	return nil
}

func objectData(o store.Object) []byte {
	if o.Data == nil {
		return []byte{}
	}
	return o.Data
}

func hashOrNull(h *event.Hash) driver.Value {
	if h == nil {
		return nil
	}
	return h[:]
}

// UpdateObject stores the object's next version.
func (s *Store) UpdateObject(ctx context.Context, o store.Object) error {
	err := s.writer.do(ctx, func(t *tx) error {
		version, found, err := t.one(stmtObjectVersion, o.Project, o.Kind, o.ID)
		switch {
		case err != nil:
			return err
		case !found:
			return refuse(store.ErrNotFound, "there is none")
		case version != o.Version-1:
			return refuse(store.ErrConflict, "version %d is stored, %d does not follow it", version, o.Version)
		}
		_, err = t.exec(stmtSetObject, o.Version, micros(o.CreatedAt), micros(o.UpdatedAt), objectData(o), hashOrNull(o.Tree), o.Project, o.Kind, o.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("update %s %s: %w", o.Kind, o.ID, err)
	}
	return nil
}

// DeleteObject removes an object.
func (s *Store) DeleteObject(ctx context.Context, project, kind, id string) error {
	err := s.writer.do(ctx, func(t *tx) error {
		n, err := t.changed(stmtDeleteObject, project, kind, id)
		if err == nil && n == 0 {
			return refuse(store.ErrNotFound, "there is none")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete %s %s: %w", kind, id, err)
	}
	return nil
}

// Object returns one object.
func (s *Store) Object(ctx context.Context, project, kind, id string) (store.Object, error) {
	o, err := scanObject(s.reads.db.QueryRowContext(ctx, objectColumns+" AND id = ?", project, kind, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Object{}, fmt.Errorf("%s %s: %w", kind, id, s.classify(err))
	}
	return o, nil
}

func scanObject(scan func(...any) error) (o store.Object, err error) {
	var created, updated int64
	var tree []byte
	if err := scan(&o.Project, &o.Kind, &o.ID, &o.Version, &created, &updated, &o.Data, &tree); err != nil {
		return o, err
	}
	o.CreatedAt, o.UpdatedAt = fromMicros(created), fromMicros(updated)
	if tree == nil {
		return o, nil
	}
	if len(tree) != len(event.Hash{}) {
		return o, fmt.Errorf("the tree's name has %d bytes: %w", len(tree), store.ErrCorrupt)
	}
	root := event.Hash(tree)
	o.Tree = &root
	return o, nil
}

// ListObjects lists objects of one kind of a project.
func (s *Store) ListObjects(ctx context.Context, q store.ObjectQuery) ([]store.Object, error) {
	list, err := s.listObjects(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list objects of kind %s: %w", q.Kind, s.classify(err))
	}
	return list, nil
}

func (s *Store) listObjects(ctx context.Context, q store.ObjectQuery) (list []store.Object, err error) {
	query, args := objectColumns, []any{q.Project, q.Kind}
	order, beyond := "DESC", "<"
	if q.Asc {
		order, beyond = "ASC", ">"
	}
	if q.After != "" {
		o, err := s.Object(ctx, q.Project, q.Kind, q.After)
		if err != nil {
			return nil, err
		}
		query += " AND (created_at, id) " + beyond + " (?, ?)"
		args = append(args, micros(o.CreatedAt), o.ID)
	}
	query += " ORDER BY created_at " + order + ", id " + order + " LIMIT ?"
	rows, err := s.reads.db.QueryContext(ctx, query, append(args, q.Limit)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		o, err := scanObject(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, o)
	}
	return list, rows.Err()
}
