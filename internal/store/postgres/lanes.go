package postgres

import (
	"context"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// laneCommit writes appends of one shard and epoch in one commit: a transaction
// whose statements all name the shard as their first argument, sent together
// and answered together.
type laneCommit struct{ pool *pgxpool.Pool }

// The checks of a lane end the transaction by dividing by zero, since nothing
// can be decided between the statements of one round trip.
const (
	laneLease = `SELECT 1 / (SELECT count(*) FROM (
		SELECT epoch FROM leases WHERE shard = $1 AND epoch = $2 FOR SHARE) l)`

	// laneLeaseErase is for a commit that erases: what forks have claimed is
	// then seen by the statements that follow, and others wait.
	laneLeaseErase = `SELECT 1 / (SELECT count(*) FROM (
		SELECT epoch FROM leases WHERE shard = $1 AND epoch = $2 FOR UPDATE) l)`

	laneStale = `SELECT a.i FROM unnest($2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS a (project, session, head, i)
		WHERE a.head <> coalesce((
			SELECT r.seq FROM records r
			WHERE r.shard = $1 AND r.project = a.project AND r.session = a.session
			ORDER BY r.seq DESC LIMIT 1), 0)`

	laneHeads = `SELECT 1 / CASE WHEN EXISTS (` + laneStale + `) THEN 0 ELSE 1 END`

	laneErase = `UPDATE records r SET data = NULL, salt = NULL, blob = NULL, kept = NULL
		WHERE r.shard = $1 AND r.project = $2 AND r.session = $3 AND r.seq <= $4 AND r.salt IS NOT NULL
		AND NOT EXISTS (` + claimsRecord + `)`

	// laneKeep marks what laneErase left.
	laneKeep = `UPDATE records SET kept = true
		WHERE shard = $1 AND project = $2 AND session = $3 AND seq <= $4 AND salt IS NOT NULL AND kept IS NULL`

	laneDropTrees = `DELETE FROM trees r
		WHERE r.shard = $1 AND r.project = $2 AND r.session = $3 AND r.seq <= $4
		AND NOT EXISTS (` + claimsRecord + `)`

	laneTrees = `INSERT INTO trees (shard, project, session, seq, root)
		SELECT $1, t.* FROM unnest($2::text[], $3::text[], $4::bigint[], $5::bytea[]) AS t
		ON CONFLICT DO NOTHING`

	lanePasts = `INSERT INTO pasts (shard, project, session, parent, seq, erased)
		SELECT $1, p.* FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[]) AS p
		` + pastConflict

	laneRecords = `INSERT INTO records (shard, project, session, seq, time, kind, version, data, salt, blob, digest, hash)
		SELECT $1, r.* FROM unnest($2::text[], $3::text[], $4::bigint[], $5::timestamptz[], $6::text[], $7::smallint[],
			$8::bytea[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[]) AS r`

	laneIndexes = `INSERT INTO sessions (shard, project, session, agent_id, forked_from, actor, status, metadata, created_at, updated_at, wake_at, deleted)
		SELECT $1, x.project, x.session, x.agent_id, x.forked_from, x.actor, x.status, x.metadata::jsonb, x.created_at, x.updated_at, x.wake_at, x.deleted
		FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::timestamptz[],
			$10::timestamptz[], $11::timestamptz[], $12::boolean[])
			AS x (project, session, agent_id, forked_from, actor, status, metadata, created_at, updated_at, wake_at, deleted)
		` + indexConflict
)

func (*laneCommit) joins(first, p *pending) bool {
	return p.shard == first.shard && p.Epoch == first.Epoch
}

func (c *laneCommit) commit(ctx context.Context, group []*pending) ([]verdict, error) {
	conn, err := c.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Release()
	verdicts := make([]verdict, len(group))
	for {
		var rest []*pending
		for i, p := range group {
			if verdicts[i] == written {
				rest = append(rest, p)
			}
		}
		if len(rest) == 0 {
			return verdicts, nil
		}
		failed, err := c.send(ctx, conn.Conn(), rest)
		switch {
		case err == nil:
			return verdicts, nil
		case sqlState(err) != divisionByZero:
			return nil, err
		case failed == checkLease:
			return fill(verdicts, fenced), nil
		}
		if err := c.stale(ctx, conn.Conn(), group, verdicts); err != nil {
			return nil, err
		}
	}
}

// checkLease is the place of laneLease in the transaction.
const checkLease = 1

// send runs the transaction in one round trip. It returns the place of the
// statement that failed.
func (c *laneCommit) send(ctx context.Context, conn *pgx.Conn, group []*pending) (failed int, err error) {
	b := new(pgx.Batch)
	queueLane(b, group)
	results := conn.SendBatch(ctx, b)
	for failed = range b.Len() {
		if _, err = results.Exec(); err != nil {
			break
		}
	}
	err = errors.Join(err, results.Close())
	if err != nil && !conn.IsClosed() {
		_, undo := conn.Exec(ctx, `ROLLBACK`)
		err = errors.Join(err, undo)
	}
	return failed, err
}

func queueLane(b *pgx.Batch, group []*pending) {
	shard, epoch := group[0].shard, group[0].Epoch
	r := recordsOf(group)
	x := indexesOf(group)
	projects, sessions, heads := headsOf(group)
	b.Queue(`BEGIN`)
	lease := laneLease
	if slices.ContainsFunc(group, func(p *pending) bool { return p.Erase }) {
		lease = laneLeaseErase
	}
	b.Queue(lease, shard, epoch)
	b.Queue(laneHeads, shard, projects, sessions, heads)
	for _, p := range group {
		if p.Erase {
			for _, statement := range []string{laneErase, laneKeep, laneDropTrees} {
				b.Queue(statement, shard, p.Project, p.Session, p.Records[0].Seq-1)
			}
		}
	}
	b.Queue(laneRecords, shard, r.project, r.session, r.seq, r.time, r.kind, r.version,
		r.data, r.salt, r.blob, r.digest, r.hash)
	if len(x.in) > 0 {
		b.Queue(laneIndexes, shard, x.project, x.session, x.agent, x.forked, x.actor, x.status, x.metadata,
			x.created, x.updated, x.wake, x.deleted)
	}
	if t := treesOf(group); len(t.in) > 0 {
		b.Queue(laneTrees, shard, t.project, t.session, t.seq, t.root)
	}
	if p := pastsOf(group); len(p.in) > 0 {
		b.Queue(lanePasts, shard, p.project, p.session, p.parent, p.seq, p.erased)
	}
	b.Queue(`COMMIT`)
}

// stale marks the appends whose session has another head than they expect.
func (c *laneCommit) stale(ctx context.Context, conn *pgx.Conn, group []*pending, verdicts []verdict) error {
	projects, sessions, heads := headsOf(group)
	rows, err := conn.Query(ctx, laneStale, group[0].shard, projects, sessions, heads)
	if err != nil {
		return err
	}
	places, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		return err
	}
	for _, i := range places {
		verdicts[i-1] = conflict
	}
	return nil
}

func headsOf(group []*pending) (projects, sessions []string, heads []int64) {
	for _, p := range group {
		projects = append(projects, p.Project)
		sessions = append(sessions, p.Session)
		heads = append(heads, p.head())
	}
	return projects, sessions, heads
}

func fill(verdicts []verdict, v verdict) []verdict {
	for i := range verdicts {
		if verdicts[i] == written {
			verdicts[i] = v
		}
	}
	return verdicts
}
