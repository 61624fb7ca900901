package bubblewrap

import (
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/view"
)

// layout is the options of bwrap: what the command sees. They are handed over
// in a file, so that values of the environment are not in a command line, which
// all users of the machine can read.
type layout struct{ args []string }

func (l *layout) add(args ...string) { l.args = append(l.args, args...) }

func (l *layout) fd(option string, fd int, more ...string) {
	l.add(append([]string{option, strconv.Itoa(fd)}, more...)...)
}

func (l *layout) bytes() []byte { return []byte(strings.Join(l.args, "\x00") + "\x00") }

// hidden are files of /proc that tell of the machine and of other processes of
// the runtime's user.
var hidden = []string{"/proc/keys", "/proc/key-users", "/proc/kcore", "/proc/timer_list", "/proc/sched_debug"}

// shmSize is how much of its memory a program may have in /dev/shm.
const shmSize = 256 << 20

// options is the layout of one program. Where the environment
// has a network namespace, bwrap itself is already in it.
func (l *layout) options(s *launch) {
	l.add("--unshare-all", "--unshare-user", "--uid", strconv.Itoa(view.UserID), "--gid", strconv.Itoa(view.UserID), "--hostname", "sandbox",
		"--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv")
	if s.shared.Network != nil {
		l.add("--share-net")
	}
	if !s.landlock { // the helper must not have them, and goes there itself
		l.add("--chdir", s.program.Cwd)
		for _, k := range slices.Sorted(maps.Keys(s.env)) {
			l.add("--setenv", k, s.env[k])
		}
	}
	l.add("--ro-bind", "/usr", "/usr")
	for _, dir := range view.SystemFolders() {
		if target, err := os.Readlink(dir); err == nil {
			l.add("--symlink", target, dir)
		} else {
			l.add("--ro-bind-try", dir, dir)
		}
	}
	for _, p := range view.SharedEtc() {
		l.add("--ro-bind-try", p, p)
	}
	l.add("--proc", "/proc", "--dev", "/dev", "--size", strconv.FormatInt(min(shmSize, s.cfg.Limits.Memory/4), 10), "--tmpfs", "/dev/shm")
	for _, f := range hidden {
		if _, err := os.Stat(f); err == nil { // what there is depends on the kernel
			l.add("--ro-bind", "/dev/null", f)
		}
	}
	l.add("--dir", "/run", "--dir", "/var", "--symlink", "/tmp", "/var/tmp")
	l.add("--bind", s.workspace, environment.Workspace, "--bind", s.tmp, "/tmp")
	if s.landlock {
		l.add("--ro-bind", s.cfg.Helper[0], helperPath(s.cfg.Helper))
	}
	for _, m := range s.cfg.Data {
		l.add("--ro-bind", m.Host, m.Path)
	}
}

// seal makes what is left writable read-only. It comes last. Of /proc, that is
// not only a precaution: to the kernel, a runtime that runs as root still owns
// the settings of the whole machine in /proc/sys, without any capability.
func (l *layout) seal() { l.add("--remount-ro", "/proc", "--remount-ro", "/dev", "--remount-ro", "/") }
