// Package loop is the agent loop as a pure function: from a session's state and
// the time it says what is to be done next. It performs nothing, and it keeps
// nothing: asked again, after a crash or on another machine, it gives the same
// answer.
package loop

import (
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// Moment is what a decision depends on besides the log.
type Moment struct {
	Now time.Time
	// Epoch is that of the lease on the session's shard. An effect that was
	// started under another was interrupted.
	Epoch int64
	// Running has the ids of the effects that are under way in this process.
	Running map[string]bool
}

// Mode says how an effect is taken up.
type Mode int

// Modes.
const (
	Run    Mode = iota
	Lookup      // ask what became of it
)

// Start is an effect that is to be under way in this process. One that already
// is, is left alone.
type Start struct {
	ID      string
	What    event.EffectKind
	TurnID  string
	Mode    Mode
	Attempt int
	Item    *event.Item // of a tool call
	Server  string      // label, of a tool call and of a listing
	Policy  event.EffectPolicy
	Class   event.Class
	// Doubt is set where an attempt before this one may have reached the tool and
	// nobody knows what came of it.
	Doubt bool
	// Reserve asks for the intention of a model call to be written first, with
	// what the call may cost at most.
	Reserve bool
	// Covers is how many items of the context a compaction is to summarise.
	Covers int
}

// Step is what comes next. Append is written first, if there is anything, and
// Next is asked again. Otherwise all of Start is to be under way, and any other
// effect of the session that still runs in this process is to be stopped. Where
// nothing is to be done until an input or a result comes, Start is empty; WakeAt
// is the time from which Next has a new answer without either, or zero.
type Step struct {
	Append []event.Payload
	Start  []Start
	WakeAt time.Time
}

// Next decides.
func Next(s *session.State, m Moment) Step {
	if s.Deleted {
		return Step{}
	}
	d := decision{s: s, t: s.Current(), m: m}
	if d.t != nil {
		d.decide()
	}
	d.remember()
	d.rest()
	return d.step
}

type decision struct {
	s    *session.State
	t    *session.Turn
	m    Moment
	step Step
}

func (d *decision) decide() {
	if end := d.over(); end != nil {
		d.end(end)
		return
	}
	open := d.s.OpenEffects()
	waiting := false
	for _, e := range open {
		switch e.Kind {
		case event.EffectTool, event.EffectTimer, event.EffectClient:
			waiting = true
			d.call(e)
		default: // the engine's own come below
		}
	}
	if len(d.step.Append) > 0 || waiting {
		d.keepCompaction()
		d.limitWait()
		return
	}
	if !d.t.NeedsModel {
		if d.keeps() {
			d.limitWait()
			return
		}
		d.append(&event.TurnEnded{TurnID: d.t.ID, Status: session.TurnCompleted})
		return
	}
	if d.prepare() {
		d.think()
	}
	d.limitWait()
}

// over says whether the turn has to end for a reason from outside it, and how.
func (d *decision) over() *event.TurnEnded {
	t := d.t
	if t.CancelRequested {
		return &event.TurnEnded{TurnID: t.ID, Status: session.TurnCancelled}
	}
	l := d.s.Agent.Limits
	if l == nil {
		return nil
	}
	fail := func(code, format string, args ...any) *event.TurnEnded {
		return failed(t, code, fmt.Sprintf(format, args...))
	}
	if l.MaxSeconds > 0 && !d.m.Now.Before(d.deadline()) {
		if !t.NeedsModel && !d.underWay() {
			return &event.TurnEnded{TurnID: t.ID, Status: session.TurnCompleted} // it waited for memory alone
		}
		return fail("request_timeout", "The turn reached its limit of %d seconds.", l.MaxSeconds)
	}
	if !t.NeedsModel || d.underWay() {
		return nil
	}
	if l.MaxSteps > 0 && t.Steps >= l.MaxSteps {
		return fail("usage_limit_exceeded", "The turn reached its limit of %d model calls.", l.MaxSteps)
	}
	if l.MaxTokens > 0 && t.Usage.Total() >= l.MaxTokens {
		return fail("usage_limit_exceeded", "The turn reached its limit of %d tokens.", l.MaxTokens)
	}
	return nil
}

// underWay reports whether something is open that the next step waits for.
func (d *decision) underWay() bool {
	for _, e := range d.s.OpenEffects() {
		if e.Kind != event.EffectCompaction {
			return true
		}
	}
	return false
}

func failed(t *session.Turn, code, message string) *event.TurnEnded {
	return &event.TurnEnded{TurnID: t.ID, Status: session.TurnFailed, Error: &event.TurnError{Code: code, Message: message}}
}

// end closes the turn. An effect that was started, or of which an attempt may
// have reached the tool, is first stopped, where it runs here, or else known to
// be unknown, so that the log says what became of it.
func (d *decision) end(end *event.TurnEnded) {
	for _, e := range d.s.OpenEffects() {
		if !inDoubt(e) {
			continue
		}
		if d.m.Running[e.ID] {
			// Not being in Start stops it, and its outcome comes.
			d.step.Append = nil
			return
		}
		// A policy that asks a person has nobody to ask once the turn is over.
		d.append(unknown(e, "the turn was ended while the call was made"))
	}
	d.append(end)
}

// inDoubt reports whether the effect of a call may have taken place and nothing
// in the log says so.
func inDoubt(e *session.Effect) bool {
	if e.Kind != event.EffectTool || e.Class == event.Pure {
		return false
	}
	switch e.Status {
	case session.EffectStarted:
		return true
	case session.EffectRetrying, session.EffectConsent:
		return e.Uncertain
	default:
		return false
	}
}

// GiveUp fails the current turn at once, whatever is under way, and says of each
// call that may have taken place that this is unknown. It returns nothing where
// no turn is current.
func GiveUp(s *session.State, code, message string) []event.Payload {
	t := s.Current()
	if t == nil {
		return nil
	}
	var out []event.Payload
	for _, e := range s.OpenEffects() {
		if inDoubt(e) {
			out = append(out, unknown(e, "the turn was given up while the call was made"))
		}
	}
	return append(out, failed(t, code, message))
}

func unknown(e *session.Effect, reason string) *event.EffectUnknown {
	return &event.EffectUnknown{EffectID: e.ID, TurnID: e.TurnID, Reason: reason}
}

// call takes one open call a step further.
func (d *decision) call(e *session.Effect) {
	if e.Kind == event.EffectClient {
		return
	}
	switch e.Status {
	case session.EffectPending:
		d.begin(e, 1)
	case session.EffectStarted:
		d.started(e)
	case session.EffectRetrying:
		switch {
		case d.m.Now.Before(e.RetryAt):
			d.wake(e.RetryAt)
		case e.Uncertain && e.Class == event.Reconcilable:
			d.start(e, Lookup, e.Attempt)
		case e.Uncertain && e.Class == event.Once:
			d.append(unknown(e, e.Message))
		default:
			d.begin(e, e.Attempt+1)
		}
	default: // it waits for a person
	}
}

// begin starts an attempt: with its intention in the log, unless it is pure.
func (d *decision) begin(e *session.Effect, attempt int) {
	if e.Kind == event.EffectTimer {
		d.timer(e)
		return
	}
	if e.Server == event.EnvironmentLabel && d.s.NeedsConnection() {
		return // it is made when the environment is there again
	}
	if e.Class == event.Pure {
		d.start(e, Run, attempt)
		return
	}
	d.append(&event.EffectStarted{EffectID: e.ID, What: e.Kind, TurnID: e.TurnID, Class: e.Class, Attempt: attempt, Epoch: d.m.Epoch})
}

// started takes up an effect whose intention is in the log.
func (d *decision) started(e *session.Effect) {
	if e.Kind == event.EffectTimer {
		d.fire(e)
		return
	}
	// What runs here goes on, even where the lease was lost and claimed again.
	if e.Epoch == d.m.Epoch || d.m.Running[e.ID] {
		d.start(e, Run, e.Attempt)
		return
	}
	switch e.Class {
	case event.Pure, event.Idempotent:
		d.begin(e, e.Attempt+1)
	case event.Reconcilable:
		d.start(e, Lookup, e.Attempt)
	default:
		d.append(unknown(e, "the runtime was stopped while the call was made"))
	}
}

func (d *decision) start(e *session.Effect, mode Mode, attempt int) {
	en, ok := d.s.Item(e.ItemID)
	if !ok {
		return
	}
	d.step.Start = append(d.step.Start, Start{
		ID: e.ID, What: e.Kind, TurnID: e.TurnID, Mode: mode, Attempt: attempt,
		Item: en.Item, Server: e.Server, Policy: e.Policy, Class: e.Class, Doubt: e.Doubt,
	})
}

// prepare makes sure that the environment stands and that all tools are known,
// and reports whether they are.
func (d *decision) prepare() bool {
	ready := true
	switch place := &d.s.Place; {
	case d.s.NeedsConnection():
		return false
	case d.s.Environment.Type != event.EnvironmentHosted:
	case d.s.NeedsSetUp(d.t):
		ready = d.own(session.EnvironmentEffectID(d.s.ID, d.t), event.EffectEnvironment, "", "sandbox_error") && ready
	case place.Status == session.PlaceFailed:
		msg := "The environment could not be set up."
		if place.Error != nil {
			msg = place.Error.Message
		}
		d.append(failed(d.t, "sandbox_error", msg))
		return false
	}
	if d.s.NeedsRecall(d.t) {
		ready = d.own(session.RecallEffectID(d.s.ID, d.t), event.EffectRecall, "", "server_error") && ready
	}
	for i := range d.s.Agent.Tools {
		t := &d.s.Agent.Tools[i]
		if t.Type != event.ToolMCP {
			continue
		}
		srv := d.s.Servers[t.ServerLabel]
		switch {
		case srv == nil || (srv.Error != "" && srv.TurnID != d.t.ID):
			ready = d.own(session.ToolsEffectID(d.s.ID, d.t, t), event.EffectToolsList, t.ServerLabel, "connection_failed") && ready
		case srv.Error != "" && t.Required:
			d.append(failed(d.t, "connection_failed", fmt.Sprintf("The MCP server '%s' is required and could not be reached: %s", t.ServerLabel, srv.Error)))
			return false
		}
	}
	return ready && len(d.step.Append) == 0
}

// think has the model called, and the conversation compacted where it has grown
// too long.
func (d *decision) think() {
	threshold := d.s.Agent.Compaction.Threshold
	size := d.s.ContextTokens()
	overflow := d.t.Overflow
	if overflow || (threshold > 0 && size > threshold) {
		n := d.s.Compactable()
		if n == 0 && overflow {
			d.append(failed(d.t, session.CodeContextLength, "The conversation is too long for the model, and what is left of it cannot be compacted."))
			return
		}
		gaveUp := d.s.Effect(session.CompactionEffectID(d.s))
		switch {
		case n == 0:
		case gaveUp == nil || gaveUp.Status != session.EffectFailed:
			d.compact(n)
			// In the background there is some room left: the model goes on.
			if overflow || !d.s.Agent.Compaction.Async || size > threshold+threshold/4 {
				return
			}
		case overflow:
			d.append(failed(d.t, gaveUp.Code, "The conversation is too long for the model and could not be compacted: "+gaveUp.Message))
			return
		}
	}
	d.own(session.ModelEffectID(d.s.ID, d.t), event.EffectModel, "", "server_error")
}

func (d *decision) compact(n int) {
	id := session.CompactionEffectID(d.s)
	before := len(d.step.Start)
	d.own(id, event.EffectCompaction, "", "server_error")
	if len(d.step.Start) > before {
		d.step.Start[before].Covers = n
	}
}

// keepCompaction lets a compaction in the background go on while calls are made.
func (d *decision) keepCompaction() {
	if id := session.CompactionEffectID(d.s); d.m.Running[id] {
		d.step.Start = append(d.step.Start, Start{ID: id, What: event.EffectCompaction, TurnID: d.t.ID, Class: event.Pure})
	}
}

// own takes an effect of the engine's own a step further. It returns true where
// the effect is over and the turn may go on without its result; an effect that
// failed for good ends the turn.
func (d *decision) own(id string, what event.EffectKind, label, code string) bool {
	if e := d.s.Effect(id); e != nil {
		switch e.Status {
		case session.EffectFinished:
			return true
		case session.EffectFailed:
			if e.Code != "" {
				code = e.Code
			}
			d.append(failed(d.t, code, e.Message))
			return false
		case session.EffectConsent: // it waits for a person
			return false
		default: // it goes on
		}
	}
	d.attempt(Start{ID: id, What: what, TurnID: d.t.ID, Server: label})
	return false
}

// attempt has an effect of the engine's own under way, or waits until it may be
// tried again.
func (d *decision) attempt(start Start) {
	start.Attempt, start.Class = 1, event.Pure
	switch start.What {
	case event.EffectModel, event.EffectCompaction, event.EffectExtract:
		start.Reserve = d.s.SpendLimit != nil
	default: // it costs nothing
	}
	if e := d.s.Effect(start.ID); e != nil {
		switch {
		case e.Status != session.EffectRetrying && e.Epoch == d.m.Epoch:
			start.Attempt, start.Reserve = e.Attempt, false
		case e.Status == session.EffectRetrying && d.m.Now.Before(e.RetryAt):
			d.wake(e.RetryAt)
			return
		default:
			start.Attempt = e.Attempt + 1
		}
	}
	d.step.Start = append(d.step.Start, start)
}

func (d *decision) append(p event.Payload) { d.step.Append = append(d.step.Append, p) }

// wake keeps the earliest time.
func (d *decision) wake(at time.Time) {
	if d.step.WakeAt.IsZero() || at.Before(d.step.WakeAt) {
		d.step.WakeAt = at
	}
}

func (d *decision) deadline() time.Time {
	return d.t.StartedAt.Add(time.Duration(d.s.Agent.Limits.MaxSeconds) * time.Second)
}

// limitWait has Next asked again when the turn's time is up.
func (d *decision) limitWait() {
	if l := d.s.Agent.Limits; l != nil && l.MaxSeconds > 0 {
		d.wake(d.deadline())
	}
}
