package mcp

import (
	"fmt"
	"math"
	"syscall"

	"golang.org/x/sys/unix"
)

// attributes make a process that ends with this one.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// keepFiles sees to it that a process does not inherit what this one inherited
// from whoever started it, and does not know of.
func keepFiles() error {
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep open files from the process: %w", err)
	}
	return nil
}
