package sandbox

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/cgroup"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/tool"
)

// Driver is the environment.Driver of a kind of sandbox.
type Driver struct {
	kind   Kind
	groups *cgroup.Hierarchies

	mu   sync.Mutex
	path string // of what makes sandboxes, once it made one
	has  shell.Programs
}

// New returns a driver. Whether the machine has what it needs, Check says.
func New(k Kind) *Driver { return &Driver{kind: k, groups: cgroup.Find()} }

// MemoryLimit is how memory is limited on this machine: "cgroup v1" or "cgroup
// v2" bound all the processes of an environment together. Where it is empty, the
// address space of each of them is.
func (d *Driver) MemoryLimit() string { return d.groups.MemoryLimit() }

// Check runs a program in the sandbox. Once that went well it is not repeated.
func (d *Driver) Check(ctx context.Context) error {
	_, _, err := d.check(ctx)
	return err
}

func (d *Driver) check(ctx context.Context) (path string, has shell.Programs, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.path != "" {
		return d.path, d.has, nil
	}
	if path, err = d.kind.Find(); err != nil {
		return "", has, err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if has, err = d.try(ctx, path); err != nil {
		return "", has, d.unavailable(path, strings.TrimSpace(err.Error()))
	}
	d.path, d.has = path, has
	return path, has, nil
}

// try looks for programs in an environment that is nobody's.
func (d *Driver) try(ctx context.Context, path string) (has shell.Programs, err error) {
	spec := environment.Spec{}
	if spec.Dir, err = os.MkdirTemp("", "stayd-try-"); err != nil {
		return has, fmt.Errorf("make a folder to try it in: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(spec.Dir)) }()
	if err := os.Mkdir(spec.WorkspaceDir(), 0o700); err != nil {
		return has, fmt.Errorf("make a folder to try it in: %w", err)
	}
	s, err := d.sandbox(path, spec)
	if err != nil {
		return has, err
	}
	has, err = shell.Probe(ctx, s)
	return has, errors.Join(err, s.Close())
}

func (d *Driver) unavailable(path, said string) error {
	e := &environment.UnavailableError{Sandbox: d.kind.Name, Reason: "a program could not be run in it: " + said, Install: "see what " + filepath.Base(path) + " says"}
	low := strings.ToLower(said)
	for _, sign := range []string{"unshare", "namespace", "uid map", "not permitted", "permission denied"} {
		if strings.Contains(low, sign) {
			e.Install = "install util-linux and allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0; in a container, allow unshare, mount and pivot_root"
		}
	}
	return e
}

// Open opens the session's environment. It is refused where Check fails.
func (d *Driver) Open(ctx context.Context, spec environment.Spec) (tool.Server, error) {
	path, has, err := d.check(ctx)
	if err != nil {
		return nil, err
	}
	if err := shell.CheckVariables(spec.Env); err != nil {
		return nil, err
	}
	if spec.Proxy != nil && d.kind.Helper == nil {
		return nil, &environment.UnavailableError{Sandbox: d.kind.Name, Reason: "network access was asked for, and no network namespaces can be made", Install: "the runtime is to be configured with a helper for them"}
	}
	files, err := workspace.Open(spec)
	if err != nil {
		return nil, err
	}
	s, err := d.sandbox(path, spec)
	if err != nil {
		return nil, errors.Join(err, files.Close())
	}
	files.SetDisk(s.disk)
	s.Expect()
	return shell.New(s, files, d.kind.Code, spec, has), nil
}

// sandbox returns an environment's sandbox, with an empty /tmp.
func (d *Driver) sandbox(path string, spec environment.Spec) (*Sandbox, error) {
	tmp := TmpDir(spec)
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return nil, fmt.Errorf("clear the environment's /tmp: %w", err)
	}
	if err := os.Chmod(tmp, 0o777|os.ModeSticky); err != nil { // as /tmp is, for the environment's one user
		return nil, fmt.Errorf("clear the environment's /tmp: %w", err)
	}
	return Open(d.kind, d.groups, d.kind.Confine(path, spec), spec), nil
}
