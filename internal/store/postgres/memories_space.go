package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// spaceRow is the row of a space; num is 0 where there is none.
type spaceRow struct {
	store.MemorySpace
	shard int16
	num   int32
}

// spaceChange is one transaction on a space: it finds what it has to know, and
// decides what is written.
type spaceChange struct {
	project, space string
	create         bool // the space, where it is not there
	// find adds queries to those that are asked with the space; nil adds none.
	find func(b *pgx.Batch, shard int16)
	// decide adds statements; without any nothing is done. The space is written as
	// decide leaves it.
	decide func(b *pgx.Batch, sp *spaceRow) error
}

var errRaced = fmt.Errorf("another made a space at the same time: %w", store.ErrUnavailable)

const (
	// spaceSettings makes the commit durable even where the server's default is not
	// to, and has records looked up by their ids by the index of these. A plan for the
	// very shard would take any index that begins with the shard, where the statistics
	// say nothing of it, and one that was made when there were no records would read
	// all of them.
	spaceSettings = `SELECT CASE WHEN current_setting('synchronous_commit') = 'off' THEN set_config('synchronous_commit', 'on', true) END,
		set_config('plan_cache_mode', 'force_generic_plan', true), set_config('enable_seqscan', 'off', true)`

	// spaceLock is held to the end of the transaction, so that who reads a change
	// has read, or can read, all that come before it.
	spaceLock = `SELECT num, change, epoch, records FROM memory_spaces
		WHERE shard = $1 AND project = $2 AND name = $3 FOR NO KEY UPDATE`

	spaceAdd = `INSERT INTO memory_spaces (shard, num, change, epoch, records, project, name)
		SELECT $1, coalesce(max(num), 0) + 1, 0, 0, 0, $2, $3 FROM memory_spaces WHERE shard = $1
		ON CONFLICT DO NOTHING RETURNING num`

	spaceSet = `UPDATE memory_spaces SET change = $3, epoch = $4, records = $5 WHERE shard = $1 AND num = $2`
)

// changeSpace runs the change in two round trips, and again where another
// transaction was in the way.
func (s *Store) changeSpace(ctx context.Context, c *spaceChange) error {
	for n := 1; ; n++ {
		err := s.pool.AcquireFunc(ctx, func(conn *pgxpool.Conn) error {
			err := c.run(ctx, conn.Conn())
			// A connection that cannot do it is not used again.
			if err != nil && !conn.Conn().IsClosed() {
				_, undo := conn.Exec(ctx, `ROLLBACK`)
				err = errors.Join(err, undo)
			}
			return err
		})
		if err == nil || n == maxAttempts || !contended(err) && !unsent(err) && !errors.Is(err, errRaced) {
			return err
		}
	}
}

func (c *spaceChange) run(ctx context.Context, conn *pgx.Conn) error {
	sp := &spaceRow{shard: int16(memory.ShardOf(c.project, c.space))}
	sp.Project, sp.Name = c.project, c.space
	b := new(pgx.Batch)
	b.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED`)
	b.Queue(spaceSettings)
	b.Queue(spaceLock, sp.shard, c.project, c.space).QueryRow(func(row pgx.Row) error {
		err := row.Scan(&sp.num, &sp.Change, &sp.Epoch, &sp.Records)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if c.find != nil {
		c.find(b, sp.shard)
	}
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	if sp.num == 0 && c.create {
		err := conn.QueryRow(ctx, spaceAdd, sp.shard, c.project, c.space).Scan(&sp.num)
		if errors.Is(err, pgx.ErrNoRows) {
			return errRaced
		}
		if err != nil {
			return err
		}
	}
	b = new(pgx.Batch)
	if err := c.decide(b, sp); err != nil {
		return err
	}
	if b.Len() == 0 {
		_, err := conn.Exec(ctx, `ROLLBACK`)
		return err
	}
	b.Queue(spaceSet, sp.shard, sp.num, sp.Change, sp.Epoch, sp.Records)
	b.Queue(`COMMIT`)
	return conn.SendBatch(ctx, b).Close()
}

// nameNum returns the number of a project or of what made a vector, which it adds
// where it is not there. It never changes.
func (s *Store) nameNum(ctx context.Context, name string) (int32, error) {
	if num, ok := s.names.Load(name); ok {
		return num.(int32), nil //nolint:forcetypeassert // nothing else is in it
	}
	for range maxAttempts {
		var num int32
		err := s.pool.QueryRow(ctx, `SELECT num FROM memory_names WHERE name = $1`, name).Scan(&num)
		if err == nil {
			s.names.Store(name, num)
			return num, nil
		}
		if !errors.Is(err, pgx.ErrNoRows) {
			return 0, err
		}
		if _, err := s.pool.Exec(ctx, `INSERT INTO memory_names (num, name)
			SELECT coalesce(max(num), 0) + 1, $1 FROM memory_names ON CONFLICT DO NOTHING`, name); err != nil {
			return 0, err
		}
	}
	return 0, errRaced
}
