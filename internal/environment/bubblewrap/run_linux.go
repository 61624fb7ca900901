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
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/output"
)

// command is what is to be run.
type command struct {
	argv      []string
	workspace string // folder on this machine; empty for none
	cwd       string // as the command sees it
	env       map[string]string
	stdin     string
}

// end is how a command ended.
type end struct {
	started     bool
	code        int
	timedOut    bool
	outOfMemory bool
}

// run runs the command in the sandbox. When it returns, nothing of it is left.
// An error is one of the sandbox, or the end of the context other than by
// errTime.
func (d *Driver) run(ctx context.Context, bwrap string, c command, out *output.Capture) (end, error) {
	if err := ctx.Err(); err != nil {
		return end{}, context.Cause(ctx)
	}
	g, err := d.groups.create(d.cfg.Limits)
	if err != nil {
		return end{}, err
	}
	p := &process{limits: d.cfg.Limits, group: g}
	e, err := p.run(ctx, bwrap, c, out)
	e.outOfMemory = g.outOfMemory()
	if rmErr := g.remove(); err == nil {
		err = rmErr
	}
	if err == nil && ctx.Err() != nil && e.code != 0 {
		if !errors.Is(context.Cause(ctx), errTime) {
			return e, context.Cause(ctx)
		}
		e.timedOut = true
	}
	return e, err
}

// process is one bwrap. It sets up the sandbox in a child, in which the command
// waits until the limits are in place.
type process struct {
	limits Limits
	group  *group
	files  []*os.File // closed at the end, whatever happens

	cmd         *exec.Cmd
	info, start *os.File // says which process to limit; lets it go on
	output      *os.File
	init        int // pidfd of the namespace's first process
	inherit     []*os.File
}

// run does it all in one goroutine that keeps its thread: bwrap ends when the
// thread that started it does.
func (p *process) run(ctx context.Context, bwrap string, c command, out io.Writer) (e end, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		e, err = p.runLocked(ctx, bwrap, c, out)
	}()
	<-done
	return e, err
}

func (p *process) runLocked(ctx context.Context, bwrap string, c command, out io.Writer) (end, error) {
	defer p.closeFiles()
	if err := p.prepare(bwrap, c); err != nil {
		return end{}, fmt.Errorf("prepare the sandbox: %w", err)
	}
	// What this process inherited from the one that started it, and does not know
	// of, must not be inherited by a command.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return end{}, fmt.Errorf("keep open files from the command: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return end{}, fmt.Errorf("start bwrap: %w", err)
	}
	for _, f := range p.inherit {
		f.Close() //nolint:errcheck,gosec // the child has its own
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(out, p.output)
		copied <- err
	}()
	stop := context.AfterFunc(ctx, func() { p.cmd.Process.Kill() }) //nolint:errcheck,gosec // it fails where it has ended
	defer stop()

	setUp := p.confine()
	if setUp != nil {
		p.cmd.Process.Kill() //nolint:errcheck,gosec // it fails where it has ended
	}
	waited := p.cmd.Wait()
	gone := p.endNamespace()
	if err := <-copied; gone == nil && err != nil {
		gone = fmt.Errorf("read the output: %w", err)
	}
	var exit *exec.ExitError
	switch {
	case setUp != nil && ctx.Err() != nil:
		return end{}, context.Cause(ctx)
	case setUp != nil:
		return end{}, setUp
	case gone != nil:
		return end{started: true}, gone
	case waited == nil:
		return end{started: true}, nil
	case errors.As(waited, &exit):
		return end{started: true, code: exitCode(exit)}, nil
	}
	return end{started: true}, fmt.Errorf("wait for bwrap: %w", waited)
}

func exitCode(exit *exec.ExitError) int {
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return exit.ExitCode()
}

// prepare makes the command line of bwrap, and the files that it inherits.
func (p *process) prepare(bwrap string, c command) error {
	p.init = -1
	infoR, infoW, err := p.pipe()
	if err != nil {
		return err
	}
	blockR, blockW, err := p.pipe()
	if err != nil {
		return err
	}
	outR, outW, err := p.pipe()
	if err != nil {
		return err
	}
	p.info, p.start, p.output = infoR, blockW, outR
	filter, err := seccompFilter()
	if err != nil {
		return err
	}
	var l layout
	l.options(c, p.limits)
	l.fd("--info-fd", p.give(infoW))
	l.fd("--block-fd", p.give(blockR))
	if err := p.data(&l, "--seccomp", filter); err != nil {
		return err
	}
	for _, f := range etcFiles {
		if err := p.data(&l, "--ro-bind-data", []byte(f.content), f.path); err != nil {
			return err
		}
	}
	l.seal()
	args, err := p.memory("args", l.bytes())
	if err != nil {
		return err
	}
	stdin, err := p.memory("stdin", []byte(c.stdin))
	if err != nil {
		return err
	}
	p.cmd = exec.Command(bwrap, append([]string{"--args", strconv.Itoa(p.give(args)), "--"}, c.argv...)...) //nolint:gosec,noctx // it runs what it is given, in a sandbox; runLocked ends it with the context
	p.cmd.Env = []string{}
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = stdin, outW, outW
	p.cmd.ExtraFiles = p.inherit
	p.inherit = append(p.inherit[:len(p.inherit):len(p.inherit)], outW, stdin)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return nil
}

func (p *process) pipe() (r, w *os.File, err error) {
	if r, w, err = os.Pipe(); err == nil {
		p.files = append(p.files, r, w)
	}
	return r, w, err
}

// memory is a file that only this process and the child have.
func (p *process) memory(name string, content []byte) (*os.File, error) {
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
func (p *process) give(f *os.File) int {
	p.inherit = append(p.inherit, f)
	return 2 + len(p.inherit)
}

func (p *process) data(l *layout, option string, content []byte, more ...string) error {
	f, err := p.memory(option, content)
	if err != nil {
		return err
	}
	l.fd(option, p.give(f), more...)
	return nil
}

func (p *process) closeFiles() {
	for _, f := range p.files {
		f.Close() //nolint:errcheck,gosec // pipes, and files in memory
	}
	if p.init >= 0 {
		unix.Close(p.init) //nolint:errcheck,gosec // a handle of a process that has ended
	}
}

// confine puts the limits on the process that will become the command, and then
// lets it go on.
func (p *process) confine() error {
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
	if err := p.group.add(info.ChildPID); err != nil {
		return err
	}
	for resource, limit := range p.rlimits() {
		if err := unix.Prlimit(info.ChildPID, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			return fmt.Errorf("limit the command (resource %d): %w", resource, err)
		}
	}
	if _, err := p.start.Write([]byte{'g'}); err != nil {
		return fmt.Errorf("let the command start: %w", err)
	}
	return nil
}

func (p *process) rlimits() map[int]uint64 {
	m := map[int]uint64{
		unix.RLIMIT_CORE:   0,
		unix.RLIMIT_CPU:    uint64(max(p.limits.CPU/time.Second, 1)),
		unix.RLIMIT_FSIZE:  uint64(p.limits.FileSize),
		unix.RLIMIT_NOFILE: 1024,
	}
	if !p.group.limitsMemory() {
		m[unix.RLIMIT_AS] = uint64(p.limits.Memory)
	}
	if !p.group.limitsProcesses() {
		m[unix.RLIMIT_NPROC] = uint64(p.limits.Processes)
	}
	return m
}

// endNamespace kills what the command left in its namespace and waits until it
// is gone: the first process of a namespace ends after all the others.
func (p *process) endNamespace() error {
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
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the end of the sandbox: %w", err)
		}
	}
}
