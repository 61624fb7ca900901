package bubblewrap

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/stayd/stayd/internal/environment/reexec"
	"github.com/stayd/stayd/internal/environment/sandbox"
)

// helperPath is where the helper is in the sandbox. Programs see it there, and
// can neither read nor run it. It keeps its name, by which a program may know
// what it is to be.
func helperPath(helper []string) string { return "/run/" + filepath.Base(helper[0]) }

// program is what runs in the sandbox.
type program struct {
	Argv []string
	Cwd  string
	Env  map[string]string
	Data []string // folders that it may read
}

// tell tells the helper what to become, and returns its process id once it is
// ready for that.
func tell(gate *os.File, p program) (pid int, err error) {
	env := []string{"PWD=" + p.Cwd}
	for k, v := range p.Env {
		env = append(env, k+"="+v)
	}
	become := reexec.Program{Argv: p.Argv, Dir: p.Cwd, Env: env, Handled: handled, Rules: rules(p.Data)}
	if err := become.Write(gate); err != nil {
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
