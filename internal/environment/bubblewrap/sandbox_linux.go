package bubblewrap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
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
	bwrap       string
	folder, tmp string // folders on this machine; empty for none
	env         map[string]string
	proxy       environment.Proxy
	disk        *workspace.Disk // nil where there are no folders

	mu     sync.Mutex
	made   bool
	closed bool
	group  *cgroup.Group
	// oldGroups could not be removed when they were replaced; started counts the
	// programs of group.
	oldGroups []*cgroup.Group
	started   int
	network   *netns.Namespace // nil: each program has its own
	served    chan error       // the end of the proxy
	starts    chan func()      // run by the thread that starts the programs
	thread    sync.WaitGroup
	programs  map[*program]bool
	running   sync.WaitGroup // of programs
	watched   chan struct{}  // closed when no program runs any more
}

var errClosed = errors.New("the environment was closed")

// Limits implements shell.Sandbox.
func (s *sandbox) Limits() shell.Limits { return s.driver.cfg.Limits }

// make makes what the programs share. The caller holds s.mu.
func (s *sandbox) make(ctx context.Context) error {
	if s.made {
		return nil
	}
	// Each program has a process of bwrap's in its namespace, which is not the
	// agent's.
	g, err := s.driver.groups.Create(s.driver.cfg.Limits, shell.MaxProcesses)
	if err != nil {
		return err
	}
	s.group = g
	if helper := s.driver.cfg.NetHelper; helper != nil && s.folder != "" {
		s.network, err = netns.Open(ctx, netns.Config{Helper: helper, Listen: s.proxy != nil})
		if err != nil {
			return errors.Join(err, g.Remove())
		}
	}
	if s.proxy != nil && s.network != nil {
		s.served = make(chan error, 1)
		go func() { s.served <- s.proxy.Serve(s.network.Listener()) }()
	}
	s.starts = make(chan func())
	s.thread.Add(1)
	go s.startPrograms()
	s.made = true
	return nil
}

// startPrograms starts them, all from one thread: a program ends when the thread
// that started it does.
func (s *sandbox) startPrograms() {
	defer s.thread.Done()
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
		return nil, err
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
	if err := s.renewGroup(); err != nil {
		return nil, err
	}
	s.started++
	p := &program{sandbox: s, init: -1, killed: s.group.Killed(), done: make(chan struct{})}
	s.programs[p] = true
	s.running.Add(1)
	if len(s.programs) == 1 && s.disk != nil {
		watched := make(chan struct{})
		s.watched = watched
		s.running.Go(func() { s.disk.Watch(watched, s.full) })
	}
	return p, nil
}

// groupPrograms is how many programs one control group has. The first process of
// each namespace is left to the machine's init when it has ended, and counts as a
// process of the group until init has taken note of it, which may take seconds.
const groupPrograms = 48

// renewGroup takes a new control group now and then, while nothing runs in the
// one that there is. The caller holds mu.
func (s *sandbox) renewGroup() error {
	if len(s.programs) > 0 || s.started < groupPrograms {
		return nil
	}
	g, err := s.driver.groups.Create(s.driver.cfg.Limits, shell.MaxProcesses)
	if err != nil {
		return err
	}
	if s.group.Remove() != nil {
		s.oldGroups = append(s.oldGroups, s.group) // it is removed at the end
	}
	s.group, s.started = g, 0
	return nil
}

func (s *sandbox) leave(p *program) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.programs, p)
	if len(s.programs) == 0 && s.watched != nil {
		close(s.watched)
		s.watched = nil
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
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	for p := range s.programs {
		p.Kill()
	}
	s.mu.Unlock()
	s.running.Wait()
	if !first || !s.made {
		if first && s.proxy != nil {
			return s.proxy.Close()
		}
		return nil
	}
	close(s.starts)
	s.thread.Wait()
	var errs []error
	if s.proxy != nil {
		errs = append(errs, s.proxy.Close())
	}
	if s.network != nil {
		errs = append(errs, s.network.Close())
	}
	if s.served != nil {
		if err := <-s.served; err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, fmt.Errorf("serve the environment's proxy: %w", err))
		}
	}
	for _, g := range append(s.oldGroups, s.group) {
		errs = append(errs, g.Remove())
	}
	return errors.Join(errs...)
}
