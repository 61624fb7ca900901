//go:build unix && !linux

package host

import (
	"errors"
	"syscall"
)

// adopt does nothing: what leaves the program's group outlives it here.
func adopt() error { return nil }

// await waits for the child.
func await(pid int) outcome {
	for {
		var out outcome
		if _, out.err = syscall.Wait4(pid, &out.status, 0, nil); !errors.Is(out.err, syscall.EINTR) {
			return out
		}
	}
}

// endAll kills the child's group.
func endAll(pid int, status syscall.WaitStatus) (syscall.WaitStatus, error) {
	syscall.Kill(-pid, syscall.SIGKILL) //nolint:errcheck,gosec // it fails where there is nobody left
	return status, nil
}
