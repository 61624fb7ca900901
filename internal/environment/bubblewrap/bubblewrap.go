// Package bubblewrap is the environment in which commands run: in namespaces of
// their own, made by bwrap, with the workspace as the only thing that can be
// written and no network. It owns what a command may see, use and do; it never
// runs a command without all of that. It needs Linux.
//
// A command runs with the rights of the user that the runtime runs as, less all
// capabilities and what the mounts hide. So the runtime is best run as a user of
// its own, and not as root.
package bubblewrap

import (
	"time"

	"github.com/stayd/stayd/internal/environment/js"
)

// Limits are those of one command. Zero values are the defaults.
type Limits struct {
	Timeout    time.Duration // of wall time; default 60 s
	MaxTimeout time.Duration // what a call may ask for; default 1 h
	CPU        time.Duration // of each process; default MaxTimeout
	Memory     int64         // bytes of all processes and of /tmp; default 512 MiB
	Processes  int           // default 64
	FileSize   int64         // bytes of each file; default 1 GiB
}

func (l Limits) orDefaults() Limits {
	if l.Timeout == 0 {
		l.Timeout = time.Minute
	}
	if l.MaxTimeout == 0 {
		l.MaxTimeout = time.Hour
	}
	if l.CPU == 0 {
		l.CPU = l.MaxTimeout
	}
	if l.Memory == 0 {
		l.Memory = 512 << 20
	}
	if l.Processes == 0 {
		l.Processes = 64
	}
	if l.FileSize == 0 {
		l.FileSize = 1 << 30
	}
	return l
}

// Config is what a driver needs.
type Config struct {
	Path   string // of bwrap; empty: it is looked up in PATH
	Limits Limits
	Code   *js.Engine // runs run_code
}

const sandbox = "bubblewrap"
