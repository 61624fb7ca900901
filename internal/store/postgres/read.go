package postgres

import (
	"context"
	"fmt"
	"math"
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
	r := &reading{store: s, project: project, limit: limit, blobs: make(map[event.Hash][]int)}
	if err := r.part(ctx, part{session: session, after: after, upto: math.MaxInt64, own: true}); err != nil {
		return nil, wrap(op, err)
	}
	if len(r.records) > 0 && r.records[0].Seq > after+1 {
		// The records before the first are those of a parent.
		if err := r.again(ctx, session, after); err != nil {
			return nil, wrap(op, err)
		}
	}
	if err := s.fillBlobs(ctx, project, r.records, r.blobs); err != nil {
		return nil, wrap(op, err)
	}
	return r.records, nil
}

// reading is what was read of a log, up to limit records.
type reading struct {
	store   *Store
	project string
	limit   int
	records []event.Record
	blobs   map[event.Hash][]int // the records that each blob is the data of
}

// part is a piece of a log: the records that one session wrote over after up to
// upto. They are without data up to erased and, where the session reads its own,
// where only forks have it.
type part struct {
	session             string
	after, upto, erased int64
	own                 bool
}

// again reads the log of a fork from its parents on.
func (r *reading) again(ctx context.Context, session string, after int64) error {
	parts, err := r.store.parts(ctx, r.project, session, after)
	if err != nil {
		return err
	}
	r.records = nil
	clear(r.blobs)
	for _, p := range parts {
		if len(r.records) == r.limit {
			return nil
		}
		if err := r.part(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (r *reading) part(ctx context.Context, p part) error {
	rows, err := r.store.pool.Query(ctx, `
		SELECT seq, time, kind, version, data, salt, blob, digest, hash, kept FROM records
		WHERE shard = $1 AND project = $2 AND session = $3 AND seq > $4 AND seq <= $5
		ORDER BY seq LIMIT $6`,
		store.ShardOf(p.session), r.project, p.session, p.after, p.upto, r.limit-len(r.records))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := r.add(rows, p); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (r *reading) add(rows pgx.Rows, p part) error {
	e := event.Record{Session: p.session}
	var at time.Time
	var blob, digest, hash []byte
	var kept *bool
	if err := rows.Scan(&e.Seq, &at, &e.Kind, &e.Version, &e.Data, &e.Salt, &blob, &digest, &hash, &kept); err != nil {
		return err
	}
	e.Time = at.UTC()
	var ok1, ok2 bool
	e.Digest, ok1 = hashOf(digest)
	e.Hash, ok2 = hashOf(hash)
	if !ok1 || !ok2 {
		return fmt.Errorf("record %d has a hash of another length: %w", e.Seq, store.ErrCorrupt)
	}
	switch {
	case e.Seq <= p.erased, p.own && kept != nil:
		e.Data, e.Salt = nil, nil
	case blob != nil:
		h, ok := hashOf(blob)
		if !ok {
			return fmt.Errorf("record %d names no blob: %w", e.Seq, store.ErrCorrupt)
		}
		r.blobs[h] = append(r.blobs[h], len(r.records))
	}
	r.records = append(r.records, e)
	return nil
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
