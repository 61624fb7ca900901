package gvisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/view"
)

// files are those between the runtime and a program.
type files struct {
	gate, output, stdin *os.File // the runtime's ends; stdin is its user's to close
	theirs              []*os.File
	in, out, gateEnd    *os.File // those in theirs that runsc is started with
}

// given closes what the program has.
func (f *files) given() {
	for _, t := range f.theirs {
		t.Close() //nolint:errcheck,gosec // nothing was written
	}
	f.theirs = nil
}

// close closes all but stdin.
func (f *files) close() {
	f.given()
	f.gate.Close()   //nolint:errcheck,gosec // a socket that was read, or nil
	f.output.Close() //nolint:errcheck,gosec // a pipe that was read, or nil
}

// copyTo copies the output until nobody can write any more.
func (f *files) copyTo(w io.Writer) error {
	if w == nil {
		w = io.Discard
	}
	_, err := io.Copy(w, f.output)
	if err != nil { // the program must not wait for one who does not read
		io.Copy(io.Discard, f.output) //nolint:errcheck,gosec // the first error is returned
	}
	return err
}

// open makes them.
func (f *files) open() error {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("make a socket pair: %w", err)
	}
	f.gate, f.gateEnd = os.NewFile(uintptr(fds[0]), "gate"), os.NewFile(uintptr(fds[1]), "gate")
	f.theirs = append(f.theirs, f.gateEnd)
	if err := errors.Join(unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1), unix.SetNonblock(fds[1], false)); err != nil {
		return fmt.Errorf("set up a socket: %w", err)
	}
	if f.in, f.stdin, err = os.Pipe(); err != nil {
		return err
	}
	f.theirs = append(f.theirs, f.in)
	if f.output, f.out, err = os.Pipe(); err != nil {
		return err
	}
	f.theirs = append(f.theirs, f.out)
	return nil
}

// prepare writes the program's bundle, and makes the command that runs it.
func (p *program) prepare(c shell.Command) error {
	if err := os.Mkdir(p.dir, 0o700); err != nil { //nolint:gosec // the folder is the sandbox's own
		return err
	}
	raw, err := p.sandbox.bundle.config(c.Argv, c.Cwd, p.sandbox.env, p.sandbox.rlimits())
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.dir, "config.json"), raw, 0o600); err != nil { //nolint:gosec // the folder is the sandbox's own
		return err
	}
	if err := p.files.open(); err != nil {
		return err
	}
	setUp, err := os.OpenFile(p.setUpLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the folder is the sandbox's own
	if err != nil {
		return err
	}
	p.files.theirs = append(p.files.theirs, setUp)
	argv := p.argv()
	p.cmd = exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // it runs what it is given, in a sandbox; Kill ends it
	// Neither runsc nor what starts it is influenced by the variables of the
	// runtime, or of the program.
	p.cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = p.files.in, p.files.out, setUp
	p.cmd.ExtraFiles = []*os.File{p.files.gateEnd}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return nil
}

// argv is the command line: the namespaces, the gate, runsc.
func (p *program) argv() []string {
	network, id := "none", strconv.Itoa(view.UserID)
	if p.sandbox.network != nil {
		network = "host" // which is the namespace that runsc is in
	}
	argv := []string{
		"unshare", "--user", "--map-user=" + id, "--map-group=" + id, "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--",
		"/bin/sh", "-c", gate, "sh",
		p.sandbox.runsc, "--root=" + filepath.Join(p.dir, "state"), "--log=" + p.log(), "--network=" + network,
		"--ignore-cgroups", "--overlay2=none", "--gofer-network-namespace=new",
		"run", "--bundle=" + p.dir, "program",
	}
	if p.sandbox.network != nil {
		argv = p.sandbox.network.Command(argv)
	}
	return argv
}

// rlimits are the limits that gVisor keeps itself, those of one program.
func (s *sandbox) rlimits() []rlimit {
	same := func(kind string, n uint64) rlimit { return rlimit{Type: kind, Hard: n, Soft: n} }
	limits := []rlimit{
		same("RLIMIT_CORE", 0), same("RLIMIT_NOFILE", 1024),
		same("RLIMIT_NPROC", uint64(s.Limits().Processes)),                        // not negative
		same("RLIMIT_FSIZE", uint64(min(s.driver.cfg.FileSize, s.Limits().Disk))), // not negative
	}
	if !s.group.LimitsMemory() {
		limits = append(limits, same("RLIMIT_AS", uint64(s.Limits().Memory))) // not negative
	}
	return limits
}
