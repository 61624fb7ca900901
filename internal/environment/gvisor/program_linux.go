package gvisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/shell"
)

// program is one runsc with its program.
type program struct {
	sandbox *sandbox
	dir     string // its folder, which goes with it

	stdin   *os.File
	started chan error // once
	done    chan struct{}
	end     shell.End
	err     error

	mu     sync.Mutex
	killed bool
	init   int // pidfd of the first process of the namespace; -1 before and after
}

// Stdin is the program's standard input.
func (p *program) Stdin() io.WriteCloser { return p.stdin }

// Wait waits for the end.
func (p *program) Wait() (shell.End, error) {
	<-p.done
	return p.end, p.err
}

// Kill ends the program.
func (p *program) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	if p.init >= 0 {
		unix.PidfdSendSignal(p.init, unix.SIGKILL, nil, 0) //nolint:errcheck,gosec // it fails where it has ended
	}
}

// gate is what runs in the new namespace before runsc: it says that it is there,
// and becomes runsc when it is told to. Descriptor 3 is a socket of the runtime,
// and where that is gone it ends. What is printed before it is not the program's.
const gate = `exec 2>&1; echo >&3; read -r _ <&3 && exec "$@" 3<&-`

// start starts the program and returns when runsc runs. What follows is done by
// a goroutine that keeps its thread: the processes end when the thread that
// started them does.
func (p *program) start(ctx context.Context, c shell.Command) error {
	go func() {
		defer p.sandbox.leave(p)
		defer close(p.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p.end, p.err = p.run(ctx, c)
		if err := os.RemoveAll(p.dir); err != nil && p.err == nil {
			p.err = fmt.Errorf("remove the sandbox's files: %w", err)
		}
	}()
	select {
	case err := <-p.started:
		if err != nil {
			<-p.done
		}
		return err
	case <-p.done:
		if p.err == nil {
			return errors.New("it ended before it began")
		}
		return p.err
	}
}

func (p *program) run(ctx context.Context, c shell.Command) (shell.End, error) {
	cmd, f, err := p.prepare(c)
	if err != nil {
		return shell.End{}, fmt.Errorf("prepare the sandbox: %w", err)
	}
	defer f.close()
	// What this process inherited from the one that started it, and does not know
	// of, must not be inherited by a program.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return shell.End{}, fmt.Errorf("keep open files from the program: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return shell.End{}, fmt.Errorf("start the sandbox: %w", err)
	}
	f.started()
	copied := make(chan error, 1)
	go func() { copied <- f.copyTo(c.Output) }()

	stop := context.AfterFunc(ctx, func() { f.gate.Close() }) //nolint:errcheck,gosec // the gate then opens no more
	opened := p.open(f.gate)
	if !stop() && opened == nil {
		opened = context.Cause(ctx)
	}
	if opened != nil {
		p.Kill()
		cmd.Process.Kill() //nolint:errcheck,gosec // it fails where it has ended
	} else {
		p.started <- nil
	}
	waited := cmd.Wait()
	gone := p.endNamespace()
	if err := <-copied; gone == nil && err != nil {
		gone = fmt.Errorf("read the output: %w", err)
	}
	switch {
	case opened != nil && ctx.Err() != nil:
		return shell.End{}, context.Cause(ctx)
	case errors.Is(opened, errNamespaces):
		return shell.End{}, fmt.Errorf("%w: %s", opened, said(p.setUpLog()))
	case opened != nil:
		return shell.End{}, opened
	case gone != nil:
		return shell.End{}, gone
	}
	return p.ended(waited)
}

// ended says how the program ended, by how unshare did, which ends as runsc
// does, which ends as the program does.
func (p *program) ended(waited error) (shell.End, error) {
	var exit *exec.ExitError
	switch {
	case waited == nil:
		return shell.End{}, nil
	case !errors.As(waited, &exit):
		return shell.End{}, fmt.Errorf("wait for the sandbox: %w", waited)
	case p.wasKilled():
		return shell.End{Code: 128 + int(unix.SIGKILL)}, nil
	}
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return shell.End{}, fmt.Errorf("the sandbox was ended from outside, by signal %d", ws.Signal())
	}
	if text := said(p.setUpLog()); text != "" { // unshare has nothing to say but that
		return shell.End{}, fmt.Errorf("the sandbox was ended from outside: %s", text)
	}
	if text := said(p.log()); exit.ExitCode() == failed && text != "" {
		return shell.End{}, fmt.Errorf("the sandbox failed: %s", text)
	}
	return shell.End{Code: exit.ExitCode()}, nil
}

func (p *program) wasKilled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

// failed is the code with which runsc ends when it, and not the program, fails.
// A program may end with it, too; runsc then logs nothing.
const failed = 128

func (p *program) log() string      { return filepath.Join(p.dir, "runsc.log") }
func (p *program) setUpLog() string { return filepath.Join(p.dir, "setup.log") }

// said is the beginning of what a log holds.
func said(log string) string {
	b, _ := os.ReadFile(log) // it is there only if something was logged
	return string(bytes.TrimSpace(b[:min(len(b), 500)]))
}

// open waits for the first process of the namespace, puts it under the limits,
// and lets it become runsc.
func (p *program) open(gate *os.File) error {
	pid, err := peer(gate)
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the sandbox's process: %w", err)
	}
	p.mu.Lock()
	p.init = fd
	killed := p.killed
	p.mu.Unlock()
	if killed {
		return errClosed
	}
	if _, err := gate.Write([]byte("\n")); err != nil {
		return fmt.Errorf("let the program start: %w", err)
	}
	return nil
}

var errNamespaces = errors.New("the namespaces of the sandbox could not be made")

// peer returns the process that wrote into the socket, as the kernel says.
func peer(socket *os.File) (int, error) {
	var pid int
	raw, err := socket.SyscallConn()
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
			err = errNamespaces
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

// endNamespace kills what is left in the namespace and waits until it is gone:
// the first process of a namespace ends after all the others.
func (p *program) endNamespace() error {
	p.mu.Lock()
	fd := p.init
	p.mu.Unlock()
	if fd < 0 {
		return nil
	}
	defer func() {
		p.mu.Lock()
		p.init = -1
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
			return nil
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the end of the sandbox: %w", err)
		}
	}
}
