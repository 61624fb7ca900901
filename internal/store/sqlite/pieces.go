package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

const (
	// pieceBatch and pieceBytes bound one transaction of pieces. One of them is
	// under way at a time, so that an append waits behind no more.
	pieceBatch = 1000
	pieceBytes = 1 << 20
	// fresh is how long ago a piece may have been put for it to count as put now,
	// to spare the write. It is the coarsest clock that the contract allows.
	fresh = time.Second
)

// Blobs is the room for blobs in the file.
func (s *Store) Blobs() blob.Store { return &pieces{s} }

// pieces is a blob.Store in the file of the log.
type pieces struct{ *Store }

// Close does nothing: the store of the log is closed by who opened it.
func (*pieces) Close() error { return nil }

// piece is a blob that is to be put.
type piece struct {
	*blob.Blob
	packed []byte // nil where only the time is to be changed
	absent bool   // it was not there when it was to be changed
}

// Put stores the blobs that are not there yet.
func (s *pieces) Put(ctx context.Context, project string, blobs []blob.Blob) error {
	if err := s.put(ctx, project, blobs); err != nil {
		return fmt.Errorf("put %d blobs: %w", len(blobs), s.classify(err))
	}
	return nil
}

func (s *pieces) put(ctx context.Context, project string, blobs []blob.Blob) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	todo, err := s.find(ctx, project, blobs)
	if err != nil {
		return err
	}
	for len(todo) > 0 {
		n, size := 0, 0
		for n < len(todo) && n < pieceBatch && (n == 0 || size < pieceBytes) {
			if p := &todo[n]; p.absent && p.packed == nil {
				p.packed = s.blobs.Pack(p.Data)
			}
			if n > 0 && size+len(todo[n].packed) > pieceBytes {
				break
			}
			size += len(todo[n].packed) + 128
			n++
		}
		batch := todo[:n]
		if err := s.putBatch(ctx, project, batch, size); err != nil {
			return err
		}
		todo = todo[n:]
		for _, p := range batch {
			if p.absent && p.packed == nil {
				todo = append(todo, p)
			}
		}
	}
	return nil
}

// find leaves out blobs that were put just now, and those given twice.
func (s *pieces) find(ctx context.Context, project string, blobs []blob.Blob) ([]piece, error) {
	var todo []piece
	seen := make(map[event.Hash]bool, len(blobs))
	since := micros(time.Now().Add(-fresh))
	for i := range blobs {
		b := &blobs[i]
		switch {
		case len(b.Data) > blob.MaxSize:
			return nil, fmt.Errorf("blob %s has %d bytes, more than %d", b.Name, len(b.Data), blob.MaxSize)
		case blob.Name(b.Data) != b.Name:
			return nil, fmt.Errorf("blob %s has the content of another", b.Name)
		case seen[b.Name]:
			continue
		}
		seen[b.Name] = true
		var at int64
		err := s.reads.piece.QueryRowContext(ctx, project, b.Name[:]).Scan(&at)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			todo = append(todo, piece{Blob: b, absent: true})
		case err != nil:
			return nil, err
		case at < since:
			todo = append(todo, piece{Blob: b})
		}
	}
	return todo, nil
}

// putBatch writes pieces in one transaction. It notes those that were to be
// touched only and are not there.
func (s *pieces) putBatch(ctx context.Context, project string, batch []piece, size int) error {
	select {
	case s.putting <- struct{}{}:
		defer func() { <-s.putting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	return s.writer.submit(ctx, &request{size: size, apply: func(t *tx) error {
		num, err := t.project(project, true)
		if err != nil {
			return err
		}
		at := now()
		for i := range batch {
			if err := t.putPiece(num, &batch[i], at); err != nil {
				return fmt.Errorf("put blob %s: %w", batch[i].Name, err)
			}
		}
		return nil
	}})
}

func (t *tx) putPiece(project int64, p *piece, at int64) error {
	n, err := t.changed(stmtTouchPiece, at, project, p.Name[:])
	if err != nil || n > 0 {
		return err
	}
	p.absent = true
	if p.packed == nil {
		return nil
	}
	id, err := t.exec(stmtAddPiece, project, p.Name[:], at)
	if err != nil {
		return err
	}
	_, err = t.exec(stmtAddPieceData, id, p.packed)
	return err
}

// Get returns a blob's content. It is unpacked from where the driver has it, since
// another copy takes half as long as to read it.
func (s *pieces) Get(ctx context.Context, project string, name event.Hash, buf []byte) (data []byte, err error) {
	rows, err := s.reads.data.QueryContext(ctx, project, name[:])
	if err != nil {
		return nil, fmt.Errorf("get blob %s: %w", name, s.classify(err))
	}
	defer func() {
		if closeErr := rows.Close(); err == nil && closeErr != nil {
			data, err = nil, fmt.Errorf("get blob %s: %w", name, s.classify(closeErr))
		}
	}()
	if data, err = s.unpack(rows, name, buf); err != nil {
		return nil, fmt.Errorf("get blob %s: %w", name, err)
	}
	return data, nil
}

// unpack returns the content of the only row, if there is one.
func (s *pieces) unpack(rows *sql.Rows, name event.Hash, buf []byte) ([]byte, error) {
	if !rows.Next() {
		if err := rows.Err(); err != nil {
			return nil, s.classify(err)
		}
		return nil, blob.ErrNotFound
	}
	var packed sql.RawBytes
	if err := rows.Scan(&packed); err != nil {
		return nil, s.classify(err)
	}
	data, err := s.blobs.UnpackInto(name, packed, buf)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, blob.ErrCorrupt)
	}
	return data, nil
}

// Projects lists the projects that have blobs.
func (s *pieces) Projects(ctx context.Context) ([]string, error) {
	var list string
	err := s.reads.db.QueryRowContext(ctx, `SELECT json_group_array(id) FROM projects p
		WHERE EXISTS (SELECT 1 FROM pieces WHERE project = p.num)`).Scan(&list)
	if err != nil {
		return nil, fmt.Errorf("list projects with blobs: %w", s.classify(err))
	}
	var ids []string
	if err := json.Unmarshal([]byte(list), &ids); err != nil {
		return nil, fmt.Errorf("list projects with blobs: %w: %w", err, store.ErrCorrupt)
	}
	return ids, nil
}

// swept is a piece that may be deleted.
type swept struct {
	id, size int64
	name     event.Hash
}

// Sweep deletes blobs that were last put before a time and are not wanted.
func (s *pieces) Sweep(ctx context.Context, project string, before time.Time, keep func(event.Hash) bool) (int, error) {
	total, after := 0, int64(0)
	for {
		list, err := s.old(ctx, project, before, after)
		if err != nil {
			return total, fmt.Errorf("sweep blobs: %w", s.classify(err))
		}
		if len(list) == 0 {
			return total, nil
		}
		after = list[len(list)-1].id
		n, err := s.sweep(ctx, list, before, keep)
		total += n
		if err != nil {
			return total, fmt.Errorf("sweep blobs: %w", s.classify(err))
		}
	}
}

func (s *pieces) old(ctx context.Context, project string, before time.Time, after int64) (list []swept, err error) {
	rows, err := s.reads.db.QueryContext(ctx, `SELECT p.id, length(d.data), p.hash FROM pieces p JOIN piece_data d ON d.piece = p.id
		WHERE p.id > ? AND p.project = (SELECT num FROM projects WHERE id = ?) AND p.put_at < ?
		ORDER BY p.id LIMIT ?`, after, project, micros(before), pieceBatch)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var p swept
		var name []byte
		if err := rows.Scan(&p.id, &p.size, &name); err != nil {
			return nil, err
		}
		if len(name) != len(p.name) {
			return nil, fmt.Errorf("a blob's name has %d bytes: %w", len(name), blob.ErrCorrupt)
		}
		p.name = event.Hash(name)
		list = append(list, p)
	}
	return list, rows.Err()
}

// sweep deletes those of the list that are not wanted, in transactions of no
// more pieces and bytes than appends can wait for.
func (s *pieces) sweep(ctx context.Context, list []swept, before time.Time, keep func(event.Hash) bool) (total int, err error) {
	var batch []int64
	size := int64(0)
	flush := func() error {
		if len(batch) == 0 {
			return nil
		}
		n, err := s.deletePieces(ctx, batch, before, int(size))
		total += n
		batch, size = batch[:0], 0
		return err
	}
	for _, p := range list {
		if keep(p.name) {
			continue
		}
		if len(batch) == collectBatch || size+p.size > pieceBytes {
			if err := flush(); err != nil {
				return total, err
			}
		}
		batch = append(batch, p.id)
		size += p.size
	}
	return total, flush()
}

func (s *pieces) deletePieces(ctx context.Context, ids []int64, before time.Time, size int) (n int, err error) {
	err = s.writer.submit(ctx, &request{size: size, apply: func(t *tx) error {
		n = 0
		for _, id := range ids {
			deleted, err := t.changed(stmtDeletePiece, id, micros(before))
			if err != nil {
				return err
			}
			if deleted == 0 {
				continue
			}
			if _, err := t.exec(stmtDeletePieceData, id); err != nil {
				return err
			}
			n++
			t.erased = true
			t.written += 2 * pageSize
		}
		return nil
	}})
	return n, err
}
