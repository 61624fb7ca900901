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
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/shell"
)

// box is the namespaces of one program, and in them the program, or what waits to
// become it.
type box struct {
	launch        Launch
	cmd           *exec.Cmd
	stdin, output *os.File
	copied        chan error // nil until somebody reads the output

	mu      sync.Mutex
	started bool // the command runs
	killed  bool
	first   int // pidfd of the namespace's first process; -1 before and after
}

// newBox starts the command of a launch, from the thread that it ends with. After
// an error nothing of the launch is left.
func newBox(l Launch, starts chan<- func()) (*box, error) {
	b := &box{launch: l, cmd: l.Command(), first: -1}
	if err := b.startCommand(starts); err != nil {
		return nil, errors.Join(err, b.free())
	}
	return b, nil
}

func (b *box) startCommand(starts chan<- func()) (err error) {
	theirs := b.cmd.ExtraFiles[:len(b.cmd.ExtraFiles):len(b.cmd.ExtraFiles)]
	if own, ok := b.cmd.Stderr.(*os.File); ok {
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
	b.stdin, theirs = stdin, append(theirs, in)
	output, out, err := os.Pipe()
	if err != nil {
		return err
	}
	b.output, theirs = output, append(theirs, out)
	b.cmd.Stdin, b.cmd.Stdout = in, out
	if b.cmd.Stderr == nil {
		b.cmd.Stderr = out
	}
	started := make(chan error, 1)
	starts <- func() { started <- b.startHere() }
	return <-started
}

func (b *box) startHere() error {
	// What this process inherited from the one that started it, and does not know
	// of, must not be inherited by a program.
	if err := unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return fmt.Errorf("keep open files from the program: %w", err)
	}
	if err := b.cmd.Start(); err != nil {
		return fmt.Errorf("run %s: %w", b.cmd.Path, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.started = true
	if b.killed {
		b.signal()
	}
	return nil
}

// admit takes hold of the first process of the namespace, and has it go on.
func (b *box) admit(ctx context.Context) error {
	stop := context.AfterFunc(ctx, b.kill)
	err := b.letIn()
	if !stop() && err != nil {
		return context.Cause(ctx)
	}
	return err // without one the program may have begun, even if it was killed at once
}

func (b *box) letIn() error {
	pid, err := b.launch.First()
	if err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fmt.Errorf("open the sandbox's process: %w", err)
	}
	b.mu.Lock()
	b.first = fd
	killed := b.killed
	b.mu.Unlock()
	if killed {
		return shell.ErrClosed
	}
	return b.launch.Admit(pid)
}

// copyTo begins to copy the output, until nobody can write any more.
func (b *box) copyTo(w io.Writer) {
	b.copied = make(chan error, 1)
	go func() { b.copied <- copyAll(w, b.output) }()
}

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

// kill has all that is in it end at once.
func (b *box) kill() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.killed = true
	b.signal()
}

// signal kills what there is of it: before the first process is known, the process
// group that the command leads. The caller holds b.mu.
func (b *box) signal() {
	switch {
	case b.first >= 0:
		unix.PidfdSendSignal(b.first, unix.SIGKILL, nil, 0) //nolint:errcheck,gosec // it fails where it has ended
	case b.started:
		unix.Kill(-b.cmd.Process.Pid, unix.SIGKILL) //nolint:errcheck,gosec // the same
	}
}

// wait waits for the end of the command. Its process group is not killed any more
// when its number may be that of another.
func (b *box) wait() error {
	pid := b.cmd.Process.Pid
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
	b.mu.Lock()
	b.started = false
	b.mu.Unlock()
	return b.cmd.Wait()
}

// wasKilled reports whether kill was called.
func (b *box) wasKilled() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.killed
}

// discard ends a box that has no program, and frees what it had.
func (b *box) discard() error {
	b.kill()
	b.wait() //nolint:errcheck,gosec // it was killed
	gone := b.endNamespace()
	if b.copied != nil {
		<-b.copied //nolint:errcheck // there is nobody to read it
	}
	return errors.Join(gone, b.free())
}

// free frees what it had; nothing runs in it any more.
func (b *box) free() error {
	b.stdin.Close()  //nolint:errcheck,gosec // a pipe, or nil
	b.output.Close() //nolint:errcheck,gosec // a pipe that was read, or nil
	return b.launch.Close()
}

// endNamespace kills what is left in the namespace and waits until it is gone:
// the first process of a namespace ends after all the others.
func (b *box) endNamespace() error {
	b.mu.Lock()
	fd := b.first
	b.mu.Unlock()
	if fd < 0 {
		return nil
	}
	defer func() {
		b.mu.Lock()
		b.first = -1
		b.mu.Unlock()
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
