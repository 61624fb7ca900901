package snapshot

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// openDir is an open folder of the machine, through which alone what is in it is
// reached: a program that swaps a folder for a link leads nowhere else. The last
// of its users closes it.
type openDir struct {
	file *os.File
	fd   int
	refs atomic.Int32
	// mode is given to the folder when it is closed; -1 leaves it.
	mode int
}

// modeOf is the type and the permissions of what st was made of.
func modeOf(st *unix.Stat_t) uint32 {
	return uint32(st.Mode) //nolint:unconvert // it has 16 bits on some systems
}

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openTop opens the folder at a path. Links above it are followed; it must not be
// one.
func openTop(path string, need uint32) (*openDir, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(filepath.Dir(path), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Dir(path), Err: err}
	}
	parent := newOpenDir(fd, filepath.Dir(path))
	st, err := parent.stat(filepath.Base(path))
	var d *openDir
	if err == nil {
		d, err = parent.open(filepath.Base(path), &st, need)
	}
	if err = errors.Join(err, parent.release()); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return d, nil
}

func newOpenDir(fd int, path string) *openDir {
	d := &openDir{file: os.NewFile(uintptr(fd), path), fd: fd, mode: -1}
	d.refs.Store(1)
	return d
}

// open opens a folder in d. One that its owner may not read or search, and in
// which nothing can be made for want of the bits in need, has them for as long
// as it is open.
func (d *openDir) open(name string, st *unix.Stat_t, need uint32) (*openDir, error) {
	mode := modeOf(st) & 0o7777
	lacks := mode&need != need && os.Geteuid() != 0
	if lacks && int(st.Uid) == os.Geteuid() {
		if err := chmodAt(d.fd, name, st, mode|need); err != nil {
			return nil, err
		}
	} else {
		lacks = false
	}
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, dirFlags, 0) })
	if err != nil {
		return nil, err
	}
	sub := newOpenDir(fd, name)
	if lacks {
		sub.mode = int(mode)
	}
	return sub, nil
}

func (d *openDir) retain() *openDir {
	d.refs.Add(1)
	return d
}

// release ends one use.
func (d *openDir) release() error {
	if d.refs.Add(-1) > 0 {
		return nil
	}
	var err error
	if d.mode >= 0 {
		err = unix.Fchmod(d.fd, uint32(d.mode))
	}
	return errors.Join(err, d.file.Close())
}

// names lists what is in the folder, in no order. It fails with ErrTooLarge where
// there are more names than limit.
func (d *openDir) names(limit int) ([]string, error) {
	var names []string
	for {
		some, err := d.file.Readdirnames(4096)
		names = append(names, some...)
		if len(names) > limit {
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

func (d *openDir) stat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(d.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return st, err
}

func (d *openDir) readlink(name string) (string, error) {
	buf := make([]byte, maxTarget+1)
	n, err := retry(func() (int, error) { return unix.Readlinkat(d.fd, name, buf) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

// openFile opens a regular file for reading, whatever its name has come to mean
// in the meantime.
func (d *openDir) openFile(name string, st *unix.Stat_t) (*os.File, unix.Stat_t, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(d.fd, name, flags, 0) })
	if errors.Is(err, unix.EACCES) && int(st.Uid) == os.Geteuid() {
		// The owner of a file may read it after having been so kind as to say so.
		mode := modeOf(st) & 0o7777
		if err = chmodAt(d.fd, name, st, mode|0o400); err == nil {
			fd, err = retry(func() (int, error) { return unix.Openat(d.fd, name, flags, 0) })
			if err == nil {
				err = unix.Fchmod(fd, mode)
			}
		}
	}
	var now unix.Stat_t
	if err != nil {
		return nil, now, err
	}
	f := os.NewFile(uintptr(fd), name)
	if err := unix.Fstat(fd, &now); err != nil {
		return nil, now, errors.Join(err, f.Close())
	}
	if now.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, now, errors.Join(errChanged, f.Close())
	}
	return f, now, nil
}

// errChanged: what was there is something else by now.
var errChanged = errors.New("it was replaced while it was read")

// gone reports whether what was listed is not there any more, or is something
// else.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENXIO) || errors.Is(err, errChanged)
}

func denied(err error) bool { return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) }

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// remover deletes what is in folders, however deep it goes.
type remover struct {
	top     *openDir
	moved   int
	pending []string // names right below the top
}

// all deletes what has a name in d, and all that was moved up from it.
func (r *remover) all(d *openDir, name string) error {
	err := r.remove(d, name, 0)
	for err == nil && len(r.pending) > 0 {
		up := r.pending[len(r.pending)-1]
		r.pending = r.pending[:len(r.pending)-1]
		err = r.remove(r.top, up, 0)
	}
	return err
}

// deepest is the number of folders that are held open while what is in them is
// deleted. What lies deeper is moved up first.
const deepest = 64

// remove deletes what has a name in d, which is at a depth below the top.
func (r *remover) remove(d *openDir, name string, depth int) error {
	err := unix.Unlinkat(d.fd, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	st, statErr := d.stat(name)
	if statErr != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	sub, err := d.open(name, &st, 0o700)
	if err != nil {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	sub.mode = -1
	err = r.empty(sub, depth+1)
	if err = errors.Join(err, sub.release()); err != nil {
		return err
	}
	if err := unix.Unlinkat(d.fd, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %q: %w", name, err)
	}
	return nil
}

func (r *remover) empty(d *openDir, depth int) error {
	names, err := d.file.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if depth < deepest {
			err = r.remove(d, name, depth)
		} else {
			err = r.moveUp(d, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// moveUp puts something that lies deep right below the top, and deletes it from
// there.
func (r *remover) moveUp(d *openDir, name string) error {
	err := unix.Unlinkat(d.fd, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	for {
		r.moved++
		up := fmt.Sprintf(".stayd-removed-%d", r.moved)
		if _, err := r.top.stat(up); !errors.Is(err, unix.ENOENT) {
			continue // somebody has this name
		}
		if err := unix.Renameat(d.fd, name, r.top.fd, up); err != nil {
			return fmt.Errorf("remove %q: %w", name, err)
		}
		r.pending = append(r.pending, up)
		return nil
	}
}
