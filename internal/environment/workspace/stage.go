package workspace

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment"
)

// Changes that belong together are staged in a folder of state/ and then put in
// place, so that either all of them are made or none. The folder holds
//
//	files/NNNN  the content of each written file
//	commit      the list of changes, and what the effect answered: once it is
//	            there, the changes will be made
//	removed     there, once all that is to be removed was removed
//	applied     there, once all changes are in place
//
// A written file is moved from files/ into place, so a file that is not in
// files/ any more is in place. Removals come first and are not repeated once a
// file may have been moved. So the changes can be taken up after a crash
// anywhere in between, as long as nothing else changes the workspace before:
// Open takes them up before anyone can.
const (
	filesDir    = "files"
	commitFile  = "commit"
	removedFile = "removed"
	appliedFile = "applied"
)

// commit is the content of the commit file.
type commit struct {
	Remove []string `json:"remove,omitempty"`
	Mkdir  []string `json:"mkdir,omitempty"`
	Write  []write  `json:"write,omitempty"`
	// Answer is what the effect answered.
	Answer json.RawMessage `json:"answer,omitempty"`
}

type write struct {
	Path string      `json:"path"`
	File string      `json:"file"` // in files/
	Mode fs.FileMode `json:"mode"`
}

// commitStage makes the decision durable: from here on the changes are made,
// whatever happens.
func commitStage(dir string, c *commit) error {
	for _, wr := range c.Write {
		if err := syncPath(filepath.Join(dir, filesDir, wr.File)); err != nil {
			return fmt.Errorf("make a staged file durable: %w", err)
		}
	}
	for _, d := range []string{filepath.Join(dir, filesDir), filepath.Dir(dir)} {
		if err := syncPath(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make the staged files durable: %w", err)
		}
	}
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode the changes: %w", err)
	}
	return mark(filepath.Join(dir, commitFile), b)
}

// readCommit returns nil where nothing was decided.
func readCommit(dir string) (*commit, error) {
	b, err := os.ReadFile(filepath.Join(dir, commitFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read staged changes: %w", err)
	}
	c := new(commit)
	if err := json.Unmarshal(b, c); err != nil {
		return nil, fmt.Errorf("read staged changes of %s: %w", filepath.Base(dir), err)
	}
	return c, nil
}

func exists(name string) (bool, error) {
	_, err := os.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// applyStage puts committed changes in place, or what is missing of them. The
// caller holds w.mu.
func (w *Workspace) applyStage(dir string, c *commit) error {
	applied := filepath.Join(dir, appliedFile)
	if done, err := exists(applied); done || err != nil {
		return err
	}
	touched := map[string]bool{}
	if err := w.applyRemovals(dir, c, touched); err != nil {
		return err
	}
	for _, d := range c.Mkdir {
		if err := w.makeRoom(d, true); err != nil {
			return err
		}
		if err := w.root.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("make the folder %s: %w", Shown(d), err)
		}
		touched[path.Dir(d)] = true
	}
	for _, wr := range c.Write {
		from := filepath.Join(dir, filesDir, wr.File)
		if there, err := exists(from); err != nil {
			return err
		} else if !there {
			continue // it was moved before a crash
		}
		if err := w.makeRoom(wr.Path, false); err != nil {
			return err
		}
		if err := w.install(from, wr.Path, wr.Mode); err != nil {
			return err
		}
		touched[path.Dir(wr.Path)] = true
	}
	if err := w.syncDirs(touched); err != nil {
		return err
	}
	return mark(applied, nil)
}

func (w *Workspace) applyRemovals(dir string, c *commit, touched map[string]bool) error {
	removed := filepath.Join(dir, removedFile)
	if done, err := exists(removed); done || err != nil || len(c.Remove) == 0 {
		return err
	}
	for _, p := range c.Remove {
		if err := w.root.RemoveAll(p); err != nil {
			return fmt.Errorf("remove %s: %w", Shown(p), err)
		}
		touched[path.Dir(p)] = true
	}
	if err := w.syncDirs(touched); err != nil {
		return err
	}
	return mark(removed, nil)
}

// makeRoom removes what is in the way of a folder or a file at rel. What is
// decided was checked when it was staged, so only a command that ran at the same
// time can have put it there; the later of the two wins, as among any two
// writers.
func (w *Workspace) makeRoom(rel string, folder bool) error {
	names := strings.Split(rel, "/")
	for i := range names {
		p, last := path.Join(names[:i+1]...), i == len(names)-1
		info, err := w.root.Lstat(p)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("make room for %s: %w", Shown(rel), err)
		}
		if wantDir := !last || folder; info.IsDir() == wantDir || last && !info.IsDir() && !folder {
			continue
		}
		if err := w.root.RemoveAll(p); err != nil {
			return fmt.Errorf("make room for %s: %w", Shown(rel), err)
		}
		return nil
	}
	return nil
}

// install moves a file that is outside of the workspace to rel. What was there
// is replaced at once: nobody ever sees half of a file, and no other name of
// the old file changes.
func (w *Workspace) install(from, rel string, mode fs.FileMode) error {
	if rel == "." {
		return pathErrorf("%s is a folder", environment.Workspace)
	}
	if err := os.Chmod(from, mode.Perm()); err != nil {
		return fmt.Errorf("write %s: %w", Shown(rel), err)
	}
	parent := path.Dir(rel)
	if err := w.root.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("make the folder %s: %w", Shown(parent), err)
	}
	d, err := w.root.Open(parent)
	if err != nil {
		return fmt.Errorf("write %s: %w", Shown(rel), err)
	}
	defer d.Close() //nolint:errcheck // a folder that was only opened
	if err := unix.Renameat(unix.AT_FDCWD, from, int(d.Fd()), path.Base(rel)); err != nil {
		return fmt.Errorf("write %s: %w", Shown(rel), err)
	}
	return nil
}

func (w *Workspace) syncDirs(dirs map[string]bool) error {
	for rel := range dirs {
		d, err := w.root.Open(rel)
		if errors.Is(err, fs.ErrNotExist) {
			continue // it was removed; the folder that held it is synced
		}
		if err != nil {
			return fmt.Errorf("make %s durable: %w", Shown(rel), err)
		}
		err = d.Sync()
		d.Close() //nolint:errcheck,gosec // a folder that was only opened
		if err != nil {
			return fmt.Errorf("make %s durable: %w", Shown(rel), err)
		}
	}
	return nil
}

// replace writes a file of the workspace, durably. The caller holds w.mu.
func (w *Workspace) replace(rel string, content []byte, mode fs.FileMode) error {
	from := filepath.Join(w.state, tmpDir, rand.Text())
	if err := writeDurably(from, content); err != nil {
		return err
	}
	if err := w.install(from, rel, mode); err != nil {
		os.Remove(from) //nolint:errcheck,gosec // Open clears what is left
		return err
	}
	return w.syncDirs(map[string]bool{path.Dir(rel): true})
}

// modeOf is the mode that a new version of the file gets.
func (w *Workspace) modeOf(rel string) fs.FileMode {
	if info, err := w.root.Lstat(rel); err == nil && info.Mode().IsRegular() {
		return info.Mode().Perm()
	}
	return 0o644
}

// mark writes a small file durably and at once.
func mark(name string, content []byte) error {
	tmp := name + ".new"
	if err := writeDurably(tmp, content); err != nil {
		return err
	}
	if err := os.Rename(tmp, name); err != nil {
		return fmt.Errorf("write the marker %s: %w", filepath.Base(name), err)
	}
	if err := syncPath(filepath.Dir(name)); err != nil {
		return fmt.Errorf("make the marker %s durable: %w", filepath.Base(name), err)
	}
	return nil
}

func writeDurably(name string, content []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(name) //nolint:errcheck,gosec // Open clears what is left
		return fmt.Errorf("write %s: %w", filepath.Base(name), err)
	}
	return nil
}

func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only opened
	return f.Sync()
}
