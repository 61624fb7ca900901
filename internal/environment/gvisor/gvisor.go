// Package gvisor is the environment in which programs have a kernel of their
// own: gVisor's, which runs as a process of this machine and answers their system
// calls itself. A program would have to break out of it, and then out of the
// namespaces and the system call filter that this process is in. It needs Linux
// and runsc; a command takes about 100 ms longer than in bubblewrap.
//
// Every program is a sandbox of its own: runsc is the first process of a
// namespace of process ids, so that its end is the end of all that the program
// started. runsc has the rights of the runtime's user in a user namespace in
// which this user alone exists, as user 1000; it needs no root, and where the
// runtime is root, it has none of its capabilities. What programs of an
// environment share are the files, the limits, and, where Config.Helper is set,
// the loopback device.
package gvisor

import (
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/shell"
)

// Config is what a driver needs.
type Config struct {
	Path   string // of runsc; empty: it is looked up in PATH and where go install puts it
	Limits shell.Limits
	Code   *js.Engine // runs JavaScript
	// Helper is the command line of a program that makes network namespaces; see
	// netns.Config. Without it, there is no egress, and each program has a
	// loopback device of its own.
	Helper []string
}

const sandboxName = "gvisor"

// Install, in words.
const installHint = "install runsc: stayd doctor --install gvisor"

func unavailable(reason, install string) error {
	return &environment.UnavailableError{Sandbox: sandboxName, Reason: reason, Install: install}
}
