package index

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const largePage = 2 << 20

// large moves what fills whole large pages of memory into such pages. A search of a
// large segment reads here and there in all of it, and then waits less for the
// processor to find its pages. Where the system has no such pages to give, the
// bytes stay where they are.
func large(b []byte) {
	if len(b) < 2*largePage {
		return
	}
	start := int(-uintptr(unsafe.Pointer(&b[0])) % largePage) //nolint:gosec // where the next large page begins
	inner := b[start:]
	inner = inner[:len(inner)/largePage*largePage]
	_ = unix.Madvise(inner, unix.MADV_COLLAPSE) // no more than a wish
}
