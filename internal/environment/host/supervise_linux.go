package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// adopt makes orphans of the program's children of this process, whatever groups
// and sessions they are in.
func adopt() error {
	return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
}

// await waits until the child has ended, and does not reap it: its number stays
// its own until all of its group are killed.
func await(pid int) outcome {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return outcome{err: err}
		}
	}
}

// endAll kills what the child left, generation by generation, until there is
// nothing, and returns how the child ended.
func endAll(pid int, status syscall.WaitStatus) (syscall.WaitStatus, error) {
	killGroup(pid)
	for {
		left, err := children()
		if err != nil {
			return 0, err
		}
		for _, c := range left {
			// It is not reaped but here, so that the number is its own.
			syscall.Kill(c, syscall.SIGKILL) //nolint:errcheck,gosec // it fails where it may not be killed, a program of another user say
		}
		var s syscall.WaitStatus
		got, err := syscall.Wait4(-1, &s, 0, nil)
		switch {
		case errors.Is(err, syscall.ECHILD):
			return status, nil
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return 0, fmt.Errorf("reap: %w", err)
		case got == pid:
			status = s
		}
	}
}

// children lists the children of this process.
func children() ([]int, error) {
	names, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	self := strconv.Itoa(os.Getpid())
	var found []int
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// The name in parentheses may hold anything; after it come state and parent.
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		if len(fields) < 2 || string(fields[1]) != self {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil {
			found = append(found, pid)
		}
	}
	return found, nil
}
