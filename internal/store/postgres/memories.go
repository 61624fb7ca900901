package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// Memory implements store.Memories.
func (s *Store) Memory(ctx context.Context, project, id string) (memory.Record, error) {
	op := "find memory " + id
	shard, _ := memory.ShardOfID(id)
	list, err := s.memories(ctx, memoryOf+`WHERE m.shard = $1 AND m.id = $2 AND s.project = $3 LIMIT 1`, shard, uuidOf(id), project)
	if err == nil && len(list) == 0 {
		err = store.ErrNotFound
	}
	if err != nil {
		return memory.Record{}, wrap(op, err)
	}
	return list[0], nil
}

func (s *Store) memories(ctx context.Context, query string, args ...any) ([]memory.Record, error) {
	rows, err := s.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, scanMemory)
}

// MemoriesByNum implements store.Memories.
func (s *Store) MemoriesByNum(ctx context.Context, project, space string, nums []int64) ([]memory.Record, error) {
	list, err := s.memories(ctx, `SELECT `+memoryList+memoryByNum,
		memory.ShardOf(project, space), project, space, store.MemoryNums(nums))
	return list, wrap("find memories of "+space, err)
}

// MemoryChanges implements store.Memories. A space where nothing changed is a row
// without a record.
func (s *Store) MemoryChanges(ctx context.Context, project, space string, after int64, limit int) (store.MemorySpace, []memory.Record, error) {
	found, list, err := s.memoryChanges(ctx, project, space, after, limit)
	if err != nil {
		return store.MemorySpace{}, nil, wrap("read changes of "+space, err)
	}
	return found, list, nil
}

func (s *Store) memoryChanges(ctx context.Context, project, space string, after int64, limit int) (found store.MemorySpace, list []memory.Record, err error) {
	rows, err := s.pool.Query(ctx, memoryChanged,
		memory.ShardOf(project, space), project, space, min(max(after, 0), store.MaxMemoryChange), max(limit, 1))
	if err != nil {
		return found, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		found = store.MemorySpace{Project: project, Name: space}
		var m memoryScan
		if err := rows.Scan(append([]any{&found.Change, &found.Epoch, &found.Records}, m.dest()...)...); err != nil {
			return found, nil, err
		}
		if m.num == nil || len(list) >= limit {
			continue
		}
		r, err := m.record()
		if err != nil {
			return found, nil, err
		}
		list = append(list, r)
	}
	return found, list, rows.Err()
}

// spacesBelow is the condition that memory_spaces s holds or may hold records
// below a namespace.
func spacesBelow(prefix string, args pgx.NamedArgs) string {
	if prefix == "" {
		return `true`
	}
	// '0' is the byte after '/'.
	args["space"], args["first"], args["beyond"] = memory.SpaceOf(prefix), prefix+"/", prefix+"0"
	return `(s.name = @space OR s.name >= @first AND s.name < @beyond)`
}

// MemorySpaces implements store.Memories.
func (s *Store) MemorySpaces(ctx context.Context, project, namespace, after string, limit int) ([]store.MemorySpace, error) {
	const op = "list spaces"
	prefix, err := store.MemoryPrefix(namespace)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	args := pgx.NamedArgs{"project": project, "after": after, "limit": limit}
	rows, err := s.pool.Query(ctx, `SELECT s.project, s.name, s.change, s.epoch, s.records FROM memory_spaces s
		WHERE s.project = @project AND s.name > @after AND `+spacesBelow(prefix, args)+` ORDER BY s.name LIMIT @limit`, args)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[store.MemorySpace])
	return list, wrap(op, err)
}

// MemoryProjects implements store.Memories.
func (s *Store) MemoryProjects(ctx context.Context) ([]string, error) {
	const op = "list projects with memories"
	rows, err := s.pool.Query(ctx, `SELECT DISTINCT project FROM memory_spaces ORDER BY project`)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return list, wrap(op, err)
}

// ExpiredMemories implements store.Memories.
func (s *Store) ExpiredMemories(ctx context.Context, before time.Time, limit int) ([]memory.Record, error) {
	list, err := s.memories(ctx, memoryOf+`WHERE m.expires_at <= $1 ORDER BY m.expires_at, m.shard, m.space, m.num LIMIT $2`, before, limit)
	return list, wrap("list expired memories", err)
}

// drawnOf is memoryOf without what a record says.
var drawnOf = strings.Replace(memoryOf, "m.metadata, m.source, m.vector, m.text", "NULL::jsonb, m.source, NULL::bytea, ''", 1)

// DrawnMemories implements store.Memories.
func (s *Store) DrawnMemories(ctx context.Context, project string, ids []string) ([]memory.Record, error) {
	sources := make([]pgtype.UUID, 0, len(ids))
	for _, id := range ids {
		if u := uuidOf(id); u.Valid {
			sources = append(sources, u)
		}
	}
	if len(sources) == 0 {
		return nil, nil
	}
	list, err := s.memories(ctx, drawnOf+`JOIN (SELECT DISTINCT shard, space, num FROM memory_sources WHERE source = ANY($1::uuid[])) d
		ON d.shard = m.shard AND d.space = m.space AND d.num = m.num WHERE s.project = $2`, sources, project)
	return list, wrap(fmt.Sprintf("find what was drawn from %d memories", len(ids)), err)
}

// UnembeddedMemories implements store.Memories.
func (s *Store) UnembeddedMemories(ctx context.Context, project, space, model string, after int64, limit int) ([]memory.Record, error) {
	list, err := s.memories(ctx, memoryUnembedded,
		memory.ShardOf(project, space), project, space, min(max(after, 0), store.MaxMemoryChange), model, limit)
	return list, wrap("list memories without a vector of "+space, err)
}

// ListMemories implements store.Memories.
func (s *Store) ListMemories(ctx context.Context, q store.MemoryQuery) ([]memory.Record, error) {
	const op = "list memories"
	args := pgx.NamedArgs{"project": q.Project, "limit": q.Limit}
	where, err := memoryConditions(q, args)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if q.After != "" {
		r, err := s.Memory(ctx, q.Project, q.After)
		if err != nil {
			return nil, wrap(op, err)
		}
		where += ` AND (m.recorded_at, m.id) ` + beyond(q.Asc) + ` (@recorded, @after)`
		args["recorded"], args["after"] = r.RecordedAt, uuidOf(r.ID)
	}
	list, err := s.memories(ctx, memoryOf+`WHERE `+where+` ORDER BY m.recorded_at `+direction(q.Asc)+`, m.id `+direction(q.Asc)+` LIMIT @limit`, args)
	return list, wrap(op, err)
}

func memoryConditions(q store.MemoryQuery, args pgx.NamedArgs) (string, error) {
	prefix, err := store.MemoryPrefix(q.Namespace)
	if err != nil {
		return "", err
	}
	strategies, err := q.Numbers()
	if err != nil {
		return "", err
	}
	where := `s.project = @project AND m.project = (SELECT n.num FROM memory_names n WHERE n.name = @project)`
	and := func(condition, name string, value any) {
		where += ` AND ` + condition
		args[name] = value
	}
	if strings.Count(prefix, "/") == 1 {
		where += ` AND ` + spacesBelow(prefix, args)
	} else if prefix != "" {
		space := memory.SpaceOf(prefix)
		and(`m.shard = @shard AND s.shard = @shard`, "shard", memory.ShardOf(q.Project, space))
		and(`s.name = @space`, "space", space)
		if rest := prefix[len(space):]; rest != "" {
			and(`(m.namespace = @rest OR m.namespace >= @first AND m.namespace < @beyond)`, "rest", rest)
			args["first"], args["beyond"] = rest+"/", rest+"0"
		}
	}
	if len(strategies) > 0 {
		and(`m.strategy = ANY(@strategies::smallint[])`, "strategies", strategies)
	}
	if q.Actor != "" {
		and(named("actor"), "actor", q.Actor)
	}
	if q.SessionID != "" {
		and(named("session"), "session", q.SessionID)
	}
	if len(q.Metadata) > 0 {
		metadata, err := metadataJSON(q.Metadata)
		if err != nil {
			return "", err
		}
		and(`m.metadata @> @metadata::jsonb`, "metadata", metadata)
	}
	if !q.Superseded {
		where += ` AND m.superseded_by IS NULL`
	}
	return where, nil
}

// named is the condition that a column has the name in the argument of the same
// name. The hash is what its index has. The planner has no statistics of the
// names, and takes what is within CASE for neither rare nor frequent.
func named(column string) string {
	return strings.ReplaceAll(`hashtextextended(m.#, 0) = hashtextextended(@#::text COLLATE "C", 0) AND CASE WHEN m.# = @# THEN true END`, "#", column)
}
