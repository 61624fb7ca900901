package snapshot

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// chmodAt changes the permissions of what st was made of, and never of what a
// link that has taken its place leads to.
func chmodAt(dirfd int, name string, st *unix.Stat_t, mode uint32) error {
	fd, err := retry(func() (int, error) {
		return unix.Openat(dirfd, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return err
	}
	var now unix.Stat_t
	err = unix.Fstat(fd, &now)
	if err == nil && (now.Ino != st.Ino || now.Dev != st.Dev || now.Mode&unix.S_IFMT != st.Mode&unix.S_IFMT) {
		err = errChanged
	}
	if err == nil {
		err = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", fd), mode)
	}
	return errors.Join(err, unix.Close(fd))
}
