package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/event"
)

const (
	// workers is the number of files that are read at a time.
	workers = 2
	// restorers is the number of files that are written at a time. It is larger
	// since they wait for a store that may be far away; each holds one chunk.
	restorers = 8
)

// raceWindow is how long before a scan a file may have changed without a later
// change being sure to give it another time: file systems keep the time of the
// last tick.
const raceWindow = 50 * time.Millisecond

// Folder is a folder of this machine that is kept equal with a tree. It is a
// cache of the tree: nothing in it is made durable. Its methods may be called at
// once from many goroutines, and wait for each other.
type Folder struct {
	tree  *Tree
	dir   string
	index string
	limit limits

	mu        sync.Mutex
	state     *dirState // nil where nothing is known
	unsettled bool
}

// dirState is what is known of a folder: what was stored, and by what it is seen
// whether that is still so.
type dirState struct {
	items []*item // by name
	tree  Root
	blobs []event.Hash // that the folder lies in
}

type item struct {
	entry
	stat fileStat
	// racy is set where a change might not show in stat.
	racy bool
	dir  *dirState

	// While a folder is scanned:
	dropped bool
}

// fileStat changes when the file does.
type fileStat struct {
	Ino   uint64
	Size  int64
	MTime int64
	CTime int64
}

func (s *dirState) find(name string) *item {
	if s == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(s.items, name, func(it *item, name string) int { return strings.Compare(it.name, name) })
	if !ok {
		return nil
	}
	return s.items[i]
}

// list is the items of a folder; none where nothing is known.
func (s *dirState) list() []*item {
	if s == nil {
		return nil
	}
	return s.items
}

func (s *dirState) entries() []entry {
	list := make([]entry, len(s.items))
	for i, it := range s.items {
		list[i] = it.entry
	}
	return list
}

// OpenFolder returns the folder at dir, which may not exist yet. Index is a file
// outside of it in which it is kept what is known of the files; where it is
// lost, damaged or of another life of the machine, files are read again.
//
// Of the snapshots that Capture makes, the root of one is to be named, in the
// sense of Collect, before the grace of Collect is over. What it shares with the
// last is not put again.
func OpenFolder(t *Tree, dir, index string) (*Folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder: %w", err)
	}
	if index, err = filepath.Abs(index); err != nil {
		return nil, fmt.Errorf("open the folder: %w", err)
	}
	if rel, err := filepath.Rel(dir, index); err == nil && filepath.IsLocal(rel) {
		return nil, fmt.Errorf("open the folder: the index %s is inside of %s", index, dir)
	}
	f := &Folder{tree: t, dir: dir, index: index, limit: limitsHere()}
	f.state = f.readIndex()
	_, err = os.Lstat(f.marker())
	switch {
	case err == nil:
		f.unsettled = true
	case !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("open the folder: %w", err)
	}
	return f, nil
}

// marker is a file that is there while Restore is at work.
func (f *Folder) marker() string { return f.index + ".restoring" }

func (f *Folder) begin() error {
	f.unsettled = true
	m, err := os.OpenFile(f.marker(), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return m.Close()
}

func (f *Folder) settle() error {
	if err := os.Remove(f.marker()); err != nil {
		return err
	}
	f.unsettled = false
	return nil
}
