package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/store"
)

const agentList = `project, id, version, created_at, updated_at, data`

func scanAgent(row pgx.CollectableRow) (store.Agent, error) {
	var a store.Agent
	err := row.Scan(&a.Project, &a.ID, &a.Version, &a.CreatedAt, &a.UpdatedAt, &a.Data)
	a.CreatedAt, a.UpdatedAt = a.CreatedAt.UTC(), a.UpdatedAt.UTC()
	return a, err
}

// CreateAgent implements store.Agents.
func (s *Store) CreateAgent(ctx context.Context, a store.Agent) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO agents (`+agentList+`) VALUES ($1, $2, $3, $4, $5, $6)`,
		a.Project, a.ID, a.Version, a.CreatedAt, a.UpdatedAt, a.Data)
	return wrap("create agent "+a.ID, err)
}

// UpdateAgent implements store.Agents.
func (s *Store) UpdateAgent(ctx context.Context, a store.Agent) error {
	op := "update agent " + a.ID
	tag, err := s.pool.Exec(ctx, `UPDATE agents SET version = $3, updated_at = $4, data = $5
		WHERE project = $1 AND id = $2 AND version = $3 - 1`,
		a.Project, a.ID, a.Version, a.UpdatedAt, a.Data)
	if err != nil {
		return wrap(op, err)
	}
	if tag.RowsAffected() == 1 {
		return nil
	}
	if _, err := s.Agent(ctx, a.Project, a.ID); err != nil {
		return wrap(op, err)
	}
	return wrap(op, store.ErrConflict)
}

// Agent implements store.Agents.
func (s *Store) Agent(ctx context.Context, project, id string) (store.Agent, error) {
	op := "find agent " + id
	rows, err := s.pool.Query(ctx, `SELECT `+agentList+` FROM agents WHERE project = $1 AND id = $2`, project, id)
	if err != nil {
		return store.Agent{}, wrap(op, err)
	}
	a, err := pgx.CollectExactlyOneRow(rows, scanAgent)
	return a, wrap(op, found(err))
}

// ListAgents implements store.Agents.
func (s *Store) ListAgents(ctx context.Context, q store.AgentQuery) ([]store.Agent, error) {
	const op = "list agents"
	sql := `SELECT ` + agentList + ` FROM agents WHERE project = @project`
	args := pgx.NamedArgs{"project": q.Project, "limit": q.Limit}
	if q.After != "" {
		var created time.Time
		err := s.pool.QueryRow(ctx, `SELECT created_at FROM agents WHERE project = $1 AND id = $2`, q.Project, q.After).Scan(&created)
		if err != nil {
			return nil, wrap("list agents after "+q.After, found(err))
		}
		sql += ` AND (created_at, id) ` + beyond(q.Asc) + ` (@created, @after)`
		args["created"], args["after"] = created, q.After
	}
	sql += ` ORDER BY created_at ` + direction(q.Asc) + `, id ` + direction(q.Asc) + ` LIMIT @limit`
	rows, err := s.pool.Query(ctx, sql, args)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := pgx.CollectRows(rows, scanAgent)
	return list, wrap(op, err)
}

// DeleteAgent implements store.Agents.
func (s *Store) DeleteAgent(ctx context.Context, project, id string) error {
	op := "delete agent " + id
	tag, err := s.pool.Exec(ctx, `DELETE FROM agents WHERE project = $1 AND id = $2`, project, id)
	if err == nil && tag.RowsAffected() == 0 {
		err = store.ErrNotFound
	}
	return wrap(op, err)
}
