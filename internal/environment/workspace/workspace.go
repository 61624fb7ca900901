// Package workspace is the folder in which an agent works, and the file tools
// that act in it. Below the folder that a session is given, it owns
//
//	workspace/  what the agent sees as /workspace
//	unfinished/ files that are being written, and are not in place yet
//
// No path that an agent names, and no link that it makes, leads out of
// workspace/. Nothing is made durable here, and nothing is remembered of a call:
// the folder is a copy of what its owner stores. The package runs no code.
package workspace

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/winname"
)

// unfinishedDir is a folder of the session's. It is on the same file system as
// the workspace, so that a file is put in place at once.
const unfinishedDir = "unfinished"

// Workspace is a session's folder. It is safe for use by many goroutines.
type Workspace struct {
	dir        string   // the workspace on this machine
	unfinished string   // on this machine
	root       *os.Root // of the workspace
	disk       *Disk    // of which it is a folder
	// windows keeps to what Windows can name, and gives no permissions, which it
	// does not have.
	windows bool

	// mu orders what changes the workspace, so that an edit is made to what was
	// read.
	mu sync.Mutex
}

// Open opens the workspace of a session, and makes it where it is not there
// yet.
func Open(spec environment.Spec) (*Workspace, error) {
	w := &Workspace{dir: spec.WorkspaceDir(), unfinished: filepath.Join(spec.Dir, unfinishedDir), windows: runtime.GOOS == "windows"}
	w.disk = NewDisk(0, w.dir)
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the workspace: %w", err)
	}
	if err := os.RemoveAll(w.unfinished); err != nil {
		return nil, fmt.Errorf("clear the workspace's unfinished files: %w", err)
	}
	if err := os.Mkdir(w.unfinished, 0o700); err != nil {
		return nil, fmt.Errorf("make the workspace: %w", err)
	}
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return nil, fmt.Errorf("open the workspace: %w", err)
	}
	w.root = root
	return w, nil
}

// Dir is the workspace's folder on this machine.
func (w *Workspace) Dir() string { return w.dir }

// SetDisk makes the disk's limit that of what is written. It is called before all
// else.
func (w *Workspace) SetDisk(d *Disk) { w.disk = d }

// Disk is the disk of which the workspace is a folder.
func (w *Workspace) Disk() *Disk { return w.disk }

// Close releases the folder. Nothing is lost by it.
func (w *Workspace) Close() error { return w.root.Close() }

// pathError is an error that may be told to the agent.
type pathError struct{ msg string }

func (e *pathError) Error() string { return e.msg }

func pathErrorf(format string, args ...any) error {
	return &pathError{fmt.Sprintf(format, args...)}
}

// Rel returns the path below the workspace that the agent means by p: an
// absolute path below /workspace, or a relative one. The workspace itself is
// ".". The error may be shown to the agent.
func Rel(p string) (string, error) {
	if strings.ContainsRune(p, 0) {
		return "", pathErrorf("the path %q holds a NUL", p)
	}
	abs := p
	if !path.IsAbs(p) {
		abs = path.Join(environment.Workspace, p)
	}
	abs = path.Clean(abs)
	if abs == environment.Workspace {
		return ".", nil
	}
	rel, ok := strings.CutPrefix(abs, environment.Workspace+"/")
	if !ok {
		return "", pathErrorf("%s is outside of %s", p, environment.Workspace)
	}
	return rel, nil
}

// Shown is the path of rel as the agent sees it.
func Shown(rel string) string { return path.Join(environment.Workspace, rel) }

// maxLinks is how many links one path may go through.
const maxLinks = 40

// resolve follows the links in rel, as the agent sees them: an absolute target
// is below /workspace or leads nowhere. The last name is followed, too, where
// follow is set. Names that do not exist are left as they are. What it returns is
// opened through the root, which stays confined whatever changes in between.
func (w *Workspace) resolve(rel string, follow bool) (string, error) {
	done, rest := ".", strings.Split(rel, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			if done == "." {
				return "", pathErrorf("%s leads out of %s", rel, environment.Workspace)
			}
			done = path.Dir(done)
			continue
		}
		if w.windows {
			if err := winname.Check(name); err != nil {
				return "", &pathError{err.Error()}
			}
		}
		next := path.Join(done, name)
		if len(rest) == 0 && !follow {
			return next, nil
		}
		target, err := w.readlink(next)
		if err != nil { // not a link, or nothing: the one who opens it will see
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", pathErrorf("%s goes through too many links", rel)
		}
		if path.IsAbs(target) {
			if target, err = Rel(target); err != nil {
				return "", pathErrorf("%s is a link that leads out of %s", Shown(next), environment.Workspace)
			}
			done = "."
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// readlink returns the target of a link, with slashes.
func (w *Workspace) readlink(rel string) (string, error) {
	target, err := w.root.Readlink(rel)
	return filepath.ToSlash(target), err
}

// locate is Rel and resolve.
func (w *Workspace) locate(p string) (string, error) {
	rel, err := Rel(p)
	if err != nil {
		return "", err
	}
	return w.resolve(rel, true)
}

// Folder returns the folder at p as the agent sees it, with the links in p
// followed. The error may be shown to the agent.
func (w *Workspace) Folder(p string) (string, error) {
	rel, err := w.locate(p)
	if err == nil {
		_, err = w.readDir(rel)
	}
	if err != nil {
		return "", told(p, err)
	}
	return Shown(rel), nil
}

// open opens a regular file for reading. Waiting for the other end of a pipe is
// what nonblock prevents.
func (w *Workspace) open(rel string) (*os.File, fs.FileInfo, error) {
	f, err := w.root.OpenFile(rel, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = pathErrorf("%s is a folder", Shown(rel))
	} else if err == nil && !info.Mode().IsRegular() {
		err = pathErrorf("%s is not a regular file", Shown(rel))
	}
	if err != nil {
		f.Close() //nolint:errcheck,gosec // it was only read
		return nil, nil, err
	}
	return f, info, nil
}

// told turns an error into one that may be shown to the agent, where it is one to
// be told of.
func told(p string, err error) error {
	if msg, ok := explain(p, err); ok {
		return errors.New(msg)
	}
	return err
}

// explain says what went wrong with p in words for the agent, without a path of
// this machine. It reports false for an error that is not the agent's.
func explain(p string, err error) (string, bool) {
	var pe *pathError
	switch {
	case errors.As(err, &pe):
		return pe.msg, true
	case errors.Is(err, fs.ErrNotExist):
		return p + " does not exist", true
	case errors.Is(err, fs.ErrPermission):
		return p + " may not be opened", true
	case errors.Is(err, syscall.ENOTDIR):
		return p + ": a part of the path is not a folder", true
	case errors.Is(err, syscall.EISDIR):
		return p + " is a folder", true
	case errors.Is(err, syscall.ENAMETOOLONG), isTooLong(err):
		return "the path is too long", true
	case errors.Is(err, syscall.ENXIO), errors.Is(err, syscall.ELOOP):
		return p + " is not a regular file", true
	case isBusy(err):
		return p + " is open in another program", true
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), isFull(err):
		return "there is no space left", true
	case isEscape(err):
		return p + " leads out of " + environment.Workspace, true
	}
	return "", false
}

// isEscape reports whether os.Root refused a path. It has no exported error for
// it.
func isEscape(err error) bool {
	var pe *fs.PathError
	return errors.As(err, &pe) && pe.Err.Error() == "path escapes from parent"
}
