package snapshot

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// Restore makes the folder equal with a tree, which must be named, in the sense
// of Collect. What the folder is known to have is left alone; what else is in
// it is compared with the tree and repaired, or deleted. No program may write to
// the folder meanwhile. After an error the folder is neither one nor the other,
// and Capture refuses it until another Restore has come to its end.
func (f *Folder) Restore(ctx context.Context, root Root) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.restore(ctx, root); err != nil {
		return fmt.Errorf("restore the folder: %w", err)
	}
	return nil
}

func (f *Folder) restore(ctx context.Context, root Root) error {
	if err := f.begin(); err != nil {
		return err
	}
	if err := os.MkdirAll(f.dir, 0o755); err != nil { //nolint:gosec // others get what is in it by its own permissions
		return err
	}
	top, err := openTop(f.dir, 0o700)
	if err != nil {
		return err
	}
	stat, err := top.stat(".")
	if err != nil {
		return errors.Join(err, top.release())
	}
	r := &restore{tree: f.tree, limit: f.limit, top: top, jobs: make(chan writeJob, 2*restorers)}
	state, err := r.run(ctx, root, f.state)
	if err = errors.Join(err, top.release()); err != nil {
		return err
	}
	end := time.Now()
	state.markRacy(end.Add(-raceWindow).UnixNano())
	changed := r.changed || f.state == nil || f.state.tree != root
	f.state = state
	if changed {
		if err := f.writeIndex(state, stat.Ino); err != nil {
			return err
		}
	}
	return f.settle()
}

// markRacy marks the files that may be changed without its being seen: those
// whose time was not set back when they were written.
func (s *dirState) markRacy(since int64) {
	for _, it := range s.items {
		if it.dir != nil {
			it.dir.markRacy(since)
		}
		if it.kind == File && it.stat.CTime > since && it.stat.MTime > since {
			it.racy = true
		}
	}
}

// restore is one run of Restore: one goroutine goes through folders, others read
// and write files.
type restore struct {
	tree    *Tree
	limit   limits
	top     *openDir
	jobs    chan writeJob
	count   int // entries
	changed bool
}

// writeJob is a file that has to be compared, or written.
type writeJob struct {
	dir  *openDir
	item *item
	// there says that a regular file has the name.
	there bool
	st    status
	path  string
}

func (r *restore) run(ctx context.Context, root Root, old *dirState) (*dirState, error) {
	g, ctx := errgroup.WithContext(ctx)
	for range restorers {
		g.Go(func() error { return r.worker(ctx) })
	}
	var state *dirState
	g.Go(func() (err error) {
		defer close(r.jobs)
		state, err = r.dir(ctx, r.top, &entry{kind: Dir, tree: root}, old, "", 0)
		return err
	})
	err := g.Wait()
	for j := range r.jobs { // what is left after an error
		err = errors.Join(err, j.dir.release())
	}
	return state, err
}

// wanted returns the entries that a folder is to have, without asking the store
// where it had them before.
func (r *restore) wanted(ctx context.Context, want *entry, old *dirState, depth int) ([]entry, []event.Hash, error) {
	if old != nil && old.tree == want.tree {
		return old.entries(), old.blobs, nil
	}
	entries, blobs, err := r.tree.loadLeaves(ctx, want.tree)
	if err == nil && depth > 0 {
		err = want.checkTotals(entries)
	}
	return entries, blobs, err
}

func (r *restore) dir(ctx context.Context, d *openDir, want *entry, old *dirState, path string, depth int) (*dirState, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("folders in each other: over %d: %w", MaxDepth, ErrTooLarge)
	}
	entries, blobs, err := r.wanted(ctx, want, old, depth)
	if err != nil {
		return nil, fmt.Errorf("folder %q: %w", path, err)
	}
	if r.count += len(entries); r.count > MaxEntries {
		return nil, fmt.Errorf("over %d files: %w", MaxEntries, ErrTooLarge)
	}
	if err := r.limit.check(entries); err != nil {
		return nil, fmt.Errorf("folder %q: %w", path, err)
	}
	there, err := d.names(-1)
	if err != nil {
		return nil, fmt.Errorf("list %q: %w", path, err)
	}
	slices.Sort(there)
	for _, name := range there {
		if _, ok := search(entries, name); ok {
			continue
		}
		if err := r.remove(d, name); err != nil {
			return nil, fmt.Errorf("folder %q: %w", path, err)
		}
	}
	state := &dirState{items: make([]*item, len(entries)), tree: want.tree, blobs: blobs}
	for i := range entries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		it := &item{entry: entries[i]}
		state.items[i] = it
		_, found := slices.BinarySearch(there, it.name)
		if err := r.item(ctx, d, it, found, old.find(it.name), join(path, it.name), depth); err != nil {
			return nil, err
		}
	}
	return state, nil
}

func (r *restore) remove(d *openDir, name string) error {
	r.changed = true
	return (&remover{top: r.top}).all(d, name)
}

// item makes one name what it is to be.
func (r *restore) item(ctx context.Context, d *openDir, it *item, found bool, old *item, path string, depth int) error {
	var st status
	if found {
		var err error
		if st, err = d.stat(it.name); err != nil {
			return fmt.Errorf("look at %q: %w", path, err)
		}
		if st.kind != it.kind {
			if err := r.remove(d, it.name); err != nil {
				return fmt.Errorf("replace %q: %w", path, err)
			}
			found = false
		}
	}
	var err error
	switch it.kind {
	case Dir:
		err = r.subdir(ctx, d, it, found, &st, old, path, depth)
	case Link:
		err = r.link(d, it, found)
	default:
		return r.file(ctx, d, it, found, &st, old, path)
	}
	if err != nil {
		return fmt.Errorf("restore %q: %w", path, err)
	}
	return nil
}

func (r *restore) link(d *openDir, it *item, found bool) error {
	if found {
		target, err := d.readlink(it.name)
		if err != nil || target == it.target {
			return err
		}
		if err := r.remove(d, it.name); err != nil {
			return err
		}
	}
	r.changed = true
	return d.symlink(it.target, it.name)
}

func (r *restore) subdir(ctx context.Context, d *openDir, it *item, found bool, st *status, old *item, path string, depth int) error {
	if !found {
		r.changed = true
		if err := d.mkdir(it.name); err != nil {
			return err
		}
		var err error
		if *st, err = d.stat(it.name); err != nil {
			return err
		}
	}
	sub, err := d.open(it.name, st, 0o700)
	if err != nil {
		return err
	}
	// Its permissions may forbid to make what is in it: they are given last.
	if !r.limit.sameMode(st, it.mode) || sub.mode >= 0 {
		sub.mode = int(it.mode)
	}
	var known *dirState
	if old != nil {
		known = old.dir
	}
	it.dir, err = r.dir(ctx, sub, &it.entry, known, path, depth+1)
	return errors.Join(err, sub.release())
}

// file leaves a file alone that is known to be as it should, and hands all others
// to the workers.
func (r *restore) file(ctx context.Context, d *openDir, it *item, found bool, st *status, old *item, path string) error {
	if found && old != nil && old.kind == File && !old.racy && old.stat == st.fileStat && old.sameContent(&it.entry) {
		if r.limit.sameMode(st, it.mode) && r.limit.sameTime(st, it.time) {
			it.stat = old.stat
			return nil
		}
		if st.links == 1 {
			r.changed = true
			return r.setMeta(d, it, st)
		}
	}
	r.changed = true
	select {
	case r.jobs <- writeJob{d.retain(), it, found, *st, path}:
		return nil
	case <-ctx.Done():
		return errors.Join(ctx.Err(), d.release())
	}
}

// setMeta gives a file that has the right content its permissions and its time.
func (r *restore) setMeta(d *openDir, it *item, st *status) error {
	if !r.limit.sameMode(st, it.mode) {
		if err := d.chmod(it.name, st, uint32(it.mode)); err != nil {
			return fmt.Errorf("set the permissions of %q: %w", it.name, err)
		}
	}
	if !r.limit.sameTime(st, it.time) {
		if err := d.setTime(it.name, it.time); err != nil {
			return fmt.Errorf("set the time of %q: %w", it.name, err)
		}
	}
	now, err := d.stat(it.name)
	it.stat = now.fileStat
	return err
}

func (r *restore) worker(ctx context.Context) error {
	var buf []byte // for one chunk after another
	for {
		select {
		case j, ok := <-r.jobs:
			if !ok {
				return nil
			}
			err := r.writeFile(ctx, &j, &buf)
			if err = errors.Join(err, j.dir.release()); err != nil {
				return fmt.Errorf("restore %q: %w", j.path, err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// writeFile makes a file what it is to be. One that is there already is compared
// first; it is never written to, since it may have other names.
func (r *restore) writeFile(ctx context.Context, j *writeJob, buf *[]byte) (err error) {
	w := fileWriter{restore: r, job: j, buf: buf}
	if j.there {
		old, st, err := j.dir.openFile(j.item.name, &j.st)
		if err == nil {
			w.old = old
			defer func() { _ = old.Close() }() // was only read
			j.st = st
		} else if !denied(err) && !gone(err) {
			return err
		}
		if w.old != nil && st.Size == j.item.size && st.links == 1 {
			same, err := w.compare(ctx)
			if err != nil {
				return err
			}
			if same {
				return r.setMeta(j.dir, j.item, &st)
			}
		}
		if w.old != nil && r.limit.windows {
			return w.createBeside(ctx)
		}
		if err := j.dir.unlink(j.item.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return w.create(ctx)
}

// fileWriter writes one file.
type fileWriter struct {
	restore *restore
	job     *writeJob
	old     *os.File // what had the name before; may be nil
	matched bool     // some of what is in old is in the file

	file *os.File
	off  int64
	hole bool // the file ends in a hole
	zero event.Hash
	buf  *[]byte
}

var errDiffers = errors.New("the content differs")

// compare reports whether the old file has the content that it should.
func (w *fileWriter) compare(ctx context.Context) (bool, error) {
	differs := false
	off := int64(0)
	err := w.restore.tree.chunks(ctx, w.job.item.pieces, w.job.item.depth, func(p piece) error {
		data, err := w.local(p, off)
		off += p.size
		if err != nil {
			return err
		}
		if data == nil {
			differs = true
		} else {
			w.matched = true
		}
		if differs && (w.matched || off >= int64(inlinePieces*maxChunk)) {
			return errDiffers
		}
		return ctx.Err()
	})
	if errors.Is(err, errDiffers) {
		return false, nil
	}
	return !differs, err
}

// local reads a chunk from the old file; nil where that has something else.
func (w *fileWriter) local(p piece, off int64) ([]byte, error) {
	data := slices.Grow((*w.buf)[:0], int(p.size))[:p.size]
	*w.buf = data
	_, err := w.old.ReadAt(data, off)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil || blob.Name(seal(data)) != p.name {
		return nil, err
	}
	return data, nil
}

func (w *fileWriter) create(ctx context.Context) (err error) {
	it, dir := w.job.item, w.job.dir
	if w.file, err = dir.create(it.name); err != nil {
		return err
	}
	if err := w.fill(ctx); err != nil {
		return errors.Join(err, w.file.Close())
	}
	now, err := dir.finish(w.file, it.name, it.time)
	it.stat = now.fileStat
	return err
}

// createBeside is create where the old file is in the way until nobody has it
// open. Under its other name it is in no tree, and goes with the next Restore if
// this one fails.
func (w *fileWriter) createBeside(ctx context.Context) error {
	name, dir := w.job.item.name, w.job.dir
	aside := ".stayd-replaced-" + rand.Text()
	if err := dir.move(name, dir, aside); err != nil {
		return err
	}
	if err := w.create(ctx); err != nil {
		return err
	}
	return errors.Join(w.old.Close(), dir.unlink(aside))
}

// fill gives a new file its content and its permissions.
func (w *fileWriter) fill(ctx context.Context) error {
	it := w.job.item
	if err := w.restore.tree.chunks(ctx, it.pieces, it.depth, func(p piece) error { return w.chunk(ctx, p) }); err != nil {
		return err
	}
	if w.hole {
		if err := w.file.Truncate(it.size); err != nil {
			return err
		}
	}
	if w.restore.limit.windows {
		return nil
	}
	return w.file.Chmod(fs.FileMode(it.mode))
}

// chunk writes one chunk, or leaves a hole where it is all zero.
func (w *fileWriter) chunk(ctx context.Context, p piece) error {
	off := w.off
	w.off += p.size
	if p.name == w.zero {
		w.hole = true
		return nil
	}
	var data []byte
	var err error
	if w.matched {
		data, err = w.local(p, off)
	}
	if data == nil && err == nil {
		data, err = w.restore.tree.content(ctx, p, *w.buf)
	}
	if err != nil {
		return err
	}
	*w.buf = data
	if w.hole = isZero(data); w.hole {
		w.zero = p.name
		return nil
	}
	_, err = w.file.WriteAt(data, off)
	return err
}

// zeros is compared with, which is faster than a loop.
var zeros [4096]byte

func isZero(data []byte) bool {
	for len(data) > len(zeros) {
		if !bytes.Equal(data[:len(zeros)], zeros[:]) {
			return false
		}
		data = data[len(zeros):]
	}
	return bytes.Equal(data, zeros[:len(data)])
}
