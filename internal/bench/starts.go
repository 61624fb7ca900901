package bench

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Starts is how fast a sandbox starts what is run in it.
type Starts struct {
	Sandbox     string `json:"sandbox"`
	Unavailable string `json:"unavailable,omitempty"` // why it cannot be used here
	// Cold is a new environment and the first command in it, Warm one more command
	// in an open one, some time after the last, Next one right after the last, Cell
	// Python code where there was some before; in the sandbox "js", code takes the
	// place of commands.
	Cold *Timing `json:"cold,omitempty"`
	Warm *Timing `json:"warm,omitempty"`
	Next *Timing `json:"warm_without_pause,omitempty"`
	Cell *Timing `json:"python_cell,omitempty"`
}

// limits measures what the machine takes to start a program without a sandbox.
func (o *ComputeOptions) limits(ctx context.Context, r *ComputeResult) error {
	o.Progress("what it takes to start a program without a sandbox")
	var err error
	if r.Exec, err = o.program(ctx, 0, "/bin/true"); err != nil {
		return err
	}
	if r.Paused, err = o.program(ctx, o.Sizes.Pause, "/bin/true"); err != nil {
		return err
	}
	if python := findPython(); python != "" {
		t, err := o.program(ctx, 0, python, "-c", "pass")
		if err != nil {
			return err
		}
		r.Python = &t
	}
	return nil
}

// findPython looks where a sandbox does. A wrapper for some users' versions of
// Python is none.
func findPython() string {
	for _, dir := range []string{"/usr/local/bin", "/usr/bin", "/bin"} {
		if path, err := exec.LookPath(filepath.Join(dir, "python3")); err == nil {
			return path
		}
	}
	return ""
}

func (o *ComputeOptions) program(ctx context.Context, pause time.Duration, argv ...string) (Timing, error) {
	return o.again(ctx, pause, maxTimes, func() error {
		if err := exec.CommandContext(ctx, argv[0], argv[1:]...).Run(); err != nil { //nolint:gosec // a program of this file
			return fmt.Errorf("run %s: %w", strings.Join(argv, " "), err)
		}
		return nil
	})
}

func (o *ComputeOptions) starts(ctx context.Context, name string) (*Starts, error) {
	o.Progress("starts in the sandbox " + name)
	s := &Starts{Sandbox: name}
	if err := o.Drivers[name].Check(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, errEnded
		}
		s.Unavailable = err.Error()
		return s, nil
	}
	cold, err := repeat(ctx, o.Duration, maxTimes, func(n int) (time.Duration, error) { return o.cold(ctx, name, n) })
	if err != nil {
		return nil, err
	}
	s.Cold = &cold
	return s, o.warm(ctx, s)
}

// cold opens a new environment and runs a command. That it is closed again is not
// in the time.
func (o *ComputeOptions) cold(ctx context.Context, name string, n int) (time.Duration, error) {
	spec, err := o.spec(name + "_cold_" + strconv.Itoa(n))
	if err != nil {
		return 0, err
	}
	began := time.Now()
	srv, err := o.Drivers[name].Open(ctx, spec)
	if err != nil {
		return 0, err
	}
	err = first(ctx, srv, name)
	took := time.Since(began)
	return took, errors.Join(err, srv.Close())
}

// warm measures what an open environment does.
func (o *ComputeOptions) warm(ctx context.Context, s *Starts) (err error) {
	spec, err := o.spec(s.Sandbox + "_warm")
	if err != nil {
		return err
	}
	srv, err := o.Drivers[s.Sandbox].Open(ctx, spec)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, srv.Close()) }()
	command := func() error { return first(ctx, srv, s.Sandbox) }
	warm, err := o.again(ctx, o.Sizes.Pause, maxWarm, command)
	if err != nil {
		return err
	}
	s.Warm = &warm
	next, err := o.again(ctx, 0, maxWarm, command)
	if err != nil {
		return err
	}
	s.Next = &next
	python, err := hasPython(ctx, srv)
	if err != nil || !python {
		return err
	}
	cell, err := o.again(ctx, 0, maxWarm, func() error {
		return call(ctx, srv, "run_code", map[string]any{"language": "python", "code": "1 + 1"})
	})
	if err != nil {
		return err
	}
	s.Cell = &cell
	return nil
}

// maxWarm is how many commands one environment runs. A process counts against the
// limit of the environment until the machine's init has taken note of its end,
// which some do every few seconds only.
const maxWarm = 100

// again does a thing again and again, each time after a pause.
func (o *ComputeOptions) again(ctx context.Context, pause time.Duration, most int, do func() error) (Timing, error) {
	return repeat(ctx, o.Duration, most, func(int) (time.Duration, error) {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return 0, errEnded
		}
		began := time.Now()
		err := do()
		return time.Since(began), err
	})
}

// hasPython reports whether the environment's run_code says that it runs Python.
func hasPython(ctx context.Context, srv tool.Server) (bool, error) {
	tools, err := srv.List(ctx)
	if err != nil {
		return false, err
	}
	for i := range tools {
		if tools[i].Name == "run_code" && tools[i].ItemType == event.ItemCommandExecution {
			return strings.Contains(string(tools[i].Parameters), `"python"`), nil
		}
	}
	return false, nil
}
