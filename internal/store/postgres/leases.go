package postgres

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/store"
)

// Leases are taken and given back shard by shard in ascending order, which is
// the order in which a commit looks at them, so that none waits for another in
// a circle. Each statement names its shard.

// Claim implements store.Leases.
func (s *Store) Claim(ctx context.Context, owner string, shards []int, ttl time.Duration) ([]store.Lease, error) {
	const op = "claim shards"
	if owner == "" {
		return nil, fmt.Errorf("%s: no owner", op)
	}
	if err := checkShards(shards); err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if _, err := s.eachShard(ctx, shards, `
		INSERT INTO leases AS l (shard, owner, epoch, expires_at) VALUES ($1, $2, 1, now() + $3::interval)
		ON CONFLICT (shard) DO UPDATE SET owner = excluded.owner, epoch = l.epoch + 1, expires_at = excluded.expires_at
		WHERE l.owner IN ('', excluded.owner) OR l.expires_at <= now()`, owner, ttl); err != nil {
		return nil, wrap(op, err)
	}
	rows, err := s.pool.Query(ctx, `
		SELECT shard, owner, epoch, extract(epoch FROM expires_at - now())::float8 FROM leases
		WHERE shard = ANY($1::smallint[]) ORDER BY shard`, smallints(shards))
	if err != nil {
		return nil, wrap(op, err)
	}
	leases, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l store.Lease, err error) {
		var seconds float64
		err = row.Scan(&l.Shard, &l.Owner, &l.Epoch, &seconds)
		l.ExpiresIn = time.Duration(seconds * float64(time.Second))
		return l, err
	})
	return leases, wrap(op, err)
}

// Renew implements store.Leases.
func (s *Store) Renew(ctx context.Context, owner string, ttl time.Duration) (int, error) {
	const op = "renew leases"
	shards, err := s.held(ctx, owner)
	if err != nil {
		return 0, wrap(op, err)
	}
	n, err := s.eachShard(ctx, shards, `UPDATE leases SET expires_at = now() + $3::interval WHERE shard = $1 AND owner = $2`, owner, ttl)
	return n, wrap(op, err)
}

// Release implements store.Leases.
func (s *Store) Release(ctx context.Context, owner string) error {
	const op = "release leases"
	shards, err := s.held(ctx, owner)
	if err != nil {
		return wrap(op, err)
	}
	_, err = s.eachShard(ctx, shards, `UPDATE leases SET owner = '', expires_at = now() WHERE shard = $1 AND owner = $2`, owner)
	return wrap(op, err)
}

// held lists the shards whose lease has the owner's name, expired or not.
func (s *Store) held(ctx context.Context, owner string) ([]int, error) {
	if owner == "" {
		return nil, nil
	}
	rows, err := s.pool.Query(ctx, `SELECT shard FROM leases WHERE owner = $1`, owner)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[int])
}

// eachShard runs the statement for each of the shards, which is its first
// argument, in one transaction and one round trip. It returns the number of rows
// that were changed.
func (s *Store) eachShard(ctx context.Context, shards []int, statement string, args ...any) (n int, err error) {
	if len(shards) == 0 {
		return 0, nil
	}
	sorted := slices.Clone(shards)
	slices.Sort(sorted)
	for attempt := 1; ; attempt++ {
		b := new(pgx.Batch)
		for _, shard := range slices.Compact(sorted) {
			b.Queue(statement, append([]any{shard}, args...)...)
		}
		n, err = affected(s.pool.SendBatch(ctx, b), b.Len())
		if err == nil || attempt == maxAttempts || !contended(err) {
			return n, err
		}
	}
}

func affected(results pgx.BatchResults, statements int) (n int, err error) {
	for range statements {
		tag, err := results.Exec()
		if err != nil {
			return 0, errors.Join(err, results.Close())
		}
		n += int(tag.RowsAffected())
	}
	return n, results.Close()
}

func checkShards(shards []int) error {
	for _, n := range shards {
		if n < 0 || n >= store.Shards {
			return fmt.Errorf("there is no shard %d", n)
		}
	}
	return nil
}
