package snapshot

import (
	"context"
	"fmt"
)

// ChangeKind says what became of a path.
type ChangeKind uint8

// Kinds of changes.
const (
	Added ChangeKind = 1 + iota
	Removed
	Changed
)

func (k ChangeKind) String() string {
	switch k {
	case Added:
		return "added"
	case Removed:
		return "removed"
	case Changed:
		return "changed"
	}
	return "none"
}

// Change is a difference between two trees. Before or After is zero where there
// is nothing.
type Change struct {
	Kind   ChangeKind
	Path   string
	Before Entry
	After  Entry
}

// Diff lists the files, links and folders that differ between two trees, in the
// order of the parts of their paths. A folder itself differs where it was added
// or removed or has other permissions, and then what is below it is listed too.
// A file that has another time differs; Entry.SameContent tells it from one
// with other content.
func (t *Tree) Diff(ctx context.Context, a, b Root) ([]Change, error) {
	var changes []Change
	err := t.diff(ctx, &entry{kind: Dir, tree: a}, &entry{kind: Dir, tree: b}, "", 0, &changes)
	return changes, err
}

// diff compares what is below two folders; nil is none.
func (t *Tree) diff(ctx context.Context, a, b *entry, dir string, depth int, out *[]Change) error {
	if a != nil && b != nil && a.tree == b.tree {
		return nil
	}
	if depth > MaxDepth {
		return fmt.Errorf("folder %q: %w", dir, ErrTooLarge)
	}
	before, err := t.entries(ctx, a)
	if err != nil {
		return err
	}
	after, err := t.entries(ctx, b)
	if err != nil {
		return err
	}
	for len(before) > 0 || len(after) > 0 {
		var x, y *entry
		if len(before) > 0 && (len(after) == 0 || before[0].name <= after[0].name) {
			x = &before[0]
		}
		if len(after) > 0 && (len(before) == 0 || after[0].name <= before[0].name) {
			y = &after[0]
		}
		if x != nil {
			before = before[1:]
		}
		if y != nil {
			after = after[1:]
		}
		if err := t.diffEntry(ctx, x, y, dir, depth, out); err != nil {
			return err
		}
	}
	return nil
}

func (t *Tree) entries(ctx context.Context, dir *entry) ([]entry, error) {
	if dir == nil {
		return nil, nil
	}
	return t.load(ctx, dir.tree)
}

// diffEntry compares two entries of the same name; nil is none.
func (t *Tree) diffEntry(ctx context.Context, x, y *entry, dir string, depth int, out *[]Change) error {
	var c Change
	if x != nil {
		c.Kind, c.Path = Removed, join(dir, x.name)
		c.Before = x.public(c.Path)
	}
	if y != nil {
		c.Kind, c.Path = Added, join(dir, y.name)
		c.After = y.public(c.Path)
	}
	same := false
	if x != nil && y != nil {
		c.Kind = Changed
		same = x.equal(y) || x.kind == Dir && y.kind == Dir && x.mode == y.mode
	}
	if !same {
		*out = append(*out, c)
	}
	if x != nil && x.kind != Dir {
		x = nil
	}
	if y != nil && y.kind != Dir {
		y = nil
	}
	if x == nil && y == nil {
		return nil
	}
	return t.diff(ctx, x, y, c.Path, depth+1, out)
}
