package bubblewrap

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
)

// launch is one bwrap. It sets up the sandbox in a child, in which the program
// waits until the limits are in place.
type launch struct {
	*confinement
	shared  sandbox.Shared
	files   []*os.File // closed at the end, whatever happens
	inherit []*os.File
	cmd     *exec.Cmd
	info    *os.File // says which process to limit
	goOn    *os.File // lets it go on
	program program
	gate    *os.File // to the helper, where there is one
	enters  bool     // the helper enters the control groups itself
}

// newLaunch makes the command line of bwrap, and the files that it inherits.
func newLaunch(c *confinement, command shell.Command, in sandbox.Shared) (*launch, error) {
	l := &launch{confinement: c, shared: in, program: c.program(command)}
	if err := l.prepare(); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare: %w", err), l.Close())
	}
	return l, nil
}

// program is what a command is to be in the sandbox.
func (c *confinement) program(command shell.Command) program {
	p := program{Argv: command.Argv, Cwd: cmp.Or(command.Cwd, environment.Workspace), Env: c.env}
	for _, m := range c.cfg.Data {
		p.Data = append(p.Data, m.Path)
	}
	return p
}

func (l *launch) prepare() error {
	infoR, infoW, err := l.pipe()
	if err != nil {
		return err
	}
	goOnR, goOnW, err := l.pipe()
	if err != nil {
		return err
	}
	l.info, l.goOn = infoR, goOnW
	args, err := l.arguments(infoW, goOnR)
	if err != nil {
		return err
	}
	argv, err := l.becomes()
	if err != nil {
		return err
	}
	argv = append([]string{l.bwrap, "--args", strconv.Itoa(l.give(args)), "--"}, argv...)
	if n := l.shared.Network; n != nil {
		argv = n.Command(argv)
	}
	l.cmd = exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // it runs what it is given, in a sandbox; who starts it ends it
	l.cmd.Env = []string{}
	l.cmd.ExtraFiles = l.inherit
	l.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return nil
}

// becomes is the command line of what bwrap becomes: the program, or the helper
// that becomes the program.
func (l *launch) becomes() ([]string, error) {
	if !l.landlock {
		return l.program.Argv, nil
	}
	gate, theirs, err := sandbox.OpenGate()
	if err != nil {
		return nil, err
	}
	l.gate, l.files = gate, append(l.files, gate, theirs)
	entrances, err := l.shared.Group.Entrances()
	if err != nil {
		return nil, err
	}
	l.files, l.enters = append(l.files, entrances...), len(entrances) > 0
	argv := append([]string{helperPath(l.cfg.Helper)}, l.cfg.Helper[1:]...)
	for _, f := range append([]*os.File{theirs}, entrances...) {
		argv = append(argv, strconv.Itoa(l.give(f)))
	}
	return argv, nil
}

// arguments is a file with the options of bwrap.
func (l *launch) arguments(info, goOn *os.File) (*os.File, error) {
	filter, err := seccompFilter()
	if err != nil {
		return nil, err
	}
	var o layout
	o.options(l)
	o.fd("--info-fd", l.give(info))
	o.fd("--block-fd", l.give(goOn))
	if err := l.data(&o, "--seccomp", filter); err != nil {
		return nil, err
	}
	for _, f := range l.etc {
		if err := l.data(&o, "--ro-bind-data", []byte(f.Content), f.Path); err != nil {
			return nil, err
		}
	}
	o.seal()
	return l.memory("args", o.bytes())
}

func (l *launch) pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err == nil {
		l.files = append(l.files, r, w)
	}
	return r, w, err
}

// memory is a file that only this process and the child have.
func (l *launch) memory(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	l.files = append(l.files, f)
	if _, err := f.Write(content); err != nil {
		return nil, fmt.Errorf("write a file in memory: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("write a file in memory: %w", err)
	}
	return f, nil
}

// give hands a file to the child, and returns its number there.
func (l *launch) give(f *os.File) int {
	l.inherit = append(l.inherit, f)
	return 2 + len(l.inherit)
}

func (l *launch) data(o *layout, option string, content []byte, more ...string) error {
	f, err := l.memory(option, content)
	if err != nil {
		return err
	}
	o.fd(option, l.give(f), more...)
	return nil
}

// Command implements sandbox.Launch.
func (l *launch) Command() *exec.Cmd { return l.cmd }

// First implements sandbox.Launch.
func (l *launch) First() (int, error) {
	var info struct {
		ChildPID int `json:"child-pid"`
	}
	if err := json.NewDecoder(l.info).Decode(&info); err != nil || info.ChildPID <= 0 {
		return 0, errors.New("bwrap could not make the sandbox")
	}
	return info.ChildPID, nil
}

// Admit implements sandbox.Launch. What the helper takes to start is not the
// environment's, which may be close to its limits.
func (l *launch) Admit(first int) error {
	if !l.landlock {
		if err := l.shared.Group.Add(first); err != nil {
			return err
		}
		return errors.Join(l.limit(first), l.letGo())
	}
	l.helpers <- struct{}{}
	defer func() { <-l.helpers }()
	if err := l.letGo(); err != nil {
		return err
	}
	return l.become()
}

// become has the helper become the program, under the limits. Of the process that
// bwrap leaves above it, nothing is the program's doing.
func (l *launch) become() error {
	pid, err := tell(l.gate, l.program)
	if err != nil {
		return err
	}
	if !l.enters {
		err = l.shared.Group.Add(pid)
	}
	if err = errors.Join(err, l.limit(pid)); err != nil {
		return err
	}
	return letThrough(l.gate)
}

// letGo lets bwrap go on.
func (l *launch) letGo() error {
	if _, err := l.goOn.Write([]byte{'g'}); err != nil {
		return fmt.Errorf("let the program start: %w", err)
	}
	return nil
}

// limit puts the limits of its own on a process.
func (l *launch) limit(pid int) error {
	for resource, limit := range l.rlimits() {
		if err := unix.Prlimit(pid, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			return fmt.Errorf("limit the program (resource %d): %w", resource, err)
		}
	}
	return nil
}

func (l *launch) rlimits() map[int]uint64 {
	m := map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_FSIZE:  uint64(min(l.cfg.FileSize, l.cfg.Limits.Disk)),
		unix.RLIMIT_NOFILE: 1024,
	}
	if !l.shared.Group.LimitsMemory() {
		m[unix.RLIMIT_AS] = uint64(l.cfg.Limits.Memory)
	}
	if !l.shared.Group.LimitsProcesses() {
		m[unix.RLIMIT_NPROC] = uint64(l.cfg.Limits.Processes)
	}
	return m
}

// Ended implements sandbox.Launch: bwrap ends as the program does.
func (l *launch) Ended(waited error, _ bool) (int, error) {
	var exit *exec.ExitError
	if waited == nil {
		return 0, nil
	}
	if !errors.As(waited, &exit) {
		return 0, fmt.Errorf("wait for bwrap: %w", waited)
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return exit.ExitCode(), nil
}

// Close implements sandbox.Launch.
func (l *launch) Close() error {
	for _, f := range l.files {
		f.Close() //nolint:errcheck,gosec // pipes, and files in memory; some are closed
	}
	return nil
}
