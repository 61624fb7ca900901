// Package snapshot keeps what a workspace folder holds as a Merkle tree of
// blobs, so that it can be stored after every step, restored on any machine,
// forked for nothing, compared, and read without a folder. It owns the form of
// the tree and the way between a tree and a folder; it does not know what names
// a tree, nor where blobs are kept.
//
// A folder is a blob that lists its entries; the content of a file is one blob,
// or several that are cut where the content says so. A tree is named by the blob
// of its topmost folder. What is equal has the same name, wherever it came from.
// Owners, special permission bits, special files, hard links and extended
// attributes are not kept, nor the times of folders and links.
package snapshot

import (
	"errors"
	"io/fs"
	"time"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/event"
)

// Root names a tree. Zero is the empty folder.
type Root = event.Hash

// What a tree or a folder may have at most.
const (
	MaxEntries = 200_000 // files, links and folders
	MaxDepth   = 100     // folders in each other
)

const (
	maxName   = 255  // bytes; what file systems take
	maxTarget = 4095 // bytes
	permBits  = 0o777
)

// The errors that callers branch on.
var (
	// ErrCorrupt: a blob of a tree is not what this package makes.
	ErrCorrupt = blob.ErrCorrupt
	// ErrTooLarge: there is more in a folder than MaxEntries and MaxDepth allow.
	ErrTooLarge = errors.New("the folder is too large for a snapshot")
	// ErrUnsettled: the last Restore of the folder did not come to its end.
	ErrUnsettled = errors.New("the folder was not restored to its end")
)

// Kind says what an entry is.
type Kind uint8

// Kinds of entries.
const (
	File Kind = 1 + iota
	Dir
	Link
)

func (k Kind) String() string {
	switch k {
	case File:
		return "file"
	case Dir:
		return "folder"
	case Link:
		return "link"
	}
	return "none"
}

// Entry is a file, folder or link of a tree. Names are bytes, which are not
// always UTF-8.
type Entry struct {
	Path    string // below the root, parts separated by slashes, no leading slash
	Kind    Kind
	Mode    fs.FileMode // type and permission bits
	Size    int64       // of a file; of a folder, of all files below it
	ModTime time.Time   // of a file; zero for all others
	Target  string      // of a link, as it was made

	entry entry
}

// SameContent reports whether both are files that hold the same bytes, links
// with the same target, or folders with the same in them.
func (e Entry) SameContent(o Entry) bool { return e.entry.sameContent(&o.entry) }

// Root is the tree of a folder.
func (e Entry) Root() Root { return e.entry.tree }

// Tree reads and makes the trees of one project.
type Tree struct {
	blobs   blob.Store
	project string
	// Now gives the time of files that WriteFile makes.
	Now func() time.Time
}

// New returns the trees that a project has in a store.
func New(blobs blob.Store, project string) *Tree {
	return &Tree{blobs: blobs, project: project, Now: time.Now}
}

func (e *entry) public(path string) Entry {
	out := Entry{Path: path, Kind: e.kind, Mode: fs.FileMode(e.mode), Size: e.size, Target: e.target, entry: *e}
	switch e.kind {
	case File:
		out.ModTime = time.Unix(0, e.time).UTC()
	case Dir:
		out.Mode |= fs.ModeDir
	case Link:
		out.Mode |= fs.ModeSymlink
	}
	return out
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
