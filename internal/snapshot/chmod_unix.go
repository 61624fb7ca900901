//go:build unix && !linux

package snapshot

import "golang.org/x/sys/unix"

func (h *handle) chmod(name string, _ *status, mode uint32) error {
	return unix.Fchmodat(h.fd, name, mode, unix.AT_SYMLINK_NOFOLLOW)
}
