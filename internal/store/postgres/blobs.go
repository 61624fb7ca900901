package postgres

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/event"
)

// collectBatch is how many blobs are looked at in one round trip.
const collectBatch = 1000

type packedBlob struct {
	hash event.Hash
	data []byte // packed
}

// putBlob writes a blob in a commit of its own. It is touched where it is there
// already, so that Collect leaves it for the record that is about to name it.
func (s *Store) putBlob(ctx context.Context, project string, b *packedBlob) error {
	_, err := s.pool.Exec(ctx, `INSERT INTO blobs (shard, project, hash, data, touched_at) VALUES ($1, $2, $3, $4, now())
		ON CONFLICT (shard, project, hash) DO UPDATE SET touched_at = excluded.touched_at`,
		blobShard(b.hash), project, b.hash[:], b.data)
	return err
}

// candidate is a blob that was not touched for the grace.
type candidate struct {
	Shard     int16
	Project   string
	Hash      []byte
	TouchedAt time.Time
}

// Collect implements store.Store. It first forgets what only forks that are gone
// had. A blob is deleted only if nobody touched it
// since it was found: an append that names it in the meantime has done so. Where
// commits keep to a shard a blob is committed before the record; the grace must
// then be longer than an append by another node takes.
func (s *Store) Collect(ctx context.Context, grace time.Duration) (int, error) {
	if err := s.forget(ctx, grace); err != nil {
		return 0, wrap("forget what no fork has", err)
	}
	deleted := 0
	after := &candidate{Shard: -1, Hash: []byte{}}
	for after != nil {
		last, n, err := s.collect(ctx, after, grace)
		deleted += n
		if err != nil {
			return deleted, wrap("collect blobs", err)
		}
		after = last
	}
	return deleted, nil
}

// collect deletes those of the next candidates that no record names. It returns
// the last of them, nil where there is none, and how many it deleted. The
// records are looked at after the blobs were found: one that named a blob before
// then is seen, and one that names it later has touched it.
func (s *Store) collect(ctx context.Context, after *candidate, grace time.Duration) (last *candidate, n int, err error) {
	s.naming.Lock()
	defer s.naming.Unlock()
	found, err := s.untouched(ctx, after, grace)
	if err != nil || len(found) == 0 {
		return nil, 0, err
	}
	last = &found[len(found)-1]
	free, err := s.unnamed(ctx, found)
	if err != nil || len(free) == 0 {
		return last, 0, err
	}
	n, err = s.deleteBlobs(ctx, free)
	return last, n, err
}

// untouched lists candidates that come after one by their key.
func (s *Store) untouched(ctx context.Context, after *candidate, grace time.Duration) ([]candidate, error) {
	rows, err := s.pool.Query(ctx, `SELECT shard, project, hash, touched_at FROM blobs
		WHERE (shard, project, hash) > ($1, $2, $3) AND touched_at <= now() - $4::interval
		ORDER BY shard, project, hash LIMIT $5`, after.Shard, after.Project, after.Hash, grace, collectBatch)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[candidate])
}

// deleteBlobs deletes candidates, which are sorted by shard, by a statement for
// each of the shards.
func (s *Store) deleteBlobs(ctx context.Context, list []candidate) (int, error) {
	b := new(pgx.Batch)
	for len(list) > 0 {
		end := slices.IndexFunc(list, func(c candidate) bool { return c.Shard != list[0].Shard })
		if end < 0 {
			end = len(list)
		}
		projects, hashes, touched := candidateColumns(list[:end])
		b.Queue(`DELETE FROM blobs b
			USING unnest($2::text[], $3::bytea[], $4::timestamptz[]) AS f (project, hash, touched_at)
			WHERE b.shard = $1 AND b.project = f.project AND b.hash = f.hash AND b.touched_at = f.touched_at`,
			list[0].Shard, projects, hashes, touched)
		list = list[end:]
	}
	return affected(s.pool.SendBatch(ctx, b), b.Len())
}

// unnamed returns those of the candidates that no record names.
func (s *Store) unnamed(ctx context.Context, found []candidate) ([]candidate, error) {
	projects, hashes, _ := candidateColumns(found)
	rows, err := s.pool.Query(ctx, `SELECT DISTINCT project, blob FROM records
		WHERE project = ANY($1) AND blob = ANY($2)`, projects, hashes)
	if err != nil {
		return nil, err
	}
	type name struct{ project, hash string }
	named := make(map[name]bool)
	var project string
	var hash []byte
	if _, err := pgx.ForEachRow(rows, []any{&project, &hash}, func() error {
		named[name{project, string(hash)}] = true
		return nil
	}); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(found), func(c candidate) bool {
		return named[name{c.Project, string(c.Hash)}]
	}), nil
}

func candidateColumns(list []candidate) (projects []string, hashes [][]byte, touched []time.Time) {
	for _, c := range list {
		projects = append(projects, c.Project)
		hashes = append(hashes, c.Hash)
		touched = append(touched, c.TouchedAt)
	}
	return projects, hashes, touched
}
