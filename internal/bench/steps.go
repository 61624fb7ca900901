package bench

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
)

// throughput runs sessions, n at once, for about as long as asked, and returns
// the durable steps per second: outcomes of model calls and of tool calls. What
// else is written (the sessions, their inputs, the listing of tools, the ends of
// turns) takes its time and is not counted.
func (e *engine) throughput(ctx context.Context, n int, name string, d time.Duration) (float64, error) {
	var steps, sessions atomic.Int64
	counting := func(c journal.Commit) {
		for i := range c.Records {
			if isStep(c.Records[i].Kind) {
				steps.Add(1)
			}
		}
	}
	e.commits.Store(&counting)
	defer e.commits.Store(nil)

	began := time.Now()
	var wg sync.WaitGroup
	errs := make(chan error, n)
	for range n {
		wg.Go(func() {
			for time.Since(began) < d {
				id := fmt.Sprintf("sess_%s_%d_%d", name, n, sessions.Add(1))
				done, err := e.create(ctx, id, agent(), "Take the steps.")
				if err != nil {
					errs <- err
					return
				}
				select {
				case <-done:
				case <-ctx.Done():
					errs <- errEnded
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	select {
	case err := <-errs:
		return 0, err
	default:
	}
	return float64(steps.Load()) / took.Seconds(), nil
}

func isStep(k event.Kind) bool {
	return k == event.KindModelResponded || k == event.KindEffectFinished
}

// latency returns the 50th and 99th percentile of the time from one durable step
// of a session to the next, with nothing else running.
func (e *engine) latency(ctx context.Context, turns int) (p50, p99 time.Duration, err error) {
	var mu sync.Mutex
	var last time.Time
	var took []time.Duration
	timing := func(c journal.Commit) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		step := isStep(c.Records[0].Kind)
		if step && !last.IsZero() {
			took = append(took, now.Sub(last))
		}
		last = time.Time{}
		if step {
			last = now
		}
	}
	e.commits.Store(&timing)
	defer e.commits.Store(nil)
	for i := range turns {
		done, err := e.create(ctx, fmt.Sprintf("sess_alone_%d_%d", time.Now().UnixNano(), i), agent(), "Take the steps.")
		if err != nil {
			return 0, 0, err
		}
		select {
		case <-done:
		case <-ctx.Done():
			return 0, 0, errEnded
		}
	}
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100], nil
}
