// Package environment is the contract of the places where agents work: a
// workspace folder that belongs to one session, and tools that act in it and
// nowhere else. Drivers are its children.
package environment

import (
	"context"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Workspace is the path of the workspace as the agent sees it.
const Workspace = "/workspace"

// Driver makes environments of one kind.
type Driver interface {
	// Check reports whether the machine has what the driver needs. The error
	// says what to install.
	Check(ctx context.Context) error
	// Open returns the session's environment, with the spec's files in its
	// workspace. Opening it again, after a crash in the middle of it too, finds
	// what was left there and does not put back a file that was since changed or
	// deleted.
	Open(ctx context.Context, spec Spec) (tool.Server, error)
}

// Spec says whose environment it is and what it starts with.
type Spec struct {
	Project string
	Session string
	Dir     string // a folder on this machine for this session alone: the driver's to fill
	Env     map[string]string
	Files   []event.InlineFile
}

// UnavailableError says why an environment cannot be had on this machine.
type UnavailableError struct {
	Sandbox string
	Reason  string
	Install string // what to do about it
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("the %s sandbox is not available on this machine: %s; %s", e.Sandbox, e.Reason, e.Install)
}
