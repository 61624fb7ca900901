package bubblewrap

import (
	"slices"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/reexec"
	"github.com/stayd/stayd/internal/environment/view"
)

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
	handled = mayChange | mayUse | devices
)

// rules are what programs may do, where it is not what they see that keeps them
// from it. They may read the folders of data.
func rules(data []string) []reexec.Rule {
	var list []reexec.Rule
	add := func(rights uint64, paths ...string) {
		for _, p := range paths {
			list = append(list, reexec.Rule{Rights: rights, Path: p})
		}
	}
	add(mayList, "/")
	add(mayRead, "/etc", "/proc")
	add(mayRun, slices.Concat([]string{"/usr"}, view.SystemFolders(), data)...)
	add(mayChange, environment.Workspace, "/tmp", "/dev/shm")
	add(mayUse, "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/pts")
	return list
}
