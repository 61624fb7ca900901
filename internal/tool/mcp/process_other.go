//go:build unix && !linux

package mcp

import "syscall"

// attributes make a process with a group of its own. Only Linux ends it with
// this one; elsewhere it sees the end of its input.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

// keepFiles does nothing: only Linux has a call for it.
func keepFiles() error { return nil }
