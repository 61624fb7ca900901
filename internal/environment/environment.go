// Package environment is the contract of the places where agents work: a
// workspace folder that belongs to one session, and tools that act in it and
// nowhere else. Drivers are its children. What the folder holds from one call to
// the next, and over restarts, is its caller's business.
package environment

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"github.com/stayd/stayd/internal/tool"
)

// Workspace is the path of the workspace as the agent sees it.
const Workspace = "/workspace"

// Driver makes environments of one kind.
type Driver interface {
	// Check reports whether the machine has what the driver needs. The error
	// says what to install.
	Check(ctx context.Context) error
	// Open opens the environment of a session. Nothing of it runs before the
	// first call, and nothing after Close has returned.
	Open(ctx context.Context, spec Spec) (tool.Server, error)
}

// Spec says whose environment it is and how it is to be.
type Spec struct {
	Project string
	Session string
	// Dir is a folder on this machine for this session alone. The workspace is its
	// folder WorkspaceDir; the driver may use what else is in it as it likes,
	// except for names that begin with a dot.
	Dir string
	Env map[string]string
	// Proxy is where the environment's programs reach the network; nil is no
	// network.
	Proxy Proxy
	// Languages are those in which code was run in an earlier life of the
	// environment. The first code in one of them is told that the variables of
	// then are gone.
	Languages []string
}

// WorkspaceDir is the folder that the agent sees as /workspace.
func (s *Spec) WorkspaceDir() string { return filepath.Join(s.Dir, "workspace") }

// Proxy answers the connections that programs of an environment make.
type Proxy interface {
	// Serve answers the connections of a listener until Close. The listener is
	// reached by the environment's programs alone.
	Serve(l net.Listener) error
	// Variables are those that programs get because of it: placeholders of secrets.
	Variables() map[string]string
	// Certificates are the authorities that programs have to trust, in PEM; empty
	// are the machine's.
	Certificates() []byte
	Close() error
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
