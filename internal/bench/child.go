package bench

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// Modes of a child process.
const (
	ModeWait   = "wait"   // makes sessions that wait for the client, and goes on
	ModeHold   = "hold"   // makes sessions that are in the middle of a turn, and goes on
	ModeResume = "resume" // takes up what is there, until all turns have ended
)

const (
	waiting  = 10_000
	inFlight = 1000
	ready    = "ready"
)

// Child runs a mode on the store, and prints "ready" and the milliseconds since
// began when it has come to its point. Until its standard input ends, it goes on.
func Child(ctx context.Context, mode, project string, st store.Store, began time.Time, in io.Reader, out io.Writer) error {
	l := newLoad()
	l.hold = mode == ModeHold
	e, err := start(ctx, st, project, l)
	if err != nil {
		return err
	}
	defer e.stop() //nolint:errcheck // the parent has what it wanted
	switch mode {
	case ModeWait:
		err = e.makeWaiting(ctx)
	case ModeHold:
		err = e.makeHeld(ctx)
	case ModeResume:
		err = e.awaitIdle(ctx)
	default:
		err = fmt.Errorf("mode %q is none of wait, hold, resume", mode)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s %.3f\n", ready, ms(time.Since(began))) //nolint:errcheck // a parent that is gone needs no answer
	io.Copy(io.Discard, in)                                     //nolint:errcheck,gosec // it ends when the parent does
	return nil
}

// makeWaiting makes sessions that called a function of the client.
func (e *engine) makeWaiting(ctx context.Context) error {
	a := agent()
	a.Tools = []event.Tool{{Type: event.ToolFunction, Name: "bench__step", Parameters: []byte(`{"type":"object"}`)}}
	return e.makeMany(ctx, waiting, "wait", a, func(ix store.Index) bool { return ix.Status == "requires_action" })
}

// makeHeld makes sessions whose last model call does not end.
func (e *engine) makeHeld(ctx context.Context) error {
	if err := e.makeMany(ctx, inFlight, "held", agent(), nil); err != nil {
		return err
	}
	for e.load.held.Load() < inFlight {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return errEnded
		}
	}
	return nil
}

// makeMany creates n sessions, and waits until all are as reached says.
func (e *engine) makeMany(ctx context.Context, n int, name string, a event.Agent, reached func(store.Index) bool) error {
	slots := make(chan struct{}, 64)
	errs := make(chan error, n)
	for i := range n {
		slots <- struct{}{}
		go func() {
			_, err := e.create(ctx, fmt.Sprintf("sess_%s_%d", name, i), a, "Take the steps.")
			errs <- err
			<-slots
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			return err
		}
	}
	if reached == nil {
		return nil
	}
	return e.awaitAll(ctx, reached)
}

func (e *engine) awaitIdle(ctx context.Context) error {
	return e.awaitAll(ctx, func(ix store.Index) bool { return ix.Status == "idle" })
}

// awaitAll waits until every session is as reached says.
func (e *engine) awaitAll(ctx context.Context, reached func(store.Index) bool) error {
	after := ""
	for {
		page, err := e.store.Sessions(ctx, store.SessionQuery{Project: e.project, After: after, Asc: true, Limit: 1000})
		if err != nil {
			return err
		}
		all := true
		for i := range page {
			all = all && reached(page[i])
		}
		switch {
		case all && len(page) < 1000:
			return nil
		case all:
			after = page[len(page)-1].Session
			continue
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			return errEnded
		}
	}
}

// waiting returns the memory of a process whose sessions all wait.
func (o *Options) waiting(ctx context.Context) (float64, error) {
	c, _, err := o.child(ctx, ModeWait, "waiting")
	if err != nil {
		return 0, err
	}
	defer c.end()
	// What the making of the sessions left behind is given back in the next
	// minutes; what a user sees is a process that has been waiting for a while.
	time.Sleep(3 * time.Second)
	return rss(c.cmd.Process.Pid)
}

// recovery returns the time from the start of a process, after one with sessions
// in flight was killed, until all of them have ended.
func (o *Options) recovery(ctx context.Context) (float64, error) {
	c, _, err := o.child(ctx, ModeHold, "recover")
	if err != nil {
		return 0, err
	}
	c.kill()
	c, took, err := o.child(ctx, ModeResume, "recover")
	if err != nil {
		return 0, err
	}
	c.end()
	return took, nil
}

// process is a child.
type process struct {
	cmd *exec.Cmd
	in  io.Closer
}

// child starts a mode, and returns when it has come to its point.
func (o *Options) child(ctx context.Context, mode, name string) (*process, float64, error) {
	cmd := o.Child(mode, name, o.Run+"_"+name)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, 0, fmt.Errorf("start the %s process: %w", mode, err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, 0, fmt.Errorf("start the %s process: %w", mode, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, 0, fmt.Errorf("start the %s process: %w", mode, err)
	}
	c := &process{cmd: cmd, in: in}
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	line, err := bufio.NewReader(out).ReadString('\n')
	var took float64
	if _, scanErr := fmt.Sscanf(strings.TrimSpace(line), ready+" %f", &took); err != nil || scanErr != nil {
		c.kill()
		return nil, 0, fmt.Errorf("the %s process ended before it was ready: %q", mode, line)
	}
	return c, took, nil
}

// end lets the process go, and waits for it.
func (c *process) end() {
	c.in.Close() //nolint:errcheck,gosec // it ends all the same
	c.cmd.Wait() //nolint:errcheck,gosec // what it had to say it has said
}

// kill ends the process with SIGKILL, and waits for it.
func (c *process) kill() {
	c.cmd.Process.Kill() //nolint:errcheck,gosec // it may be gone already
	c.cmd.Wait()         //nolint:errcheck,gosec // it was killed
}

func parseRSS(status string) (float64, error) {
	for line := range strings.Lines(status) {
		var kb float64
		if _, err := fmt.Sscanf(line, "VmRSS: %f kB", &kb); err == nil {
			return kb / 1024, nil
		}
	}
	return 0, fmt.Errorf("no VmRSS in %q", status)
}
