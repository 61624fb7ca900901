package gvisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// scratchName is the name of a scratch folder up to the process id of its owner.
const scratchName = "stayd-gvisor-"

// newScratch makes a folder for what runsc needs of files. It is not below the
// session's folder: the path of a socket in it may have 107 bytes.
func newScratch() (string, error) {
	dir, err := os.MkdirTemp("", scratchName+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the sandbox: %w", err)
	}
	return dir, nil
}

// clearScratch removes the folders of processes that are no more.
func clearScratch() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), scratchName+"*")) // the pattern is well formed
	for _, dir := range left {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), scratchName), "-")
		var st unix.Stat_t
		if unix.Lstat(dir, &st) != nil || st.Uid != uint32(os.Geteuid()) {
			continue
		}
		if pid, err := strconv.Atoi(owner); err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			os.RemoveAll(dir) //nolint:errcheck,gosec // what cannot be removed stays, and harms no one
		}
	}
}
