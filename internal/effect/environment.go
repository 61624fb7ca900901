package effect

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// environments keeps the environments that are open in this process.
type environments struct {
	mu   sync.Mutex
	open map[string]*opened
}

// opened is an environment that is, or is being, opened.
type opened struct {
	once sync.Once
	srv  tool.Server
	err  error
}

// enter returns the session's environment, which open opens if it is not open.
func (e *environments) enter(session string, open func() (tool.Server, error)) (tool.Server, error) {
	e.mu.Lock()
	if e.open == nil {
		e.open = map[string]*opened{}
	}
	o := e.open[session]
	if o == nil {
		o = &opened{}
		e.open[session] = o
	}
	e.mu.Unlock()
	o.once.Do(func() {
		o.err = errors.New("the environment's driver failed") // unless open returns
		o.srv, o.err = open()
	})
	if o.err != nil {
		e.mu.Lock()
		if e.open[session] == o {
			delete(e.open, session)
		}
		e.mu.Unlock()
	}
	return o.srv, o.err
}

func (e *environments) leave(session string) {
	e.mu.Lock()
	o := e.open[session]
	delete(e.open, session)
	e.mu.Unlock()
	if o != nil && o.srv != nil {
		o.srv.Close() //nolint:errcheck,gosec // there is nothing to do about it, and nothing is lost: all is on disk
	}
}

// environment opens the session's environment where it is not open here.
func (p *Performer) environment(ctx context.Context, job Job) (tool.Server, error) {
	return p.environments.enter(job.Session, func() (tool.Server, error) {
		name := job.Environment.Sandbox
		if name == "" {
			name = event.SandboxJS
		}
		driver := p.Sandboxes[name]
		if driver == nil {
			return nil, &environment.UnavailableError{Sandbox: name, Reason: "this server does not offer it", Install: "see stayd doctor"}
		}
		return driver.Open(context.WithoutCancel(ctx), environment.Spec{
			Project: job.Project, Session: job.Session, Dir: p.SessionDir(job.Project, job.Session),
			Env: job.Environment.Env, Files: job.Environment.Files,
		})
	})
}

// setUp opens the environment for the first time, and says which tools it has.
func (p *Performer) setUp(ctx context.Context, job Job) Outcome {
	srv, err := p.environment(ctx, job)
	var tools []event.ToolSpec
	if err == nil {
		tools, err = srv.List(ctx)
	}
	switch {
	case err == nil:
		return record(&event.EnvironmentChanged{EffectID: job.ID, TurnID: job.TurnID, Status: "ready", Tools: tools})
	case ctx.Err() != nil:
		return nil
	}
	var unavailable *environment.UnavailableError
	if !errors.As(err, &unavailable) && job.Attempt < attemptsPerModel {
		return p.failed(ctx, job, fmt.Errorf("set up the environment: %w", err), false)
	}
	return record(&event.EnvironmentChanged{
		EffectID: job.ID, TurnID: job.TurnID, Status: "failed",
		Error: &event.TurnError{Code: "sandbox_error", Message: err.Error()},
	})
}
