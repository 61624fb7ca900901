// Package shell is what environments with real programs have in common: the
// tools that run commands and code in a session's workspace, and what is kept of
// them between calls. Where and how confined a program runs is its Sandbox's
// business.
package shell

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
)

// Sandbox runs programs in one environment, confined as its driver confines
// them. It is safe for use by many goroutines.
type Sandbox interface {
	// Start starts a program. The context bounds only the start.
	Start(ctx context.Context, c Command) (Process, error)
	// Limits are those of the sandbox.
	Limits() Limits
	// Close ends all programs, waits until nothing is left of them, and frees what
	// the sandbox holds.
	Close() error
}

// Command is a program that is to be run.
type Command struct {
	Argv []string
	Cwd  string // as the program sees it; empty is the workspace
	// Output takes what the program prints, standard output and error in order.
	// It is not called any more once Wait has returned.
	Output io.Writer
}

// Process is a program that was started, and all that it started in turn.
type Process interface {
	// Stdin is the program's standard input. Closing it is the end of the input.
	Stdin() io.WriteCloser
	// Kill has the program and all that it started end at once.
	Kill()
	// Wait returns when the program has ended and nothing that it started is left.
	// An error is one of the sandbox, not of the program.
	Wait() (End, error)
}

// End is how a program ended.
type End struct {
	Code int // 128 + the number of the signal where one ended it
	// Limit says which limit of the sandbox ended it, "memory" or "disk"; empty if
	// none did.
	Limit string
}

// Limits are those of an environment, all its programs together. 0 is none.
type Limits struct {
	Memory    int64   // bytes
	Processes int     // processes and threads
	CPUs      float64 // processors
	Disk      int64   // bytes of the workspace and of /tmp
}

// Mount is a folder of this machine that programs may read, and where they see it.
type Mount struct{ Host, Path string }

// OrDefaults returns the limits with the defaults in place of zeros: 1 GiB of
// memory, 128 processes, 2 processors, 2 GiB of disk.
func (l Limits) OrDefaults() Limits {
	l.Memory, l.Processes = cmp.Or(l.Memory, 1<<30), cmp.Or(l.Processes, 128)
	l.CPUs, l.Disk = cmp.Or(l.CPUs, 2), cmp.Or(l.Disk, 2<<30)
	return l
}

// DefaultFileSize is how large a file may become that a program writes, in bytes.
const DefaultFileSize = 1 << 30

// CheckVariables reports a variable that cannot be set for a program.
func CheckVariables(env map[string]string) error {
	for k, v := range env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00") {
			return fmt.Errorf("the environment variable %q has a name or a value that cannot be set", k)
		}
	}
	return nil
}
