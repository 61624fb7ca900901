package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// The table forks says in the shard of a session which forks have records of it,
// the table pasts in the shard of a fork what its past is. A row of forks is
// committed before the fork is there, and deleted after the fork has forgotten
// its past, so that there is never a fork without one.

const (
	// claimsRecord finds a fork that has what r, which has a session and a seq, is
	// or belongs to.
	claimsRecord = `SELECT FROM forks f
		WHERE f.shard = r.shard AND f.project = r.project AND f.session = r.session
			AND f.seq >= r.seq AND f.claimed >= r.seq AND f.erased < r.seq`

	pastConflict = `ON CONFLICT (shard, project, session) DO UPDATE SET erased = greatest(pasts.erased, excluded.erased)`

	// settleBatch is how many forks are looked at in one round trip.
	settleBatch = 1000
)

// key names a session.
type key struct {
	Shard            int16
	Project, Session string
}

func keyOf(project, session string) key {
	return key{int16(store.ShardOf(session)), project, session}
}

// past is what a session has from another.
type past struct {
	parent      string // empty for a session that is no fork
	seq, erased int64
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// pasts returns those of the sessions of a project that are forks or have
// forgotten records.
func pasts(ctx context.Context, q querier, project string, sessions ...string) (map[string]past, error) {
	rows, err := q.Query(ctx, `SELECT session, coalesce(parent, ''), seq, erased FROM pasts
		WHERE shard = ANY($1) AND project = $2 AND session = ANY($3)`, shardsOf(sessions), project, sessions)
	if err != nil {
		return nil, err
	}
	found := make(map[string]past)
	var session string
	var p past
	_, err = pgx.ForEachRow(rows, []any{&session, &p.parent, &p.seq, &p.erased}, func() error {
		found[session] = p
		return nil
	})
	return found, err
}

func shardsOf(sessions []string) []int16 {
	shards := make([]int16, len(sessions))
	for i, id := range sessions {
		shards[i] = int16(store.ShardOf(id))
	}
	slices.Sort(shards)
	return slices.Compact(shards)
}

// claim checks the parent of an append and notes in the parent's shard that the
// fork has its records, which no one erases from then on. Where the fork never
// comes to be, Collect removes the note.
func (s *Store) claim(ctx context.Context, p *pending) error {
	err := s.tryClaim(ctx, p)
	for n := 1; contended(err) && n < maxAttempts; n++ {
		err = s.tryClaim(ctx, p)
	}
	return err
}

func (s *Store) tryClaim(ctx context.Context, p *pending) error {
	parent := keyOf(p.Project, p.Parent.Session)
	return pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		// Whoever erases holds the lease alone: what is read after it is locked
		// stays so until this is committed.
		if _, err := tx.Exec(ctx, `SELECT 1 FROM leases WHERE shard = $1 FOR SHARE`, parent.Shard); err != nil {
			return err
		}
		var head, erased int64
		var deleted bool
		err := tx.QueryRow(ctx, `SELECT
			coalesce((SELECT seq FROM records WHERE shard = $1 AND project = $2 AND session = $3 ORDER BY seq DESC LIMIT 1), 0),
			coalesce((SELECT erased FROM pasts WHERE shard = $1 AND project = $2 AND session = $3), 0),
			coalesce((SELECT deleted FROM sessions WHERE shard = $1 AND project = $2 AND session = $3), false)
			FROM leases WHERE shard = $1`,
			parent.Shard, parent.Project, parent.Session).Scan(&head, &erased, &deleted)
		switch {
		case errors.Is(err, pgx.ErrNoRows): // no one has ever written to the shard
			return noParent(ctx, tx, p)
		case err != nil:
			return err
		case head == 0 || deleted:
			return noParent(ctx, tx, p)
		case head < p.Parent.Seq:
			return fmt.Errorf("the head of the parent %s is %d: %w", parent.Session, head, store.ErrConflict)
		}
		p.forgotten = min(erased, p.Parent.Seq)
		_, err = tx.Exec(ctx, `INSERT INTO forks (shard, project, session, seq, fork, claimed, erased, made_at)
			VALUES ($1, $2, $3, $4, $5, $4, $6, now())
			ON CONFLICT (shard, project, session, seq, fork) DO UPDATE SET made_at = excluded.made_at`,
			parent.Shard, parent.Project, parent.Session, p.Parent.Seq, p.Session, p.forgotten)
		return err
	})
}

// noParent is the error of a fork whose parent is not there, or not any more
// since the fork was made.
func noParent(ctx context.Context, q querier, p *pending) error {
	found, err := pasts(ctx, q, p.Project, p.Session)
	switch {
	case err != nil:
		return err
	case found[p.Session].parent != "":
		return fmt.Errorf("the fork is there: %w", store.ErrConflict)
	}
	return fmt.Errorf("there is no parent %s: %w", p.Parent.Session, store.ErrNotFound)
}

// parts are the pieces that the log of a session has after a sequence number,
// in order.
func (s *Store) parts(ctx context.Context, project, session string, after int64) ([]part, error) {
	var parts []part
	upto, erased := int64(math.MaxInt64), int64(0)
	for at := session; ; {
		found, err := pasts(ctx, s.pool, project, at)
		if err != nil {
			return nil, err
		}
		p := found[at]
		if at == session {
			erased = p.erased
		}
		if p.seq < upto {
			parts = append(parts, part{session: at, after: max(p.seq, after), upto: upto, erased: erased})
		}
		if p.parent == "" || min(p.seq, upto) <= after {
			break
		}
		at, upto = p.parent, min(p.seq, upto)
	}
	slices.Reverse(parts)
	last := &parts[len(parts)-1]
	last.own, last.erased = true, 0
	return parts, nil
}

// Trees implements store.Store.
func (s *Store) Trees(ctx context.Context, project string) ([]event.Hash, error) {
	const op = "list trees"
	seen := make(map[event.Hash]bool)
	var list []event.Hash
	for _, query := range []string{
		`SELECT DISTINCT root FROM trees WHERE project = $1`,
		`SELECT DISTINCT tree FROM objects WHERE project = $1 AND tree IS NOT NULL`,
	} {
		rows, err := s.pool.Query(ctx, query, project)
		if err != nil {
			return nil, wrap(op, err)
		}
		var root []byte
		_, err = pgx.ForEachRow(rows, []any{&root}, func() error {
			h, ok := hashOf(root)
			if !ok {
				return fmt.Errorf("a tree's name has %d bytes: %w", len(root), store.ErrCorrupt)
			}
			if !seen[h] {
				seen[h] = true
				list = append(list, h)
			}
			return nil
		})
		if err != nil {
			return nil, wrap(op, err)
		}
	}
	return list, nil
}

// never is a grace that does not end.
const never = 100 * 365 * 24 * time.Hour
