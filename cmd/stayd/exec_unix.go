//go:build unix

package main

import (
	"fmt"
	"os"
	"syscall"
)

// canExec says why this system cannot run a session's commands.
func canExec() error { return nil }

// sameFileSystem refuses folders between which a file cannot be put in place at
// once.
func sameFileSystem(dir, state string) error {
	a, err := os.Stat(dir)
	if err != nil {
		return err
	}
	b, err := os.Stat(state)
	if err != nil {
		return err
	}
	x, ok := a.Sys().(*syscall.Stat_t)
	y, also := b.Sys().(*syscall.Stat_t)
	if ok && also && x.Dev != y.Dev {
		return fmt.Errorf("%s is on another file system than %s; choose a folder with --state that is on the same", state, dir)
	}
	return nil
}
