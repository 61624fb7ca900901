//go:build windows || (linux && portablefs)

package snapshot

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// handle reaches what is in a folder by an os.Root, which nothing leads out of.
// It is how Windows is served; the tag portablefs has Linux served so, too, for
// the tests.
type handle struct {
	root *os.Root
	path string // from the folder above the topmost
}

// openAbove opens the folder in which a path's last name is.
func openAbove(path string) (*openDir, string, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return nil, "", err
	}
	return newOpenDir(handle{root, "."}), filepath.Base(path), nil
}

// openDir opens a folder in the folder. A root follows the links that lead to
// another place in it; so what was opened is compared with what has the name.
func (h *handle) openDir(name string) (handle, error) {
	root, err := h.root.OpenRoot(name)
	is, statErr := h.root.Lstat(name)
	switch {
	case err != nil && statErr == nil && !is.IsDir():
		return handle{}, errChanged
	case err != nil:
		return handle{}, err
	}
	sub := handle{root, filepath.Join(h.path, name)}
	opened, err := root.Stat(".")
	if err = errors.Join(err, statErr); err == nil && !os.SameFile(is, opened) {
		err = errChanged
	}
	if err != nil {
		return handle{}, errors.Join(err, root.Close())
	}
	return sub, nil
}

func (h *handle) close() error { return h.root.Close() }

// names lists what is in the folder, in no order. It fails with ErrTooLarge where
// there are more names than limit, which -1 is not.
func (h *handle) names(limit int) (names []string, err error) {
	dir, err := h.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.Close()) }()
	for {
		some, err := dir.Readdirnames(4096)
		names = append(names, some...)
		if limit >= 0 && len(names) > limit {
			return nil, ErrTooLarge
		}
		if errors.Is(err, io.EOF) {
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// stat says what has a name; "." is the folder itself.
func (h *handle) stat(name string) (status, error) {
	info, err := h.root.Lstat(name)
	if err != nil {
		return status{}, err
	}
	return h.statusOf(name, info)
}

func kindOf(mode fs.FileMode) Kind {
	switch {
	case mode.IsRegular():
		return File
	case mode.IsDir():
		return Dir
	case mode.Type() == fs.ModeSymlink:
		return Link
	}
	return 0
}

func (h *handle) readlink(name string) (string, error) {
	target, err := h.root.Readlink(name)
	return filepath.ToSlash(target), err
}

// openRegular opens a regular file for reading. What a link leads to is not what
// has the name; one that took its place in the meantime is tried again.
func (h *handle) openRegular(name string) (*os.File, status, error) {
	for range 3 {
		f, err := h.root.OpenFile(name, os.O_RDONLY|nonblock, 0)
		if err != nil {
			return nil, status{}, err
		}
		opened, err := f.Stat()
		is, statErr := h.root.Lstat(name)
		var now status
		if err = errors.Join(err, statErr); err == nil {
			now, err = statusOfFile(f)
		}
		switch {
		case err != nil:
			return nil, status{}, errors.Join(err, f.Close())
		case is.Mode().IsRegular() && os.SameFile(opened, is):
			return f, now, nil
		}
		if err := f.Close(); err != nil {
			return nil, status{}, err
		}
		if !is.Mode().IsRegular() {
			break
		}
	}
	return nil, status{}, errChanged
}

func (h *handle) create(name string) (*os.File, error) {
	return h.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
}

// finish closes a file that was created, gives it its time, and says what it is
// now. Windows changes the time of a file that was written until it is closed.
func (h *handle) finish(f *os.File, name string, nanos int64) (status, error) {
	if err := f.Close(); err != nil {
		return status{}, err
	}
	if err := h.setTime(name, nanos); err != nil {
		return status{}, err
	}
	return h.stat(name)
}

func (h *handle) mkdir(name string) error { return h.root.Mkdir(name, 0o700) }

func (h *handle) symlink(target, name string) error {
	return explainLink(h.root.Symlink(filepath.FromSlash(target), name))
}

func (h *handle) setTime(name string, nanos int64) error {
	at := time.Unix(0, nanos)
	return h.root.Chtimes(name, at, at)
}

func (h *handle) chmod(name string, _ *status, mode uint32) error {
	return h.root.Chmod(name, fileMode(mode))
}

func (h *handle) chmodSelf(mode uint32) error { return h.root.Chmod(".", fileMode(mode)) }

func (h *handle) unlink(name string) error { return h.root.Remove(name) }

func (h *handle) rmdir(name string) error { return h.root.Remove(name) }

func (h *handle) move(name string, to *openDir, as string) error {
	from, err := filepath.Rel(to.path, filepath.Join(h.path, name))
	if err != nil {
		return err
	}
	return to.root.Rename(from, as)
}

// gone reports whether what was listed is not there any more, or is something
// else.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.ENOTDIR) ||
		errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENXIO) || errors.Is(err, errChanged) || goneHere(err)
}

// closed reports whether permissions forbid to open something.
func closed(err error) bool { return errors.Is(err, syscall.EACCES) }

func denied(err error) bool { return errors.Is(err, fs.ErrPermission) }
