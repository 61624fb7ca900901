package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// claimRow is a row of forks.
type claimRow struct {
	seq     int64
	fork    string
	claimed int64
	erased  int64
	old     bool // made before the grace
	madeAt  time.Time
}

// settle gives up what the forks of a session do not have any more. A fork that
// has forgotten its past may still be needed for it by forks of its own, which
// are settled first. What a fork has forgotten it never has again, nor does any
// fork of it that is made later, so that each answer stays true.
//
// A row whose fork never came to be goes once it is older than grace.
func (s *Store) settle(ctx context.Context, k key, grace time.Duration) error {
	after := claimRow{seq: -1}
	for {
		list, err := s.claims(ctx, k, after, grace)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := s.settleBatch(ctx, k, list, grace); err != nil {
			return err
		}
		if len(list) < settleBatch {
			return nil
		}
		after = list[len(list)-1]
	}
}

func (s *Store) claims(ctx context.Context, k key, after claimRow, grace time.Duration) ([]claimRow, error) {
	rows, err := s.pool.Query(ctx, `SELECT seq, fork, claimed, erased, made_at <= now() - $6::interval, made_at FROM forks
		WHERE shard = $1 AND project = $2 AND session = $3 AND (seq, fork) > ($4, $5)
		ORDER BY seq, fork LIMIT $7`, k.Shard, k.Project, k.Session, after.seq, after.fork, grace, settleBatch)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (c claimRow, err error) {
		err = row.Scan(&c.seq, &c.fork, &c.claimed, &c.erased, &c.old, &c.madeAt)
		return c, err
	})
}

func (s *Store) settleBatch(ctx context.Context, k key, list []claimRow, grace time.Duration) error {
	forks := make([]string, len(list))
	for i, c := range list {
		forks[i] = c.fork
	}
	// First what the forks have forgotten, then which forks they have: one that is
	// made in between has forgotten as much.
	states, err := pasts(ctx, s.pool, k.Project, forks...)
	if err != nil {
		return err
	}
	forked, err := s.forked(ctx, k.Project, forks)
	if err != nil {
		return err
	}
	var gone []claimRow
	for _, c := range list {
		st, there := states[c.fork]
		switch {
		case !there || st.parent != k.Session || st.seq != c.seq:
			if c.old {
				gone = append(gone, c)
			}
		case st.erased < c.seq:
		case !forked[c.fork]:
			gone = append(gone, c)
		default:
			last, err := s.settleFork(ctx, k, c, grace)
			if err != nil {
				return err
			}
			if last {
				gone = append(gone, c)
			}
		}
	}
	return s.unclaim(ctx, k, gone)
}

// forked returns which of the sessions have forks.
func (s *Store) forked(ctx context.Context, project string, sessions []string) (map[string]bool, error) {
	rows, err := s.pool.Query(ctx, `SELECT DISTINCT session FROM forks
		WHERE shard = ANY($1) AND project = $2 AND session = ANY($3)`, shardsOf(sessions), project, sessions)
	if err != nil {
		return nil, err
	}
	found := make(map[string]bool)
	var session string
	_, err = pgx.ForEachRow(rows, []any{&session}, func() error {
		found[session] = true
		return nil
	})
	return found, err
}

// settleFork settles a fork that has forgotten its past, lowers the claim of it
// to what its own forks have of that past, and reports whether that is nothing.
func (s *Store) settleFork(ctx context.Context, k key, c claimRow, grace time.Duration) (gone bool, err error) {
	fork := keyOf(k.Project, c.fork)
	if err := s.settle(ctx, fork, grace); err != nil {
		return false, err
	}
	var claimed int64
	err = s.pool.QueryRow(ctx, `SELECT coalesce(max(least(claimed, $4)), 0) FROM forks
		WHERE shard = $1 AND project = $2 AND session = $3 AND erased < least(claimed, $4)`,
		fork.Shard, fork.Project, fork.Session, c.seq).Scan(&claimed)
	if err != nil || claimed >= c.claimed || claimed == 0 {
		return claimed == 0, err
	}
	_, err = s.pool.Exec(ctx, `UPDATE forks SET claimed = least(claimed, $6)
		WHERE shard = $1 AND project = $2 AND session = $3 AND seq = $4 AND fork = $5`,
		k.Shard, k.Project, k.Session, c.seq, c.fork, claimed)
	return false, err
}

// unclaim deletes rows that were not made again since they were read.
func (s *Store) unclaim(ctx context.Context, k key, list []claimRow) error {
	if len(list) == 0 {
		return nil
	}
	var seqs []int64
	var forks []string
	var made []time.Time
	for _, c := range list {
		seqs = append(seqs, c.seq)
		forks = append(forks, c.fork)
		made = append(made, c.madeAt)
	}
	_, err := s.pool.Exec(ctx, `DELETE FROM forks f
		USING unnest($4::bigint[], $5::text[], $6::timestamptz[]) AS g (seq, fork, made_at)
		WHERE f.shard = $1 AND f.project = $2 AND f.session = $3
			AND f.seq = g.seq AND f.fork = g.fork AND f.made_at = g.made_at`,
		k.Shard, k.Project, k.Session, seqs, forks, made)
	return err
}

// forget settles the forks that have something to give up, and erases what
// their parents have forgotten and none has any more.
func (s *Store) forget(ctx context.Context, grace time.Duration) error {
	s.naming.Lock()
	defer s.naming.Unlock()
	after := forkRow{Shard: -1}
	for {
		list, err := s.forkRows(ctx, after)
		if err != nil {
			return err
		}
		loose, err := s.loose(ctx, list)
		if err != nil {
			return err
		}
		for _, k := range loose {
			if err := s.settle(ctx, k, grace); err != nil {
				return err
			}
		}
		if len(list) < settleBatch {
			break
		}
		after = list[len(list)-1]
	}
	return s.eachKept(ctx, func(k key) error { return s.forgetKept(ctx, k) })
}

// forkRow is the key of a row of forks.
type forkRow struct {
	Shard            int16
	Project, Session string
	Seq              int64
	Fork             string
}

func (s *Store) forkRows(ctx context.Context, after forkRow) ([]forkRow, error) {
	rows, err := s.pool.Query(ctx, `SELECT shard, project, session, seq, fork FROM forks
		WHERE (shard, project, session, seq, fork) > ($1, $2, $3, $4, $5)
		ORDER BY shard, project, session, seq, fork LIMIT $6`,
		after.Shard, after.Project, after.Session, after.Seq, after.Fork, settleBatch)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[forkRow])
}

// loose returns the sessions in the list of which a fork is not there or has
// forgotten its past.
func (s *Store) loose(ctx context.Context, list []forkRow) ([]key, error) {
	forks := make(map[string][]string) // by project
	for _, r := range list {
		forks[r.Project] = append(forks[r.Project], r.Fork)
	}
	states := make(map[string]map[string]past)
	for project, ids := range forks {
		var err error
		if states[project], err = pasts(ctx, s.pool, project, ids...); err != nil {
			return nil, err
		}
	}
	var loose []key
	for _, r := range list {
		st, there := states[r.Project][r.Fork]
		if there && st.parent == r.Session && st.seq == r.Seq && st.erased < r.Seq {
			continue
		}
		if k := (key{r.Shard, r.Project, r.Session}); len(loose) == 0 || loose[len(loose)-1] != k {
			loose = append(loose, k)
		}
	}
	return loose, nil
}

// eachKept calls f with the sessions that have records that only forks may still
// have.
func (s *Store) eachKept(ctx context.Context, f func(key) error) error {
	after := key{Shard: -1}
	for {
		rows, err := s.pool.Query(ctx, `SELECT DISTINCT shard, project, session FROM records
			WHERE kept AND (shard, project, session) > ($1, $2, $3)
			ORDER BY shard, project, session LIMIT $4`, after.Shard, after.Project, after.Session, settleBatch)
		if err != nil {
			return err
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[key])
		if err != nil {
			return err
		}
		for _, k := range list {
			if err := f(k); err != nil {
				return err
			}
		}
		if len(list) < settleBatch {
			return nil
		}
		after = list[len(list)-1]
	}
}

func (s *Store) forgetKept(ctx context.Context, k key) error {
	return pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `UPDATE records r SET data = NULL, salt = NULL, blob = NULL, kept = NULL
			WHERE r.shard = $1 AND r.project = $2 AND r.session = $3 AND r.kept AND NOT EXISTS (`+claimsRecord+`)`,
			k.Shard, k.Project, k.Session)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		_, err = tx.Exec(ctx, `DELETE FROM trees t WHERE t.shard = $1 AND t.project = $2 AND t.session = $3
			AND EXISTS (SELECT FROM records r WHERE r.shard = t.shard AND r.project = t.project AND r.session = t.session
				AND r.seq = t.seq AND r.salt IS NULL)`, k.Shard, k.Project, k.Session)
		return err
	})
}
