package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/store"
)

// Claim takes the shards that are free, expired or the owner's.
func (s *Store) Claim(ctx context.Context, owner string, shards []int, ttl time.Duration) ([]store.Lease, error) {
	for _, shard := range shards {
		if shard < 0 || shard >= store.Shards {
			return nil, fmt.Errorf("claim shard %d: there is none", shard)
		}
	}
	if owner == "" {
		return nil, errors.New("claim: an owner needs a name")
	}
	var leases []store.Lease
	err := s.writer.do(ctx, func(t *tx) error {
		leases = leases[:0]
		at := time.Now()
		for _, shard := range shards {
			l, err := t.claim(owner, shard, ttl, at)
			if err != nil {
				return err
			}
			leases = append(leases, l)
		}
		t.cache.epochs = nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("claim for %s: %w", owner, err)
	}
	return leases, nil
}

func (t *tx) claim(owner string, shard int, ttl time.Duration, at time.Time) (store.Lease, error) {
	l := store.Lease{Shard: shard}
	var expires int64
	err := t.each(stmtLease, func(row []driver.Value) {
		l.Owner, _ = row[0].(string)
		l.Epoch, _ = row[1].(int64)
		expires, _ = row[2].(int64)
	}, int64(shard))
	if err != nil {
		return l, fmt.Errorf("read lease of shard %d: %w", shard, err)
	}
	l.ExpiresIn = time.Duration(expires-micros(at)) * time.Microsecond
	if l.Owner != owner && l.Owner != "" && l.ExpiresIn > 0 {
		return l, nil
	}
	l.Owner, l.Epoch, l.ExpiresIn = owner, l.Epoch+1, ttl
	if _, err := t.exec(stmtSetLease, int64(shard), owner, l.Epoch, micros(at.Add(ttl))); err != nil {
		return l, fmt.Errorf("take shard %d: %w", shard, err)
	}
	return l, nil
}

// Renew puts off the expiry of all leases of the owner.
func (s *Store) Renew(ctx context.Context, owner string, ttl time.Duration) (int, error) {
	var n int64
	err := s.writer.do(ctx, func(t *tx) (err error) {
		n, err = t.changed(stmtRenew, micros(time.Now().Add(ttl)), owner)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("renew leases of %s: %w", owner, err)
	}
	return int(n), nil
}

// Release frees all leases of the owner. Their epochs stay until they are taken.
func (s *Store) Release(ctx context.Context, owner string) error {
	err := s.writer.do(ctx, func(t *tx) error {
		_, err := t.exec(stmtReleaseLeases, owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("release leases of %s: %w", owner, err)
	}
	return nil
}
