package gvisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
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
	cmd    *exec.Cmd
}

// gate is what runs in the new namespace before runsc: it says that it is there,
// and becomes runsc when it is told to. Descriptor 3 is a socket of the runtime,
// and where that is gone it ends. What is printed before it is not the program's.
const gate = `exec 2>&1; echo >&3; read -r _ <&3 && exec "$@" 3<&-`

// newLaunch writes the program's bundle, and makes the command that runs it.
func newLaunch(c *confinement, dir string, command shell.Command, in sandbox.Shared) (*launch, error) {
	l := &launch{confinement: c, dir: dir, shared: in}
	if err := l.prepare(command); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare: %w", err), l.Close())
	}
	return l, nil
}

func (l *launch) prepare(c shell.Command) error {
	if err := os.Mkdir(l.dir, 0o700); err != nil { //nolint:gosec // the folder is the sandbox's own
		return err
	}
	raw, err := l.bundle.config(c.Argv, c.Cwd, l.env, l.rlimits())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "config.json"), raw, 0o600); err != nil { //nolint:gosec // the folder is the sandbox's own
		return err
	}
	theirs, err := l.openGate()
	if err != nil {
		return err
	}
	setUp, err := os.OpenFile(l.setUpLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the folder is the sandbox's own
	if err != nil {
		theirs.Close() //nolint:errcheck,gosec // nothing was written
		return err
	}
	argv := l.argv()
	l.cmd = exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // it runs what it is given, in a sandbox; who starts it ends it
	// Neither runsc nor what starts it is influenced by the variables of the
	// runtime, or of the program.
	l.cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"}
	l.cmd.Stderr, l.cmd.ExtraFiles = setUp, []*os.File{theirs}
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return nil
}

// openGate makes the socket, and returns its other end.
func (l *launch) openGate() (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "gate")
	l.gate = os.NewFile(uintptr(fds[0]), "gate")
	if err := errors.Join(unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1), unix.SetNonblock(fds[1], false)); err != nil {
		theirs.Close() //nolint:errcheck,gosec // nothing was written
		return nil, fmt.Errorf("set up a socket: %w", err)
	}
	return theirs, nil
}

// argv is the command line: the namespaces, the gate, runsc.
func (l *launch) argv() []string {
	network, id := "none", strconv.Itoa(view.UserID)
	if l.shared.Network != nil {
		network = "host" // which is the namespace that runsc is in
	}
	argv := []string{
		"unshare", "--user", "--map-user=" + id, "--map-group=" + id, "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--",
		"/bin/sh", "-c", gate, "sh",
		l.runsc, "--root=" + filepath.Join(l.dir, "state"), "--log=" + l.log(), "--network=" + network,
		"--ignore-cgroups", "--overlay2=none", "--gofer-network-namespace=new",
		"run", "--bundle=" + l.dir, "program",
	}
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

// First implements sandbox.Launch: it is the process that wrote into the socket,
// as the kernel says.
func (l *launch) First() (int, error) {
	var pid int
	raw, err := l.gate.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("wait for the sandbox: %w", err)
	}
	rights := make([]byte, unix.CmsgSpace(unix.SizeofUcred))
	err2 := raw.Read(func(fd uintptr) bool {
		var n, rn int
		n, rn, _, _, err = unix.Recvmsg(int(fd), make([]byte, 1), rights, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			return false
		}
		if err == nil && n == 0 {
			err = fmt.Errorf("the namespaces of the sandbox could not be made: %s", said(l.setUpLog()))
		}
		if err == nil {
			pid, err = credentials(rights[:rn])
		}
		return true
	})
	if err = errors.Join(err, err2); err != nil {
		return 0, err
	}
	return pid, nil
}

func credentials(rights []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(rights)
	if err != nil || len(messages) != 1 {
		return 0, fmt.Errorf("learn of the sandbox's process: %d messages: %w", len(messages), err)
	}
	cred, err := unix.ParseUnixCredentials(&messages[0])
	if err != nil || cred.Pid <= 0 {
		return 0, fmt.Errorf("learn of the sandbox's process: %w", err)
	}
	return int(cred.Pid), nil
}

// Admit implements sandbox.Launch.
func (l *launch) Admit(int) error {
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
	b, _ := os.ReadFile(log) //nolint:gosec // it is there only if something was logged
	return string(bytes.TrimSpace(b[:min(len(b), 500)]))
}

// Close implements sandbox.Launch.
func (l *launch) Close() error {
	l.gate.Close()                              //nolint:errcheck,gosec // a socket that was read, or nil
	if err := os.RemoveAll(l.dir); err != nil { //nolint:gosec // the folder is the sandbox's own
		return fmt.Errorf("remove the sandbox's files: %w", err)
	}
	return nil
}
