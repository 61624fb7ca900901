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
)

// files are those between the runtime and a program.
type files struct {
	gate, output *os.File   // the runtime's ends
	theirs       []*os.File // those that runsc is started with
}

// started closes what runsc has.
func (f *files) started() {
	for _, t := range f.theirs {
		if t != nil {
			t.Close() //nolint:errcheck,gosec // nothing was written
		}
	}
	f.theirs = nil
}

func (f *files) close() {
	f.started()
	for _, own := range []*os.File{f.gate, f.output} {
		if own != nil {
			own.Close() //nolint:errcheck,gosec // a socket and a pipe that were read
		}
	}
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

// open makes them; stdin is the runtime's end of the program's input.
func (f *files) open() (stdin *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("make a socket pair: %w", err)
	}
	f.gate = os.NewFile(uintptr(fds[0]), "gate")
	theirs := os.NewFile(uintptr(fds[1]), "gate")
	f.theirs = []*os.File{nil, nil, theirs}
	if err := errors.Join(unix.SetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PASSCRED, 1), unix.SetNonblock(fds[1], false)); err != nil {
		return nil, fmt.Errorf("set up a socket: %w", err)
	}
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	f.theirs[0] = in
	f.output, f.theirs[1], err = os.Pipe()
	if err != nil {
		stdin.Close() //nolint:errcheck,gosec // nothing was written
		return nil, err
	}
	return stdin, nil
}

// prepare writes the program's bundle, and makes the command that runs it.
func (p *program) prepare(c shell.Command) (*exec.Cmd, *files, error) {
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, nil, err
	}
	raw, err := p.sandbox.bundle.config(c.Argv, c.Cwd, p.sandbox.env, p.sandbox.rlimits())
	if err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(filepath.Join(p.dir, "config.json"), raw, 0o600); err != nil {
		return nil, nil, err
	}
	f := &files{}
	if p.stdin, err = f.open(); err != nil {
		f.close()
		return nil, nil, err
	}
	setUp, err := os.OpenFile(p.setUpLog(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		f.close()
		return nil, nil, err
	}
	f.theirs = append(f.theirs, setUp)
	argv := p.argv()
	cmd := exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // it runs what it is given, in a sandbox; Kill ends it
	// Neither runsc nor what starts it is influenced by the variables of the
	// runtime, or of the program.
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f.theirs[0], f.theirs[1], setUp
	cmd.ExtraFiles = f.theirs[2:3]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	return cmd, f, nil
}

// argv is the command line: the namespaces, the gate, runsc.
func (p *program) argv() []string {
	network, id := "none", strconv.Itoa(userID)
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
	limits := []rlimit{{Type: "RLIMIT_CORE"}, {Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}}
	if n := uint64(s.limits.Processes); n > 0 { //nolint:gosec // not negative
		limits = append(limits, rlimit{Type: "RLIMIT_NPROC", Hard: n, Soft: n})
	}
	return limits
}
