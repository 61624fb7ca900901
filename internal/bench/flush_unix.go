//go:build unix

package bench

import "golang.org/x/sys/unix"

// flush has what was written to files be on its way to the disk.
func flush() { unix.Sync() }
