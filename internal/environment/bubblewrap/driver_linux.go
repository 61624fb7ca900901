package bubblewrap

import (
	"cmp"
	"os/exec"
	"runtime"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/reexec"
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/view"
)

// Driver is the environment.Driver of the sandbox "bubblewrap".
type Driver struct {
	*sandbox.Driver
	landlock bool
}

// New returns a driver. Whether the machine has what it needs, Check says.
func New(cfg Config) *Driver {
	cfg = cfg.orDefaults()
	landlock := cfg.Helper != nil && reexec.HasLandlock()
	return &Driver{Driver: sandbox.New(kind(cfg, landlock)), landlock: landlock}
}

func kind(cfg Config, landlock bool) sandbox.Kind {
	helpers := make(chan struct{}, 2*runtime.NumCPU())
	k := sandbox.Kind{
		Name: sandboxName, Limits: cfg.Limits, Code: cfg.Code, Helper: cfg.Helper,
		// Where there is no helper, each program has a process of bwrap's in its group.
		Spare: shell.MaxProcesses,
		Find:  func() (string, error) { return find(cfg.Path) },
		Confine: func(bwrap string, spec environment.Spec) sandbox.Confinement {
			return &confinement{cfg: cfg, landlock: landlock, helpers: helpers, bwrap: bwrap, workspace: spec.WorkspaceDir(), tmp: sandbox.TmpDir(spec), env: view.Variables(spec), etc: view.EtcFiles(spec)}
		},
	}
	if landlock { // then there is a helper, which can wait
		k.Standby = sandbox.DefaultStandby()
	}
	return k
}

// MemoryLimit is how memory is limited on this machine: "cgroup v1" or "cgroup
// v2" bound all the processes of an environment together, "RLIMIT_AS" the address
// space of each of them.
func (d *Driver) MemoryLimit() string { return cmp.Or(d.Driver.MemoryLimit(), "RLIMIT_AS") }

// Landlock reports whether programs are confined by Landlock, too.
func (d *Driver) Landlock() bool { return d.landlock }

func find(path string) (string, error) {
	name := cmp.Or(path, "bwrap")
	path, err := exec.LookPath(name)
	if err != nil {
		return "", &environment.UnavailableError{Sandbox: sandboxName, Reason: "there is no " + name, Install: "install it: apt-get install bubblewrap"}
	}
	return path, nil
}

// confinement confines the programs of one environment.
type confinement struct {
	cfg            Config
	landlock       bool
	helpers        chan struct{} // holds one for each whose program waits for it, of all environments
	bwrap          string
	workspace, tmp string // folders on this machine
	env            map[string]string
	etc            []view.File
}

// Launch implements sandbox.Confinement.
func (c *confinement) Launch(command shell.Command, in sandbox.Shared) (sandbox.Launch, error) {
	return newLaunch(c, command, in)
}

// Free implements sandbox.Confinement. The launches have nothing in common.
func (c *confinement) Free() error { return nil }
