package workspace

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// There are no pipes in folders, and links are resolved before.
const (
	nonblock = 0
	nofollow = 0
)

// moveIn gives a file outside of the workspace the name rel, whatever had it. Both
// are below the session's folder, and nothing leads out of that.
func (w *Workspace) moveIn(from, rel string) (err error) {
	session, err := os.OpenRoot(filepath.Dir(w.dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	return session.Rename(filepath.Join(unfinishedDir, filepath.Base(from)), filepath.Join(filepath.Base(w.dir), filepath.FromSlash(rel)))
}

// oneName reports whether the file has one name only.
func oneName(f *os.File, _ fs.FileInfo) bool {
	var info windows.ByHandleFileInformation
	err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info)
	return err == nil && info.NumberOfLinks == 1
}

// spaceOf is the free space of a file system, and all of it, in bytes.
func spaceOf(folder string) (free, total int64, err error) {
	name, err := windows.UTF16PtrFromString(folder)
	if err != nil {
		return 0, 0, err
	}
	var available, all uint64
	if err := windows.GetDiskFreeSpaceEx(name, &available, &all, nil); err != nil {
		return 0, 0, err
	}
	return int64(available), int64(all), nil
}

// cluster is what most file systems of Windows give out space in.
const cluster = 4096

// taken is what a file takes on the disk, in bytes, as far as its size tells.
func taken(info fs.FileInfo) int64 {
	if !info.Mode().IsRegular() {
		return 0
	}
	return (info.Size() + cluster - 1) / cluster * cluster
}

func isTooLong(err error) bool {
	return errors.Is(err, windows.ERROR_FILENAME_EXCED_RANGE) || errors.Is(err, windows.ERROR_INVALID_NAME)
}

func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

func isBusy(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION)
}
