package remote

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// lock keeps the file for this process until it is closed; the error is ErrInUse
// where another has it. What is locked is a byte far behind all that is written,
// as Windows keeps others from what is locked.
func lock(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{OffsetHigh: math.MaxInt32})
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return ErrInUse
	}
	return err
}
