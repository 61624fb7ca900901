//go:build unix

package remote

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// lock keeps the file for this process until it is closed; the error is ErrInUse
// where another has it.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrInUse
	}
	return err
}
