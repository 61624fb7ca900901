package reexec

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"syscall"
)

func init() { //nolint:gochecknoinits // see the package's comment
	if len(os.Args) < 2 || os.Args[1] != Argument {
		return
	}
	if err := help(os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "stayd: %v\n", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// help is the whole of the helper.
func help(args []string) error {
	if len(args) == 0 {
		return handOver()
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil || fd < 3 || len(args) > 1 {
		return errors.New("this command is run by the runtime only")
	}
	gate := os.NewFile(uintptr(fd), "gate")
	syscall.CloseOnExec(fd)
	p, err := ReadProgram(gate)
	if err != nil {
		return fmt.Errorf("learn what to run: %w", err)
	}
	if err := os.Chdir(p.Dir); err != nil {
		return err
	}
	runtime.LockOSThread() // it is the thread that is confined, and that goes on
	if err := confine(p.Handled, p.Rules); err != nil {
		return fmt.Errorf("confine the program by Landlock: %w", err)
	}
	// From here on there may be no memory left for more than this.
	if _, err := gate.Write([]byte{'r'}); err != nil {
		return fmt.Errorf("wait for the limits: %w", err)
	}
	if _, err := io.ReadFull(gate, make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the limits: %w", err)
	}
	return &os.PathError{Op: "run", Path: p.Argv[0], Err: syscall.Exec(p.Argv[0], p.Argv, p.Env)} //nolint:gosec // it runs what it is given, in a sandbox
}
