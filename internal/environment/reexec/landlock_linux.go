package reexec

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leastLandlock is the least version of Landlock that is of use: version 1
// refuses to move files between folders, whatever it is told (Linux 5.19).
const leastLandlock = 2

// HasLandlock reports whether the kernel has a Landlock that is of use.
func HasLandlock() bool { return landlockVersion() >= leastLandlock }

// landlockVersion is that of the kernel's Landlock; 0 where it has none.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// confine confines this thread, and what it becomes and starts.
func confine(known uint64, given []Rule) error {
	switch v := landlockVersion(); {
	case v < leastLandlock:
		return fmt.Errorf("the kernel has version %d of it, and %d is needed", v, leastLandlock)
	case v < 3:
		known &^= unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	case v < 5:
		known &^= unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	}
	attr := unix.LandlockRulesetAttr{Handled_access_fs: known}
	rules, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0) //nolint:gosec // the kernel reads it
	if errno != 0 {
		return fmt.Errorf("make rules: %w", errno)
	}
	defer unix.Close(int(rules)) //nolint:errcheck // nothing was written
	for _, r := range given {
		if err := allow(rules, r.Rights&known, r.Path); err != nil {
			return fmt.Errorf("make a rule of %s: %w", r.Path, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, rules, 0, 0); errno != 0 {
		return fmt.Errorf("keep the rules: %w", errno)
	}
	return nil
}

// allow adds a rule. What is not there, as not all machines have all of it, needs
// none.
func allow(rules uintptr, rights uint64, path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	// The kernel's struct is packed, and has no more than these two.
	attr := unix.LandlockPathBeneathAttr{Allowed_access: rights, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, rules, unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&attr)), 0, 0, 0); errno != 0 { //nolint:gosec // the kernel reads it
		return errno
	}
	return nil
}
