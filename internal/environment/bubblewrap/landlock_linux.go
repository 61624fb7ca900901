package bubblewrap

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/view"
)

// leastLandlock is the least version of Landlock that is of use: version 1
// refuses to move files between folders, whatever it is told (Linux 5.19).
const leastLandlock = 2

// Rights over files and folders, and what is below them.
const (
	mayList   = unix.LANDLOCK_ACCESS_FS_READ_DIR
	mayRead   = unix.LANDLOCK_ACCESS_FS_READ_FILE | mayList
	mayRun    = unix.LANDLOCK_ACCESS_FS_EXECUTE | mayRead
	mayUse    = unix.LANDLOCK_ACCESS_FS_READ_FILE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
	mayChange = mayRun | unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE |
		unix.LANDLOCK_ACCESS_FS_REMOVE_DIR | unix.LANDLOCK_ACCESS_FS_REMOVE_FILE | unix.LANDLOCK_ACCESS_FS_REFER |
		unix.LANDLOCK_ACCESS_FS_MAKE_DIR | unix.LANDLOCK_ACCESS_FS_MAKE_REG | unix.LANDLOCK_ACCESS_FS_MAKE_SOCK |
		unix.LANDLOCK_ACCESS_FS_MAKE_FIFO | unix.LANDLOCK_ACCESS_FS_MAKE_SYM
	// devices can be made by nobody.
	devices = unix.LANDLOCK_ACCESS_FS_MAKE_CHAR | unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK
)

// allowed is what programs may do, where it is not what they see that keeps them
// from it.
func allowed(data []string) map[uint64][]string {
	return map[uint64][]string{
		mayList:   {"/"},
		mayRead:   {"/etc", "/proc"},
		mayRun:    slices.Concat([]string{"/usr"}, view.SystemFolders(), data),
		mayChange: {environment.Workspace, "/tmp", "/dev/shm"},
		mayUse:    {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts"},
	}
}

// landlockVersion is that of the kernel's Landlock; 0 where it has none.
func landlockVersion() int {
	v, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(v)
}

// confine confines this thread, and what it becomes and starts.
func confine(data []string) error {
	known := uint64(mayChange | mayUse | devices)
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
	for rights, paths := range allowed(data) {
		for _, p := range paths {
			if err := allow(rules, rights&known, p); err != nil {
				return fmt.Errorf("make a rule of %s: %w", p, err)
			}
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
