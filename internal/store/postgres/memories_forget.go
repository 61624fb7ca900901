package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// partSize is how much of a segment is in one row.
const partSize = 1 << 20

// ForgetMemories implements store.Memories.
func (s *Store) ForgetMemories(ctx context.Context, project, space string, nums []int64) (int, error) {
	op := "forget memories of " + space
	n := 0
	err := s.changeSpace(ctx, &spaceChange{
		project: project, space: space,
		find: func(b *pgx.Batch, shard int16) {
			n = 0
			b.Queue(memoryThere, shard, project, space, store.MemoryNums(nums)).Query(func(rows pgx.Rows) error {
				list, err := pgx.CollectRows(rows, pgx.RowTo[int64])
				n = len(list)
				return err
			})
		},
		decide: func(b *pgx.Batch, sp *spaceRow) error {
			if sp.num == 0 {
				return nil
			}
			b.Queue(`DELETE FROM memories WHERE shard = $1 AND space = $2 AND num = ANY($3::int[])`, sp.shard, sp.num, store.MemoryNums(nums))
			b.Queue(`DELETE FROM memory_sources WHERE shard = $1 AND space = $2 AND num = ANY($3::int[])`, sp.shard, sp.num, store.MemoryNums(nums))
			b.Queue(`DELETE FROM memory_segments WHERE shard = $1 AND space = $2`, sp.shard, sp.num)
			sp.Epoch++
			sp.Records -= int64(n)
			return nil
		},
	})
	if err != nil {
		return 0, wrap(op, err)
	}
	return n, nil
}

// Segments implements store.Memories.
func (s *Store) Segments(ctx context.Context, project, space string) ([]store.Segment, error) {
	op := "list segments of " + space
	rows, err := s.pool.Query(ctx, `SELECT g.first, g.last, g.size FROM memory_segments g
		JOIN memory_spaces s ON s.shard = g.shard AND s.num = g.space
		WHERE g.shard = $1 AND s.shard = $1 AND s.project = $2 AND s.name = $3 AND g.part = 0 ORDER BY g.first`,
		memory.ShardOf(project, space), project, space)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[store.Segment])
	return list, wrap(op, err)
}

// SegmentData implements store.Memories.
func (s *Store) SegmentData(ctx context.Context, project, space string, g store.Segment) ([]byte, error) {
	op := fmt.Sprintf("read segment %d to %d of %s", g.From, g.To, space)
	rows, err := s.pool.Query(ctx, `SELECT g.data FROM memory_segments g
		JOIN memory_spaces s ON s.shard = g.shard AND s.num = g.space
		WHERE g.shard = $1 AND s.shard = $1 AND s.project = $2 AND s.name = $3 AND g.first = $4 AND g.last = $5 AND g.size = $6 ORDER BY g.part`,
		memory.ShardOf(project, space), project, space, g.From, g.To, g.Size)
	if err != nil {
		return nil, wrap(op, err)
	}
	var data, part []byte
	parts := 0
	_, err = pgx.ForEachRow(rows, []any{&part}, func() error {
		data = append(data, part...)
		parts++
		return nil
	})
	switch {
	case err != nil:
		return nil, wrap(op, err)
	case parts == 0:
		return nil, wrap(op, store.ErrNotFound)
	case int64(len(data)) != g.Size:
		return nil, wrap(op, fmt.Errorf("it has %d bytes and not %d: %w", len(data), g.Size, store.ErrCorrupt))
	}
	return data, nil
}

// PutSegment implements store.Memories.
func (s *Store) PutSegment(ctx context.Context, project, space string, epoch int64, g store.Segment, data []byte) error {
	op := fmt.Sprintf("put segment %d to %d of %s", g.From, g.To, space)
	if err := store.CheckSegment(g, data); err != nil {
		return fmt.Errorf("%s: %w", op, err)
	}
	beyond := 0
	return wrap(op, s.changeSpace(ctx, &spaceChange{
		project: project, space: space,
		find: func(b *pgx.Batch, shard int16) {
			b.Queue(`SELECT count(*) FROM memory_segments g JOIN memory_spaces s ON s.shard = g.shard AND s.num = g.space
				WHERE g.shard = $1 AND s.shard = $1 AND s.project = $2 AND s.name = $3 AND g.part = 0
				AND g.last >= $4 AND g.first <= $5 AND NOT (g.first >= $4 AND g.last <= $5)`,
				shard, project, space, g.From, g.To).QueryRow(func(row pgx.Row) error { return row.Scan(&beyond) })
		},
		decide: func(b *pgx.Batch, sp *spaceRow) error {
			switch {
			case sp.num == 0:
				return fmt.Errorf("there is no such space: %w", store.ErrConflict)
			case sp.Epoch != epoch:
				return fmt.Errorf("the space has epoch %d, not %d: %w", sp.Epoch, epoch, store.ErrConflict)
			case beyond > 0:
				return fmt.Errorf("%d segments overlap it and do not lie in it: %w", beyond, store.ErrConflict)
			}
			b.Queue(`DELETE FROM memory_segments WHERE shard = $1 AND space = $2 AND first >= $3 AND last <= $4`, sp.shard, sp.num, g.From, g.To)
			for part, rest := 0, data; part == 0 || len(rest) > 0; part++ {
				n := min(len(rest), partSize)
				b.Queue(`INSERT INTO memory_segments (shard, space, first, last, part, size, data) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
					sp.shard, sp.num, g.From, g.To, part, g.Size, append([]byte{}, rest[:n]...))
				rest = rest[n:]
			}
			return nil
		},
	}))
}
