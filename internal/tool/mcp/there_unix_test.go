//go:build unix

package mcp_test

import "syscall"

// there reports whether there is a process with the id.
func there(pid int) bool { return syscall.Kill(pid, 0) == nil }
