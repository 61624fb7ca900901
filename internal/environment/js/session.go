package js

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/environment/output"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/tool"
)

// Renewed is what code is told whose variables of earlier calls are gone.
const Renewed = "[a new JavaScript session was started: variables of earlier calls are gone; files are kept]\n"

// Session is the JavaScript of one environment: its variables live on between
// the runs. It is safe for use by many goroutines; one piece of code runs at a
// time.
type Session struct {
	engine *Engine
	files  *workspace.Workspace

	busy    chan struct{} // holds the session while code runs
	machine *machine      // nil until there is code
	lost    bool          // there were variables, and they are gone
	closed  chan struct{}
}

// NewSession returns a session that works in the workspace. Where lost is set, the
// first code is told that variables of earlier are gone.
func (e *Engine) NewSession(files *workspace.Workspace, lost bool) *Session {
	return &Session{engine: e, files: files, lost: lost, busy: make(chan struct{}, 1), closed: make(chan struct{})}
}

var errClosed = errors.New("the environment was closed")

// enter waits until no other code runs.
func (s *Session) enter(ctx context.Context) error {
	select {
	case s.busy <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-s.closed:
		return errClosed
	}
	select {
	case <-s.closed:
		<-s.busy
		return errClosed
	default:
		return nil
	}
}

// Run runs the code, for the default time where seconds is 0. The exit code is 0,
// or 1 for code that failed or was stopped by a limit.
func (s *Session) Run(ctx context.Context, code string, seconds int64, stream func(string)) (tool.Result, error) {
	e := s.engine
	limit := e.limits.Timeout
	if seconds != 0 {
		limit = time.Duration(seconds) * time.Second
	}
	switch {
	case code == "":
		return tool.Failure("code is required"), nil
	case seconds < 0 || seconds > int64(e.limits.MaxTimeout/time.Second):
		return tool.Failure("timeout_seconds must be from 1 to %d", int64(e.limits.MaxTimeout/time.Second)), nil
	case e.Abandoned() >= MaxAbandoned:
		err := errors.New("code that could not be stopped keeps the machine busy; no more JavaScript is run until it ends or the runtime is restarted")
		return tool.Result{}, &tool.Error{Message: err.Error(), Err: err}
	}
	if err := s.enter(ctx); err != nil {
		return tool.Result{}, &tool.Error{Message: "run_code was not started: " + err.Error(), Err: err}
	}
	defer func() { <-s.busy }()
	res, err := s.run(ctx, code, limit, stream)
	if err != nil {
		return tool.Result{}, &tool.Error{Message: "run_code failed: " + err.Error(), Sent: true, Err: err}
	}
	return res, nil
}

func (s *Session) run(ctx context.Context, code string, limit time.Duration, stream func(string)) (tool.Result, error) {
	limited, cancel := context.WithTimeoutCause(ctx, limit, errTime)
	defer cancel()
	go func() {
		select {
		case <-s.closed:
			cancel()
		case <-limited.Done():
		}
	}()
	out := output.New(stream)
	if s.machine == nil {
		m, err := start(s.files, s.engine.limits.Memory)
		if err != nil {
			return tool.Result{}, err
		}
		s.machine = m
		if s.lost {
			s.lost = false
			fmt.Fprint(out, Renewed) //nolint:errcheck // it never fails
		}
	}
	o, left := s.wait(&run{ctx: limited, out: out}, code)
	if o.broken && !left {
		o.err = errors.Join(o.err, s.machine.close())
	}
	if o.broken {
		s.machine, s.lost = nil, true
	}
	switch {
	case o.err != nil:
		return tool.Result{}, o.err
	case ctx.Err() != nil:
		return tool.Result{}, context.Cause(ctx)
	case context.Cause(limited) == errTime: //nolint:errorlint // it is the cause itself
		return ended(note(out.String(), stopped(limit)), 1), nil
	case limited.Err() != nil:
		return tool.Result{}, errClosed
	case o.failure != "":
		return ended(note(out.String(), o.failure), 1), nil
	}
	return ended(out.String(), 0), nil
}

// wait has the machine run the code. One that does not stop is left to itself,
// and closed when it does.
func (s *Session) wait(r *run, code string) (o outcome, left bool) {
	m, e := s.machine, s.engine
	done := make(chan outcome, 1)
	go func() { done <- m.run(r, code) }()
	select {
	case o = <-done:
		return o, false
	case <-r.ctx.Done():
	}
	// An interrupt that comes between two calls into the interpreter is lost.
	again := time.NewTicker(grace / 40)
	defer again.Stop()
	for end := time.Now().Add(grace); time.Now().Before(end); {
		select {
		case o = <-done:
			o.broken = true
			return o, false
		case <-again.C:
			m.vm.Interrupt()
		}
	}
	e.abandoned.Add(1)
	go func() {
		<-done
		m.close() //nolint:errcheck,gosec // the call is over, and nobody is left to be told
		e.abandoned.Add(-1)
	}()
	return outcome{broken: true}, true
}

func ended(output string, code int) tool.Result {
	res := tool.Text(output)
	res.ExitCode = &code
	return res
}

// Close stops the code that runs, and frees the variables. It may be called
// once.
func (s *Session) Close() error {
	close(s.closed)
	s.busy <- struct{}{}
	defer func() { <-s.busy }()
	if s.machine == nil {
		return nil
	}
	m := s.machine
	s.machine = nil
	return m.close()
}
