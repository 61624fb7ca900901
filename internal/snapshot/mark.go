package snapshot

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// Mark visits every blob that is reached from the roots. Seen is called with the
// name of each and returns whether it was called with it before; what lies below
// such a blob is not visited again.
func Mark(ctx context.Context, blobs blob.Store, project string, roots []Root, seen func(event.Hash) bool) error {
	m := marker{New(blobs, project), seen}
	for _, root := range roots {
		if err := m.dir(ctx, root, 0); err != nil {
			return fmt.Errorf("mark the tree %s: %w", root, err)
		}
	}
	return nil
}

type marker struct {
	tree *Tree
	seen func(event.Hash) bool
}

func (m *marker) dir(ctx context.Context, root Root, depth int) error {
	if root.IsZero() || m.seen(root) {
		return nil
	}
	if depth > MaxDepth+1 {
		return ErrTooLarge
	}
	data, err := m.tree.get(ctx, root, nil)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(data, []byte(headIndex)) {
		return m.leaf(ctx, data, depth)
	}
	leaves, err := decodeIndex(data)
	if err != nil {
		return err
	}
	for i := range leaves {
		if m.seen(leaves[i].name) {
			continue
		}
		data, err := m.tree.get(ctx, leaves[i].name, nil)
		if err != nil {
			return err
		}
		if err := m.leaf(ctx, data, depth); err != nil {
			return err
		}
	}
	return nil
}

func (m *marker) leaf(ctx context.Context, data []byte, depth int) error {
	entries, err := decodeDir(data)
	if err != nil {
		return err
	}
	for i := range entries {
		e := &entries[i]
		if e.kind == Dir {
			err = m.dir(ctx, e.tree, depth+1)
		} else {
			err = m.pieces(ctx, e.pieces, e.depth)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *marker) pieces(ctx context.Context, pieces []piece, depth uint8) error {
	for _, p := range pieces {
		if m.seen(p.name) || depth == 0 {
			continue
		}
		below, err := m.tree.list(ctx, p, depth-1)
		if err != nil {
			return err
		}
		if err := m.pieces(ctx, below, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// liveName stands for a blob in the set of those that are reached. It is as short
// as it can be: were two blobs of a project to have the same, what is below one
// of them could be lost, which for a billion blobs is one chance in 10^11.
type liveName [12]byte

// Collect deletes the blobs that are reached from none of the roots of their
// project and that were not put for at least grace. It returns how many.
// A project with a tree that cannot be read is left alone and is an error; the
// others are collected.
func Collect(ctx context.Context, blobs blob.Store, roots func(ctx context.Context, project string) ([]event.Hash, error), grace time.Duration) (int, error) {
	projects, err := blobs.Projects(ctx)
	if err != nil {
		return 0, fmt.Errorf("collect blobs: %w", err)
	}
	total := 0
	var first error
	for _, project := range projects {
		n, err := collect(ctx, blobs, project, roots, grace)
		total += n
		if err != nil && first == nil {
			first = fmt.Errorf("collect the blobs of project %s: %w", project, err)
		}
	}
	return total, first
}

func collect(ctx context.Context, blobs blob.Store, project string, roots func(ctx context.Context, project string) ([]event.Hash, error), grace time.Duration) (int, error) {
	// What is put from now on is named by no root that is read below.
	before := time.Now().Add(-grace)
	names, err := roots(ctx, project)
	if err != nil {
		return 0, err
	}
	live := map[liveName]struct{}{}
	if err := Mark(ctx, blobs, project, names, func(h event.Hash) bool {
		k := liveName(h[:12])
		if _, ok := live[k]; ok {
			return true
		}
		live[k] = struct{}{}
		return false
	}); err != nil {
		return 0, err
	}
	return blobs.Sweep(ctx, project, before, func(h event.Hash) bool {
		_, ok := live[liveName(h[:12])]
		return ok
	})
}
