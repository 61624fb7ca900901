//go:build !linux

package sandbox

import (
	"context"
	"runtime"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/tool"
)

// Kind is a kind of sandbox.
type Kind struct{ Name string }

// Driver is not available on this system.
type Driver struct{ kind Kind }

// New returns a driver that says it is not available.
func New(k Kind) *Driver { return &Driver{kind: k} }

// Check always fails.
func (d *Driver) Check(context.Context) error {
	return &environment.UnavailableError{Sandbox: d.kind.Name, Reason: "it needs Linux, and this is " + runtime.GOOS, Install: "use the sandbox js, or run the runtime on Linux"}
}

// Open always fails.
func (d *Driver) Open(ctx context.Context, _ environment.Spec) (tool.Server, error) {
	return nil, d.Check(ctx)
}

// MemoryLimit is how memory is limited: it is not.
func (d *Driver) MemoryLimit() string { return "" }
