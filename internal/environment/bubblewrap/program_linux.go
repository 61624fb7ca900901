package bubblewrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/view"
)

// program is one bwrap. It sets up the sandbox in a child, in which the program
// waits until the limits are in place.
type program struct {
	sandbox *sandbox
	killed  int // by the kernel for memory, in the environment before
	full    atomic.Bool

	files   []*os.File // closed at the end, whatever happens
	inherit []*os.File
	cmd     *exec.Cmd
	info    *os.File // says which process to limit
	goOn    *os.File // lets it go on
	output  *os.File
	stdin   *os.File
	init    int // pidfd of the namespace's first process

	mu      sync.Mutex
	process *os.Process // once it was started
	dead    bool        // Kill was called

	copied chan error
	done   chan struct{} // closed at the end; end and err are set before
	end    shell.End
	err    error
}

// Stdin implements shell.Process.
func (p *program) Stdin() io.WriteCloser { return p.stdin }

// Kill implements shell.Process.
func (p *program) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead = true
	if p.process != nil {
		p.process.Kill() //nolint:errcheck,gosec // it fails where it has ended
	}
}

// Wait implements shell.Process.
func (p *program) Wait() (shell.End, error) {
	<-p.done
	return p.end, p.err
}

// start starts the program. After an error, nothing of it is left.
func (p *program) start(ctx context.Context, c shell.Command) error {
	if err := p.prepare(c); err != nil {
		p.closeFiles()
		p.stdin.Close() //nolint:errcheck,gosec // a pipe, or nil
		return fmt.Errorf("prepare the sandbox: %w", err)
	}
	started := make(chan error, 1)
	p.sandbox.starts <- func() { started <- p.startBwrap() }
	err := <-started
	for _, f := range p.inherit {
		f.Close() //nolint:errcheck,gosec // the child has its own
	}
	if err != nil {
		p.closeFiles()
		p.stdin.Close() //nolint:errcheck,gosec // a pipe
		return err
	}
	p.copied = make(chan error, 1)
	go func() {
		_, err := io.Copy(c.Output, p.output)
		p.copied <- err
	}()
	stop := context.AfterFunc(ctx, p.Kill)
	err = p.confine()
	if !stop() {
		err = context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	p.Kill()
	p.cmd.Wait() //nolint:errcheck,gosec // it was killed
	gone := p.endNamespace()
	<-p.copied //nolint:errcheck // there is nobody to read it
	p.closeFiles()
	p.stdin.Close() //nolint:errcheck,gosec // a pipe
	return errors.Join(err, gone)
}

// startBwrap starts it from the thread that it ends with.
func (p *program) startBwrap() error {
	// What this process inherited from the one that started it, and does not know
	// of, must not be inherited by a program.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep open files from the program: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start bwrap: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.process = p.cmd.Process
	if p.dead {
		p.process.Kill() //nolint:errcheck,gosec // it fails where it has ended
	}
	return nil
}

// supervise waits for the end of the program, and until nothing of it is left.
func (p *program) supervise() {
	defer close(p.done)
	defer p.closeFiles()
	waited := p.cmd.Wait()
	p.err = p.endNamespace()
	if err := <-p.copied; p.err == nil && err != nil {
		p.err = fmt.Errorf("read the output: %w", err)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(waited, &exit):
		p.end.Code = exitCode(exit)
	case waited != nil && p.err == nil:
		p.err = fmt.Errorf("wait for bwrap: %w", waited)
	}
	s := p.sandbox
	switch {
	case p.full.Load():
		p.end.Limit = "disk"
	case s.group.Killed() > p.killed:
		p.end.Limit = "memory"
	case s.disk != nil && s.disk.Over():
		p.end.Limit = "disk"
	}
}

func exitCode(exit *exec.ExitError) int {
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// prepare makes the command line of bwrap, and the files that it inherits.
func (p *program) prepare(c shell.Command) error {
	infoR, infoW, err := p.pipe()
	if err != nil {
		return err
	}
	goOnR, goOnW, err := p.pipe()
	if err != nil {
		return err
	}
	outR, outW, err := p.pipe()
	if err != nil {
		return err
	}
	inR, inW, err := os.Pipe()
	if err != nil {
		return err
	}
	p.files = append(p.files, inR)
	p.info, p.goOn, p.output, p.stdin = infoR, goOnW, outR, inW
	args, err := p.arguments(c, infoW, goOnR)
	if err != nil {
		return err
	}
	argv := append([]string{p.sandbox.bwrap, "--args", strconv.Itoa(p.give(args)), "--"}, c.Argv...)
	if n := p.sandbox.network; n != nil {
		argv = n.Command(argv)
	}
	p.cmd = exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // it runs what it is given, in a sandbox; Kill ends it
	p.cmd.Env = []string{}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = inR, outW, outW
	p.cmd.ExtraFiles = p.inherit
	p.inherit = append(p.inherit[:len(p.inherit):len(p.inherit)], outW, inR)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return nil
}

// arguments is a file with the options of bwrap.
func (p *program) arguments(c shell.Command, info, goOn *os.File) (*os.File, error) {
	filter, err := seccompFilter()
	if err != nil {
		return nil, err
	}
	var l layout
	l.options(p.sandbox, c.Cwd)
	l.fd("--info-fd", p.give(info))
	l.fd("--block-fd", p.give(goOn))
	if err := p.data(&l, "--seccomp", filter); err != nil {
		return nil, err
	}
	for _, f := range view.EtcFiles() {
		if err := p.data(&l, "--ro-bind-data", []byte(f.Content), f.Path); err != nil {
			return nil, err
		}
	}
	l.seal()
	return p.memory("args", l.bytes())
}

func (p *program) pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err == nil {
		p.files = append(p.files, r, w)
	}
	return r, w, err
}

// memory is a file that only this process and the child have.
func (p *program) memory(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("make a file in memory: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	p.files = append(p.files, f)
	if _, err := f.Write(content); err != nil {
		return nil, fmt.Errorf("write a file in memory: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("write a file in memory: %w", err)
	}
	return f, nil
}

// give hands a file to the child, and returns its number there.
func (p *program) give(f *os.File) int {
	p.inherit = append(p.inherit, f)
	return 2 + len(p.inherit)
}

func (p *program) data(l *layout, option string, content []byte, more ...string) error {
	f, err := p.memory(option, content)
	if err != nil {
		return err
	}
	l.fd(option, p.give(f), more...)
	return nil
}

func (p *program) closeFiles() {
	for _, f := range p.files {
		f.Close() //nolint:errcheck,gosec // pipes, and files in memory
	}
	if p.init >= 0 {
		unix.Close(p.init) //nolint:errcheck,gosec // a handle of a process that has ended
	}
}

// confine puts the limits on the process that will become the program, and then
// lets it go on.
func (p *program) confine() error {
	var info struct {
		ChildPID int `json:"child-pid"`
	}
	if err := json.NewDecoder(p.info).Decode(&info); err != nil || info.ChildPID <= 0 {
		return errors.New("bwrap could not make the sandbox")
	}
	var err error
	if p.init, err = unix.PidfdOpen(info.ChildPID, 0); err != nil {
		p.init = -1
		return fmt.Errorf("open the sandbox's process: %w", err)
	}
	if err := p.sandbox.group.Add(info.ChildPID); err != nil {
		return err
	}
	for resource, limit := range p.rlimits() {
		if err := unix.Prlimit(info.ChildPID, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			return fmt.Errorf("limit the program (resource %d): %w", resource, err)
		}
	}
	if _, err := p.goOn.Write([]byte{'g'}); err != nil {
		return fmt.Errorf("let the program start: %w", err)
	}
	return nil
}

func (p *program) rlimits() map[int]uint64 {
	m := map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_FSIZE:  uint64(min(p.sandbox.driver.cfg.FileSize, p.sandbox.Limits().Disk)),
		unix.RLIMIT_NOFILE: 1024,
	}
	if !p.sandbox.group.LimitsMemory() {
		m[unix.RLIMIT_AS] = uint64(p.sandbox.Limits().Memory)
	}
	if !p.sandbox.group.LimitsProcesses() {
		m[unix.RLIMIT_NPROC] = uint64(p.sandbox.Limits().Processes)
	}
	return m
}

// endNamespace kills what the program left in its namespace and waits until it
// is gone: the first process of a namespace ends after all the others.
func (p *program) endNamespace() error {
	if p.init < 0 {
		return nil
	}
	if err := unix.PidfdSendSignal(p.init, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the sandbox: %w", err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("end the sandbox: its processes do not go away")
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.init), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			// Where this process is the one that orphans are left to, it takes note of
			// this one. Elsewhere it fails.
			unix.Waitid(unix.P_PIDFD, p.init, nil, unix.WEXITED|unix.WNOHANG, nil) //nolint:errcheck,gosec // as said
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the end of the sandbox: %w", err)
		}
	}
}
