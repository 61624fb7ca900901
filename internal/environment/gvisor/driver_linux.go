package gvisor

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
	"github.com/stayd/stayd/internal/environment/view"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/tool"
)

// Driver is the environment.Driver of the sandbox "gvisor".
type Driver struct {
	cfg    Config
	groups *cgroup.Hierarchies

	mu    sync.Mutex
	runsc string // once a program ran in it
	has   shell.Programs
}

// New returns a driver. Whether the machine has what it needs, Check says.
func New(cfg Config) *Driver {
	clearScratch()
	return &Driver{cfg: cfg.orDefaults(), groups: cgroup.Find()}
}

// MemoryLimit is how memory is limited on this machine: "cgroup v1" or "cgroup
// v2" bound all the processes of an environment together. Where it is empty, each
// program's address space is bound, but not what its kernel keeps for it.
func (d *Driver) MemoryLimit() string { return d.groups.MemoryLimit() }

// Check runs a program in the sandbox. Once that went well it is not repeated.
func (d *Driver) Check(ctx context.Context) error {
	_, _, err := d.check(ctx)
	return err
}

func (d *Driver) check(ctx context.Context) (runsc string, has shell.Programs, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.runsc != "" {
		return d.runsc, d.has, nil
	}
	runsc, err = find(d.cfg.Path)
	if err != nil {
		return "", has, err
	}
	dir, err := newScratch()
	if err != nil {
		return "", has, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it holds nothing
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s := newSandbox(d, runsc, environment.Spec{}, dir, dir)
	has, err = shell.Probe(ctx, s)
	if err = errors.Join(err, s.Close()); err != nil {
		return "", has, notRun(strings.TrimSpace(err.Error()))
	}
	d.runsc, d.has = runsc, has
	return runsc, has, nil
}

func notRun(said string) error {
	install := "see what runsc says"
	low := strings.ToLower(said)
	if strings.Contains(low, "unshare") || strings.Contains(low, "namespace") || strings.Contains(low, "not permitted") || strings.Contains(low, "permission denied") {
		install = "install util-linux and allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0; in a container, allow unshare, mount and pivot_root"
	}
	return unavailable("a program could not be run in it: "+said, install)
}

// Open opens the session's environment. It is refused where Check fails.
func (d *Driver) Open(ctx context.Context, spec environment.Spec) (tool.Server, error) {
	runsc, has, err := d.check(ctx)
	if err != nil {
		return nil, err
	}
	if err := shell.CheckVariables(spec.Env); err != nil {
		return nil, err
	}
	if spec.Proxy != nil && d.cfg.Helper == nil {
		return nil, unavailable("network access was asked for, and no network namespaces can be made", "the runtime is to be configured with a helper for them")
	}
	files, err := workspace.Open(spec)
	if err != nil {
		return nil, err
	}
	tmp := filepath.Join(spec.Dir, "tmp")
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return nil, errors.Join(fmt.Errorf("clear the environment's /tmp: %w", err), files.Close())
	}
	if err := os.Chmod(tmp, 0o777|os.ModeSticky); err != nil { // as /tmp is, for the environment's one user
		return nil, errors.Join(fmt.Errorf("clear the environment's /tmp: %w", err), files.Close())
	}
	s := newSandbox(d, runsc, spec, spec.WorkspaceDir(), tmp)
	files.SetDisk(s.disk)
	return shell.New(s, files, d.cfg.Code, spec, has), nil
}

func newSandbox(d *Driver, runsc string, spec environment.Spec, folder, tmp string) *sandbox {
	return &sandbox{
		driver: d, runsc: runsc, folder: folder, tmp: tmp, env: view.Variables(spec), proxy: spec.Proxy,
		disk: workspace.NewDisk(d.cfg.Limits.Disk, folder, tmp), programs: map[*program]bool{},
	}
}
