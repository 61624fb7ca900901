//go:build unix && !(linux && portablefs)

package snapshot

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// handle reaches what is in a folder by the calls that take an open one.
type handle struct {
	file *os.File
	fd   int
}

const dirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// openAbove opens the folder in which a path's last name is.
func openAbove(path string) (*openDir, string, error) {
	dir := filepath.Dir(path)
	fd, err := retry(func() (int, error) {
		return unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, "", &fs.PathError{Op: "open", Path: dir, Err: err}
	}
	return newOpenDir(newHandle(fd, dir)), filepath.Base(path), nil
}

func newHandle(fd int, name string) handle { return handle{os.NewFile(uintptr(fd), name), fd} }

func (h *handle) openDir(name string) (handle, error) {
	fd, err := retry(func() (int, error) { return unix.Openat(h.fd, name, dirFlags, 0) })
	if err != nil {
		return handle{}, err
	}
	return newHandle(fd, name), nil
}

func (h *handle) close() error { return h.file.Close() }

// names lists what is in the folder, in no order. It fails with ErrTooLarge where
// there are more names than limit, which -1 is not.
func (h *handle) names(limit int) ([]string, error) {
	if limit < 0 {
		return h.file.Readdirnames(-1)
	}
	var names []string
	for {
		some, err := h.file.Readdirnames(4096)
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

// stat says what has a name; "." is the folder itself.
func (h *handle) stat(name string) (status, error) {
	var st unix.Stat_t
	_, err := retry(func() (int, error) {
		return 0, unix.Fstatat(h.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	})
	return statusOf(&st), err
}

var kinds = map[uint32]Kind{unix.S_IFREG: File, unix.S_IFDIR: Dir, unix.S_IFLNK: Link}

func statusOf(st *unix.Stat_t) status {
	mode := uint32(st.Mode) //nolint:unconvert // it has 16 bits on some systems
	return status{
		fileStat: fileStat{Ino: st.Ino, Size: st.Size, MTime: st.Mtim.Nano(), CTime: st.Ctim.Nano()},
		kind:     kinds[mode&unix.S_IFMT], mode: mode & 0o7777, owner: st.Uid,
		dev: uint64(st.Dev), links: uint64(st.Nlink), //nolint:unconvert // they have other types on some systems
	}
}

func statusOfFile(f *os.File) (status, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return statusOf(&st), err
}

func (h *handle) readlink(name string) (string, error) {
	buf := make([]byte, maxTarget+1)
	n, err := retry(func() (int, error) { return unix.Readlinkat(h.fd, name, buf) })
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}

func (h *handle) openRegular(name string) (*os.File, status, error) {
	const flags = unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(h.fd, name, flags, 0) })
	if err != nil {
		return nil, status{}, err
	}
	f := os.NewFile(uintptr(fd), name)
	now, err := statusOfFile(f)
	if err == nil && now.kind != File {
		err = errChanged
	}
	if err != nil {
		return nil, now, errors.Join(err, f.Close())
	}
	return f, now, nil
}

func (h *handle) create(name string) (*os.File, error) {
	const flags = unix.O_CREAT | unix.O_EXCL | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(h.fd, name, flags, 0o600) })
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// finish closes a file that was created, gives it its time, and says what it is
// now.
func (h *handle) finish(f *os.File, name string, nanos int64) (status, error) {
	err := h.setTime(name, nanos)
	var now status
	if err == nil {
		now, err = statusOfFile(f)
	}
	return now, errors.Join(err, f.Close())
}

func (h *handle) mkdir(name string) error { return unix.Mkdirat(h.fd, name, 0o700) }

func (h *handle) symlink(target, name string) error { return unix.Symlinkat(target, h.fd, name) }

func (h *handle) setTime(name string, nanos int64) error {
	ts := unix.NsecToTimespec(nanos)
	return unix.UtimesNanoAt(h.fd, name, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
}

func (h *handle) chmodSelf(mode uint32) error { return unix.Fchmod(h.fd, mode) }

func (h *handle) unlink(name string) error { return unix.Unlinkat(h.fd, name, 0) }

func (h *handle) rmdir(name string) error { return unix.Unlinkat(h.fd, name, unix.AT_REMOVEDIR) }

func (h *handle) move(name string, to *openDir, as string) error {
	return unix.Renameat(h.fd, name, to.fd, as)
}

// gone reports whether what was listed is not there any more, or is something
// else.
func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) ||
		errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENXIO) || errors.Is(err, errChanged)
}

// closed reports whether permissions forbid to open something.
func closed(err error) bool { return errors.Is(err, unix.EACCES) }

func denied(err error) bool { return errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) }

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
