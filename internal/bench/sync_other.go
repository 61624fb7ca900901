//go:build !linux

package bench

import "os"

// syncData has what was written to the file on the disk when it returns. Not
// every system has a call that leaves out the file's times.
func syncData(f *os.File) error { return f.Sync() }
