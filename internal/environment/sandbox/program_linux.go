package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/shell"
)

// program is one program in its own namespaces.
type program struct {
	sandbox     *Sandbox
	shared      Shared
	outOfMemory int // processes killed by the kernel for memory, before
	full        atomic.Bool

	launch        Launch
	cmd           *exec.Cmd
	stdin, output *os.File

	mu      sync.Mutex
	started bool
	killed  bool
	first   int // pidfd of the namespace's first process; -1 before and after

	copied chan error
	done   chan struct{} // closed at the end; end and err are set before
	end    shell.End
	err    error
}

// Stdin implements shell.Process.
func (p *program) Stdin() io.WriteCloser { return p.stdin }

// Wait implements shell.Process.
func (p *program) Wait() (shell.End, error) {
	<-p.done
	return p.end, p.err
}

// Kill implements shell.Process.
func (p *program) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	p.kill()
}

// kill kills what there is of it. The caller holds p.mu.
func (p *program) kill() {
	switch {
	case p.first >= 0:
		unix.PidfdSendSignal(p.first, unix.SIGKILL, nil, 0) //nolint:errcheck,gosec // it fails where it has ended
	case p.started:
		p.cmd.Process.Kill() //nolint:errcheck,gosec // the same
	}
}

// start starts the program. After an error, nothing of it is left.
func (p *program) start(ctx context.Context, c shell.Command) error {
	var err error
	if p.launch, err = p.sandbox.confinement.Launch(c, p.shared); err != nil {
		return err
	}
	if err := p.startCommand(); err != nil {
		return errors.Join(err, p.fail())
	}
	p.copied = make(chan error, 1)
	go func() { p.copied <- copyAll(c.Output, p.output) }()
	stop := context.AfterFunc(ctx, p.Kill)
	err = p.admit()
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
	return errors.Join(err, gone, p.fail())
}

// fail frees what a program had that was not started.
func (p *program) fail() error {
	p.stdin.Close() //nolint:errcheck,gosec // a pipe, or nil
	return p.free()
}

func (p *program) free() error {
	p.output.Close() //nolint:errcheck,gosec // a pipe that was read, or nil
	return p.launch.Close()
}

// startCommand starts the command, from the thread that it ends with.
func (p *program) startCommand() (err error) {
	p.cmd = p.launch.Command()
	theirs := p.cmd.ExtraFiles[:len(p.cmd.ExtraFiles):len(p.cmd.ExtraFiles)]
	if own, ok := p.cmd.Stderr.(*os.File); ok {
		theirs = append(theirs, own)
	}
	defer func() {
		for _, f := range theirs {
			f.Close() //nolint:errcheck,gosec // the command has its own
		}
	}()
	in, stdin, err := os.Pipe()
	if err != nil {
		return err
	}
	p.stdin, theirs = stdin, append(theirs, in)
	output, out, err := os.Pipe()
	if err != nil {
		return err
	}
	p.output, theirs = output, append(theirs, out)
	p.cmd.Stdin, p.cmd.Stdout = in, out
	if p.cmd.Stderr == nil {
		p.cmd.Stderr = out
	}
	started := make(chan error, 1)
	p.sandbox.starts <- func() { started <- p.startHere() }
	return <-started
}

func (p *program) startHere() error {
	// What this process inherited from the one that started it, and does not know
	// of, must not be inherited by a program.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep open files from the program: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", p.cmd.Path, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.started = true
	if p.killed {
		p.kill()
	}
	return nil
}

// admit takes hold of the first process of the namespace, and has it go on.
func (p *program) admit() error {
	pid, err := p.launch.First()
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the sandbox's process: %w", err)
	}
	p.mu.Lock()
	p.first = fd
	killed := p.killed
	p.mu.Unlock()
	if killed {
		return shell.ErrClosed
	}
	return p.launch.Admit(pid)
}

// copyAll copies what is read until nobody can write any more.
func copyAll(w io.Writer, r io.Reader) error {
	if w == nil {
		w = io.Discard
	}
	_, err := io.Copy(w, r)
	if err != nil { // the program must not wait for one who does not read
		io.Copy(io.Discard, r) //nolint:errcheck,gosec // the first error is returned
	}
	return err
}

// supervise waits for the end of the program, and until nothing of it is left.
func (p *program) supervise() {
	defer close(p.done)
	waited := p.cmd.Wait()
	err := p.endNamespace()
	if copyErr := <-p.copied; err == nil && copyErr != nil {
		err = fmt.Errorf("read the output: %w", copyErr)
	}
	switch s := p.sandbox; {
	case p.full.Load():
		p.end.Limit = "disk"
	case p.shared.Group.Killed() > p.outOfMemory:
		p.end.Limit = "memory"
	case s.disk.Over():
		p.end.Limit = "disk"
	}
	if err == nil {
		p.mu.Lock()
		killed := p.killed || p.end.Limit == "memory"
		p.mu.Unlock()
		p.end.Code, err = p.launch.Ended(waited, killed)
	}
	p.err = errors.Join(err, p.free())
}

// endNamespace kills what is left in the namespace and waits until it is gone:
// the first process of a namespace ends after all the others.
func (p *program) endNamespace() error {
	p.mu.Lock()
	fd := p.first
	p.mu.Unlock()
	if fd < 0 {
		return nil
	}
	defer func() {
		p.mu.Lock()
		p.first = -1
		p.mu.Unlock()
		unix.Close(fd) //nolint:errcheck,gosec // a handle of a process that has ended
	}()
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the sandbox: %w", err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for {
		left := time.Until(deadline)
		if left <= 0 {
			return errors.New("end the sandbox: its processes do not go away")
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
		if n > 0 {
			// Where this process is the one that orphans are left to, it takes note of
			// this one. Elsewhere it fails.
			unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG, nil) //nolint:errcheck,gosec // as said
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the end of the sandbox: %w", err)
		}
	}
}
