package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/stayd/stayd/internal/event"
)

// sharedCommit writes appends of any shards in one commit, which is one
// statement and one round trip.
type sharedCommit struct{ pool *pgxpool.Pool }

// sharedStatement checks and writes a whole group. Its snapshot may be older
// than a lease that it had to wait for, but the records that it looks at are
// those of sessions whose lease did not change since: whoever took the lease
// waited for the writers under the old epoch.
//
// The appends come sorted by shard and the blobs by key, so that two nodes lock
// what they share in the same order.
const sharedStatement = `
WITH a AS MATERIALIZED (
	SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
		WITH ORDINALITY AS a (shard, project, session, head, epoch, i)
), verdict AS MATERIALIZED (
	SELECT array_agg(CASE
		WHEN a.epoch IS DISTINCT FROM (SELECT l.epoch FROM leases l WHERE l.shard = a.shard FOR SHARE) THEN 2
		WHEN a.head <> coalesce((
			SELECT r.seq FROM records r
			WHERE r.shard = a.shard AND r.project = a.project AND r.session = a.session
			ORDER BY r.seq DESC LIMIT 1), 0) THEN 1
		ELSE 0 END) AS v
	FROM a
), blob AS (
	INSERT INTO blobs (shard, project, hash, data, touched_at)
	SELECT b.*, now() FROM unnest($6::smallint[], $7::text[], $8::bytea[], $9::bytea[]) AS b
	ON CONFLICT (shard, project, hash) DO UPDATE SET touched_at = excluded.touched_at
), record AS (
	INSERT INTO records (shard, project, session, seq, time, kind, version, data, salt, blob, digest, hash)
	SELECT r.shard, r.project, r.session, r.seq, r.time, r.kind, r.version, r.data, r.salt, r.blob, r.digest, r.hash
	FROM unnest($10::int[], $11::smallint[], $12::text[], $13::text[], $14::bigint[], $15::timestamptz[], $16::text[],
		$17::smallint[], $18::bytea[], $19::bytea[], $20::bytea[], $21::bytea[], $22::bytea[])
		AS r (i, shard, project, session, seq, time, kind, version, data, salt, blob, digest, hash)
	WHERE (SELECT v FROM verdict)[r.i] = 0
), indexed AS (
	INSERT INTO sessions AS s (shard, project, session, agent_id, forked_from, actor, status, metadata, created_at, updated_at, wake_at, deleted)
	SELECT x.shard, x.project, x.session, x.agent_id, x.forked_from, x.actor, x.status, x.metadata::jsonb, x.created_at, x.updated_at, x.wake_at, x.deleted
	FROM unnest($23::int[], $24::smallint[], $25::text[], $26::text[], $27::text[], $28::text[], $29::text[], $30::text[],
		$31::text[], $32::timestamptz[], $33::timestamptz[], $34::timestamptz[], $35::boolean[])
		AS x (i, shard, project, session, agent_id, forked_from, actor, status, metadata, created_at, updated_at, wake_at, deleted)
	WHERE (SELECT v FROM verdict)[x.i] = 0
	` + indexConflict + `
)`

const sharedVerdict = `
SELECT v FROM verdict`

// sharedRare adds to the statement what few appends do.
const sharedRare = `, erase AS MATERIALIZED (
	SELECT e.* FROM unnest($36::int[], $37::smallint[], $38::text[], $39::text[], $40::bigint[])
		AS e (i, shard, project, session, upto)
	WHERE (SELECT v FROM verdict)[e.i] = 0
), erased AS (
	UPDATE records r SET data = NULL, salt = NULL, blob = NULL, kept = NULL
	FROM erase e
	WHERE r.shard = e.shard AND r.project = e.project AND r.session = e.session AND r.seq <= e.upto
		AND r.salt IS NOT NULL AND NOT EXISTS (` + claimsRecord + `)
), kept AS (
	UPDATE records r SET kept = true
	FROM erase e
	WHERE r.shard = e.shard AND r.project = e.project AND r.session = e.session AND r.seq <= e.upto
		AND r.salt IS NOT NULL AND r.kept IS NULL AND EXISTS (` + claimsRecord + `)
), dropped AS (
	DELETE FROM trees r
	USING erase e
	WHERE r.shard = e.shard AND r.project = e.project AND r.session = e.session AND r.seq <= e.upto
		AND NOT EXISTS (` + claimsRecord + `)
), tree AS (
	INSERT INTO trees (shard, project, session, seq, root)
	SELECT t.shard, t.project, t.session, t.seq, t.root
	FROM unnest($41::int[], $42::smallint[], $43::text[], $44::text[], $45::bigint[], $46::bytea[])
		AS t (i, shard, project, session, seq, root)
	WHERE (SELECT v FROM verdict)[t.i] = 0
	ON CONFLICT DO NOTHING
), past AS (
	INSERT INTO pasts (shard, project, session, parent, seq, erased)
	SELECT p.shard, p.project, p.session, p.parent, p.seq, p.erased
	FROM unnest($47::int[], $48::smallint[], $49::text[], $50::text[], $51::text[], $52::bigint[], $53::bigint[])
		AS p (i, shard, project, session, parent, seq, erased)
	WHERE (SELECT v FROM verdict)[p.i] = 0
	` + pastConflict + `
)`

// sharedLock is for the shards of appends that erase: the locks make forks that
// were claimed first seen by the statement that follows, and others wait. They
// are taken in the order in which all take them.
const sharedLock = `SELECT 1 FROM leases WHERE shard = ANY($1::smallint[]) ORDER BY shard FOR UPDATE`

const indexConflict = `ON CONFLICT (shard, project, session) DO UPDATE SET
		agent_id = excluded.agent_id, forked_from = excluded.forked_from, actor = excluded.actor, status = excluded.status, metadata = excluded.metadata,
		created_at = excluded.created_at, updated_at = excluded.updated_at,
		wake_at = excluded.wake_at, deleted = excluded.deleted`

func (*sharedCommit) joins(_, _ *pending) bool { return true }

func (c *sharedCommit) commit(ctx context.Context, group []*pending) ([]verdict, error) {
	slices.SortStableFunc(group, func(p, q *pending) int { return cmp.Compare(p.shard, q.shard) })
	var (
		shards            []int16
		projects, session []string
		heads, epochs     []int64
		rare, erase       bool
	)
	for _, p := range group {
		shards = append(shards, p.shard)
		projects = append(projects, p.Project)
		session = append(session, p.Session)
		heads = append(heads, p.head())
		epochs = append(epochs, p.Epoch)
		rare, erase = rare || p.rare(), erase || p.Erase
	}
	b := blobsOf(group)
	r := recordsOf(group)
	x := indexesOf(group)
	args := []any{
		shards, projects, session, heads, epochs,
		b.shard, b.project, b.hash, b.data,
		r.in, r.shard, r.project, r.session, r.seq, r.time, r.kind,
		r.version, r.data, r.salt, r.blob, r.digest, r.hash,
		x.in, x.shard, x.project, x.session, x.agent, x.forked, x.actor, x.status, x.metadata,
		x.created, x.updated, x.wake, x.deleted,
	}
	var verdicts []verdict
	if !rare {
		err := c.pool.QueryRow(ctx, sharedStatement+sharedVerdict, args...).Scan(&verdicts)
		return verdicts, err
	}
	args = append(args, rareColumns(group)...)
	err := pgx.BeginTxFunc(ctx, c.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		if erase {
			if _, err := tx.Exec(ctx, sharedLock, shards); err != nil {
				return err
			}
		}
		return tx.QueryRow(ctx, sharedStatement+sharedRare+sharedVerdict, args...).Scan(&verdicts)
	})
	return verdicts, err
}

// blobColumns are the blobs of a group, each once, sorted by key.
type blobColumns struct {
	shard      []int16
	project    []string
	hash, data [][]byte
}

func blobsOf(group []*pending) *blobColumns {
	type named struct {
		project string
		*packedBlob
	}
	var all []named
	for _, p := range group {
		for i := range p.blobs {
			all = append(all, named{p.Project, &p.blobs[i]})
		}
	}
	slices.SortFunc(all, func(a, b named) int {
		return cmp.Or(bytes.Compare(a.hash[:], b.hash[:]), cmp.Compare(a.project, b.project))
	})
	all = slices.CompactFunc(all, func(a, b named) bool { return a.hash == b.hash && a.project == b.project })
	c := new(blobColumns)
	for _, b := range all {
		c.shard = append(c.shard, blobShard(b.hash))
		c.project = append(c.project, b.project)
		c.hash = append(c.hash, b.hash[:])
		c.data = append(c.data, b.data)
	}
	return c
}

func blobShard(h event.Hash) int16 { return int16(h[0]) }
