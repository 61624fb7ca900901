package bench

import (
	"os"

	"golang.org/x/sys/unix"
)

// syncData has what was written to the file on the disk when it returns, but not
// its times.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }
