package effect

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/tool"
)

func (p *Performer) callTool(ctx context.Context, job Job) Outcome {
	if job.Policy.TimeoutSeconds > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(job.Policy.TimeoutSeconds)*time.Second, errTimeout)
		defer cancel()
	}
	if job.Server == event.EnvironmentLabel && job.Environment.Type == event.EnvironmentHosted {
		return p.callPlace(ctx, job)
	}
	if job.Server == event.MemoryLabel {
		return p.callMemory(ctx, job)
	}
	srv, err := p.server(ctx, job)
	if err != nil {
		return p.callFailed(ctx, job, &tool.Error{Message: err.Error(), Err: err})
	}
	started := p.Now()
	res, err := srv.Call(ctx, p.call(job))
	if err != nil {
		return p.callFailed(ctx, job, err)
	}
	return record(finished(job, res, p.Now().Sub(started), false))
}

func (p *Performer) call(job Job) tool.Call {
	return tool.Call{
		EffectID: job.ID, Session: job.Session, TurnID: job.TurnID, Name: job.Item.Name, Arguments: job.Item.Arguments,
		Output: p.output(job),
	}
}

var errTimeout = errors.New("the call took longer than its timeout")

// consent says that the effect waits until a person has agreed, where the error
// is that one has to; else nil. A call that may not be repeated and is in doubt
// does not: nothing could be done with the consent.
func (job *Job) consent(err error) Outcome {
	var needed *tool.ConsentError
	if !errors.As(err, &needed) || (job.Doubt && job.Class == event.Once) {
		return nil
	}
	return record(&event.ConsentRequested{
		EffectID: job.ID, What: job.What, TurnID: job.TurnID, Attempt: job.Attempt, ServerLabel: job.Server, ServerURL: needed.Server,
		Actor: job.Caller.Actor, Nonce: rand.Text(), Metadata: needed.Metadata, Scope: needed.Scope,
		Uncertain: job.Doubt || job.Mode == loop.Lookup,
	})
}

func (p *Performer) callFailed(ctx context.Context, job Job, err error) Outcome {
	sent := true
	var te *tool.Error
	if errors.As(err, &te) {
		sent = te.Sent
	}
	if asked := job.consent(err); asked != nil && !sent {
		return asked
	}
	if errors.Is(context.Cause(ctx), errTimeout) {
		// The limit was set by the user: the call is over, as far as its class
		// allows to say so.
		if job.Class == event.Pure || (!sent && !job.Doubt) {
			return record(&event.EffectFailed{
				EffectID: job.ID, What: job.What, TurnID: job.TurnID, Attempt: job.Attempt,
				Code: "request_timeout", Message: fmt.Sprintf("The call took longer than its timeout of %d seconds.", job.Policy.TimeoutSeconds),
			})
		}
		return p.failed(context.WithoutCancel(ctx), job, errTimeout, sent)
	}
	return p.failed(ctx, job, err, sent)
}

func finished(job Job, res tool.Result, took time.Duration, reconciled bool) *event.EffectFinished {
	f := &event.EffectFinished{
		EffectID: job.ID, TurnID: job.TurnID, Status: event.StatusCompleted, Output: res.Output, ExitCode: res.ExitCode,
		DurationMS: took.Milliseconds(), Reconciled: reconciled,
	}
	if len(f.Output) > 0 && !json.Valid(f.Output) {
		// A server that breaks its contract is no reason to lose what it says.
		f.Output = event.TextOutput(string(f.Output))
	}
	if res.Failed {
		f.Status, f.Error = event.StatusFailed, res.Error
	}
	return f
}

// output hands what a command prints to whoever follows the session.
func (p *Performer) output(job Job) func(string) {
	if job.Item.Type != event.ItemCommandExecution {
		return nil
	}
	n := 0
	return func(chunk string) {
		p.Feed.Delta(job.Session, feed.Delta{
			Kind: feed.CommandDelta, TurnID: job.TurnID, ItemID: job.Item.ID, OutputIndex: job.OutputIndex, N: n, Text: chunk,
		})
		n++
	}
}

// server returns what answers the call.
func (p *Performer) server(ctx context.Context, job Job) (tool.Server, error) {
	if job.Server == event.EnvironmentLabel {
		return p.Environments.Remote(job.Project, job.Session)
	}
	if job.Tool == nil {
		return nil, fmt.Errorf("the session has no MCP server '%s' any more", job.Server)
	}
	return p.Servers.Server(ctx, job.Caller, job.Tool)
}

// lookupTimeout bounds one lookup, which may be tried again.
const lookupTimeout = 60 * time.Second

// lookUp asks the effect's lookup what became of it. The lookup is a tool of
// the same server that takes {"effect_id": ...} and answers with a JSON object:
// {"status": "completed", "output": ...}, {"status": "failed", "error": ...},
// {"status": "not_found"} or {"status": "unknown"}.
func (p *Performer) lookUp(ctx context.Context, job Job) Outcome {
	unknown := func(format string, args ...any) Outcome {
		return record(&event.EffectUnknown{EffectID: job.ID, TurnID: job.TurnID, Reason: fmt.Sprintf(format, args...)})
	}
	if job.Policy.Lookup == "" {
		return unknown("the tool is declared reconcilable and no lookup is declared with it")
	}
	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	srv, err := p.server(limited, job)
	if err != nil {
		return p.failed(ctx, job, err, true)
	}
	args, err := json.Marshal(map[string]string{"effect_id": job.ID})
	if err != nil {
		return unknown("the lookup's arguments could not be encoded: %v", err)
	}
	res, err := srv.Call(limited, tool.Call{EffectID: job.ID + "_lookup", Session: job.Session, TurnID: job.TurnID, Name: job.Policy.Lookup, Arguments: args})
	if asked := job.consent(err); asked != nil {
		return asked
	}
	if err != nil {
		return p.failed(ctx, job, err, true)
	}
	if res.Failed {
		return unknown("the lookup '%s' failed: %s", job.Policy.Lookup, res.Error)
	}
	return p.reconcile(job, event.OutputText(res.Output))
}

func (p *Performer) reconcile(job Job, answer string) Outcome {
	var found struct {
		Status string          `json:"status"`
		Output json.RawMessage `json:"output"`
		Error  string          `json:"error"`
	}
	if err := json.Unmarshal([]byte(answer), &found); err != nil {
		return record(&event.EffectUnknown{EffectID: job.ID, TurnID: job.TurnID, Reason: fmt.Sprintf("the lookup '%s' did not answer with a JSON object", job.Policy.Lookup)})
	}
	switch found.Status {
	case "completed":
		out := found.Output
		var text string
		if json.Unmarshal(out, &text) != nil {
			out = event.TextOutput(string(found.Output))
		}
		return record(finished(job, tool.Result{Output: out}, 0, true))
	case "failed":
		return record(finished(job, tool.Result{Failed: true, Error: found.Error}, 0, true))
	case "not_found":
		now := p.Now().UTC()
		return record(&event.EffectFailed{
			EffectID: job.ID, What: job.What, TurnID: job.TurnID, Attempt: job.Attempt, Code: "not_started",
			Message: "the lookup found that the interrupted call did not take effect", RetryAt: &now,
		})
	}
	return record(&event.EffectUnknown{EffectID: job.ID, TurnID: job.TurnID, Reason: fmt.Sprintf("the lookup '%s' answered with status %q", job.Policy.Lookup, found.Status)})
}

// listTimeout bounds the listing of a server's tools, which a turn waits for.
const listTimeout = 60 * time.Second

func (p *Performer) listTools(ctx context.Context, job Job) Outcome {
	limited, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	listed := &event.ToolsListed{EffectID: job.ID, TurnID: job.TurnID, ServerLabel: job.Server}
	srv, err := p.server(limited, job)
	if err == nil {
		listed.Tools, err = srv.List(limited)
	}
	if asked := job.consent(err); asked != nil {
		return asked
	}
	switch {
	case err == nil:
		return record(listed)
	case ctx.Err() != nil:
		return nil
	case job.Attempt < attemptsPerModel:
		return p.failed(ctx, job, err, false)
	}
	listed.Error = err.Error()
	return record(listed)
}
