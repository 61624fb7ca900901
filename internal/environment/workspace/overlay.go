package workspace

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/environment"
)

// Limits of what one program reads and stages, in bytes and in files.
const (
	MaxProgramFile = 64 << 20
	maxStaged      = 256 << 20
	maxStagedFiles = 10_000
)

// Overlay is the workspace as one program sees it: with the changes that it made,
// which nobody else sees until they are committed. It is used by one goroutine.
type Overlay struct {
	w       *Workspace
	dir     string
	entries map[string]*staged // what the program wrote
	removed map[string]bool    // what it removed, with all that is below
	size    int64
	files   int
	broken  error // of a write that may have been made in part
}

type staged struct {
	folder bool
	file   string // in files/
	size   int64
	mode   fs.FileMode
}

// Begin starts a program's changes, and waits for a program that is running.
// Where the effect was already decided, its changes are put in place, as far as
// they are not, and Begin returns what was answered and no overlay. The caller
// must Commit or Discard the overlay.
func (w *Workspace) Begin(ctx context.Context, effectID string) (*Overlay, json.RawMessage, error) {
	select {
	case w.running <- struct{}{}:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	o, answer, err := w.begin(effectID)
	if o == nil {
		<-w.running
	}
	return o, answer, err
}

func (w *Workspace) begin(effectID string) (*Overlay, json.RawMessage, error) {
	if effectID == "" {
		effectID = rand.Text()
	}
	dir := filepath.Join(w.state, effectsDir, fileName(effectID))
	c, err := readCommit(dir)
	if err != nil {
		return nil, nil, err
	}
	if c != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		return nil, c.Answer, w.applyStage(dir, c)
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, nil, fmt.Errorf("stage changes: %w", err)
	}
	return &Overlay{w: w, dir: dir, entries: map[string]*staged{}, removed: map[string]bool{}}, nil, nil
}

// Changed reports whether there is anything to commit.
func (o *Overlay) Changed() bool { return len(o.entries) > 0 || len(o.removed) > 0 }

// Commit puts the changes in place, all of them or none, and keeps answer for
// whoever asks with the same effect id. The overlay is over. After an error, the
// effect is either undecided or will be put in place by Begin or Open.
func (o *Overlay) Commit(answer json.RawMessage) error {
	defer func() { <-o.w.running }()
	if o.broken != nil {
		return o.broken
	}
	if !o.Changed() {
		return nil
	}
	c := &commit{Remove: slices.Sorted(maps.Keys(o.removed)), Answer: answer}
	for _, p := range slices.Sorted(maps.Keys(o.entries)) {
		if e := o.entries[p]; e.folder {
			c.Mkdir = append(c.Mkdir, p)
		} else {
			c.Write = append(c.Write, write{Path: p, File: e.file, Mode: e.mode})
		}
	}
	o.w.mu.Lock()
	defer o.w.mu.Unlock()
	if err := os.MkdirAll(filepath.Join(o.dir, filesDir), 0o700); err != nil {
		return fmt.Errorf("stage changes: %w", err)
	}
	if err := commitStage(o.dir, c); err != nil {
		return err
	}
	if err := o.w.applyStage(o.dir, c); err != nil {
		return err
	}
	return prune(filepath.Join(o.w.state, effectsDir), keptEffects, func(dir string) bool {
		done, err := exists(filepath.Join(dir, appliedFile))
		return done && err == nil && dir != o.dir
	})
}

// Discard forgets the changes. The overlay is over.
func (o *Overlay) Discard() error {
	defer func() { <-o.w.running }()
	if err := os.RemoveAll(o.dir); err != nil {
		return fmt.Errorf("forget staged changes: %w", err)
	}
	return nil
}

// hidden reports whether what the workspace has at rel is not there for the
// program.
func (o *Overlay) hidden(rel string) bool {
	for p := rel; ; p = path.Dir(p) {
		if o.removed[p] {
			return true
		}
		if e := o.entries[p]; e != nil && !e.folder {
			return true
		}
		if p == "." {
			return false
		}
	}
}

func (o *Overlay) locate(p string, follow bool) (string, error) {
	rel, err := Rel(p)
	if err != nil {
		return "", err
	}
	return resolve(rel, follow, func(name string) (string, error) {
		if o.hidden(name) {
			return "", fs.ErrNotExist
		}
		return o.w.root.Readlink(name)
	})
}

// stat returns what the program sees at rel. Without an error, either the entry
// or the workspace's info is set.
func (o *Overlay) stat(rel string) (*staged, fs.FileInfo, error) {
	if e := o.entries[rel]; e != nil {
		return e, nil, nil
	}
	if o.hidden(rel) {
		return nil, nil, fs.ErrNotExist
	}
	info, err := o.w.root.Lstat(rel)
	return nil, info, err
}

// told turns an error into one that may be shown to the program.
func told(p string, err error) error {
	if msg, ok := explain(p, err); ok {
		return errors.New(msg)
	}
	return err
}

// ReadFile returns the content of a file.
func (o *Overlay) ReadFile(p string) ([]byte, error) {
	b, err := o.read(p)
	if err != nil {
		return nil, told(p, err)
	}
	return b, nil
}

func (o *Overlay) read(p string) ([]byte, error) {
	rel, err := o.locate(p, true)
	if err != nil {
		return nil, err
	}
	e, _, err := o.stat(rel)
	if err != nil {
		return nil, err
	}
	if e != nil {
		if e.folder {
			return nil, pathErrorf("%s is a folder", Shown(rel))
		}
		return os.ReadFile(filepath.Join(o.dir, filesDir, e.file))
	}
	f, info, err := o.w.open(rel)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	if info.Size() > MaxProgramFile {
		return nil, pathErrorf("%s has %d bytes; at most %d can be read", Shown(rel), info.Size(), MaxProgramFile)
	}
	return io.ReadAll(io.LimitReader(f, MaxProgramFile))
}

// WriteFile writes a file, and the folders above it.
func (o *Overlay) WriteFile(p string, content []byte) error {
	return told(p, o.write(p, content, false))
}

// AppendFile adds to a file, and makes it where it is not there.
func (o *Overlay) AppendFile(p string, content []byte) error {
	return told(p, o.write(p, content, true))
}

func (o *Overlay) write(p string, content []byte, add bool) error {
	rel, err := o.locate(p, true)
	if err != nil {
		return err
	}
	e, info, err := o.stat(rel)
	switch {
	case e != nil && e.folder, info != nil && info.IsDir(), rel == ".":
		return pathErrorf("%s is a folder", Shown(rel))
	case info != nil && !info.Mode().IsRegular():
		return pathErrorf("%s is not a regular file", Shown(rel))
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := o.mkdir(path.Dir(rel)); err != nil {
		return err
	}
	if add && info != nil {
		old, err := o.read(p)
		if err != nil {
			return err
		}
		content = append(old, content...)
	}
	if e == nil {
		e = &staged{file: strconv.Itoa(o.files), mode: 0o644}
		if info != nil {
			e.mode = info.Mode().Perm()
		}
	}
	return o.stage(rel, e, content, add && o.entries[rel] != nil)
}

// stage writes the content of an entry, at the end of what it has where add is
// set.
func (o *Overlay) stage(rel string, e *staged, content []byte, add bool) error {
	size, flags := int64(len(content)), os.O_WRONLY|os.O_CREATE|os.O_TRUNC
	if add {
		size, flags = size+e.size, os.O_WRONLY|os.O_APPEND
	}
	switch {
	case size > MaxProgramFile:
		return pathErrorf("%s would have over %d bytes", Shown(rel), MaxProgramFile)
	case o.size-e.size+size > maxStaged:
		return pathErrorf("the code writes more than %d bytes in all", maxStaged)
	case o.entries[rel] == nil && o.files == maxStagedFiles:
		return pathErrorf("the code writes more than %d files", maxStagedFiles)
	}
	dir := filepath.Join(o.dir, filesDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("stage %s: %w", Shown(rel), err)
	}
	f, err := os.OpenFile(filepath.Join(dir, e.file), flags, 0o600)
	if err != nil {
		return fmt.Errorf("stage %s: %w", Shown(rel), err)
	}
	_, err = f.Write(content)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		o.broken = fmt.Errorf("stage %s: %w", Shown(rel), err)
		return o.broken
	}
	if o.entries[rel] == nil {
		o.entries[rel] = e
		o.files++
	}
	o.size += size - e.size
	e.size = size
	return nil
}

// Mkdir makes a folder, and the folders above it.
func (o *Overlay) Mkdir(p string) error {
	rel, err := o.locate(p, true)
	if err == nil {
		err = o.mkdir(rel)
	}
	return told(p, err)
}

func (o *Overlay) mkdir(rel string) error {
	if rel == "." {
		return nil
	}
	if err := o.mkdir(path.Dir(rel)); err != nil {
		return err
	}
	e, info, err := o.stat(rel)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if len(o.entries) >= 2*maxStagedFiles {
			return pathErrorf("the code makes more than %d files and folders", 2*maxStagedFiles)
		}
		o.entries[rel] = &staged{folder: true}
		return nil
	case err != nil:
		return err
	case e != nil && !e.folder, info != nil && !info.IsDir():
		return pathErrorf("%s is not a folder", Shown(rel))
	}
	return nil
}

// Exists reports whether there is a file or a folder.
func (o *Overlay) Exists(p string) (bool, error) {
	rel, err := o.locate(p, true)
	if err != nil {
		return false, told(p, err)
	}
	_, _, err = o.stat(rel)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, told(p, err)
}

// Remove removes a file, or a folder with all that is in it. Of a link, it
// removes the link.
func (o *Overlay) Remove(p string) error {
	return told(p, o.remove(p))
}

func (o *Overlay) remove(p string) error {
	rel, err := o.locate(p, false)
	if err != nil {
		return err
	}
	if rel == "." {
		return pathErrorf("%s itself cannot be removed", environment.Workspace)
	}
	if _, _, err := o.stat(rel); err != nil {
		return err
	}
	for q, e := range o.entries {
		if q != rel && !strings.HasPrefix(q, rel+"/") {
			continue
		}
		if !e.folder {
			if err := os.Remove(filepath.Join(o.dir, filesDir, e.file)); err != nil {
				return fmt.Errorf("remove the staged %s: %w", Shown(q), err)
			}
			o.size -= e.size
		}
		delete(o.entries, q)
	}
	if o.hidden(rel) {
		return nil
	}
	if _, err := o.w.root.Lstat(rel); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	o.removed[rel] = true
	return nil
}

// List returns the names in a folder, sorted; those of folders end in a slash.
func (o *Overlay) List(p string) ([]string, error) {
	names, err := o.list(p)
	if err != nil {
		return nil, told(p, err)
	}
	return names, nil
}

func (o *Overlay) list(p string) ([]string, error) {
	rel, err := o.locate(p, true)
	if err != nil {
		return nil, err
	}
	e, _, err := o.stat(rel)
	if err != nil {
		return nil, err
	}
	if e != nil && !e.folder {
		return nil, pathErrorf("%s is not a folder", Shown(rel))
	}
	found := map[string]bool{}
	if !o.hidden(rel) && (e == nil || o.isFolder(rel)) {
		entries, err := o.w.readDir(rel)
		if err != nil {
			return nil, err
		}
		for _, d := range entries {
			if q := path.Join(rel, d.Name()); !o.hidden(q) {
				found[name(d.Name(), d.IsDir())] = true
			}
		}
	}
	for q, e := range o.entries {
		if q != "." && path.Dir(q) == rel {
			found[name(path.Base(q), e.folder)] = true
		}
	}
	return slices.Sorted(maps.Keys(found)), nil
}

// isFolder reports whether the workspace has a folder at rel.
func (o *Overlay) isFolder(rel string) bool {
	info, err := o.w.root.Lstat(rel)
	return err == nil && info.IsDir()
}

func name(base string, folder bool) string {
	if folder {
		return base + "/"
	}
	return base
}
