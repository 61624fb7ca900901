//go:build unix

package workspace

import (
	"io/fs"
	"os"
	"path"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	nonblock = syscall.O_NONBLOCK
	nofollow = syscall.O_NOFOLLOW
)

// moveIn gives a file outside of the workspace the name rel, whatever had it.
func (w *Workspace) moveIn(from, rel string) error {
	d, err := w.root.Open(path.Dir(rel))
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // a folder that was only opened
	return unix.Renameat(unix.AT_FDCWD, from, int(d.Fd()), path.Base(rel))
}

// oneName reports whether the file has one name only.
func oneName(_ *os.File, info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Nlink == 1
}

// spaceOf is the free space of a file system, and all of it, in bytes.
func spaceOf(folder string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(folder, &st); err != nil {
		return 0, 0, err
	}
	block := int64(st.Bsize) //nolint:unconvert // it is another type on other systems
	return int64(st.Bavail) * block, int64(st.Blocks) * block, nil
}

// taken is what a file or a folder takes on the disk under one of its names, in
// bytes.
func taken(info fs.FileInfo) int64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return 0
	case info.IsDir():
		return st.Blocks * 512
	default: // one that is removed at this moment may have no link any more
		return st.Blocks * 512 / max(int64(st.Nlink), 1)
	}
}

func isTooLong(error) bool { return false }

func isFull(error) bool { return false }

func isBusy(error) bool { return false }
