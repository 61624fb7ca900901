package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

const (
	// pieceBatch and pieceBytes bound one commit of pieces.
	pieceBatch = 1000
	pieceBytes = 4 << 20
	// fresh is how long ago a piece may have been put for it to count as put now,
	// to spare the write. It is the coarsest clock that the contract allows.
	fresh = time.Second
)

// Blobs implements store.Store.
func (s *Store) Blobs() blob.Store { return &pieces{s} }

// pieces is a blob.Store in the database of the log. The time of a piece is the
// server's.
type pieces struct{ *Store }

// Close does nothing: the store of the log is closed by who opened it.
func (*pieces) Close() error { return nil }

// Put implements blob.Store.
func (s *pieces) Put(ctx context.Context, project string, blobs []blob.Blob) error {
	const op = "put blobs"
	todo := make(map[event.Hash]*blob.Blob, len(blobs))
	for i := range blobs {
		b := &blobs[i]
		if len(b.Data) > blob.MaxSize {
			return fmt.Errorf("%s: blob %s has %d bytes, more than %d", op, b.Name, len(b.Data), blob.MaxSize)
		}
		if blob.Name(b.Data) != b.Name {
			return fmt.Errorf("%s: blob %s has the content of another", op, b.Name)
		}
		todo[b.Name] = b
	}
	names := make([]event.Hash, 0, len(todo))
	for name := range todo {
		names = append(names, name)
	}
	// By key, so that two that put the same do not wait for each other in a
	// circle; and those of a shard together.
	slices.SortFunc(names, func(a, b event.Hash) int { return bytes.Compare(a[:], b[:]) })
	for batch := range slices.Chunk(names, pieceBatch) {
		if err := s.putNames(ctx, project, batch, todo); err != nil {
			return wrap(op, err)
		}
	}
	return nil
}

// putNames touches the pieces that are there, and writes the others.
func (s *pieces) putNames(ctx context.Context, project string, names []event.Hash, from map[event.Hash]*blob.Blob) error {
	there, err := s.touch(ctx, project, names)
	if err != nil {
		return err
	}
	c := new(pieceColumns)
	for _, name := range names {
		if there[name] {
			continue
		}
		packed := s.codec.Pack(from[name].Data)
		if len(c.shards) > 0 && (c.size+len(packed) > pieceBytes || s.lanes && c.shards[0] != blobShard(name)) {
			if err := s.insert(ctx, project, c); err != nil {
				return err
			}
			c = new(pieceColumns)
		}
		c.shards = append(c.shards, blobShard(name))
		c.hashes = append(c.hashes, name[:])
		c.data = append(c.data, packed)
		c.size += len(packed)
	}
	return s.insert(ctx, project, c)
}

// pieceColumns are pieces that share a commit.
type pieceColumns struct {
	shards       []int16
	hashes, data [][]byte
	size         int
}

func (s *pieces) insert(ctx context.Context, project string, c *pieceColumns) error {
	if len(c.shards) == 0 {
		return nil
	}
	return again(func() error {
		_, err := s.pool.Exec(ctx, `INSERT INTO pieces (shard, project, hash, put_at, data)
			SELECT p.shard, $2, p.hash, clock_timestamp(), p.data FROM unnest($1::smallint[], $3::bytea[], $4::bytea[]) AS p (shard, hash, data)
			ON CONFLICT (shard, project, hash) DO UPDATE SET put_at = excluded.put_at`, c.shards, project, c.hashes, c.data)
		return err
	})
}

// again runs what others may undo.
func again(f func() error) error {
	err := f()
	for n := 1; contended(err) && n < maxAttempts; n++ {
		err = f()
	}
	return err
}

// touch returns which of the pieces are there, and makes them count as put now.
func (s *pieces) touch(ctx context.Context, project string, names []event.Hash) (map[event.Hash]bool, error) {
	there := make(map[event.Hash]bool, len(names))
	var shards []int16
	var old [][]byte
	for _, name := range names {
		shards = append(shards, blobShard(name))
	}
	rows, err := s.pool.Query(ctx, `SELECT hash, put_at < clock_timestamp() - $4::interval FROM pieces
		WHERE shard = ANY($1) AND project = $2 AND hash = ANY($3)`, slices.Compact(shards), project, hashesOf(names), fresh)
	if err != nil {
		return nil, err
	}
	err = eachHash(rows, func(h event.Hash, isOld bool) {
		if isOld {
			old = append(old, h[:])
		} else {
			there[h] = true
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(old, bytes.Compare)
	for len(old) > 0 {
		n := len(old)
		if s.lanes {
			if i := slices.IndexFunc(old, func(h []byte) bool { return h[0] != old[0][0] }); i > 0 {
				n = i
			}
		}
		if err := s.touchOld(ctx, project, old[:n], there); err != nil {
			return nil, err
		}
		old = old[n:]
	}
	return there, nil
}

// touchOld notes in there which of the pieces it found.
func (s *pieces) touchOld(ctx context.Context, project string, old [][]byte, there map[event.Hash]bool) error {
	var shards []int16
	for _, h := range old {
		shards = append(shards, int16(h[0]))
	}
	return again(func() error {
		rows, err := s.pool.Query(ctx, `UPDATE pieces SET put_at = clock_timestamp()
			WHERE shard = ANY($1) AND project = $2 AND hash = ANY($3) RETURNING hash, true`, slices.Compact(shards), project, old)
		if err != nil {
			return err
		}
		return eachHash(rows, func(h event.Hash, _ bool) { there[h] = true })
	})
}

func hashesOf(names []event.Hash) [][]byte {
	hashes := make([][]byte, len(names))
	for i := range names {
		hashes[i] = names[i][:]
	}
	return hashes
}

func eachHash(rows pgx.Rows, f func(event.Hash, bool)) error {
	var name []byte
	var flag bool
	_, err := pgx.ForEachRow(rows, []any{&name, &flag}, func() error {
		h, ok := hashOf(name)
		if !ok {
			return fmt.Errorf("a blob has a name of %d bytes: %w", len(name), blob.ErrCorrupt)
		}
		f(h, flag)
		return nil
	})
	return err
}

// Get implements blob.Store.
func (s *pieces) Get(ctx context.Context, project string, name event.Hash, buf []byte) ([]byte, error) {
	op := "get blob " + name.String()
	var packed []byte
	err := s.pool.QueryRow(ctx, `SELECT data FROM pieces WHERE shard = $1 AND project = $2 AND hash = $3`,
		blobShard(name), project, name[:]).Scan(&packed)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fmt.Errorf("%s: %w", op, blob.ErrNotFound)
	}
	if err != nil {
		return nil, wrap(op, err)
	}
	data, err := s.codec.UnpackInto(name, packed, buf)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", op, blob.ErrCorrupt, err)
	}
	return data, nil
}

// Projects implements blob.Store.
func (s *pieces) Projects(ctx context.Context) ([]string, error) {
	const op = "list projects with blobs"
	rows, err := s.pool.Query(ctx, `SELECT DISTINCT project FROM pieces`)
	if err != nil {
		return nil, wrap(op, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[string])
	return list, wrap(op, err)
}

// Sweep implements blob.Store.
func (s *pieces) Sweep(ctx context.Context, project string, before time.Time, keep func(event.Hash) bool) (int, error) {
	const op = "sweep blobs"
	total := 0
	shard, after := int16(-1), []byte{}
	for {
		rows, err := s.pool.Query(ctx, `SELECT hash, true FROM pieces
			WHERE project = $1 AND (shard, hash) > ($2, $3) AND put_at < $4
			ORDER BY shard, hash LIMIT $5`, project, shard, after, before, pieceBatch)
		if err != nil {
			return total, wrap(op, err)
		}
		var last event.Hash
		found := 0
		var drop []event.Hash
		err = eachHash(rows, func(h event.Hash, _ bool) {
			last, found = h, found+1
			if !keep(h) {
				drop = append(drop, h)
			}
		})
		if err != nil {
			return total, wrap(op, err)
		}
		n, err := s.drop(ctx, project, drop, before)
		total += n
		if err != nil || found < pieceBatch {
			return total, wrap(op, err)
		}
		shard, after = blobShard(last), last[:]
	}
}

// drop deletes pieces, unless they were put since they were found, by a
// statement for each of their shards.
func (s *pieces) drop(ctx context.Context, project string, names []event.Hash, before time.Time) (total int, err error) {
	for len(names) > 0 {
		end := slices.IndexFunc(names, func(h event.Hash) bool { return h[0] != names[0][0] })
		if end < 0 {
			end = len(names)
		}
		err := again(func() error {
			tag, err := s.pool.Exec(ctx, `DELETE FROM pieces WHERE shard = $1 AND project = $2 AND hash = ANY($3) AND put_at < $4`,
				blobShard(names[0]), project, hashesOf(names[:end]), before)
			total += int(tag.RowsAffected())
			return err
		})
		if err != nil {
			return total, err
		}
		names = names[end:]
	}
	return total, nil
}
