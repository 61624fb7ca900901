package gvisor

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/view"
)

// Driver is the environment.Driver of the sandbox "gvisor".
type Driver = sandbox.Driver

// New returns a driver. Whether the machine has what it needs, Check says.
func New(cfg Config) *Driver {
	clearScratch()
	return sandbox.New(kind(cfg.orDefaults()))
}

func kind(cfg Config) sandbox.Kind {
	return sandbox.Kind{
		Name: sandboxName, Limits: cfg.Limits, Code: cfg.Code, Helper: cfg.Helper,
		// To the machine, a thread of a program's is one of its kernel's, too, which
		// also has its own: about 60 where there are two processors.
		Spare:   shell.MaxProcesses * (64 + 8*runtime.NumCPU()),
		Standby: sandbox.DefaultStandby(),
		Find:    func() (string, error) { return find(cfg.Path) },
		Confine: func(runsc string, spec environment.Spec) sandbox.Confinement {
			return &confinement{cfg: cfg, runsc: runsc, workspace: spec.WorkspaceDir(), tmp: sandbox.TmpDir(spec), env: view.Variables(spec), etc: view.EtcFiles(spec)}
		},
	}
}

// confinement confines the programs of one environment.
type confinement struct {
	cfg            Config
	runsc          string
	workspace, tmp string // folders on this machine
	env            map[string]string
	etc            []view.File

	mu      sync.Mutex
	scratch string // a folder of its own, once there was a launch
	bundle  *bundle
	n       int // launches
}

// Launch implements sandbox.Confinement.
func (c *confinement) Launch(command shell.Command, in sandbox.Shared) (sandbox.Launch, error) {
	return newLaunch(c, command, c.env, in, nil)
}

// newDir returns the path of a folder for a launch. Before the first one, it makes
// what they have in common.
func (c *confinement) newDir() (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bundle == nil {
		var err error
		if c.scratch, err = newScratch(); err != nil {
			return "", err
		}
		if c.bundle, err = newBundle(filepath.Join(c.scratch, "root"), c.workspace, c.tmp, c.etc, c.cfg.Data); err != nil {
			return "", errors.Join(err, os.RemoveAll(c.scratch))
		}
	}
	c.n++
	return filepath.Join(c.scratch, strconv.Itoa(c.n)), nil
}

// Free implements sandbox.Confinement.
func (c *confinement) Free() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.bundle == nil {
		return nil
	}
	c.bundle = nil
	return os.RemoveAll(c.scratch)
}
