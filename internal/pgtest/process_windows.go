package pgtest

import "syscall"

// attributes of a process that Windows never starts: no server is looked for
// there.
func attributes(*owner) *syscall.SysProcAttr { return nil }
