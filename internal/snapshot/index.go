package snapshot

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"

	"github.com/stayd/stayd/internal/event"
)

// The index is only ever a hint: it says of files that have a certain inode,
// size and times what is in them. What is wrong in it makes it no index.

type wireIndex struct {
	_       struct{} `cbor:",toarray"`
	Version uint8
	Project string
	Dir     uint64 // the inode
	Boot    string
	State   wireState
}

type wireState struct {
	_     struct{} `cbor:",toarray"`
	Items []wireItem
	Tree  []byte
	Blobs [][]byte
}

type wireItem struct {
	_     struct{} `cbor:",toarray"`
	Entry wireEntry
	Ino   uint64
	Size  int64
	MTime int64
	CTime int64
	Racy  bool
	Dir   *wireState
}

const (
	headIndexFile = magic + "\x01x"
	indexVersion  = 1
)

func (f *Folder) writeIndex(state *dirState, top uint64) error {
	data, err := encode(headIndexFile, wireIndex{
		Version: indexVersion, Project: f.tree.project, Dir: top, Boot: bootID(), State: state.wire(),
	})
	if err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	tmp, err := os.CreateTemp(filepath.Dir(f.index), filepath.Base(f.index)+".new-")
	if err != nil {
		return fmt.Errorf("write the index of the folder: %w", err)
	}
	_, err = tmp.Write(append(data, sum[:]...))
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), f.index)
	}
	if err != nil {
		os.Remove(tmp.Name()) //nolint:errcheck,gosec // the first error is the one that counts
		return fmt.Errorf("write the index of the folder: %w", err)
	}
	return nil
}

// readIndex returns nil where there is no index that can be trusted.
func (f *Folder) readIndex() *dirState {
	data, err := os.ReadFile(f.index)
	if err != nil || len(data) < sha256.Size {
		return nil
	}
	sum := data[len(data)-sha256.Size:]
	data = data[:len(data)-sha256.Size]
	if sha256.Sum256(data) != event.Hash(sum) {
		return nil
	}
	var w wireIndex
	if err := decode(data, headIndexFile, &w); err != nil {
		return nil
	}
	top, err := openTop(f.dir, 0o500)
	if err != nil {
		return nil
	}
	stat, err := top.stat(".")
	if closeErr := top.release(); err != nil || closeErr != nil {
		return nil
	}
	// After a crash of the machine files may have their size and times, and not
	// their content.
	if w.Boot == "" {
		return nil
	}
	if w.Version != indexVersion || w.Project != f.tree.project || w.Dir != stat.Ino || w.Boot != bootID() {
		return nil
	}
	state, err := w.State.state()
	if err != nil {
		return nil
	}
	return state
}

func (s *dirState) wire() wireState {
	w := wireState{Items: make([]wireItem, len(s.items)), Tree: s.tree[:]}
	for i := range s.blobs {
		w.Blobs = append(w.Blobs, s.blobs[i][:])
	}
	for i, it := range s.items {
		w.Items[i] = wireItem{
			Entry: it.wire(), Ino: it.stat.Ino, Size: it.stat.Size, MTime: it.stat.MTime, CTime: it.stat.CTime, Racy: it.racy,
		}
		if it.dir != nil {
			below := it.dir.wire()
			w.Items[i].Dir = &below
		}
	}
	return w
}

func (w *wireState) state() (*dirState, error) {
	s := &dirState{items: make([]*item, len(w.Items))}
	if len(w.Tree) != len(s.tree) {
		return nil, corrupt("the name of a folder")
	}
	copy(s.tree[:], w.Tree)
	for _, name := range w.Blobs {
		if len(name) != len(event.Hash{}) {
			return nil, corrupt("the name of a blob")
		}
		s.blobs = append(s.blobs, event.Hash(name))
	}
	for i := range w.Items {
		wi := &w.Items[i]
		e, err := wi.Entry.entry()
		if err != nil {
			return nil, err
		}
		it := &item{entry: e, stat: fileStat{wi.Ino, wi.Size, wi.MTime, wi.CTime}, racy: wi.Racy}
		if (e.kind == Dir) != (wi.Dir != nil) || i > 0 && s.items[i-1].name >= e.name {
			return nil, corrupt("the index at %q", e.name)
		}
		if wi.Dir != nil {
			if it.dir, err = wi.Dir.state(); err != nil {
				return nil, err
			}
		}
		s.items[i] = it
	}
	return s, nil
}
