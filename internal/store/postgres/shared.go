package postgres

import (
	"bytes"
	"cmp"
	"context"
	"slices"

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
	SELECT * FROM unnest($1::smallint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::boolean[])
		WITH ORDINALITY AS a (shard, project, session, head, epoch, erase, i)
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
	SELECT b.*, now() FROM unnest($7::smallint[], $8::text[], $9::bytea[], $10::bytea[]) AS b
	ON CONFLICT (shard, project, hash) DO UPDATE SET touched_at = excluded.touched_at
), erased AS (
	UPDATE records r SET data = NULL, salt = NULL, blob = NULL
	FROM a
	WHERE a.erase AND (SELECT v FROM verdict)[a.i] = 0
		AND r.shard = a.shard AND r.project = a.project AND r.session = a.session AND r.seq <= a.head
), record AS (
	INSERT INTO records (shard, project, session, seq, time, kind, version, data, salt, blob, digest, hash)
	SELECT r.shard, r.project, r.session, r.seq, r.time, r.kind, r.version, r.data, r.salt, r.blob, r.digest, r.hash
	FROM unnest($11::int[], $12::smallint[], $13::text[], $14::text[], $15::bigint[], $16::timestamptz[], $17::text[],
		$18::smallint[], $19::bytea[], $20::bytea[], $21::bytea[], $22::bytea[], $23::bytea[])
		AS r (i, shard, project, session, seq, time, kind, version, data, salt, blob, digest, hash)
	WHERE (SELECT v FROM verdict)[r.i] = 0
), indexed AS (
	INSERT INTO sessions AS s (shard, project, session, agent_id, status, metadata, created_at, updated_at, wake_at, deleted)
	SELECT x.shard, x.project, x.session, x.agent_id, x.status, x.metadata::jsonb, x.created_at, x.updated_at, x.wake_at, x.deleted
	FROM unnest($24::int[], $25::smallint[], $26::text[], $27::text[], $28::text[], $29::text[], $30::text[],
		$31::timestamptz[], $32::timestamptz[], $33::timestamptz[], $34::boolean[])
		AS x (i, shard, project, session, agent_id, status, metadata, created_at, updated_at, wake_at, deleted)
	WHERE (SELECT v FROM verdict)[x.i] = 0
	` + indexConflict + `
)
SELECT v FROM verdict`

const indexConflict = `ON CONFLICT (shard, project, session) DO UPDATE SET
		agent_id = excluded.agent_id, status = excluded.status, metadata = excluded.metadata,
		created_at = excluded.created_at, updated_at = excluded.updated_at,
		wake_at = excluded.wake_at, deleted = excluded.deleted`

func (*sharedCommit) joins(_, _ *pending) bool { return true }

func (c *sharedCommit) commit(ctx context.Context, group []*pending) ([]verdict, error) {
	slices.SortStableFunc(group, func(p, q *pending) int { return cmp.Compare(p.shard, q.shard) })
	var (
		shards            []int16
		projects, session []string
		heads, epochs     []int64
		erase             []bool
	)
	for _, p := range group {
		shards = append(shards, p.shard)
		projects = append(projects, p.Project)
		session = append(session, p.Session)
		heads = append(heads, p.Records[0].Seq-1)
		epochs = append(epochs, p.Epoch)
		erase = append(erase, p.Erase)
	}
	b := blobsOf(group)
	r := recordsOf(group)
	x := indexesOf(group)
	var verdicts []verdict
	err := c.pool.QueryRow(ctx, sharedStatement,
		shards, projects, session, heads, epochs, erase,
		b.shard, b.project, b.hash, b.data,
		r.in, r.shard, r.project, r.session, r.seq, r.time, r.kind,
		r.version, r.data, r.salt, r.blob, r.digest, r.hash,
		x.in, x.shard, x.project, x.session, x.agent, x.status, x.metadata,
		x.created, x.updated, x.wake, x.deleted,
	).Scan(&verdicts)
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
		*blob
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
