package snapshot

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

const nonblock = 0

// statusOf says of a file what only an open one tells.
func (h *handle) statusOf(name string, info fs.FileInfo) (status, error) {
	kind := kindOf(info.Mode())
	if kind == Link || kind == 0 {
		return status{kind: kind, mode: permBits}, nil
	}
	f, err := h.root.Open(name)
	if err != nil {
		return status{}, err
	}
	st, err := statusOfFile(f)
	if err == nil && st.kind != kind {
		err = errChanged
	}
	return st, errors.Join(err, f.Close())
}

// basicInfo is the FILE_BASIC_INFO of Windows.
type basicInfo struct {
	creationTime, lastAccessTime, lastWriteTime, changeTime windows.Filetime
	attributes                                              uint32
	_                                                       uint32
}

func statusOfFile(f *os.File) (status, error) {
	st := status{kind: File, mode: permBits}
	h := windows.Handle(f.Fd())
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(h, &info); err != nil {
		return st, fmt.Errorf("ask about the file: %w", err)
	}
	var basic basicInfo
	err := windows.GetFileInformationByHandleEx(h, windows.FileBasicInfo, (*byte)(unsafe.Pointer(&basic)), uint32(unsafe.Sizeof(basic))) //nolint:gosec // it is as large as it says
	if err != nil {
		return st, fmt.Errorf("ask about the file: %w", err)
	}
	if info.FileAttributes&windows.FILE_ATTRIBUTE_DIRECTORY != 0 {
		st.kind = Dir
	}
	st.dev, st.links = uint64(info.VolumeSerialNumber), uint64(info.NumberOfLinks)
	st.fileStat = fileStat{
		Ino:   uint64(info.FileIndexHigh)<<32 | uint64(info.FileIndexLow),
		Size:  int64(info.FileSizeHigh)<<32 | int64(info.FileSizeLow),
		MTime: basic.lastWriteTime.Nanoseconds(),
		CTime: basic.changeTime.Nanoseconds(),
	}
	if basic.changeTime == (windows.Filetime{}) {
		// The file system does not say when the file changed; so it may have,
		// every time.
		st.CTime = time.Now().UnixNano()
	}
	return st, nil
}

// explainLink says what to do where Windows makes no links.
func explainLink(err error) error {
	switch {
	case errors.Is(err, windows.ERROR_PRIVILEGE_NOT_HELD):
		return fmt.Errorf("this user may make no links: turn on Developer Mode in the settings of Windows, or run the runtime as a user with the right %q (%w)", "Create symbolic links", err)
	case errors.Is(err, windows.ERROR_INVALID_FUNCTION), errors.Is(err, windows.ERROR_NOT_SUPPORTED):
		return fmt.Errorf("the disk can hold no links: put the data folder on one with NTFS (%w)", err)
	}
	return err
}

// goneHere: what is deleted is there until nobody has it open any more.
func goneHere(err error) bool {
	return errors.Is(err, windows.ERROR_DELETE_PENDING) || errors.Is(err, windows.ERROR_NOT_A_REPARSE_POINT)
}
