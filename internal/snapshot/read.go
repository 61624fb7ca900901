package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"strings"

	"github.com/stayd/stayd/internal/event"
)

// get returns a blob, which may lie in buf.
func (t *Tree) get(ctx context.Context, name event.Hash, buf []byte) ([]byte, error) {
	data, err := t.blobs.Get(ctx, t.project, name, buf)
	if err != nil {
		return nil, fmt.Errorf("read the snapshot: %w", err)
	}
	return data, nil
}

// load returns all entries of a folder.
func (t *Tree) load(ctx context.Context, root Root) ([]entry, error) {
	entries, _, err := t.loadLeaves(ctx, root)
	return entries, err
}

// loadLeaves is load, and returns also the blobs that the folder lies in.
func (t *Tree) loadLeaves(ctx context.Context, root Root) ([]entry, []event.Hash, error) {
	if root.IsZero() {
		return nil, nil, nil
	}
	data, err := t.get(ctx, root, nil)
	if err != nil {
		return nil, nil, err
	}
	if !bytes.HasPrefix(data, []byte(headIndex)) {
		entries, err := decodeDir(data)
		if err != nil {
			return nil, nil, fmt.Errorf("folder %s: %w", root, err)
		}
		return entries, []event.Hash{root}, nil
	}
	leaves, err := decodeIndex(data)
	if err != nil {
		return nil, nil, fmt.Errorf("folder %s: %w", root, err)
	}
	var all []entry
	names := []event.Hash{root}
	for i := range leaves {
		entries, err := t.loadLeaf(ctx, &leaves[i])
		if err != nil {
			return nil, nil, fmt.Errorf("folder %s: %w", root, err)
		}
		if len(all) > 0 && all[len(all)-1].name >= entries[0].name {
			return nil, nil, fmt.Errorf("folder %s: %w", root, corrupt("leaves overlap at %q", entries[0].name))
		}
		all = append(all, entries...)
		names = append(names, leaves[i].name)
	}
	return all, names, nil
}

func (t *Tree) loadLeaf(ctx context.Context, l *leaf) ([]entry, error) {
	data, err := t.get(ctx, l.name, nil)
	if err != nil {
		return nil, err
	}
	entries, err := decodeDir(data)
	if err != nil {
		return nil, err
	}
	files, size := totals(entries)
	if files != l.files || size != l.size || entries[0].name != l.first {
		return nil, corrupt("the leaf %q does not hold what its index says", l.first)
	}
	return entries, nil
}

// loadDir is load of a folder that another has, whose totals must be right.
func (t *Tree) loadDir(ctx context.Context, e *entry) ([]entry, error) {
	entries, err := t.load(ctx, e.tree)
	if err != nil {
		return nil, err
	}
	return entries, e.checkTotals(entries)
}

func (e *entry) checkTotals(entries []entry) error {
	if files, size := totals(entries); files != e.files || size != e.size {
		return fmt.Errorf("folder %s: %w", e.tree, corrupt("it holds %d files of %d bytes, not %d of %d", files, size, e.files, e.size))
	}
	return nil
}

// find returns one entry of a folder; nil where there is none.
func (t *Tree) find(ctx context.Context, root Root, name string) (*entry, error) {
	if root.IsZero() {
		return nil, nil
	}
	data, err := t.get(ctx, root, nil)
	if err != nil {
		return nil, err
	}
	var entries []entry
	if bytes.HasPrefix(data, []byte(headIndex)) {
		leaves, err := decodeIndex(data)
		if err != nil {
			return nil, fmt.Errorf("folder %s: %w", root, err)
		}
		i := sort.Search(len(leaves), func(i int) bool { return leaves[i].first > name })
		if i == 0 {
			return nil, nil
		}
		entries, err = t.loadLeaf(ctx, &leaves[i-1])
		if err != nil {
			return nil, fmt.Errorf("folder %s: %w", root, err)
		}
	} else if entries, err = decodeDir(data); err != nil {
		return nil, fmt.Errorf("folder %s: %w", root, err)
	}
	i, ok := search(entries, name)
	if !ok {
		return nil, nil
	}
	return &entries[i], nil
}

func search(entries []entry, name string) (int, bool) {
	return sort.Find(len(entries), func(i int) int { return strings.Compare(name, entries[i].name) })
}

// split returns the parts of a path below the root.
func split(op, path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	parts := strings.Split(path, "/")
	for _, p := range parts {
		if !validName(p) {
			return nil, &fs.PathError{Op: op, Path: path, Err: fs.ErrInvalid}
		}
	}
	if len(parts) > MaxDepth {
		return nil, &fs.PathError{Op: op, Path: path, Err: ErrTooLarge}
	}
	return parts, nil
}

// Lookup returns what is at a path; "" is the root. It follows no links. The
// error is fs.ErrNotExist where there is nothing, and fs.ErrInvalid where there
// can be nothing.
func (t *Tree) Lookup(ctx context.Context, root Root, path string) (Entry, error) {
	parts, err := split("lookup", path)
	if err != nil {
		return Entry{}, err
	}
	if len(parts) == 0 {
		files, size, err := t.Size(ctx, root)
		return (&entry{kind: Dir, mode: 0o755, tree: root, files: files, size: size}).public(""), err
	}
	e := &entry{kind: Dir, tree: root}
	for _, name := range parts {
		if e.kind != Dir {
			e = nil
		} else if e, err = t.find(ctx, e.tree, name); err != nil {
			return Entry{}, err
		}
		if e == nil {
			return Entry{}, &fs.PathError{Op: "lookup", Path: path, Err: fs.ErrNotExist}
		}
	}
	return e.public(path), nil
}

// lookupDir returns the tree of a folder.
func (t *Tree) lookupDir(ctx context.Context, root Root, dir string) (Root, error) {
	if dir == "" {
		return root, nil
	}
	e, err := t.Lookup(ctx, root, dir)
	if err != nil {
		return Root{}, err
	}
	if e.Kind != Dir {
		return Root{}, &fs.PathError{Op: "list", Path: dir, Err: errors.New("not a folder")}
	}
	return e.entry.tree, nil
}

// List returns what is in a folder, by name.
func (t *Tree) List(ctx context.Context, root Root, dir string) ([]Entry, error) {
	tree, err := t.lookupDir(ctx, root, dir)
	if err != nil {
		return nil, err
	}
	entries, err := t.load(ctx, tree)
	if err != nil {
		return nil, err
	}
	list := make([]Entry, len(entries))
	for i := range entries {
		list[i] = entries[i].public(join(dir, entries[i].name))
	}
	return list, nil
}

// Walk calls fn for the files and links below a folder, in the order of the
// parts of their paths. It ends with the first error of fn.
func (t *Tree) Walk(ctx context.Context, root Root, dir string, fn func(Entry) error) error {
	tree, err := t.lookupDir(ctx, root, dir)
	if err != nil {
		return err
	}
	entries, err := t.load(ctx, tree)
	if err != nil {
		return err
	}
	return t.walk(ctx, entries, dir, 0, false, fn)
}

func (t *Tree) walk(ctx context.Context, entries []entry, dir string, depth int, folders bool, fn func(Entry) error) error {
	if depth > MaxDepth {
		return fmt.Errorf("folder %q: %w", dir, ErrTooLarge)
	}
	for i := range entries {
		e := &entries[i]
		path := join(dir, e.name)
		if e.kind != Dir || folders {
			if err := fn(e.public(path)); err != nil {
				return err
			}
		}
		if e.kind != Dir {
			continue
		}
		below, err := t.loadDir(ctx, e)
		if err != nil {
			return err
		}
		if err := t.walk(ctx, below, path, depth+1, folders, fn); err != nil {
			return err
		}
	}
	return nil
}

// Size returns the number of files and links of a tree, and the bytes in them.
func (t *Tree) Size(ctx context.Context, root Root) (files, size int64, err error) {
	if root.IsZero() {
		return 0, 0, nil
	}
	data, err := t.get(ctx, root, nil)
	if err != nil {
		return 0, 0, err
	}
	if bytes.HasPrefix(data, []byte(headIndex)) {
		leaves, err := decodeIndex(data)
		if err != nil {
			return 0, 0, fmt.Errorf("folder %s: %w", root, err)
		}
		for i := range leaves {
			files += leaves[i].files
			size += leaves[i].size
		}
		return files, size, nil
	}
	entries, err := decodeDir(data)
	if err != nil {
		return 0, 0, fmt.Errorf("folder %s: %w", root, err)
	}
	files, size = totals(entries)
	return files, size, nil
}

// Open opens a regular file of a tree. It reads a piece at a time, with ctx.
func (t *Tree) Open(ctx context.Context, root Root, path string) (io.ReadSeekCloser, Entry, error) {
	e, err := t.Lookup(ctx, root, path)
	if err != nil {
		return nil, Entry{}, err
	}
	if e.Kind != File {
		return nil, Entry{}, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("it is a %s, not a file", e.Kind)}
	}
	return &reader{ctx: ctx, tree: t, entry: &e.entry}, e, nil
}

// list returns the pieces of a list.
func (t *Tree) list(ctx context.Context, p piece, depth uint8) ([]piece, error) {
	data, err := t.get(ctx, p.name, nil)
	if err != nil {
		return nil, err
	}
	pieces, err := decodeList(data, depth, p.size)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", p.name, err)
	}
	return pieces, nil
}

// chunks calls fn for each blob of content of a file, in order.
func (t *Tree) chunks(ctx context.Context, pieces []piece, depth uint8, fn func(piece) error) error {
	for _, p := range pieces {
		if depth == 0 {
			if err := fn(p); err != nil {
				return err
			}
			continue
		}
		below, err := t.list(ctx, p, depth-1)
		if err != nil {
			return err
		}
		if err := t.chunks(ctx, below, depth-1, fn); err != nil {
			return err
		}
	}
	return nil
}

// content returns the bytes of a piece of depth 0, which may lie in buf.
func (t *Tree) content(ctx context.Context, p piece, buf []byte) ([]byte, error) {
	data, err := t.get(ctx, p.name, buf)
	if err != nil {
		return nil, err
	}
	content, err := unseal(data, p.size)
	if err != nil {
		return nil, fmt.Errorf("blob %s: %w", p.name, err)
	}
	return content, nil
}
