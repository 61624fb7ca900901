package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

const objectList = `project, kind, id, version, created_at, updated_at, data, tree`

func scanObject(row pgx.CollectableRow) (store.Object, error) {
	var o store.Object
	var tree []byte
	err := row.Scan(&o.Project, &o.Kind, &o.ID, &o.Version, &o.CreatedAt, &o.UpdatedAt, &o.Data, &tree)
	o.CreatedAt, o.UpdatedAt = o.CreatedAt.UTC(), o.UpdatedAt.UTC()
	if err != nil || tree == nil {
		return o, err
	}
	root, ok := hashOf(tree)
	if !ok {
		return o, fmt.Errorf("the tree's name has %d bytes: %w", len(tree), store.ErrCorrupt)
	}
	o.Tree = &root
	return o, nil
}

func hashBytes(h *event.Hash) []byte {
	if h == nil {
		return nil
	}
	return h[:]
}

// objectData keeps a nil slice from becoming NULL.
func objectData(o store.Object) []byte {
	if o.Data == nil {
		return []byte{}
	}
	return o.Data
}

// CreateObject implements store.Objects.
func (s *Store) CreateObject(ctx context.Context, o store.Object) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO objects (`+objectList+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		o.Project, o.Kind, o.ID, o.Version, o.CreatedAt, o.UpdatedAt, objectData(o), hashBytes(o.Tree))
	return wrap("create "+o.Kind+" "+o.ID, err)
}

// UpdateObject implements store.Objects.
func (s *Store) UpdateObject(ctx context.Context, o store.Object) error {
	op := "update " + o.Kind + " " + o.ID
	tag, err := s.pool.Exec(ctx, `UPDATE objects SET version = $4, created_at = $5, updated_at = $6, data = $7, tree = $8
		WHERE project = $1 AND kind = $2 AND id = $3 AND version = $4 - 1`,
		o.Project, o.Kind, o.ID, o.Version, o.CreatedAt, o.UpdatedAt, objectData(o), hashBytes(o.Tree))
	if err != nil {
		return wrap(op, err)
	}
	if tag.RowsAffected() == 1 {
		return nil
	}
	if _, err := s.Object(ctx, o.Project, o.Kind, o.ID); err != nil {
		return wrap(op, err)
	}
	return wrap(op, store.ErrConflict)
}

// Object implements store.Objects.
func (s *Store) Object(ctx context.Context, project, kind, id string) (store.Object, error) {
	op := "find " + kind + " " + id
	rows, err := s.pool.Query(ctx, `SELECT `+objectList+` FROM objects WHERE project = $1 AND kind = $2 AND id = $3`, project, kind, id)
	if err != nil {
		return store.Object{}, wrap(op, err)
	}
	o, err := pgx.CollectExactlyOneRow(rows, scanObject)
	return o, wrap(op, found(err))
}

// ListObjects implements store.Objects.
func (s *Store) ListObjects(ctx context.Context, q store.ObjectQuery) ([]store.Object, error) {
	op := "list objects of kind " + q.Kind
	sql := `SELECT ` + objectList + ` FROM objects WHERE project = @project AND kind = @kind`
	args := pgx.NamedArgs{"project": q.Project, "kind": q.Kind, "limit": q.Limit}
	if q.After != "" {
		var created time.Time
		err := s.pool.QueryRow(ctx, `SELECT created_at FROM objects WHERE project = $1 AND kind = $2 AND id = $3`,
			q.Project, q.Kind, q.After).Scan(&created)
		if err != nil {
			return nil, wrap(op+" after "+q.After, found(err))
		}
		sql += ` AND (created_at, id) ` + beyond(q.Asc) + ` (@created, @after)`
		args["created"], args["after"] = created, q.After
	}
	sql += ` ORDER BY created_at ` + direction(q.Asc) + `, id ` + direction(q.Asc) + ` LIMIT @limit`
	rows, err := s.pool.Query(ctx, sql, args)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := pgx.CollectRows(rows, scanObject)
	return list, wrap(op, err)
}

// DeleteObject implements store.Objects.
func (s *Store) DeleteObject(ctx context.Context, project, kind, id string) error {
	op := "delete " + kind + " " + id
	tag, err := s.pool.Exec(ctx, `DELETE FROM objects WHERE project = $1 AND kind = $2 AND id = $3`, project, kind, id)
	if err == nil && tag.RowsAffected() == 0 {
		err = store.ErrNotFound
	}
	return wrap(op, err)
}
