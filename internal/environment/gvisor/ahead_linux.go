package gvisor

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
)

// ahead is one runsc in which a shell waits to become the program.
type ahead struct {
	*launch
	script *os.File // what the shell reads until its end, before it does anything
}

// waiter is what waits. It has no variables: the environment's could have it run what
// is in the workspace, before there is a program (LD_PRELOAD).
var waiter = shell.Command{Argv: []string{"/bin/sh", "-c", ". /proc/self/fd/" + strconv.Itoa(passedAs)}, Cwd: "/"}

// LaunchAhead implements sandbox.Ahead.
func (c *confinement) LaunchAhead(in sandbox.Shared) (sandbox.AheadLaunch, error) {
	theirs, script, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	l, err := newLaunch(c, waiter, nil, in, theirs)
	if err != nil {
		theirs.Close() //nolint:errcheck,gosec // nothing was written
		script.Close() //nolint:errcheck,gosec // the same
		return nil, err
	}
	return &ahead{launch: l, script: script}, nil
}

// Tell implements sandbox.AheadLaunch.
func (a *ahead) Tell(c shell.Command) error {
	if _, err := a.script.WriteString(become(c, a.env)); err != nil {
		return fmt.Errorf("tell the sandbox of the program: %w", err)
	}
	return a.script.Close()
}

// Close implements sandbox.Launch.
func (a *ahead) Close() error {
	a.script.Close() //nolint:errcheck,gosec // closed twice where the program was told
	return a.launch.Close()
}

// become is the script by which the shell becomes a program, as it would have been
// started without: in its folder, and with its variables alone. A folder that it may
// not enter fails it, with code 2. A script that is cut off does nothing.
func become(c shell.Command, env map[string]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "{ cd -P %s && exec %d<&- && exec /usr/bin/env -i --", quoted(cmp.Or(c.Cwd, environment.Workspace)), passedAs)
	for _, arg := range slices.Concat(list(env), c.Argv) {
		b.WriteString(" " + quoted(arg))
	}
	return b.String() + "; }\n"
}

func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
