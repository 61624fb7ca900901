package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/store"
)

const indexList = `project, session, agent_id, forked_from, actor, status, metadata, created_at, updated_at, wake_at, deleted`

func scanIndex(row pgx.CollectableRow) (store.Index, error) {
	var x store.Index
	err := row.Scan(&x.Project, &x.Session, &x.AgentID, &x.ForkedFrom, &x.Actor, &x.Status, &x.Metadata,
		&x.CreatedAt, &x.UpdatedAt, &x.WakeAt, &x.Deleted)
	x.CreatedAt, x.UpdatedAt = x.CreatedAt.UTC(), x.UpdatedAt.UTC()
	if x.WakeAt != nil {
		*x.WakeAt = x.WakeAt.UTC()
	}
	if len(x.Metadata) == 0 {
		x.Metadata = nil
	}
	return x, err
}

// Session implements store.Store.
func (s *Store) Session(ctx context.Context, project, session string) (store.Index, error) {
	op := "find session " + session
	rows, err := s.pool.Query(ctx, `SELECT `+indexList+` FROM sessions
		WHERE shard = $1 AND project = $2 AND session = $3 AND NOT deleted`,
		store.ShardOf(session), project, session)
	if err != nil {
		return store.Index{}, wrap(op, err)
	}
	x, err := pgx.CollectExactlyOneRow(rows, scanIndex)
	return x, wrap(op, found(err))
}

// Sessions implements store.Store.
func (s *Store) Sessions(ctx context.Context, q store.SessionQuery) ([]store.Index, error) {
	const op = "list sessions"
	metadata, err := metadataJSON(q.Metadata)
	if err != nil {
		return nil, wrap(op, err)
	}
	sql := `SELECT ` + indexList + ` FROM sessions
		WHERE project = @project AND NOT deleted AND metadata @> @metadata::jsonb`
	args := pgx.NamedArgs{"project": q.Project, "metadata": metadata, "limit": q.Limit}
	if q.AgentID != "" {
		sql += ` AND agent_id = @agent`
		args["agent"] = q.AgentID
	}
	if q.ForkedFrom != "" {
		sql += ` AND forked_from = @forked AND forked_from <> ''`
		args["forked"] = q.ForkedFrom
	}
	if q.Actor != "" {
		sql += ` AND actor = @actor AND actor <> ''`
		args["actor"] = q.Actor
	}
	if q.After != "" {
		var created time.Time
		err := s.pool.QueryRow(ctx, `SELECT created_at FROM sessions WHERE shard = $1 AND project = $2 AND session = $3`,
			store.ShardOf(q.After), q.Project, q.After).Scan(&created)
		if err != nil {
			return nil, wrap("list sessions after "+q.After, found(err))
		}
		sql += ` AND (created_at, session) ` + beyond(q.Asc) + ` (@created, @after)`
		args["created"], args["after"] = created, q.After
	}
	sql += ` ORDER BY created_at ` + direction(q.Asc) + `, session ` + direction(q.Asc) + ` LIMIT @limit`
	rows, err := s.pool.Query(ctx, sql, args)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := pgx.CollectRows(rows, scanIndex)
	return list, wrap(op, err)
}

// Due implements store.Store.
func (s *Store) Due(ctx context.Context, shards []int, before time.Time, limit int) ([]store.Index, error) {
	const op = "list due sessions"
	rows, err := s.pool.Query(ctx, `SELECT `+indexList+` FROM sessions
		WHERE shard = ANY($1::smallint[]) AND wake_at <= $2
		ORDER BY wake_at, session LIMIT $3`, smallints(shards), before, limit)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := pgx.CollectRows(rows, scanIndex)
	return list, wrap(op, err)
}

func smallints(shards []int) []int16 {
	out := make([]int16, len(shards))
	for i, n := range shards {
		out[i] = int16(n)
	}
	return out
}

func direction(asc bool) string {
	if asc {
		return "ASC"
	}
	return "DESC"
}

func beyond(asc bool) string {
	if asc {
		return ">"
	}
	return "<"
}
