package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/store"
)

const agentColumns = "SELECT project, id, version, created_at, updated_at, data FROM agents WHERE project = ?"

// CreateAgent stores a new agent.
func (s *Store) CreateAgent(ctx context.Context, a store.Agent) error {
	err := s.writer.do(ctx, func(t *tx) error {
		_, found, err := t.one(stmtAgentVersion, a.Project, a.ID)
		if err != nil {
			return err
		}
		if found {
			return refuse(store.ErrConflict, "the id is taken")
		}
		_, err = t.exec(stmtAddAgent, a.Project, a.ID, a.Version, micros(a.CreatedAt), micros(a.UpdatedAt), agentData(a))
		return err
	})
	if err != nil {
		return fmt.Errorf("create agent %s: %w", a.ID, err)
	}
	return nil
}

func agentData(a store.Agent) []byte {
	if a.Data == nil {
		return []byte{}
	}
	return a.Data
}

// UpdateAgent stores the agent's next version.
func (s *Store) UpdateAgent(ctx context.Context, a store.Agent) error {
	err := s.writer.do(ctx, func(t *tx) error {
		version, found, err := t.one(stmtAgentVersion, a.Project, a.ID)
		switch {
		case err != nil:
			return err
		case !found:
			return refuse(store.ErrNotFound, "there is none")
		case version != a.Version-1:
			return refuse(store.ErrConflict, "version %d is stored, %d does not follow it", version, a.Version)
		}
		_, err = t.exec(stmtSetAgent, a.Version, micros(a.CreatedAt), micros(a.UpdatedAt), agentData(a), a.Project, a.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("update agent %s: %w", a.ID, err)
	}
	return nil
}

// DeleteAgent removes an agent.
func (s *Store) DeleteAgent(ctx context.Context, project, id string) error {
	err := s.writer.do(ctx, func(t *tx) error {
		n, err := t.changed(stmtDeleteAgent, project, id)
		if err == nil && n == 0 {
			return refuse(store.ErrNotFound, "there is none")
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete agent %s: %w", id, err)
	}
	return nil
}

// Agent returns one agent.
func (s *Store) Agent(ctx context.Context, project, id string) (store.Agent, error) {
	a, err := scanAgent(s.reads.db.QueryRowContext(ctx, agentColumns+" AND id = ?", project, id).Scan)
	if errors.Is(err, sql.ErrNoRows) {
		err = store.ErrNotFound
	}
	if err != nil {
		return store.Agent{}, fmt.Errorf("agent %s: %w", id, s.classify(err))
	}
	return a, nil
}

func scanAgent(scan func(...any) error) (a store.Agent, err error) {
	var created, updated int64
	err = scan(&a.Project, &a.ID, &a.Version, &created, &updated, &a.Data)
	a.CreatedAt, a.UpdatedAt = fromMicros(created), fromMicros(updated)
	return a, err
}

// ListAgents lists agents of a project.
func (s *Store) ListAgents(ctx context.Context, q store.AgentQuery) ([]store.Agent, error) {
	list, err := s.listAgents(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", s.classify(err))
	}
	return list, nil
}

func (s *Store) listAgents(ctx context.Context, q store.AgentQuery) (list []store.Agent, err error) {
	query, args := agentColumns, []any{q.Project}
	order, beyond := "DESC", "<"
	if q.Asc {
		order, beyond = "ASC", ">"
	}
	if q.After != "" {
		a, err := s.Agent(ctx, q.Project, q.After)
		if err != nil {
			return nil, err
		}
		query += " AND (created_at, id) " + beyond + " (?, ?)"
		args = append(args, micros(a.CreatedAt), a.ID)
	}
	query += " ORDER BY created_at " + order + ", id " + order + " LIMIT ?"
	rows, err := s.reads.db.QueryContext(ctx, query, append(args, q.Limit)...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		a, err := scanAgent(rows.Scan)
		if err != nil {
			return nil, err
		}
		list = append(list, a)
	}
	return list, rows.Err()
}
