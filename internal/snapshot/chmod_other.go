//go:build !linux

package snapshot

import "golang.org/x/sys/unix"

func chmodAt(dirfd int, name string, _ *unix.Stat_t, mode uint32) error {
	return unix.Fchmodat(dirfd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
}
