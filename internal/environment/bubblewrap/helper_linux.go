package bubblewrap

import (
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"

	"github.com/stayd/stayd/internal/environment/netns"
	"github.com/stayd/stayd/internal/environment/sandbox"
)

// helperPath is where the helper is in the sandbox. Programs see it there, and
// can neither read nor run it. It keeps its name, by which a program may know
// what it is to be.
func helperPath(helper []string) string { return "/run/" + filepath.Base(helper[0]) }

// program is what the helper is told to become. Nothing of it is in a command line,
// which all users of the machine can read, nor in the helper's own environment.
type program struct {
	Argv []string
	Cwd  string
	Env  map[string]string
	Data []string // folders that it may read
}

// Helper is the whole of the helper. Without arguments, it makes a network
// namespace (netns.Prepare). In a sandbox, it is given the number of a descriptor,
// the gate: it confines itself by Landlock and becomes the program that it is told
// of. A program can be confined by itself only, and bwrap could make no sandbox if
// it were, so that another has to come between the two.
func Helper(args []string) error {
	if len(args) == 0 {
		return netns.Prepare()
	}
	fd, err := strconv.Atoi(args[0])
	if err != nil || fd < 3 || len(args) > 1 {
		return errors.New("this command is run by the runtime only")
	}
	gate := os.NewFile(uintptr(fd), "gate")
	syscall.CloseOnExec(fd)
	var p program
	if err := gob.NewDecoder(gate).Decode(&p); err != nil {
		return fmt.Errorf("learn what to run: %w", err)
	}
	env := []string{"PWD=" + p.Cwd}
	for k, v := range p.Env {
		env = append(env, k+"="+v)
	}
	runtime.LockOSThread() // it is the thread that is confined, and that goes on
	if err := confine(p.Data); err != nil {
		return fmt.Errorf("confine the program by Landlock: %w", err)
	}
	// From here on there may be no memory left for more than this.
	if _, err := gate.Write([]byte{'r'}); err != nil {
		return fmt.Errorf("wait for the limits: %w", err)
	}
	if _, err := io.ReadFull(gate, make([]byte, 1)); err != nil {
		return fmt.Errorf("wait for the limits: %w", err)
	}
	return &os.PathError{Op: "run", Path: p.Argv[0], Err: syscall.Exec(p.Argv[0], p.Argv, env)} //nolint:gosec // it runs what it is given, in a sandbox
}

// tell tells the helper what to become, and returns its process id once it is
// ready for that.
func tell(gate *os.File, p program) (pid int, err error) {
	if err := gob.NewEncoder(gate).Encode(p); err != nil {
		return 0, fmt.Errorf("tell the helper what to run: %w", err)
	}
	pid, err = sandbox.WaitAt(gate)
	if errors.Is(err, io.EOF) {
		err = errors.New("the helper ended before it became the program")
	}
	return pid, err
}

// letThrough has the helper become the program.
func letThrough(gate *os.File) error {
	if _, err := gate.Write([]byte{'g'}); err != nil {
		return fmt.Errorf("let the program start: %w", err)
	}
	return nil
}
