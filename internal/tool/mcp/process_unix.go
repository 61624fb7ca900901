//go:build unix

package mcp

import (
	"os/exec"
	"syscall"
)

// inherited are the variables that a process gets of this process's environment
// without being named.
var inherited = []string{"PATH", "HOME", "LANG"}

// group is a process and what it started, as far as that has not left it.
type group struct{ leader int }

func (g *group) start(cmd *exec.Cmd) error {
	cmd.SysProcAttr = attributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	g.leader = cmd.Process.Pid
	return nil
}

func (g *group) terminate() { g.signal(syscall.SIGTERM) }

func (g *group) kill() { g.signal(syscall.SIGKILL) }

func (g *group) signal(sig syscall.Signal) {
	// The group may be gone; then there is nobody to be told.
	syscall.Kill(-g.leader, sig) //nolint:errcheck,gosec // see above
}

func (g *group) close() {}
