package effect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// visit is one stay in a place: the call that is made there, and what is to be
// written about the place with its outcome.
type visit struct {
	job   *Job
	place *place
	srv   tool.Server
	said  []event.Payload
}

// enter opens the session's environment where it is not open, and makes its
// folder what the log says.
func (e *Environments) enter(ctx context.Context, job *Job) (*visit, error) {
	p := e.hold(job.Session)
	defer p.mu.Unlock()
	v := &visit{job: job, place: p}
	others, err := e.isForOthers(ctx, p, job)
	if err != nil {
		return nil, err
	}
	switch {
	case p.srv == nil:
		if err := e.open(ctx, p, job); err != nil {
			return nil, err
		}
		v.connected()
	case others:
		if err := e.reopen(ctx, v); err != nil {
			return nil, err
		}
		v.connected()
	case p.calls == 0:
		if err := p.settle(ctx, job.Place.Root); err != nil {
			return nil, err
		}
		if job.Place.Status != session.PlaceConnected {
			v.connected()
		}
	default: // it is what the call that is under way makes of it
	}
	p.calls++
	v.srv = p.srv
	return v, nil
}

// connected notes that the environment was opened. That its processes were lost
// is what follows from the log's having it open already.
func (v *visit) connected() {
	c := &event.EnvironmentChanged{TurnID: v.job.TurnID, Status: session.PlaceConnected, Epoch: v.job.Epoch}
	if v.job.Place.Status == session.PlaceConnected {
		c.Reset = v.job.Place.Resets + 1
	}
	v.said = append(v.said, c)
}

// leave ends the visit, and returns what is to be written about the place. again
// is whether the call will be made again from where it began. note is what the
// model is to be told. A store that is away is waited for as long as ctx lasts,
// and captureGrace longer.
func (v *visit) leave(ctx context.Context, again bool) (said []event.Payload, note string) {
	p := v.place
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls--
	said = v.said
	if p.srv != v.srv {
		return said, "" // it was closed meanwhile
	}
	if again { // nobody may write what is found now; a call that goes on finds it again
		p.dirty = p.calls == 0
		return said, ""
	}
	over, cancel := outlive(ctx, captureGrace)
	defer cancel()
	s, err := p.captureSoon(over)
	if err != nil {
		return said, fmt.Sprintf("[The files could not be kept after this call, and would be lost with the environment: %v]", err)
	}
	if s != nil {
		s.EffectID, s.TurnID = v.job.ID, v.job.TurnID
		said = append(said, s)
	}
	return said, ""
}

// egress is what is to be written about requests to the network. It is asked for
// when something is written, since it says of each request only once.
func (v *visit) egress() []event.Payload {
	e := v.place.egress()
	if e == nil {
		return nil
	}
	e.EffectID, e.TurnID = v.job.ID, v.job.TurnID
	return []event.Payload{e}
}

// callPlace makes a call in the session's environment.
func (p *Performer) callPlace(ctx context.Context, job Job) Outcome {
	v, err := p.Environments.enter(ctx, &job)
	if err != nil {
		return p.callFailed(ctx, job, &tool.Error{Message: err.Error(), Err: err})
	}
	left := false
	defer func() {
		if !left { // it panics
			v.leave(ctx, true)
		}
	}()
	started := p.Now()
	res, err := v.srv.Call(ctx, p.call(job))
	took := p.Now().Sub(started)
	left = true
	if err != nil {
		outcome := p.callFailed(ctx, job, err)
		again := outcome == nil || errors.Is(context.Cause(ctx), ErrShutdown) || (job.Class != event.Once && ctx.Err() == nil)
		said, note := v.leave(ctx, again)
		if outcome == nil {
			return nil
		}
		return after(append(said, v.egress()...), tell(outcome, note))
	}
	said, note := v.leave(ctx, false)
	if note != "" && job.Class != event.Once && errors.Is(context.Cause(ctx), ErrShutdown) {
		return nil // the next process makes the call again, from the files that are kept
	}
	if note != "" {
		res.Output = event.TextOutput(event.OutputText(res.Output) + "\n" + note)
	}
	return after(append(said, v.egress()...), record(finished(job, res, took, false)))
}

// tell adds a note to what an outcome says of a call without an answer.
func tell(outcome Outcome, note string) Outcome {
	if note == "" {
		return outcome
	}
	return func(s *session.State) []event.Payload {
		out := slices.Clone(outcome(s))
		for i := range out {
			switch p := out[i].(type) {
			case *event.EffectFailed:
				told := *p
				told.Message += " " + note
				out[i] = &told
			case *event.EffectUnknown:
				told := *p
				told.Reason += " " + note
				out[i] = &told
			default: // there is no place for it
			}
		}
		return out
	}
}

// after has payloads written before an outcome. Without an outcome nothing is.
func after(said []event.Payload, outcome Outcome) Outcome {
	if outcome == nil || len(said) == 0 {
		return outcome
	}
	return func(s *session.State) []event.Payload { return append(slices.Clone(said), outcome(s)...) }
}

// setUp furnishes the environment, opens it for the first time, runs what it is
// set up by, and says which tools it has.
func (p *Performer) setUp(ctx context.Context, job Job) Outcome {
	said, err := p.tryToSetUp(ctx, &job)
	switch {
	case err == nil:
		return func(*session.State) []event.Payload { return said }
	case ctx.Err() != nil:
		return nil
	}
	p.Environments.Leave(job.Session)
	var unavailable *environment.UnavailableError
	var setup *setupError
	if !errors.As(err, &unavailable) && !errors.As(err, &setup) && job.Attempt < attemptsPerModel {
		return after(said, p.failed(ctx, job, fmt.Errorf("set up the environment: %w", err), false))
	}
	return after(said, record(&event.EnvironmentChanged{
		EffectID: job.ID, TurnID: job.TurnID, Status: session.PlaceFailed,
		Error: &event.TurnError{Code: "sandbox_error", Message: err.Error()},
	}))
}

// tryToSetUp returns what is to be written, also where it failed.
func (p *Performer) tryToSetUp(ctx context.Context, job *Job) ([]event.Payload, error) {
	begin := job.Place.Root
	root, err := p.Environments.furnish(ctx, job)
	if err != nil {
		return nil, err
	}
	p.Environments.Leave(job.Session) // what an attempt before this one left open
	job.Place.Root = root
	v, err := p.Environments.enter(ctx, job)
	if err != nil {
		return nil, err
	}
	tools, err := v.srv.List(ctx)
	if err == nil {
		err = p.runSetup(ctx, job, v.srv)
	}
	said, note := v.leave(ctx, err != nil)
	if err == nil && note != "" {
		err = errors.New(note)
	}
	if err != nil {
		return v.egress(), err
	}
	if root != begin && !slices.ContainsFunc(said, func(p event.Payload) bool { return p.Kind() == event.KindSnapshot }) {
		s, err := v.place.holds(ctx, root)
		if err != nil {
			return v.egress(), err
		}
		s.EffectID, s.TurnID = job.ID, job.TurnID
		said = append(said, s)
	}
	ready := &event.EnvironmentChanged{EffectID: job.ID, TurnID: job.TurnID, Status: session.PlaceReady, Tools: tools}
	return slices.Concat([]event.Payload{ready}, said, v.egress()), nil
}

// setupError is a setup command that failed: it would fail again.
type setupError struct{ msg string }

func (e *setupError) Error() string { return e.msg }

// maxSetupOutput is how much of a failed setup command's output is told, in bytes.
const maxSetupOutput = 2000

func (p *Performer) runSetup(ctx context.Context, job *Job, srv tool.Server) error {
	for i, c := range job.Environment.Setup {
		args, err := json.Marshal(map[string]any{"command": c.Command, "cwd": cwdOf(c), "timeout_seconds": setupSeconds})
		if err != nil {
			return fmt.Errorf("encode a setup command: %w", err)
		}
		res, err := srv.Call(ctx, tool.Call{
			EffectID: event.DeriveID("eff", job.ID, strconv.Itoa(i)), Session: job.Session, TurnID: job.TurnID, Name: "run_command", Arguments: args,
		})
		if err != nil {
			return fmt.Errorf("setup command %d of %d: %w", i+1, len(job.Environment.Setup), err)
		}
		out := event.OutputText(res.Output)
		out = out[max(0, len(out)-maxSetupOutput):]
		switch {
		case res.Failed:
			return &setupError{fmt.Sprintf("Setup command %d of %d could not be run: %s", i+1, len(job.Environment.Setup), res.Error)}
		case res.ExitCode != nil && *res.ExitCode != 0:
			return &setupError{fmt.Sprintf("Setup command %d of %d ended with exit code %d: %s", i+1, len(job.Environment.Setup), *res.ExitCode, out)}
		}
	}
	return nil
}

// setupSeconds is how long one setup command may take.
const setupSeconds = 600

func cwdOf(c event.SetupCommand) string {
	if c.Cwd == "" {
		return environment.Workspace
	}
	return c.Cwd
}

// suspend closes an environment that is idle. One in which programs run in the
// background is not.
func (p *Performer) suspend(ctx context.Context, job Job) Outcome {
	pl := p.Environments.hold(job.Session)
	defer pl.mu.Unlock()
	if pl.srv == nil {
		return record(&event.EnvironmentChanged{TurnID: job.TurnID, Status: session.PlaceSuspended})
	}
	if pl.calls > 0 {
		return nil
	}
	if pl.busy() {
		return record(&event.EnvironmentChanged{TurnID: job.TurnID, Status: session.PlaceConnected, Epoch: job.Epoch})
	}
	s, err := pl.captureSoon(ctx)
	if ctx.Err() != nil {
		return nil
	}
	var said []event.Payload
	if g := pl.egress(); g != nil {
		g.TurnID = job.TurnID
		said = append(said, g)
	}
	suspended := &event.EnvironmentChanged{TurnID: job.TurnID, Status: session.PlaceSuspended}
	switch {
	case err != nil:
		suspended.Error = &event.TurnError{Code: "sandbox_error", Message: "What changed since the last call could not be kept: " + err.Error()}
	case s != nil:
		s.TurnID = job.TurnID
		said = append(said, s)
	}
	pl.close()
	return after(said, record(suspended))
}
