package snapshot

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/stayd/stayd/internal/event"
)

// reader reads a file of a tree. It holds one chunk, and one list of each level.
type reader struct {
	ctx   context.Context //nolint:containedctx // an io.Reader has no other way to be told
	tree  *Tree
	entry *entry
	off   int64

	chunk []byte // of the content, from start
	start int64
	lists [maxLevels + 1]struct {
		name   event.Hash
		pieces []piece
	}
	closed bool
}

func (r *reader) Read(p []byte) (int, error) {
	if r.closed {
		return 0, fs.ErrClosed
	}
	if len(p) == 0 {
		return 0, nil
	}
	if r.off >= r.entry.size {
		return 0, io.EOF
	}
	if r.off < r.start || r.off >= r.start+int64(len(r.chunk)) {
		if err := r.fetch(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.chunk[r.off-r.start:])
	r.off += int64(n)
	return n, nil
}

// fetch gets the chunk that the offset is in.
func (r *reader) fetch() error {
	pieces, start := r.entry.pieces, int64(0)
	for depth := r.entry.depth; ; depth-- {
		i := 0
		for start+pieces[i].size <= r.off {
			start += pieces[i].size
			i++
		}
		if depth == 0 {
			buf := r.chunk
			r.chunk = nil // also where the next cannot be read
			chunk, err := r.tree.content(r.ctx, pieces[i], buf)
			if err != nil {
				return err
			}
			r.chunk, r.start = chunk, start
			return nil
		}
		list := &r.lists[depth]
		if list.name != pieces[i].name {
			below, err := r.tree.list(r.ctx, pieces[i], depth-1)
			if err != nil {
				return err
			}
			list.name, list.pieces = pieces[i].name, below
		}
		pieces = list.pieces
	}
}

func (r *reader) Seek(offset int64, whence int) (int64, error) {
	if r.closed {
		return 0, fs.ErrClosed
	}
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.entry.size
	default:
		return 0, errors.New("seek: no such whence")
	}
	if offset < 0 {
		return 0, errors.New("seek: before the start of the file")
	}
	r.off = offset
	return offset, nil
}

func (r *reader) Close() error {
	r.closed = true
	r.chunk = nil
	return nil
}
