package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tool"
)

// ComputeOptions are those of a run of Compute.
type ComputeOptions struct {
	// Drivers are those of the server, by the names of their sandboxes.
	Drivers map[string]environment.Driver
	// Open opens the store of the measurement named, which is empty when it is
	// opened first.
	Open func(ctx context.Context, name string) (store.Store, error)
	// Dir is a folder for workspaces.
	Dir string
	// Duration is for how long each thing is done again and again.
	Duration time.Duration
	Sizes    Sizes
	// Progress is told what is measured next.
	Progress func(string)
}

// Sizes say how much is made of what is measured.
type Sizes struct {
	Pause       time.Duration // before a command in an open environment
	ResumeFiles int           // of the workspace that is resumed
	ResumeBytes int64         // in them
	// Many is how many environments are open at once, by their sandbox.
	Many      map[string]int
	ForkFiles int // of the workspace that is forked
	ForkBytes int64
	Forks     int
	Changed   int // forks of which each changes a file
}

// DefaultSizes are those of the published figures.
func DefaultSizes() Sizes {
	return Sizes{
		Pause:       300 * time.Millisecond, // no model is asked what to do next, and answers, in less
		ResumeFiles: 1000, ResumeBytes: 100 << 20,
		Many:      map[string]int{event.SandboxBubblewrap: 200, event.SandboxGVisor: 50},
		ForkFiles: 500, ForkBytes: 50 << 20, Forks: 10_000, Changed: 100,
	}
}

// ComputeResult is what a run of Compute found.
type ComputeResult struct {
	// Exec is what starting a program costs on this machine without a sandbox, right
	// after the last, and Paused after a pause, in which a machine may forget much.
	// Python is the same as Exec, of Python; nil where there is none.
	Exec    Timing   `json:"exec"`
	Paused  Timing   `json:"exec_after_pause"`
	Python  *Timing  `json:"exec_python,omitempty"`
	Drivers []Starts `json:"sandboxes"`
	Resume  Resume   `json:"resume"`
	Many    []Many   `json:"many"`
	Forks   Forks    `json:"forks"`
}

// Timing is how long a thing took, of all the times that it was done.
type Timing struct {
	Count int     `json:"count"`
	P50MS float64 `json:"p50_ms"`
	P99MS float64 `json:"p99_ms"`
}

// Compute measures environments, workspaces and forks.
func Compute(ctx context.Context, o ComputeOptions) (*ComputeResult, error) {
	r := &ComputeResult{}
	var err error
	if err := o.limits(ctx, r); err != nil {
		return nil, err
	}
	works := map[string]bool{}
	for _, name := range sandboxes {
		if o.Drivers[name] == nil {
			continue
		}
		s, err := o.starts(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("sandbox %s: %w", name, err)
		}
		works[name] = s.Unavailable == ""
		r.Drivers = append(r.Drivers, *s)
	}
	if r.Resume, err = o.resume(ctx, works); err != nil {
		return nil, fmt.Errorf("resume: %w", err)
	}
	for _, name := range sandboxes {
		if n := o.Sizes.Many[name]; n > 0 && works[name] {
			m, err := o.many(ctx, name, n)
			if err != nil {
				return nil, fmt.Errorf("many environments of %s: %w", name, err)
			}
			r.Many = append(r.Many, *m)
		}
	}
	if r.Forks, err = o.forks(ctx); err != nil {
		return nil, fmt.Errorf("forks: %w", err)
	}
	return r, nil
}

// sandboxes are those that are measured, the lightest first.
var sandboxes = []string{event.SandboxJS, event.SandboxBubblewrap, event.SandboxGVisor}

// What a thing is done at least and at most, however long that takes.
const (
	minTimes = 5
	maxTimes = 2000
)

// repeat does a thing, once to warm up and then for as long as d, and returns
// what do said of each. do is told how often it was called before.
func repeat(ctx context.Context, d time.Duration, most int, do func(n int) (time.Duration, error)) (Timing, error) {
	if _, err := do(0); err != nil {
		return Timing{}, err
	}
	var took []time.Duration
	began := time.Now()
	for n := 1; n <= most && (n <= minTimes || time.Since(began) < d); n++ {
		if ctx.Err() != nil {
			return Timing{}, errEnded
		}
		t, err := do(n)
		if err != nil {
			return Timing{}, err
		}
		took = append(took, t)
	}
	return timing(took), nil
}

func timing(took []time.Duration) Timing {
	slices.Sort(took)
	return Timing{Count: len(took), P50MS: ms(took[len(took)/2]), P99MS: ms(took[len(took)*99/100])}
}

// spec is that of the environment with a folder in the bench's own.
func (o *ComputeOptions) spec(name string) (environment.Spec, error) {
	s := environment.Spec{Project: "bench", Session: "sess_" + name, Dir: filepath.Join(o.Dir, "environments", name)}
	if err := os.MkdirAll(s.WorkspaceDir(), 0o700); err != nil {
		return s, fmt.Errorf("make a workspace: %w", err)
	}
	return s, nil
}

// call makes a call that has to go well.
func call(ctx context.Context, srv tool.Server, name string, args map[string]any) error {
	data, err := json.Marshal(args)
	if err != nil {
		return err
	}
	res, err := srv.Call(ctx, tool.Call{EffectID: event.DeriveID("eff", name), Session: "sess_bench", Name: name, Arguments: data})
	switch {
	case err != nil:
		return fmt.Errorf("call %s: %w", name, err)
	case res.Failed:
		return fmt.Errorf("call %s: %w: %s", name, errCall, res.Error)
	case res.ExitCode != nil && *res.ExitCode != 0:
		return fmt.Errorf("call %s: %w: exit code %d: %s", name, errCall, *res.ExitCode, event.OutputText(res.Output))
	}
	return nil
}

var errCall = errors.New("it did not go well")

// first is the call that shows that an environment works.
func first(ctx context.Context, srv tool.Server, sandbox string) error {
	if sandbox == event.SandboxJS {
		return call(ctx, srv, "run_code", map[string]any{"code": "1"})
	}
	return call(ctx, srv, "run_command", map[string]any{"command": "true"})
}
