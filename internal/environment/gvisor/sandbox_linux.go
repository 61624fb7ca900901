package gvisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/cgroup"
	"github.com/stayd/stayd/internal/environment/netns"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/workspace"
)

// sandbox is the shell.Sandbox of one environment. What it needs of the machine
// is made for its first program.
type sandbox struct {
	driver      *Driver
	runsc       string
	folder, tmp string // on this machine, what programs see as /workspace and /tmp
	env         map[string]string
	proxy       environment.Proxy
	disk        *workspace.Disk

	mu       sync.Mutex
	made     bool
	closed   bool
	scratch  string // a folder of its own, which goes with it
	bundle   *bundle
	group    *cgroup.Group
	network  *netns.Namespace // nil: each program has its own
	served   chan error       // the end of the proxy
	starts   chan func()      // run by the thread that starts the programs
	thread   sync.WaitGroup
	n        int
	programs map[*program]bool
	running  sync.WaitGroup // of programs, and of who watches them
	watched  chan struct{}  // closed when no program runs any more

	closing sync.Once
	err     error
}

var errClosed = errors.New("the environment was closed")

// Limits implements shell.Sandbox.
func (s *sandbox) Limits() shell.Limits { return s.driver.cfg.Limits }

// make makes what the programs share. The caller holds s.mu.
func (s *sandbox) make(ctx context.Context) error {
	if s.made {
		return nil
	}
	var err error
	if s.scratch, err = newScratch(); err != nil {
		return err
	}
	if s.bundle, err = newBundle(filepath.Join(s.scratch, "root"), s.folder, s.tmp, s.driver.cfg.Data); err != nil {
		return errors.Join(err, s.free())
	}
	limits := s.Limits()
	// To the machine, a thread of a program's is one of its kernel's, too, which
	// also has its own.
	if s.group, err = s.driver.groups.Create(limits, limits.Processes+shell.MaxProcesses*kernelThreads()); err != nil {
		return errors.Join(err, s.free())
	}
	if helper := s.driver.cfg.Helper; helper != nil {
		if s.network, err = netns.Open(ctx, netns.Config{Helper: helper, Listen: s.proxy != nil}); err != nil {
			return errors.Join(err, s.free())
		}
	}
	if s.proxy != nil && s.network != nil {
		s.served = make(chan error, 1)
		go func() { s.served <- s.proxy.Serve(s.network.Listener()) }()
	}
	s.starts = make(chan func())
	s.thread.Go(s.startPrograms)
	s.made = true
	return nil
}

// kernelThreads is how many threads runsc may have for a program, beside those
// of the program. It has about 60 where there are two processors.
func kernelThreads() int { return 64 + 8*runtime.NumCPU() }

// startPrograms starts them, all from one thread: a program ends when the thread
// that started it does.
func (s *sandbox) startPrograms() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := range s.starts {
		start()
	}
}

// Start implements shell.Sandbox.
func (s *sandbox) Start(ctx context.Context, c shell.Command) (shell.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	p, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx, c); err != nil {
		s.leave(p)
		return nil, fmt.Errorf("start the sandbox: %w", err)
	}
	go func() {
		defer s.leave(p)
		p.supervise()
	}()
	return p, nil
}

// enter notes a program that is about to be started.
func (s *sandbox) enter(ctx context.Context) (*program, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if err := s.make(ctx); err != nil {
		return nil, err
	}
	s.n++
	p := &program{sandbox: s, dir: filepath.Join(s.scratch, strconv.Itoa(s.n)), init: -1, outOfMemory: s.group.Killed(), done: make(chan struct{})}
	s.programs[p] = true
	s.running.Add(1)
	if len(s.programs) == 1 {
		watched := make(chan struct{})
		s.watched = watched
		s.running.Go(func() { s.disk.Watch(watched, s.full) })
	}
	return p, nil
}

func (s *sandbox) leave(p *program) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.programs, p)
	if len(s.programs) == 0 {
		close(s.watched)
	}
	s.running.Done()
}

// full stops the programs, as there is no room for what they write.
func (s *sandbox) full() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.programs {
		p.full.Store(true)
		p.Kill()
	}
}

// Close implements shell.Sandbox.
func (s *sandbox) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		for p := range s.programs {
			p.Kill()
		}
		s.mu.Unlock()
		s.running.Wait()
		if s.made {
			close(s.starts)
			s.thread.Wait()
		}
		var errs []error
		if s.proxy != nil {
			errs = append(errs, s.proxy.Close())
		}
		errs = append(errs, s.free())
		if s.served != nil {
			if err := <-s.served; err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, fmt.Errorf("serve the environment's proxy: %w", err))
			}
		}
		s.err = errors.Join(errs...)
	})
	return s.err
}

// free gives back what make took of the machine.
func (s *sandbox) free() error {
	var errs []error
	if s.network != nil {
		errs = append(errs, s.network.Close())
	}
	if s.group != nil {
		errs = append(errs, s.group.Remove())
	}
	if s.scratch != "" {
		errs = append(errs, os.RemoveAll(s.scratch)) //nolint:gosec // made by newScratch
	}
	s.network, s.group, s.scratch = nil, nil, ""
	return errors.Join(errs...)
}
