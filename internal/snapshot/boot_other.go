//go:build !linux && !windows

package snapshot

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// bootID is another one each time that the machine starts; empty where that
// cannot be known.
func bootID() string {
	if runtime.GOOS != "darwin" {
		return ""
	}
	id, err := unix.Sysctl("kern.bootsessionuuid")
	if err != nil {
		return ""
	}
	return id
}
