package workspace

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"syscall"

	"github.com/stayd/stayd/internal/environment"
)

// MaxProgramFile is how many bytes a file may have that a program of the
// runtime's own reads or writes.
const MaxProgramFile = 64 << 20

// ReadFile returns the content of a file. The errors of this and of the methods
// below may be shown to the agent.
func (w *Workspace) ReadFile(p string) ([]byte, error) {
	rel, err := w.locate(p)
	if err != nil {
		return nil, told(p, err)
	}
	b, err := w.read(rel)
	return b, told(p, err)
}

func (w *Workspace) read(rel string) ([]byte, error) {
	f, info, err := w.open(rel)
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
func (w *Workspace) WriteFile(p, content string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	rel, err := w.locate(p)
	if err == nil {
		err = w.writable(rel)
	}
	if err == nil && len(content) > MaxProgramFile {
		err = pathErrorf("%s would have over %d bytes", Shown(rel), MaxProgramFile)
	}
	if err == nil {
		err = w.replaceWith(rel, content, w.modeOf(rel))
	}
	return told(p, err)
}

// AppendFile adds to a file, and makes it where it is not there. Another name of
// the file does not change.
func (w *Workspace) AppendFile(p, content string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	rel, err := w.locate(p)
	if err == nil {
		err = w.writable(rel)
	}
	if err == nil {
		err = w.add(rel, content)
	}
	return told(p, err)
}

func (w *Workspace) add(rel, content string) error {
	f, err := w.root.OpenFile(rel, os.O_WRONLY|os.O_APPEND|nonblock|nofollow, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return w.replaceWith(rel, content, 0o644)
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // a write tells
	info, err := f.Stat()
	switch {
	case err != nil:
		return err
	case info.Size()+int64(len(content)) > MaxProgramFile:
		return pathErrorf("%s would have over %d bytes", Shown(rel), MaxProgramFile)
	case oneName(f, info):
		if err := w.disk.room(int64(len(content))); err != nil {
			return err
		}
		_, err = f.WriteString(content)
		return err
	}
	// Windows may not replace a file that is open.
	if err := f.Close(); err != nil {
		return err
	}
	old, err := w.read(rel)
	if err != nil {
		return err
	}
	return w.replaceWith(rel, string(old)+content, info.Mode())
}

// Mkdir makes a folder, and the folders above it.
func (w *Workspace) Mkdir(p string) error {
	rel, err := w.locate(p)
	if err != nil {
		return told(p, err)
	}
	err = w.root.MkdirAll(rel, 0o755)
	if errors.Is(err, fs.ErrExist) {
		err = pathErrorf("%s is not a folder", Shown(rel))
	}
	return told(p, err)
}

// Exists reports whether there is a file or a folder.
func (w *Workspace) Exists(p string) (bool, error) {
	rel, err := w.locate(p)
	if err != nil {
		return false, told(p, err)
	}
	_, err = w.root.Lstat(rel)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return false, nil
	}
	return err == nil, told(p, err)
}

// Remove removes a file, or a folder with all that is in it. Of a link, it
// removes the link.
func (w *Workspace) Remove(p string) error {
	rel, err := Rel(p)
	if err == nil {
		rel, err = w.resolve(rel, false)
	}
	if err == nil && rel == "." {
		err = pathErrorf("%s itself cannot be removed", environment.Workspace)
	}
	if err == nil {
		_, err = w.root.Lstat(rel)
	}
	if err == nil {
		err = w.root.RemoveAll(rel)
	}
	return told(p, err)
}

// List returns the names in a folder, sorted; those of folders end in a slash.
func (w *Workspace) List(p string) ([]string, error) {
	rel, err := w.locate(p)
	if err != nil {
		return nil, told(p, err)
	}
	entries, err := w.readDir(rel)
	if err != nil {
		return nil, told(p, err)
	}
	names := make([]string, len(entries))
	for i, d := range entries {
		names[i] = path.Base(d.Name())
		if d.IsDir() {
			names[i] += "/"
		}
	}
	return names, nil
}
