package sandbox

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

// Sandbox is the shell.Sandbox of one environment. What it needs of the machine
// is made for its first program, or before where one is expected.
type Sandbox struct {
	ctx         context.Context //nolint:containedctx // of what is started ahead; ends with Close
	stop        context.CancelFunc
	kind        Kind
	groups      *cgroup.Hierarchies
	confinement Confinement
	ahead       Ahead // the confinement, where sandboxes are started ahead; nil otherwise
	proxy       environment.Proxy
	disk        *workspace.Disk

	mu     sync.Mutex
	made   bool
	closed bool
	shared Shared
	// oldGroups could not be removed when they were replaced; started counts the
	// programs of the group.
	oldGroups []*cgroup.Group
	started   int
	served    chan error  // the end of the proxy
	starts    chan func() // run by the thread that starts the programs
	thread    sync.WaitGroup
	programs  map[*program]bool
	running   sync.WaitGroup // of programs, and of who watches them
	watched   chan struct{}  // closed when no program runs any more
	next      next

	closing sync.Once
	err     error
}

// Open returns the sandbox of an environment whose folders are there.
func Open(k Kind, groups *cgroup.Hierarchies, c Confinement, spec environment.Spec) *Sandbox {
	ctx, stop := context.WithCancel(context.Background())
	s := &Sandbox{
		ctx: ctx, stop: stop,
		kind: k, groups: groups, confinement: c, proxy: spec.Proxy, programs: map[*program]bool{},
		disk: workspace.NewDisk(k.Limits.Disk, spec.WorkspaceDir(), TmpDir(spec)),
	}
	if k.Standby != nil {
		s.ahead = c.(Ahead)
	}
	return s
}

// Limits implements shell.Sandbox.
func (s *Sandbox) Limits() shell.Limits { return s.kind.Limits }

// make makes what the programs share. The caller holds s.mu.
func (s *Sandbox) make(ctx context.Context) (err error) {
	if s.made {
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.free())
		}
	}()
	if s.shared.Group, err = s.groups.Create(s.kind.Limits, s.kind.Spare); err != nil {
		return err
	}
	if helper := s.kind.Helper; helper != nil {
		if s.shared.Network, err = netns.Open(ctx, netns.Config{Helper: helper, Listen: s.proxy != nil}); err != nil {
			return err
		}
	}
	if s.proxy != nil && s.shared.Network != nil {
		s.served = make(chan error, 1)
		listener := s.shared.Network.Listener()
		go func() { s.served <- s.proxy.Serve(listener) }()
	}
	s.starts = make(chan func())
	s.thread.Go(s.startPrograms)
	s.made = true
	return nil
}

// startPrograms starts them, all from one thread: a program ends when the thread
// that started it does.
func (s *Sandbox) startPrograms() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := range s.starts {
		start()
	}
}

// Start implements shell.Sandbox.
func (s *Sandbox) Start(ctx context.Context, c shell.Command) (shell.Process, error) {
	s.awaitNext(ctx)
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	p, standby, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx, c, standby); err != nil {
		s.leave(p)
		return nil, fmt.Errorf("start the sandbox: %w", err)
	}
	go func() {
		defer s.leave(p)
		p.supervise()
	}()
	return p, nil
}

// enter notes a program that is about to be started, and takes what waits for it,
// if there is something.
func (s *Sandbox) enter(ctx context.Context) (p *program, standby *box, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, nil, shell.ErrClosed
	}
	if err := s.make(ctx); err != nil {
		return nil, nil, err
	}
	if standby = s.takeNext(); standby == nil {
		if err := s.renewGroup(); err != nil {
			return nil, nil, err
		}
		s.started++
	}
	s.disk.Tolerate()
	p = &program{sandbox: s, shared: s.shared, outOfMemory: s.shared.Group.Killed(), done: make(chan struct{})}
	s.programs[p] = true
	s.running.Add(1)
	if len(s.programs) == 1 {
		watched := make(chan struct{})
		s.watched = watched
		s.running.Go(func() { s.disk.Watch(watched, s.full) })
	}
	return p, standby, nil
}

// groupPrograms is how many programs one control group has. The first process of
// a namespace, where it is in the group, may be left to the machine's init when it
// has ended, and counts as a process of the group until init has taken note of it,
// which may take seconds.
const groupPrograms = 48

// renewGroup takes a new control group now and then, while nothing runs in the
// one that there is. The caller holds mu.
func (s *Sandbox) renewGroup() error {
	if len(s.programs) > 0 || s.next.begun != nil || s.started < groupPrograms {
		return nil
	}
	g, err := s.groups.Create(s.kind.Limits, s.kind.Spare)
	if err != nil {
		return err
	}
	if s.shared.Group.Remove() != nil {
		s.oldGroups = append(s.oldGroups, s.shared.Group) // it is removed at the end
	}
	s.shared.Group, s.started = g, 0
	return nil
}

func (s *Sandbox) leave(p *program) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.programs, p)
	if len(s.programs) == 0 {
		close(s.watched)
	}
	s.planNext()
	s.running.Done()
}

// full stops the programs, as there is no room for what they write.
func (s *Sandbox) full() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.programs {
		p.full.Store(true)
		p.Kill()
	}
}

// Close implements shell.Sandbox.
func (s *Sandbox) Close() error {
	s.closing.Do(func() {
		s.stop()
		s.mu.Lock()
		s.closed = true
		for p := range s.programs {
			p.Kill()
		}
		standby := s.takeNext()
		s.mu.Unlock()
		if standby != nil {
			s.err = standby.discard()
		}
		s.running.Wait()
		if s.made {
			close(s.starts)
			s.thread.Wait()
		}
		if s.proxy != nil {
			s.err = errors.Join(s.err, s.proxy.Close())
		}
		s.err = errors.Join(s.err, s.free())
		if s.served != nil {
			if err := <-s.served; err != nil && !errors.Is(err, net.ErrClosed) {
				s.err = errors.Join(s.err, fmt.Errorf("serve the environment's proxy: %w", err))
			}
		}
	})
	return s.err
}

// free gives back what the programs had of the machine. Nothing is left then.
func (s *Sandbox) free() error {
	var errs []error
	if s.shared.Network != nil {
		errs = append(errs, s.shared.Network.Close())
	}
	if s.shared.Group != nil {
		s.oldGroups = append(s.oldGroups, s.shared.Group)
	}
	for _, g := range s.oldGroups {
		errs = append(errs, g.Remove())
	}
	s.shared, s.oldGroups = Shared{}, nil
	return errors.Join(append(errs, s.confinement.Free())...)
}
