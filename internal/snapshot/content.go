package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/restic/chunker"
	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// How content is cut. To change one of these is to store all content once more.
const (
	// polynomial is irreducible and of degree 53; the first that the chunker
	// derives from the chain of SHA-256 sums of "stayd snapshot v1".
	polynomial  = chunker.Pol(0x25881c76345f75)
	smallFile   = 256 << 10 // bytes, up to which a file is one blob
	minChunk    = 128 << 10
	maxChunk    = 2 << 20
	averageBits = 19

	inlinePieces = 16 // beyond which the pieces of a file are a list of its own
	listPieces   = 4096
	maxLevels    = 5 // of lists
)

// How blobs are put: so many at once, and so many such calls at a time.
const (
	batchBytes = 4 << 20
	batchBlobs = 256
	batches    = 2
	// batchMemory is the number of names that a batch remembers, so as not to put
	// the same blob again.
	batchMemory = 1 << 16
)

// batch collects blobs and puts many at a time, in the background.
type batch struct {
	tree  *Tree
	group *errgroup.Group
	ctx   context.Context // of the group

	mu      sync.Mutex
	pending []blob.Blob
	bytes   int
	put     map[event.Hash]struct{}
}

func (t *Tree) newBatch(ctx context.Context) *batch {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(batches)
	return &batch{tree: t, group: g, ctx: ctx, put: map[event.Hash]struct{}{}}
}

// add puts data, unless it is known to be kept, and returns its name. Data that
// is not owned is copied.
func (b *batch) add(data []byte, owned bool, kept func(event.Hash) bool) (event.Hash, error) {
	name := blob.Name(data)
	if kept != nil && kept(name) {
		return name, nil
	}
	b.mu.Lock()
	if _, ok := b.put[name]; ok {
		b.mu.Unlock()
		return name, nil
	}
	if len(b.put) >= batchMemory {
		clear(b.put)
	}
	b.put[name] = struct{}{}
	if !owned {
		data = slices.Clone(data)
	}
	b.pending = append(b.pending, blob.Blob{Name: name, Data: data})
	b.bytes += len(data)
	var full []blob.Blob
	if b.bytes >= batchBytes || len(b.pending) >= batchBlobs {
		full, b.pending, b.bytes = b.pending, nil, 0
	}
	b.mu.Unlock()
	if full != nil {
		b.send(full)
	}
	return name, context.Cause(b.ctx)
}

func (b *batch) send(blobs []blob.Blob) {
	b.group.Go(func() error { return b.tree.blobs.Put(b.ctx, b.tree.project, blobs) })
}

// wait returns when everything is put.
func (b *batch) wait() error {
	if len(b.pending) > 0 {
		b.send(b.pending)
		b.pending = nil
	}
	if err := b.group.Wait(); err != nil {
		return fmt.Errorf("put blobs: %w", err)
	}
	return nil
}

// abandon waits for what is under way, after err made the rest needless.
func (b *batch) abandon(err error) error {
	putErr := b.group.Wait()
	if putErr != nil && (errors.Is(err, context.Canceled) || errors.Is(err, putErr)) {
		return fmt.Errorf("put blobs: %w", putErr)
	}
	return err
}

// splitter cuts content into blobs. It is used for one file after another.
type splitter struct {
	buf     []byte
	chunker *chunker.Chunker
}

// store puts what r gives and returns the entry of a file with it.
func (s *splitter) store(b *batch, r io.Reader, kept func(event.Hash) bool) (entry, error) {
	if s.buf == nil {
		s.buf = make([]byte, smallFile+1, maxChunk)
	}
	n, err := io.ReadFull(r, s.buf[:smallFile+1])
	switch {
	case errors.Is(err, io.EOF):
		return entry{kind: File}, nil
	case errors.Is(err, io.ErrUnexpectedEOF):
		name, err := b.add(seal(s.buf[:n]), false, kept)
		return entry{kind: File, size: int64(n), pieces: []piece{{name, int64(n)}}}, err
	case err != nil:
		return entry{}, err
	}
	return s.storeChunks(b, &headReader{s.buf[:n:n], r}, kept)
}

// headReader reads what was read before, and then the rest.
type headReader struct {
	head []byte
	r    io.Reader
}

func (h *headReader) Read(p []byte) (int, error) {
	if len(h.head) > 0 {
		n := copy(p, h.head)
		h.head = h.head[n:]
		return n, nil
	}
	return h.r.Read(p)
}

func (s *splitter) storeChunks(b *batch, r io.Reader, kept func(event.Hash) bool) (entry, error) {
	if s.chunker == nil {
		s.chunker = chunker.NewWithBoundaries(r, polynomial, minChunk, maxChunk)
	} else {
		s.chunker.ResetWithBoundaries(r, polynomial, minChunk, maxChunk)
	}
	s.chunker.SetAverageBits(averageBits)
	e := entry{kind: File}
	lists := listWriter{batch: b, kept: kept}
	chunk := make([]byte, 0, maxChunk)
	for {
		c, err := s.chunker.Next(chunk)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return e, err
		}
		name, err := b.add(seal(c.Data), false, kept)
		if err != nil {
			return e, err
		}
		e.size += int64(len(c.Data))
		if err := lists.add(0, piece{name, int64(len(c.Data))}); err != nil {
			return e, err
		}
	}
	var err error
	e.pieces, e.depth, err = lists.finish()
	return e, err
}

// listWriter makes lists of pieces, and lists of lists.
type listWriter struct {
	batch  *batch
	kept   func(event.Hash) bool
	levels [maxLevels + 1][]piece
}

func (l *listWriter) add(level int, p piece) error {
	if len(l.levels[level]) == listPieces {
		if err := l.flush(level); err != nil {
			return err
		}
	}
	l.levels[level] = append(l.levels[level], p)
	return nil
}

func (l *listWriter) flush(level int) error {
	if level == maxLevels {
		return fmt.Errorf("the content has too many pieces: %w", ErrTooLarge)
	}
	var size int64
	for _, p := range l.levels[level] {
		size += p.size
	}
	data, err := encode(headList, wireList{Depth: uint8(level), Pieces: packPieces(l.levels[level])})
	if err != nil {
		return err
	}
	name, err := l.batch.add(data, true, l.kept)
	if err != nil {
		return err
	}
	l.levels[level] = l.levels[level][:0]
	return l.add(level+1, piece{name, size})
}

func (l *listWriter) finish() (pieces []piece, depth uint8, err error) {
	for level := range l.levels {
		if len(l.levels[level]) <= inlinePieces && l.top(level) {
			return slices.Clip(l.levels[level]), uint8(level), nil
		}
		if err := l.flush(level); err != nil {
			return nil, 0, err
		}
	}
	return nil, 0, ErrTooLarge
}

func (l *listWriter) top(level int) bool {
	for _, above := range l.levels[level+1:] {
		if len(above) > 0 {
			return false
		}
	}
	return true
}
