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
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/shell"
)

// program is one runsc with its program.
type program struct {
	sandbox     *sandbox
	dir         string // its folder, which goes with it
	outOfMemory int    // killed by the kernel for memory, in the environment before
	full        atomic.Bool

	files files
	cmd   *exec.Cmd

	mu     sync.Mutex
	killed bool
	init   int // pidfd of the first process of the namespace; -1 before and after

	copied chan error
	done   chan struct{} // closed at the end; end and err are set before
	end    shell.End
	err    error
}

// Stdin implements shell.Process.
func (p *program) Stdin() io.WriteCloser { return p.files.stdin }

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
	if p.init >= 0 {
		unix.PidfdSendSignal(p.init, unix.SIGKILL, nil, 0) //nolint:errcheck,gosec // it fails where it has ended
	}
}

// gate is what runs in the new namespace before runsc: it says that it is there,
// and becomes runsc when it is told to. Descriptor 3 is a socket of the runtime,
// and where that is gone it ends. What is printed before it is not the program's.
const gate = `exec 2>&1; echo >&3; read -r _ <&3 && exec "$@" 3<&-`

// start starts the program. After an error, nothing of it is left.
func (p *program) start(ctx context.Context, c shell.Command) error {
	if err := p.prepare(c); err != nil {
		p.files.stdin.Close() //nolint:errcheck,gosec // a pipe, or nil
		return errors.Join(fmt.Errorf("prepare: %w", err), p.free())
	}
	started := make(chan error, 1)
	p.sandbox.starts <- func() { started <- p.startUnshare() }
	if err := <-started; err != nil {
		p.files.stdin.Close() //nolint:errcheck,gosec // a pipe
		return errors.Join(err, p.free())
	}
	p.files.given()
	p.copied = make(chan error, 1)
	go func() { p.copied <- p.files.copyTo(c.Output) }()
	stop := context.AfterFunc(ctx, func() { p.files.gate.Close() }) //nolint:errcheck,gosec // it then lets nobody through
	err := p.open()
	if !stop() {
		err = context.Cause(ctx)
	}
	if err == nil {
		return nil
	}
	p.Kill()
	p.cmd.Process.Kill() //nolint:errcheck,gosec // it fails where it has ended
	p.cmd.Wait()         //nolint:errcheck,gosec // it was killed
	gone := p.endNamespace()
	<-p.copied //nolint:errcheck // there is nobody to read it
	if errors.Is(err, errNamespaces) {
		err = fmt.Errorf("%w: %s", err, said(p.setUpLog()))
	}
	p.files.stdin.Close() //nolint:errcheck,gosec // a pipe
	return errors.Join(err, gone, p.free())
}

// startUnshare starts it from the thread that it ends with.
func (p *program) startUnshare() error {
	// What this process inherited from the one that started it, and does not know
	// of, must not be inherited by a program.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep open files from the program: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", p.cmd.Path, err)
	}
	return nil
}

// supervise waits for the end of the program, and until nothing of it is left.
func (p *program) supervise() {
	defer close(p.done)
	waited := p.cmd.Wait()
	err := p.endNamespace()
	if copyErr := <-p.copied; err == nil && copyErr != nil {
		err = fmt.Errorf("read the output: %w", copyErr)
	}
	if err == nil {
		p.end, err = p.ended(waited)
	}
	p.err = errors.Join(err, p.free())
}

// free removes what the program had of the machine.
func (p *program) free() error {
	p.files.close()
	if err := os.RemoveAll(p.dir); err != nil { //nolint:gosec // the folder is the sandbox's own
		return fmt.Errorf("remove the sandbox's files: %w", err)
	}
	return nil
}

// ended says how the program ended, by how unshare did, which ends as runsc
// does, which ends as the program does.
func (p *program) ended(waited error) (shell.End, error) {
	end := shell.End{}
	switch s := p.sandbox; {
	case p.full.Load():
		end.Limit = "disk"
	case s.group.Killed() > p.outOfMemory:
		end.Limit = "memory"
	case s.disk.Over():
		end.Limit = "disk"
	}
	if waited == nil {
		return end, nil
	}
	var exit *exec.ExitError
	if !errors.As(waited, &exit) {
		return end, fmt.Errorf("wait for the sandbox: %w", waited)
	}
	end.Code = exit.ExitCode()
	why := p.failure(exit)
	switch {
	case p.wasKilled(), why != "" && end.Limit == "memory":
		end.Code = 128 + int(unix.SIGKILL)
	case why != "":
		return end, fmt.Errorf("the sandbox failed: %s", why)
	}
	return end, nil
}

// failure says why the sandbox, and not the program, failed. It is empty if it
// did not.
func (p *program) failure(exit *exec.ExitError) string {
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return fmt.Sprintf("it was ended from outside, by signal %d", ws.Signal())
	}
	// unshare has nothing to say but that its child got a signal.
	if text := said(p.setUpLog()); text != "" {
		return "it was ended from outside: " + text
	}
	if exit.ExitCode() == failed {
		return said(p.log())
	}
	return ""
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
	b, _ := os.ReadFile(log) //nolint:gosec // it is there only if something was logged
	return string(bytes.TrimSpace(b[:min(len(b), 500)]))
}

// open waits for the first process of the namespace, puts it under the limits,
// and lets it become runsc.
func (p *program) open() error {
	pid, err := peer(p.files.gate)
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
	if err := p.sandbox.group.Add(pid); err != nil {
		return err
	}
	if _, err := p.files.gate.Write([]byte("\n")); err != nil {
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
