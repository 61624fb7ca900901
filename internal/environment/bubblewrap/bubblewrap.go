// Package bubblewrap is the sandbox of namespaces: each program runs in some of
// its own, made by bwrap, with the workspace and /tmp as all that can be written,
// and a filter of system calls. Where the kernel has Landlock, the same is said to
// it a second time. The package owns what a program may see, use and do; it never
// runs one without all of that. It needs Linux.
//
// A program runs with the rights of the user that the runtime runs as, less all
// capabilities and what the mounts hide. So the runtime is best run as a user of
// its own, and not as root.
package bubblewrap

import (
	"cmp"

	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/shell"
)

// Config is what a driver needs.
type Config struct {
	Path string // of bwrap; empty: it is looked up in PATH
	// Limits are those of one environment, all its programs together. Zero values
	// are the defaults: 1 GiB of memory, 128 processes, 2 CPUs, 2 GiB of disk.
	Limits shell.Limits
	// FileSize is how large a file may become that a program writes, in bytes;
	// default 1 GiB.
	FileSize int64
	Code     *js.Engine // runs JavaScript
	// Helper is the command line of the helper (package reexec), the program by its
	// absolute path. Without it there is no
	// Landlock, each program has a network of its own, in which there is nothing, and
	// no proxy can be reached.
	Helper []string
	// Data are folders of this machine that all environments may read.
	Data []shell.Mount
}

func (c Config) orDefaults() Config {
	c.Limits, c.FileSize = c.Limits.OrDefaults(), cmp.Or(c.FileSize, shell.DefaultFileSize)
	return c
}

const sandboxName = "bubblewrap"
