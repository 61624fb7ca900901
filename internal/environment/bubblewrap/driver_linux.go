package bubblewrap

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
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

// Driver is the environment.Driver of the sandbox "bubblewrap".
type Driver struct {
	cfg    Config
	groups *cgroup.Hierarchies

	mu    sync.Mutex
	bwrap string // once a program ran in it
	has   shell.Programs
}

// New returns a driver. Whether the machine has what it needs, Check says.
func New(cfg Config) *Driver {
	return &Driver{cfg: cfg.orDefaults(), groups: cgroup.Find()}
}

// MemoryLimit is how memory is limited on this machine: "cgroup v1" or "cgroup
// v2" bound all the processes of an environment together, "RLIMIT_AS" the address
// space of each of them.
func (d *Driver) MemoryLimit() string {
	if how := d.groups.MemoryLimit(); how != "" {
		return how
	}
	return "RLIMIT_AS"
}

// Check runs a program in the sandbox. Once that went well it is not repeated.
func (d *Driver) Check(ctx context.Context) error {
	_, _, err := d.check(ctx)
	return err
}

func (d *Driver) check(ctx context.Context) (bwrap string, has shell.Programs, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bwrap != "" {
		return d.bwrap, d.has, nil
	}
	name := d.cfg.Path
	if name == "" {
		name = "bwrap"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", has, &environment.UnavailableError{Sandbox: sandboxName, Reason: "there is no " + name, Install: "install it: apt-get install bubblewrap"}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s := newSandbox(d, path, environment.Spec{})
	has, err = shell.Probe(ctx, s)
	if err = errors.Join(err, s.Close()); err != nil {
		return "", has, unavailable(strings.TrimSpace(err.Error()))
	}
	d.bwrap, d.has = path, has
	return path, has, nil
}

func unavailable(said string) error {
	e := &environment.UnavailableError{Sandbox: sandboxName, Reason: "a program could not be run in it: " + said, Install: "see what bwrap says"}
	low := strings.ToLower(said)
	if strings.Contains(low, "namespace") || strings.Contains(low, "uid map") || strings.Contains(low, "operation not permitted") || strings.Contains(low, "permission denied") {
		e.Install = "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0; in a container, allow unshare, mount and pivot_root"
	}
	return e
}

// Open opens the session's environment. It is refused where Check fails.
func (d *Driver) Open(ctx context.Context, spec environment.Spec) (tool.Server, error) {
	bwrap, has, err := d.check(ctx)
	if err != nil {
		return nil, err
	}
	if err := shell.CheckVariables(spec.Env); err != nil {
		return nil, err
	}
	if spec.Proxy != nil && d.cfg.NetHelper == nil {
		return nil, &environment.UnavailableError{Sandbox: sandboxName, Reason: "network access was asked for, and no network namespaces can be made", Install: "the runtime is to be configured with a helper for them"}
	}
	files, err := workspace.Open(spec)
	if err != nil {
		return nil, err
	}
	s := newSandbox(d, bwrap, spec)
	files.SetDisk(s.disk)
	if err := clearTmp(s.tmp); err != nil {
		return nil, errors.Join(fmt.Errorf("clear the environment's /tmp: %w", err), files.Close())
	}
	return shell.New(s, files, d.cfg.Code, spec, has), nil
}

func newSandbox(d *Driver, bwrap string, spec environment.Spec) *sandbox {
	s := &sandbox{driver: d, bwrap: bwrap, env: view.Variables(spec), proxy: spec.Proxy, programs: map[*program]bool{}}
	if spec.Dir != "" {
		s.folder, s.tmp = spec.WorkspaceDir(), filepath.Join(spec.Dir, "tmp")
		s.disk = workspace.NewDisk(d.cfg.Limits.Disk, s.folder, s.tmp)
	}
	return s
}

// clearTmp empties the folder that the programs see as /tmp, or makes it.
func clearTmp(folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	return os.Chmod(folder, 0o777|os.ModeSticky)
}
