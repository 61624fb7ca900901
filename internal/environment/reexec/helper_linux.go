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
	var files []*os.File
	for _, a := range args {
		fd, err := strconv.Atoi(a)
		if err != nil || fd < 3 || len(files) == 0 && !isSocket(fd) {
			return errors.New("this command is run by the runtime only")
		}
		syscall.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "given"))
	}
	return become(files[0], files[1:])
}

// become has the helper become the program that it is told of at the gate, in the
// control groups that it was given the entrances of.
func become(gate *os.File, groups []*os.File) error {
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
	for _, g := range groups {
		if _, err := g.Write([]byte{'0'}); err != nil {
			return fmt.Errorf("enter a control group: %w", err)
		}
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
