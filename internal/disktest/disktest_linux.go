// Package disktest gives tests a disk that is soon full.
package disktest

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// Small mounts a file system of that many bytes. Where it may not, the test is
// skipped, and fails in continuous integration.
func Small(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size))
	if errors.Is(err, unix.EPERM) {
		if os.Getenv("CI") != "" {
			t.Fatal("mounting a small file system needs root, and CI must not leave the full disk untested")
		}
		t.Skip("mounting a small file system needs root: the full disk is not tested")
	}
	if err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}
