//go:build !portablefs

package snapshot

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// chmod changes the permissions of what st was made of, and never of what a
// link that has taken its place leads to.
func (h *handle) chmod(name string, st *status, mode uint32) error {
	fd, err := retry(func() (int, error) {
		return unix.Openat(h.fd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	var is unix.Stat_t
	err = unix.Fstat(fd, &is)
	if now := statusOf(&is); err == nil && (now.Ino != st.Ino || now.dev != st.dev || now.kind != st.kind) {
		err = errChanged
	}
	if err == nil {
		err = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
	}
	return errors.Join(err, unix.Close(fd))
}
