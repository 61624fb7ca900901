package gvisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/stayd/stayd/internal/environment/netns"
	"github.com/stayd/stayd/internal/environment/shell"
)

// sandbox is the shell.Sandbox of one environment.
type sandbox struct {
	runsc   string
	limits  shell.Limits
	env     map[string]string
	scratch string // a folder of its own, which goes with it
	bundle  *bundle
	network *netns.Namespace // nil: each program has one of its own

	mu      sync.Mutex
	closed  bool
	n       int
	running map[*program]struct{}
	ended   sync.WaitGroup

	closing sync.Once
	err     error
}

var errClosed = errors.New("the sandbox was closed")

// newSandbox makes a sandbox whose programs see the two folders as /workspace
// and /tmp. The network is its own from here on.
func newSandbox(runsc string, l shell.Limits, env map[string]string, workspace, tmp string, network *netns.Namespace) (*sandbox, error) {
	s := &sandbox{runsc: runsc, limits: l, env: env, network: network, running: map[*program]struct{}{}}
	var err error
	if s.scratch, err = newScratch(); err == nil {
		s.bundle, err = newBundle(filepath.Join(s.scratch, "root"), workspace, tmp)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Limits are those of all programs together.
func (s *sandbox) Limits() shell.Limits { return s.limits }

// Start starts a program.
func (s *sandbox) Start(ctx context.Context, c shell.Command) (shell.Process, error) {
	p, err := s.enter()
	if err != nil {
		return nil, err
	}
	if err := p.start(ctx, c); err != nil {
		if p.stdin != nil {
			p.stdin.Close() //nolint:errcheck,gosec // nothing was written
		}
		return nil, fmt.Errorf("start a program in the sandbox: %w", err)
	}
	return p, nil
}

// enter counts a program in.
func (s *sandbox) enter() (*program, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	s.n++
	p := &program{sandbox: s, dir: filepath.Join(s.scratch, strconv.Itoa(s.n)), init: -1, started: make(chan error, 1), done: make(chan struct{})}
	s.running[p] = struct{}{}
	s.ended.Add(1)
	return p, nil
}

func (s *sandbox) leave(p *program) {
	s.mu.Lock()
	delete(s.running, p)
	s.mu.Unlock()
	s.ended.Done()
}

// Close ends all programs.
func (s *sandbox) Close() error {
	s.closing.Do(func() {
		s.mu.Lock()
		s.closed = true
		for p := range s.running {
			p.Kill()
		}
		s.mu.Unlock()
		s.ended.Wait()
		var errs []error
		if s.network != nil {
			errs = append(errs, s.network.Close())
		}
		if s.scratch != "" {
			errs = append(errs, os.RemoveAll(s.scratch))
		}
		if err := errors.Join(errs...); err != nil {
			s.err = fmt.Errorf("close the sandbox: %w", err)
		}
	})
	return s.err
}

// scratchName is the name of a scratch folder up to the process id of its owner.
const scratchName = "stayd-gvisor-"

// newScratch makes a folder for what runsc needs of files. It is not below the
// session's folder: the path of a socket in it may have 107 bytes.
func newScratch() (string, error) {
	dir, err := os.MkdirTemp("", scratchName+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return "", fmt.Errorf("make a folder for the sandbox: %w", err)
	}
	return dir, nil
}

// clearScratch removes the folders of processes that are no more.
func clearScratch() {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), scratchName+"*")) // the pattern is well formed
	for _, dir := range left {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), scratchName), "-")
		var st unix.Stat_t
		if unix.Lstat(dir, &st) != nil || st.Uid != uint32(os.Geteuid()) {
			continue
		}
		if pid, err := strconv.Atoi(owner); err == nil && errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			os.RemoveAll(dir) //nolint:errcheck,gosec // what cannot be removed stays, and harms no one
		}
	}
}
