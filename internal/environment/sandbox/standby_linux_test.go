package sandbox

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/cgroup"
	"github.com/stayd/stayd/internal/environment/shell"
)

// unconfined starts programs in no sandbox.
type unconfined struct {
	launches atomic.Int32 // for programs that were known
	tell     func(c shell.Command) error
	first    func(cmd *exec.Cmd) (int, error)
}

func (c *unconfined) launch(argv ...string) *unconfinedLaunch {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return &unconfinedLaunch{c, cmd}
}

func (c *unconfined) Launch(command shell.Command, _ Shared) (Launch, error) {
	c.launches.Add(1)
	return c.launch(command.Argv...), nil
}

func (c *unconfined) LaunchAhead(Shared) (AheadLaunch, error) {
	return c.launch("/bin/sleep", "1000"), nil
}

func (c *unconfined) Free() error { return nil }

type unconfinedLaunch struct {
	*unconfined
	cmd *exec.Cmd
}

func (l *unconfinedLaunch) Command() *exec.Cmd { return l.cmd }

func (l *unconfinedLaunch) First() (int, error) {
	if l.first != nil {
		return l.first(l.cmd)
	}
	return l.cmd.Process.Pid, nil
}

func (l *unconfinedLaunch) Admit(int) error            { return nil }
func (l *unconfinedLaunch) Tell(c shell.Command) error { return l.tell(c) }
func (l *unconfinedLaunch) Close() error               { return nil }

func (l *unconfinedLaunch) Ended(waited error, _ bool) (int, error) {
	var exit *exec.ExitError
	if errors.As(waited, &exit) && !exit.Exited() {
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal()), nil
	}
	return 0, waited
}

// ended returns when a command has ended, as one who waits at its gate.
func ended(cmd *exec.Cmd) (int, error) {
	fd, err := unix.PidfdOpen(cmd.Process.Pid, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd) // nothing was written
	for {
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1); n > 0 || !errors.Is(err, unix.EINTR) {
			return 0, errors.New("it ended")
		}
	}
}

func openUnconfined(t *testing.T, c *unconfined) *Sandbox {
	t.Helper()
	spec := environment.Spec{Dir: t.TempDir()}
	if err := errors.Join(os.Mkdir(spec.WorkspaceDir(), 0o700), os.Mkdir(TmpDir(spec), 0o700)); err != nil {
		t.Fatal(err)
	}
	s := Open(Kind{Limits: shell.Limits{}.OrDefaults(), Standby: NewStandby(1, 0, time.Hour)}, cgroup.Find(), c, spec)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// waitForNext waits until a sandbox waits for the next program.
func waitForNext(t *testing.T, s *Sandbox) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // another goroutine's doing
		s.mu.Lock()
		waits := s.next.box != nil
		s.mu.Unlock()
		if waits {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("none waits for the next program")
		}
	}
}

// What was told of its program may have begun it: it is not started again, and
// counts as started, also where the call has ended meanwhile.
func TestToldAndCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &unconfined{tell: func(shell.Command) error { cancel(); return nil }}
	s := openUnconfined(t, c)
	s.Expect()
	waitForNext(t, s)
	p, err := s.Start(ctx, shell.Command{Argv: []string{"/bin/true"}})
	if err != nil || c.launches.Load() != 0 {
		t.Fatalf("%v, and it was launched %d times more", err, c.launches.Load())
	}
	if end, err := p.Wait(); err != nil || end.Code != 137 {
		t.Errorf("code %d, error %v", end.Code, err)
	}
}

// What cannot be told is not the program's: it starts its own.
func TestNotTold(t *testing.T) {
	c := &unconfined{tell: func(shell.Command) error { return errors.New("it does not hear") }}
	s := openUnconfined(t, c)
	s.Expect()
	waitForNext(t, s)
	p, err := s.Start(t.Context(), shell.Command{Argv: []string{"/bin/true"}})
	if err != nil || c.launches.Load() != 1 {
		t.Fatalf("%v, and it was launched %d times", err, c.launches.Load())
	}
	if end, err := p.Wait(); err != nil || end.Code != 0 {
		t.Errorf("code %d, error %v", end.Code, err)
	}
	// Where the call has ended, too, there is none to start.
	waitForNext(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	c.tell = func(shell.Command) error { cancel(); return errors.New("it does not hear") }
	if _, err := s.Start(ctx, shell.Command{Argv: []string{"/bin/true"}}); !errors.Is(err, context.Canceled) || c.launches.Load() != 1 {
		t.Errorf("%v, and it was launched %d times", err, c.launches.Load())
	}
}

// However many programs have ended beside one that goes on, another waits.
func TestNextBesideALongProgram(t *testing.T) {
	s := openUnconfined(t, &unconfined{tell: func(shell.Command) error { return errors.New("it does not hear") }})
	if _, err := s.Start(t.Context(), shell.Command{Argv: []string{"/bin/sleep", "1000"}}); err != nil {
		t.Fatal(err)
	}
	for range groupPrograms + 2 {
		p, err := s.Start(t.Context(), shell.Command{Argv: []string{"/bin/true"}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Wait(); err != nil {
			t.Fatal(err)
		}
		waitForNext(t, s)
	}
}

// Close does not wait for a sandbox that cannot be made.
func TestCloseWhileTheNextIsMade(t *testing.T) {
	begun := make(chan struct{})
	c := &unconfined{first: func(cmd *exec.Cmd) (int, error) {
		close(begun)
		return ended(cmd)
	}}
	s := openUnconfined(t, c)
	s.Expect()
	<-begun
	if err := s.Close(); err != nil { // a hang is the failure
		t.Error(err)
	}
}

// Until its first process is known, a sandbox is the process group of its command.
func TestKilledBeforeTheFirst(t *testing.T) {
	pid := filepath.Join(t.TempDir(), "pid")
	ctx, cancel := context.WithCancel(t.Context())
	c := &unconfined{first: func(cmd *exec.Cmd) (int, error) {
		for _, err := os.Stat(pid); err != nil; _, err = os.Stat(pid) {
			time.Sleep(time.Millisecond) // another process's doing
		}
		cancel()
		return ended(cmd)
	}}
	s := openUnconfined(t, c)
	// What holds the output goes, or Start waits for it.
	_, err := s.Start(ctx, shell.Command{Argv: []string{"/bin/sh", "-c", "sleep 1000 & echo $! > " + pid + "; wait"}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
