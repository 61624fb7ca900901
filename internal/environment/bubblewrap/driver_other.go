//go:build !linux

package bubblewrap

import "github.com/stayd/stayd/internal/environment/sandbox"

// Driver is not available on this system.
type Driver = sandbox.Driver

// New returns a driver that says it is not available.
func New(Config) *Driver { return sandbox.New(sandbox.Kind{Name: sandboxName}) }
