package snapshot

import (
	"context"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"slices"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// A folder with more than leafEntries entries, or a larger blob than leafBytes,
// lies in several blobs, so that one more file does not store all of them again.
// They end where the hash of a name says so.
const (
	leafEntries  = 1024
	leafBytes    = 1 << 20
	leafBoundary = 256 // one name in so many ends a leaf
)

// storeDir puts a folder and returns its name, and the blobs that it lies in.
func (b *batch) storeDir(entries []entry, kept func(event.Hash) bool) (Root, []event.Hash, error) {
	if len(entries) == 0 {
		return Root{}, nil, nil
	}
	if len(entries) <= leafEntries {
		data, err := encodeDir(entries)
		if err != nil {
			return Root{}, nil, err
		}
		if len(data) <= leafBytes || len(entries) == 1 {
			name, err := b.add(data, true, kept)
			return name, []event.Hash{name}, err
		}
	}
	var leaves []leaf
	names := []event.Hash{{}}
	for run := range runs(entries) {
		data, err := encodeDir(run)
		if err != nil {
			return Root{}, nil, err
		}
		name, err := b.add(data, true, kept)
		if err != nil {
			return Root{}, nil, err
		}
		files, size := totals(run)
		leaves = append(leaves, leaf{run[0].name, name, files, size})
		names = append(names, name)
	}
	data, err := encodeIndex(leaves)
	if err != nil {
		return Root{}, nil, err
	}
	if len(data) > blob.MaxSize {
		return Root{}, nil, fmt.Errorf("%d entries in one folder: %w", len(entries), ErrTooLarge)
	}
	name, err := b.add(data, true, kept)
	names[0] = name
	return name, names, err
}

// runs cuts the entries of a large folder, always into two runs at least.
func runs(entries []entry) func(yield func([]entry) bool) {
	return func(yield func([]entry) bool) {
		start, size := 0, 0
		for i := range entries {
			e := &entries[i]
			size += 2*halfOverhead + len(e.name) + len(e.target) + len(e.pieces)*pieceSize
			h := fnv.New32a()
			io.WriteString(h, e.name) //nolint:errcheck,gosec // a hash never fails
			if h.Sum32()%leafBoundary == 0 || i+1-start >= 2*leafEntries || size >= leafBytes/2 || start == 0 && i+2 == len(entries) {
				if !yield(entries[start : i+1]) {
					return
				}
				start, size = i+1, 0
			}
		}
		if start < len(entries) {
			yield(entries[start:])
		}
	}
}

// halfOverhead is a generous half of what the encoding of an entry adds.
const halfOverhead = 32

// WriteFile puts a file and returns the tree that has it, and its entry. It
// makes the folders above, and replaces a file or a link that is at the path.
func (t *Tree) WriteFile(ctx context.Context, root Root, path string, r io.Reader, mode fs.FileMode) (Root, Entry, error) {
	parts, err := split("write", path)
	if err != nil {
		return Root{}, Entry{}, err
	}
	if len(parts) == 0 {
		return Root{}, Entry{}, &fs.PathError{Op: "write", Path: path, Err: fs.ErrInvalid}
	}
	// What is in the way is found before the content is read.
	if err := t.checkWay(ctx, root, parts); err != nil {
		return Root{}, Entry{}, err
	}
	b := t.newBatch(ctx)
	var s splitter
	dir := entry{kind: Dir, tree: root}
	e, err := s.store(b, r, nil)
	if err == nil {
		e.name, e.mode, e.time = parts[len(parts)-1], uint16(mode.Perm()), t.Now().UnixNano()
		dir, err = t.edit(ctx, b, dir, parts, &e)
	}
	if err != nil {
		return Root{}, Entry{}, fmt.Errorf("write %q: %w", path, b.abandon(err))
	}
	if err := b.wait(); err != nil {
		return Root{}, Entry{}, fmt.Errorf("write %q: %w", path, err)
	}
	return dir.tree, e.public(path), nil
}

func (t *Tree) checkWay(ctx context.Context, root Root, parts []string) error {
	path := ""
	for i, name := range parts {
		path = join(path, name)
		e, err := t.find(ctx, root, name)
		if err != nil {
			return err
		}
		last := i == len(parts)-1
		switch {
		case e == nil:
			return nil
		case last && e.kind == Dir:
			return &fs.PathError{Op: "write", Path: path, Err: fmt.Errorf("there is a folder: %w", fs.ErrExist)}
		case !last && e.kind != Dir:
			return &fs.PathError{Op: "write", Path: path, Err: fmt.Errorf("there is a %s, not a folder: %w", e.kind, fs.ErrExist)}
		}
		root = e.tree
	}
	return nil
}

// edit returns the folder with another entry at a path; without it, where e is
// nil.
func (t *Tree) edit(ctx context.Context, b *batch, dir entry, parts []string, e *entry) (entry, error) {
	entries, err := t.load(ctx, dir.tree)
	if err != nil {
		return dir, err
	}
	i, found := search(entries, parts[0])
	if len(parts) > 1 {
		below := entry{name: parts[0], kind: Dir, mode: 0o755}
		if found {
			below = entries[i]
		}
		if below, err = t.edit(ctx, b, below, parts[1:], e); err != nil {
			return dir, err
		}
		e = &below
	}
	switch {
	case e == nil:
		entries = slices.Delete(entries, i, i+1)
	case found:
		entries[i] = *e
	default:
		entries = slices.Insert(entries, i, *e)
	}
	dir.files, dir.size = totals(entries)
	dir.tree, _, err = b.storeDir(entries, nil)
	return dir, err
}

// Remove returns the tree without what is at a path, a folder with all that is
// in it. The error is fs.ErrNotExist where there is nothing.
func (t *Tree) Remove(ctx context.Context, root Root, path string) (Root, error) {
	parts, err := split("remove", path)
	if err != nil {
		return Root{}, err
	}
	if len(parts) == 0 {
		return Root{}, nil
	}
	if _, err := t.Lookup(ctx, root, path); err != nil {
		return Root{}, err
	}
	b := t.newBatch(ctx)
	dir, err := t.edit(ctx, b, entry{kind: Dir, tree: root}, parts, nil)
	if err != nil {
		return Root{}, fmt.Errorf("remove %q: %w", path, b.abandon(err))
	}
	if err := b.wait(); err != nil {
		return Root{}, fmt.Errorf("remove %q: %w", path, err)
	}
	return dir.tree, nil
}

// storedName is the name of the only file in the tree that StoreFile makes.
const storedName = "content"

// StoreFile puts a file that is in no folder, and returns its name, which is
// that of a tree, and its size.
func (t *Tree) StoreFile(ctx context.Context, r io.Reader) (Root, int64, error) {
	b := t.newBatch(ctx)
	var s splitter
	e, err := s.store(b, r, nil)
	var root Root
	if err == nil {
		e.name, e.mode = storedName, 0o644
		root, _, err = b.storeDir([]entry{e}, nil)
	}
	if err != nil {
		return Root{}, 0, fmt.Errorf("store a file: %w", b.abandon(err))
	}
	if err := b.wait(); err != nil {
		return Root{}, 0, fmt.Errorf("store a file: %w", err)
	}
	return root, e.size, nil
}

// OpenFile opens what StoreFile stored.
func (t *Tree) OpenFile(ctx context.Context, root Root) (io.ReadSeekCloser, int64, error) {
	r, e, err := t.Open(ctx, root, storedName)
	return r, e.Size, err
}
