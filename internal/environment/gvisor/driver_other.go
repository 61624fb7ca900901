//go:build !linux

package gvisor

import (
	"context"
	"runtime"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/tool"
)

// Driver is not available on this system.
type Driver struct{}

// New returns a driver that says it is not available.
func New(Config) *Driver { return &Driver{} }

// Check always fails.
func (d *Driver) Check(context.Context) error {
	return unavailable("it needs Linux, and this is "+runtime.GOOS, "use the sandbox js, or run the runtime on Linux")
}

// Open always fails.
func (d *Driver) Open(ctx context.Context, _ environment.Spec) (tool.Server, error) {
	return nil, d.Check(ctx)
}

// MemoryLimit is how memory is limited: it is not.
func (d *Driver) MemoryLimit() string { return "" }
