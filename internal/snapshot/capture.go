package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// maxSkipped is the number of skipped files that a snapshot names.
const maxSkipped = 20

// Snapshot is what Capture found.
type Snapshot struct {
	Root  Root
	Files int64 // files and links
	Bytes int64
	// Changed has what is new or differs from the last snapshot, or from what was
	// restored, and Removed the paths of what is gone, folders with all that was
	// below them.
	Changed []Entry
	Removed []string
	// Skipped names up to 20 files that are not kept: sockets, pipes and devices,
	// and what may not be read; SkippedCount is the number of all.
	Skipped      []string
	SkippedCount int
}

// Capture stores what the folder holds and returns it. Programs may go on
// writing meanwhile: a file that changes under the reader is kept as it was
// read, and read again by the next Capture. The folder is left as it is.
//
// Errors: ErrTooLarge, ErrUnsettled, and those of the store, after which the next
// Capture puts everything that this one may not have put.
func (f *Folder) Capture(ctx context.Context) (Snapshot, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	snap, err := f.capture(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("capture the folder: %w", err)
	}
	return snap, nil
}

func (f *Folder) capture(ctx context.Context) (Snapshot, error) {
	if f.unsettled {
		return Snapshot{}, ErrUnsettled
	}
	top, err := openTop(f.dir, 0o500)
	if err != nil {
		return Snapshot{}, err
	}
	stat, err := top.stat(".")
	if err != nil {
		return Snapshot{}, errors.Join(err, top.release())
	}
	c := &capture{folder: f, start: time.Now(), batch: f.tree.newBatch(ctx), jobs: make(chan readJob, 2*workers)}
	state, err := c.scan(ctx, top, f.state)
	err = errors.Join(err, top.release())
	if err == nil {
		err = c.finish(state, f.state, "")
	}
	if err != nil {
		return Snapshot{}, c.batch.abandon(err)
	}
	if err := c.batch.wait(); err != nil {
		return Snapshot{}, err
	}
	c.snap.Root = state.tree
	c.snap.Files, c.snap.Bytes = totals(state.entries())
	if c.read > 0 || len(c.snap.Changed) > 0 || len(c.snap.Removed) > 0 {
		// Before the state is taken over: nobody names the root of a snapshot that
		// failed, so the next must not rely on it.
		if err := f.writeIndex(state, stat.Ino); err != nil {
			return Snapshot{}, err
		}
	}
	f.state = state
	return c.snap, nil
}

// capture is one run of Capture: files are found by one goroutine and read by
// others, and then the folders are put together.
type capture struct {
	folder *Folder
	start  time.Time
	batch  *batch
	jobs   chan readJob
	count  int // entries
	read   int // files

	mu   sync.Mutex // guards what is skipped
	snap Snapshot
}

// readJob is a file that has to be read.
type readJob struct {
	dir  *openDir
	item *item
	old  *item // may be nil
	st   status
	path string
}

func (c *capture) scan(ctx context.Context, top *openDir, old *dirState) (*dirState, error) {
	g, ctx := errgroup.WithContext(ctx)
	for range workers {
		g.Go(func() error { return c.worker(ctx) })
	}
	var state *dirState
	g.Go(func() (err error) {
		defer close(c.jobs)
		state, err = c.dir(ctx, top, old, "", 0)
		return err
	})
	err := g.Wait()
	for j := range c.jobs { // what is left after an error
		err = errors.Join(err, j.dir.release())
	}
	return state, err
}

// dir scans one folder.
func (c *capture) dir(ctx context.Context, d *openDir, old *dirState, path string, depth int) (*dirState, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("folders in each other: over %d: %w", MaxDepth, ErrTooLarge)
	}
	names, err := d.names(MaxEntries - c.count)
	if errors.Is(err, ErrTooLarge) {
		return nil, fmt.Errorf("over %d files: %w", MaxEntries, err)
	}
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", path, err)
	}
	c.count += len(names)
	slices.Sort(names)
	state := &dirState{items: make([]*item, 0, len(names))}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		it, err := c.item(ctx, d, name, old.find(name), path, depth)
		if err != nil {
			return nil, err
		}
		if it != nil {
			state.items = append(state.items, it)
		}
	}
	return state, nil
}

// item looks at one name; nil is nothing to keep. What is replaced while it is
// looked at is looked at again a few times.
func (c *capture) item(ctx context.Context, d *openDir, name string, old *item, path string, depth int) (*item, error) {
	var it *item
	err := errChanged
	for try := 0; try < 3 && err != nil && gone(err); try++ {
		var st status
		if st, err = d.stat(name); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		} else if err != nil {
			break
		}
		it = &item{entry: entry{name: name, kind: st.kind, mode: c.folder.limit.mode(&st, old)}}
		switch st.kind {
		case File:
			err = c.file(ctx, d, it, old, &st, join(path, name))
		case Dir:
			err = c.subdir(ctx, d, it, old, &st, join(path, name), depth)
		case Link:
			it.mode = 0
			it.target, err = d.readlink(name)
		default:
			c.skip(join(path, name))
			return nil, nil
		}
	}
	switch {
	case err == nil:
		return it, nil
	case gone(err):
		return nil, nil
	case denied(err):
		c.skip(join(path, name))
		return nil, nil
	}
	return nil, fmt.Errorf("%q: %w", join(path, name), err)
}

func (c *capture) skip(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.snap.SkippedCount++
	if len(c.snap.Skipped) < maxSkipped {
		c.snap.Skipped = append(c.snap.Skipped, path)
	}
}

func (c *capture) subdir(ctx context.Context, d *openDir, it, old *item, st *status, path string, depth int) error {
	sub, err := d.open(it.name, st, 0o500)
	if err != nil {
		return err
	}
	var known *dirState
	if old != nil {
		known = old.dir
	}
	it.dir, err = c.dir(ctx, sub, known, path, depth+1)
	return errors.Join(err, sub.release())
}

// file takes over what is known of a file, or has it read.
func (c *capture) file(ctx context.Context, d *openDir, it, old *item, st *status, path string) error {
	if old != nil && old.kind == File && !old.racy && old.stat == st.fileStat {
		mode := it.mode
		*it = *old
		it.mode = mode
		return nil
	}
	c.read++
	select {
	case c.jobs <- readJob{d.retain(), it, old, *st, path}:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), d.release())
	}
}

func (c *capture) worker(ctx context.Context) error {
	var s splitter
	for {
		select {
		case j, ok := <-c.jobs:
			if !ok {
				return nil
			}
			err := c.readFile(ctx, &s, &j)
			if err = errors.Join(err, j.dir.release()); err != nil {
				return fmt.Errorf("read %q: %w", j.path, err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *capture) readFile(ctx context.Context, s *splitter, j *readJob) (err error) {
	file, st, err := j.dir.openFile(j.item.name, &j.st)
	switch {
	case err == nil:
	case gone(err):
		j.item.dropped = true
		return nil
	case denied(err):
		j.item.dropped = true
		c.skip(j.path)
		return nil
	default:
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	kept, err := c.keptContent(ctx, j.old)
	if err != nil {
		return err
	}
	// A file that grows as fast as it is read would have no end.
	e, err := s.store(c.batch, io.LimitReader(file, st.Size), kept)
	if err != nil {
		return err
	}
	after, err := statusOfFile(file)
	if err != nil {
		return err
	}
	e.name, e.mode, e.time = j.item.name, c.folder.limit.mode(&st, j.old), st.MTime
	j.item.entry, j.item.stat = e, after.fileStat
	j.item.racy = st.fileStat != j.item.stat || j.item.stat.CTime > c.start.Add(-raceWindow).UnixNano()
	return nil
}

// keptContent returns which blobs the last snapshot has at the place of a file.
// They are named by its tree and need not be put again.
func (c *capture) keptContent(ctx context.Context, old *item) (func(event.Hash) bool, error) {
	if old == nil || len(old.pieces) == 0 {
		return nil, nil
	}
	if old.depth == 0 && len(old.pieces) <= inlinePieces {
		return func(h event.Hash) bool {
			return slices.ContainsFunc(old.pieces, func(p piece) bool { return p.name == h })
		}, nil
	}
	names := map[event.Hash]struct{}{}
	err := c.folder.tree.pieceNames(ctx, old.pieces, old.depth, names)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, ErrCorrupt) {
		return nil, nil // what cannot be relied on is put
	}
	if err != nil {
		return nil, err
	}
	return func(h event.Hash) bool { _, ok := names[h]; return ok }, nil
}

// pieceNames collects the names of lists and of what they list.
func (t *Tree) pieceNames(ctx context.Context, pieces []piece, depth uint8, names map[event.Hash]struct{}) error {
	for _, p := range pieces {
		names[p.name] = struct{}{}
		if depth == 0 {
			continue
		}
		below, err := t.list(ctx, p, depth-1)
		if err != nil {
			return err
		}
		if err := t.pieceNames(ctx, below, depth-1, names); err != nil {
			return err
		}
	}
	return nil
}

// finish gives a scanned folder its name, after those below it, and notes what
// differs from the last snapshot.
func (c *capture) finish(state, old *dirState, path string) error {
	state.items = slices.DeleteFunc(state.items, func(it *item) bool { return it.dropped })
	same := old != nil && len(state.items) == len(old.items)
	rest := old.list()
	for i, it := range state.items {
		for len(rest) > 0 && rest[0].name < it.name {
			c.removed(rest[0], path)
			rest = rest[1:]
		}
		var was *item
		if len(rest) > 0 && rest[0].name == it.name {
			was, rest = rest[0], rest[1:]
		}
		if err := c.finishItem(it, was, join(path, it.name)); err != nil {
			return err
		}
		same = same && was != nil && old.items[i] == was && it.equal(&was.entry)
	}
	for _, it := range rest {
		c.removed(it, path)
	}
	if same {
		state.tree, state.blobs = old.tree, old.blobs
		return nil
	}
	var err error
	state.tree, state.blobs, err = c.batch.storeDir(state.entries(), func(h event.Hash) bool {
		return old != nil && slices.Contains(old.blobs, h)
	})
	return err
}

func (c *capture) finishItem(it, was *item, path string) error {
	var below *dirState
	if was != nil {
		below = was.dir
	}
	changed := was == nil || was.kind != it.kind || was.mode != it.mode
	if changed {
		// A new folder stands before what is in it.
		c.snap.Changed = append(c.snap.Changed, Entry{})
	}
	at := len(c.snap.Changed) - 1
	if it.kind == Dir {
		if err := c.finish(it.dir, below, path); err != nil {
			return err
		}
		it.tree = it.dir.tree
		it.files, it.size = totals(it.dir.entries())
	} else {
		for _, b := range below.list() {
			c.removed(b, path)
		}
		if !changed && !it.equal(&was.entry) {
			c.snap.Changed = append(c.snap.Changed, it.public(path))
		}
	}
	if changed {
		c.snap.Changed[at] = it.public(path)
	}
	return nil
}

func (c *capture) removed(it *item, dir string) {
	path := join(dir, it.name)
	c.snap.Removed = append(c.snap.Removed, path)
	for _, below := range it.dir.list() {
		c.removed(below, path)
	}
}
