package bench

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/stayd/stayd/internal/store"
)

// Options of a run.
type Options struct {
	// Run names this run: a store may hold others.
	Run string
	// Open opens the store of the measurement named, which is empty when it is
	// opened first.
	Open func(ctx context.Context, name string) (store.Store, error)
	// Dir is a folder on the disk that is measured.
	Dir string
	// Duration is how long each throughput is measured.
	Duration time.Duration
	// Child makes the command that runs Child in another process on the store of
	// that name. It is nil where what needs one is left out.
	Child func(mode, name, project string) *exec.Cmd
	// Progress is told what is measured next.
	Progress func(string)
}

// Result is what a run found. Rates are per second.
type Result struct {
	RawLimit1  float64 `json:"raw_limit_1"`
	RawLimit64 float64 `json:"raw_limit_64"`

	Steps1   float64 `json:"steps_per_s_1"`
	Steps16  float64 `json:"steps_per_s_16"`
	Steps64  float64 `json:"steps_per_s_64"`
	Steps256 float64 `json:"steps_per_s_256"`

	StepP50MS float64 `json:"step_p50_ms"`
	StepP99MS float64 `json:"step_p99_ms"`

	BytesPerNewByte float64 `json:"bytes_per_new_byte"`
	RSSWaiting10kMB float64 `json:"rss_waiting_10k_mb,omitempty"`
	Recover1kMS     float64 `json:"recover_1k_ms,omitempty"`
}

// Run measures.
func Run(ctx context.Context, o Options) (*Result, error) {
	r := &Result{}
	var err error
	o.Progress("what the disk can do: append and fdatasync, 1 and 64 writers")
	if r.RawLimit1, err = rawLimit(o.Dir, 1, o.Duration/2); err != nil {
		return nil, err
	}
	if r.RawLimit64, err = rawLimit(o.Dir, 64, o.Duration/2); err != nil {
		return nil, err
	}
	if err := o.rates(ctx, r); err != nil {
		return nil, err
	}
	if err := o.bytes(ctx, r); err != nil {
		return nil, err
	}
	if o.Child == nil {
		return r, nil
	}
	o.Progress(fmt.Sprintf("the memory of a process with %d waiting sessions", waiting))
	if r.RSSWaiting10kMB, err = o.waiting(ctx); err != nil {
		return nil, err
	}
	o.Progress(fmt.Sprintf("the recovery of %d sessions after SIGKILL", inFlight))
	if r.Recover1kMS, err = o.recovery(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func (o *Options) rates(ctx context.Context, r *Result) error {
	st, err := o.Open(ctx, "steps")
	if err != nil {
		return err
	}
	e, err := start(ctx, st, o.Run+"_steps", newLoad())
	if err != nil {
		return err
	}
	defer e.stop() //nolint:errcheck // the figures are known by then
	o.Progress("one step, alone")
	if _, _, err := e.latency(ctx, 20); err != nil { // warm up
		return err
	}
	p50, p99, err := e.latency(ctx, 200)
	if err != nil {
		return err
	}
	r.StepP50MS, r.StepP99MS = ms(p50), ms(p99)
	for _, level := range []struct {
		n   int
		out *float64
	}{{1, &r.Steps1}, {16, &r.Steps16}, {64, &r.Steps64}, {256, &r.Steps256}} {
		o.Progress(fmt.Sprintf("durable steps, %d sessions at once", level.n))
		if *level.out, err = e.throughput(ctx, level.n, o.Run, o.Duration); err != nil {
			return err
		}
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// RSS returns the resident memory of a process in MB.
func rss(pid int) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("read the memory of process %d: %w", pid, err)
	}
	return parseRSS(string(data))
}
