package postgres

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// Read implements store.Store.
func (s *Store) Read(ctx context.Context, project, session string, after int64, limit int) ([]event.Record, error) {
	if limit <= 0 {
		return nil, nil
	}
	op := "read session " + session
	rows, err := s.pool.Query(ctx, `
		SELECT seq, time, kind, version, data, salt, blob, digest, hash FROM records
		WHERE shard = $1 AND project = $2 AND session = $3 AND seq > $4
		ORDER BY seq LIMIT $5`,
		store.ShardOf(session), project, session, after, limit)
	if err != nil {
		return nil, wrap(op, err)
	}
	blobs := make(map[event.Hash][]int) // the records that each blob is the data of
	var records []event.Record
	for rows.Next() {
		r := event.Record{Session: session}
		var at time.Time
		var blob, digest, hash []byte
		if err := rows.Scan(&r.Seq, &at, &r.Kind, &r.Version, &r.Data, &r.Salt, &blob, &digest, &hash); err != nil {
			rows.Close()
			return nil, wrap(op, err)
		}
		r.Time = at.UTC()
		var ok1, ok2 bool
		r.Digest, ok1 = hashOf(digest)
		r.Hash, ok2 = hashOf(hash)
		if !ok1 || !ok2 {
			rows.Close()
			return nil, fmt.Errorf("%s: record %d has a hash of another length: %w", op, r.Seq, store.ErrCorrupt)
		}
		if blob != nil {
			h, ok := hashOf(blob)
			if !ok {
				rows.Close()
				return nil, fmt.Errorf("%s: record %d names no blob: %w", op, r.Seq, store.ErrCorrupt)
			}
			blobs[h] = append(blobs[h], len(records))
		}
		records = append(records, r)
	}
	if err := rows.Err(); err != nil {
		return nil, wrap(op, err)
	}
	if err := s.fillBlobs(ctx, project, records, blobs); err != nil {
		return nil, wrap(op, err)
	}
	return records, nil
}

// fillBlobs sets the data of the records that are kept as blobs.
func (s *Store) fillBlobs(ctx context.Context, project string, records []event.Record, blobs map[event.Hash][]int) error {
	if len(blobs) == 0 {
		return nil
	}
	var shards []int16
	var hashes [][]byte
	for h := range blobs {
		shards = append(shards, blobShard(h))
		hashes = append(hashes, h[:])
	}
	rows, err := s.pool.Query(ctx, `SELECT hash, data FROM blobs
		WHERE shard = ANY($1) AND project = $2 AND hash = ANY($3)`, shards, project, hashes)
	if err != nil {
		return err
	}
	var name, packed []byte
	_, err = pgx.ForEachRow(rows, []any{&name, &packed}, func() error {
		h, ok := hashOf(name)
		if !ok {
			return fmt.Errorf("a blob has a name of %d bytes: %w", len(name), store.ErrCorrupt)
		}
		data, err := s.codec.Unpack(h, packed)
		if err != nil {
			return err
		}
		for _, i := range blobs[h] {
			records[i].Data = data
		}
		delete(blobs, h)
		return nil
	})
	if err != nil {
		return err
	}
	return s.missing(ctx, project, records, blobs)
}

// missing says what has become of blobs that were named and are not there: the
// records were erased since they were read, or the store is damaged.
func (s *Store) missing(ctx context.Context, project string, records []event.Record, blobs map[event.Hash][]int) error {
	for h, places := range blobs {
		for _, i := range places {
			r := &records[i]
			var erased bool
			err := s.pool.QueryRow(ctx, `SELECT salt IS NULL FROM records
				WHERE shard = $1 AND project = $2 AND session = $3 AND seq = $4`,
				store.ShardOf(r.Session), project, r.Session, r.Seq).Scan(&erased)
			if err != nil {
				return err
			}
			if !erased {
				return fmt.Errorf("record %d: blob %s is missing: %w", r.Seq, h, store.ErrCorrupt)
			}
			r.Salt = nil
		}
	}
	return nil
}
