package gvisor

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/view"
)

// launch is one runsc with its program.
type launch struct {
	*confinement
	shared sandbox.Shared
	dir    string   // its folder, which goes with it
	gate   *os.File // a socket to the process that becomes runsc
	passed *os.File // which the program has as passedAs; nil: nothing
	enters bool     // what becomes runsc enters the control groups itself
	cmd    *exec.Cmd
}

// passedAs is the descriptor of what is passed to a program.
const passedAs = 3

// gate is what runs in the new namespace before runsc: it enters the control groups,
// says that it is there, and becomes runsc when it is told to. Its descriptor 3 is a
// socket of the runtime, and where that is gone it ends; those of the groups come
// after that. What is printed before it becomes runsc is not the program's.
func gate(groups int) string {
	var enter, closed strings.Builder
	for fd := firstGroup; fd < firstGroup+groups; fd++ {
		fmt.Fprintf(&enter, "echo 0 >&%d && ", fd)
		fmt.Fprintf(&closed, " %d>&-", fd)
	}
	return enter.String() + `echo >&3 && read -r _ <&3 && exec "$@" 2>&1 3<&-` + closed.String()
}

// firstGroup is the gate's first descriptor of a control group.
const firstGroup = 4

// newLaunch writes the program's bundle, and makes the command that runs it.
// What is passed to the program is closed with it.
func newLaunch(c *confinement, command shell.Command, env map[string]string, in sandbox.Shared, passed *os.File) (*launch, error) {
	dir, err := c.newDir()
	if err != nil {
		return nil, err
	}
	l := &launch{confinement: c, dir: dir, shared: in, passed: passed}
	if err := l.prepare(command, env); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare: %w", err), l.Close())
	}
	return l, nil
}

func (l *launch) prepare(c shell.Command, env map[string]string) error {
	if err := os.Mkdir(l.dir, 0o700); err != nil {
		return err
	}
	raw, err := l.bundle.config(c.Argv, c.Cwd, env, l.rlimits())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "config.json"), raw, 0o600); err != nil {
		return err
	}
	var theirs *os.File
	if l.gate, theirs, err = sandbox.OpenGate(); err != nil {
		return err
	}
	setUp, err := os.OpenFile(l.setUpLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		theirs.Close() //nolint:errcheck,gosec // nothing was written
		return err
	}
	groups, err := l.shared.Group.Entrances()
	if err != nil {
		return errors.Join(err, theirs.Close(), setUp.Close())
	}
	l.enters = len(groups) > 0
	inherited := append([]*os.File{theirs}, groups...)
	if l.passed != nil {
		inherited = append(inherited, l.passed)
	}
	argv := l.argv(len(groups))
	l.cmd = exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // it runs what it is given, in a sandbox; who starts it ends it
	// Neither runsc nor what starts it is influenced by the variables of the
	// runtime, or of the program.
	l.cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"}
	l.cmd.Stderr, l.cmd.ExtraFiles = setUp, inherited
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return nil
}

// argv is the command line: the namespaces, the gate, runsc.
func (l *launch) argv(groups int) []string {
	network, id := "none", strconv.Itoa(view.UserID)
	if l.shared.Network != nil {
		network = "host" // which is the namespace that runsc is in
	}
	argv := []string{
		"unshare", "--user", "--map-user=" + id, "--map-group=" + id, "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--",
		"/bin/sh", "-c", gate(groups), "sh",
		l.runsc, "--root=" + filepath.Join(l.dir, "state"), "--log=" + l.log(), "--network=" + network,
		"--ignore-cgroups", "--overlay2=none", "--gofer-network-namespace=new",
		"run", "--bundle=" + l.dir,
	}
	if l.passed != nil {
		argv = append(argv, fmt.Sprintf("--pass-fd=%d:%d", firstGroup+groups, passedAs))
	}
	argv = append(argv, "program")
	if l.shared.Network != nil {
		argv = l.shared.Network.Command(argv)
	}
	return argv
}

// rlimits are the limits that gVisor keeps itself, those of one program.
func (l *launch) rlimits() []rlimit {
	same := func(kind string, n uint64) rlimit { return rlimit{Type: kind, Hard: n, Soft: n} }
	limits := l.cfg.Limits
	kept := []rlimit{
		same("RLIMIT_CORE", 0), same("RLIMIT_NOFILE", 1024),
		same("RLIMIT_NPROC", uint64(limits.Processes)),                 // not negative
		same("RLIMIT_FSIZE", uint64(min(l.cfg.FileSize, limits.Disk))), // not negative
	}
	if !l.shared.Group.LimitsMemory() {
		kept = append(kept, same("RLIMIT_AS", uint64(limits.Memory))) // not negative
	}
	return kept
}

// Command implements sandbox.Launch.
func (l *launch) Command() *exec.Cmd { return l.cmd }

// First implements sandbox.Launch.
func (l *launch) First() (int, error) {
	pid, err := sandbox.WaitAt(l.gate)
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the namespaces of the sandbox could not be made, or its control groups not be entered: %s", said(l.setUpLog()))
	}
	return pid, err
}

// Admit implements sandbox.Launch.
func (l *launch) Admit(pid int) error {
	if !l.enters {
		if err := l.shared.Group.Add(pid); err != nil {
			return err
		}
	}
	if _, err := l.gate.Write([]byte("\n")); err != nil {
		return fmt.Errorf("let the program start: %w", err)
	}
	return nil
}

// Ended implements sandbox.Launch: unshare ends as runsc does, which ends as the
// program does.
func (l *launch) Ended(waited error, killed bool) (int, error) {
	if waited == nil {
		return 0, nil
	}
	var exit *exec.ExitError
	if !errors.As(waited, &exit) {
		return 0, fmt.Errorf("wait for the sandbox: %w", waited)
	}
	why := l.failure(exit)
	switch {
	case why == "":
		return exit.ExitCode(), nil
	case killed:
		return 128 + int(unix.SIGKILL), nil
	}
	return 0, fmt.Errorf("the sandbox failed: %s", why)
}

// failure says why the sandbox, and not the program, ended. It is empty if it
// was the program.
func (l *launch) failure(exit *exec.ExitError) string {
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Sprintf("it was ended from outside, by signal %d", ws.Signal())
	}
	// unshare has nothing to say but that its child got a signal.
	if text := said(l.setUpLog()); text != "" {
		return "it was ended from outside: " + text
	}
	if exit.ExitCode() == failed {
		return said(l.log())
	}
	return ""
}

// failed is the code with which runsc ends when it, and not the program, fails.
// A program may end with it, too; runsc then logs nothing.
const failed = 128

func (l *launch) log() string      { return filepath.Join(l.dir, "runsc.log") }
func (l *launch) setUpLog() string { return filepath.Join(l.dir, "setup.log") }

// said is the beginning of what a log holds.
func said(log string) string {
	b, _ := os.ReadFile(log) // it is there only if something was logged
	return string(bytes.TrimSpace(b[:min(len(b), 500)]))
}

// Close implements sandbox.Launch.
func (l *launch) Close() error {
	l.gate.Close() //nolint:errcheck,gosec // a socket that was read, or nil
	if err := os.RemoveAll(l.dir); err != nil {
		return fmt.Errorf("remove the sandbox's files: %w", err)
	}
	return nil
}
