// Package gvisor is the environment in which programs have a kernel of their
// own: gVisor's, which runs as a process of this machine and answers their system
// calls itself. A program would have to break out of it, and then out of the
// namespaces and the system call filter that this process is in. It needs Linux
// and runsc, which takes about 100 ms longer to start than bubblewrap: the next
// sandbox of an environment is started ahead, while a model is asked what to do in
// it, and waits for its program.
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
	"cmp"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/shell"
)

// Config is what a driver needs.
type Config struct {
	Path string // of runsc; empty: it is looked up in PATH and where go install puts it
	// Limits are those of one environment, all its programs together. Zero values
	// are the defaults: 1 GiB of memory, 128 processes, 2 CPUs, 2 GiB of disk. Of
	// the memory, each program that runs takes about 20 MiB for its kernel, and so
	// does the sandbox that waits for one. The number of processes is that of each
	// program; all together, they are limited by the machine's control groups to some
	// more.
	Limits shell.Limits
	// FileSize is how large a file may become that a program writes, in bytes;
	// default 1 GiB.
	FileSize int64
	Code     *js.Engine // runs JavaScript
	// Helper is the command line of netns.Config. Without it, each program has a
	// network of its own, in which there is nothing, and no proxy can be reached.
	Helper []string
	// Data are folders of this machine that all environments may read.
	Data []shell.Mount
}

func (c Config) orDefaults() Config {
	c.Limits, c.FileSize = c.Limits.OrDefaults(), cmp.Or(c.FileSize, shell.DefaultFileSize)
	return c
}

const sandboxName = "gvisor"

// installHint says how to come by runsc.
const installHint = "install runsc: stayd doctor --install gvisor"

func unavailable(reason, install string) error {
	return &environment.UnavailableError{Sandbox: sandboxName, Reason: reason, Install: install}
}
