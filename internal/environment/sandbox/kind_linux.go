package sandbox

import (
	"os/exec"
	"path/filepath"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/cgroup"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/netns"
	"github.com/stayd/stayd/internal/environment/shell"
)

// Kind is a kind of sandbox.
type Kind struct {
	Name   string       // as sessions name it
	Limits shell.Limits // of one environment
	Code   *js.Engine   // runs JavaScript
	// Helper is the command line of netns.Config. Without it, each program has a
	// network of its own, in which there is nothing, and no proxy can be reached.
	Helper []string
	// Spare is how many processes and threads an environment may have beside those
	// of its limits: the sandbox's own.
	Spare int
	// Standby has sandboxes be started ahead of their programs. Confine then has to
	// return an Ahead. nil: none is.
	Standby *Standby
	// Find returns the path of the program that makes sandboxes.
	Find func() (string, error)
	// Confine says how the programs of an environment are confined with it.
	Confine func(path string, spec environment.Spec) Confinement
}

// Confinement confines the programs of one environment. It is safe for use by
// many goroutines.
type Confinement interface {
	// Launch prepares the start of a program. After an error nothing of it is left.
	Launch(c shell.Command, in Shared) (Launch, error)
	// Free gives back what the launches had in common. All of them are closed.
	Free() error
}

// Ahead is a Confinement that can start a sandbox ahead of its program, which is
// worth it where a start takes long.
type Ahead interface {
	Confinement
	// LaunchAhead is Launch for a program that is not known yet.
	LaunchAhead(in Shared) (AheadLaunch, error)
}

// AheadLaunch is the launch of a sandbox in which something waits to become a
// program.
type AheadLaunch interface {
	Launch
	// Tell has it become the program. After an error the program was not started, and
	// will not be.
	Tell(c shell.Command) error
}

// Shared is what the programs of an environment share.
type Shared struct {
	Group   *cgroup.Group
	Network *netns.Namespace // nil: each has its own
}

// Launch is the start of one program. Its methods are called one after the other,
// in this order; Tell comes after Admit.
type Launch interface {
	// Command makes the sandbox, and in it a process that waits and then becomes
	// the program. The caller sets its standard input and output, and standard
	// error where that is nil. It closes the files of the command once it was
	// started. The command leads a process group of its own, which is what is killed
	// before there is a first process.
	Command() *exec.Cmd
	// First waits for the first process of the program's namespace, with which all
	// of them end, and which waits. It fails where the command ends instead.
	First() (pid int, err error)
	// Admit has what becomes the program go on, in the group of the environment.
	Admit(first int) error
	// Ended returns the program's exit code, from what waiting for the command
	// returned. Killed says that the sandbox killed it. An error is one of the
	// sandbox. It is not called where an earlier method failed.
	Ended(waited error, killed bool) (code int, err error)
	Close() error
}

// TmpDir is the folder that programs see as /tmp.
func TmpDir(spec environment.Spec) string { return filepath.Join(spec.Dir, "tmp") }
