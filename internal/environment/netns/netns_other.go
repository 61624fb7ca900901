//go:build !linux

package netns

import (
	"context"
	"errors"
	"net"
)

var errNotLinux = errors.New("network namespaces exist on Linux only")

// Namespace is not available on this system.
type Namespace struct{}

// Open fails on this system.
func Open(context.Context, Config) (*Namespace, error) { return nil, errNotLinux }

// Command returns nil on this system.
func (*Namespace) Command([]string) []string { return nil }

// Listener returns nil on this system.
func (*Namespace) Listener() net.Listener { return nil }

// Close does nothing on this system.
func (*Namespace) Close() error { return nil }
