package worker

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tracing"
)

// actor runs one session while it has something under way.
type actor struct {
	w        *Worker
	project  string
	id       string // of the session
	pokes    chan struct{}
	stopping chan struct{} // closed when nothing new is to be started
	results  chan result

	running map[string]context.CancelFunc // effects under way, by id
	// outcomes are not yet appended. Their effects still count as running.
	outcomes []result
	failures int // of appends, one after another
	// ended are the turns that the update under way has ended, and told what it has
	// of each outcome.
	ended []tracing.Turn
	told  map[string][]event.Payload
}

// result is what came of an effect.
type result struct {
	id      string
	outcome effect.Outcome
	attempt *tracing.Attempt
	at      time.Time // when it was over
}

func newActor(w *Worker, project, id string) *actor {
	return &actor{
		w: w, project: project, id: id,
		pokes: make(chan struct{}, 1), stopping: make(chan struct{}), results: make(chan result, 8),
		running: map[string]context.CancelFunc{},
	}
}

func (a *actor) poke() {
	select {
	case a.pokes <- struct{}{}:
	default:
	}
}

// poked takes a poke that waits.
func (a *actor) poked() bool {
	select {
	case <-a.pokes:
		return true
	default:
		return false
	}
}

// nearby is how far away a wake-up may be for the actor to wait for it itself.
const nearby = 2 * time.Second

// run goes on until the session waits for something that is not under way here.
func (a *actor) run(effects context.Context) {
	for {
		stopping := isClosed(a.stopping)
		jobs, wake, err := a.advance(effects, stopping)
		if err != nil {
			if !a.pause(effects, err) {
				return
			}
			continue
		}
		// Their intentions are in the log, so they are made even where the process
		// was asked to stop meanwhile.
		for _, job := range jobs {
			a.perform(effects, job)
		}
		if len(a.running) == 0 {
			far := wake.IsZero() || wake.Sub(a.w.Now()) > nearby
			if stopping || far {
				if a.w.leave(a) {
					return
				}
				continue // it was poked, and the poke is taken
			}
		}
		a.wait(wake, stopping)
	}
}

// advance appends the outcomes that came in and whatever follows from them at
// once, and returns the effects to start and the time to look again. Where the
// process stops, nothing is begun: that is left to the next one.
func (a *actor) advance(ctx context.Context, stopping bool) (jobs []effect.Job, wake time.Time, err error) {
	err = a.update(ctx, func(tx *journal.Tx) error {
		jobs, wake = nil, time.Time{}
		for _, r := range a.outcomes {
			if r.outcome == nil || !tx.State.Awaits(r.id) {
				continue
			}
			payloads := r.outcome(tx.State)
			if err := tx.Append(payloads...); err != nil {
				return err
			}
			a.tell(r, payloads)
		}
		step, err := a.settle(tx, stopping)
		if err != nil || stopping {
			return err
		}
		jobs, err = a.prepare(tx, &step)
		wake = step.WakeAt
		return err
	})
	if err != nil {
		return nil, time.Time{}, err
	}
	a.failures = 0
	a.forget()
	return jobs, wake, nil
}

// update is Journal.Update, on behalf of whoever does what follows from it. A
// panic in it is a mistake of the runtime's that concerns this session alone.
func (a *actor) update(ctx context.Context, fn func(*journal.Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v: %w\n%s", p, session.ErrImpossible, debug.Stack())
		}
	}()
	return a.w.Journal.Update(context.WithoutCancel(ctx), a.project, a.id, func(tx *journal.Tx) error {
		tx.Driven = true
		a.ended, a.told = nil, nil
		first := tx.State.Current()
		err := fn(tx)
		if a.w.Tracer != nil && first != nil {
			a.ended = endedSince(tx.State, first)
		}
		return err
	})
}

// endedSince returns the turns that have ended, of the one that ran and those
// behind it.
func endedSince(s *session.State, ran *session.Turn) (ended []tracing.Turn) {
	for _, t := range slices.Backward(s.Turns) {
		if t.Ended() {
			ended = append(ended, tracing.TurnOf(s, t))
		}
		if t == ran {
			break
		}
	}
	return ended
}

// forget drops the outcomes, which are appended or not needed.
func (a *actor) forget() {
	for _, r := range a.outcomes {
		delete(a.running, r.id)
		r.attempt.End(r.at, a.told[r.id])
	}
	for i := range a.ended {
		a.w.Tracer.Turn(&a.ended[i])
	}
	a.outcomes = a.outcomes[:0]
}

// settle appends what the loop wants written until it wants nothing more.
func (a *actor) settle(tx *journal.Tx, stopping bool) (loop.Step, error) {
	moment := loop.Moment{Now: tx.Now, Epoch: tx.Epoch, Running: map[string]bool{}}
	for id := range a.running {
		moment.Running[id] = true
	}
	for _, r := range a.outcomes {
		delete(moment.Running, r.id)
	}
	for {
		step := loop.Next(tx.State, moment)
		if len(step.Append) == 0 {
			return step, nil
		}
		if stopping && starts(step.Append) {
			return loop.Step{}, nil
		}
		if err := tx.Append(step.Append...); err != nil {
			return loop.Step{}, err
		}
	}
}

// starts reports whether an intention is among the payloads.
func starts(payloads []event.Payload) bool {
	for _, p := range payloads {
		if _, ok := p.(*event.EffectStarted); ok {
			return true
		}
	}
	return false
}

// prepare takes what the effects to start need from the state, and stops those
// that are not to run any more. Where there is no budget for a step, another
// takes its place.
func (a *actor) prepare(tx *journal.Tx, step *loop.Step) ([]effect.Job, error) {
	wanted := map[string]bool{}
	var jobs []effect.Job
	for _, start := range order(step.Start) {
		wanted[start.ID] = true
		if a.running[start.ID] != nil && !a.finished(start.ID) {
			continue
		}
		job := a.w.Performer.Prepare(tx.State, start, tx.Epoch)
		if start.Reserve {
			p := a.w.Performer.Reserve(tx.State, &job, tx.Epoch)
			over := p.Kind() == event.KindTurnEnded
			if over && len(wanted) > 1 {
				continue // the turn goes on without what was to be done beside it
			}
			if err := tx.Append(p); err != nil {
				return nil, err
			}
			if p.Kind() == event.KindEffectFailed {
				continue
			}
			if over {
				next, err := a.settle(tx, false)
				if err != nil {
					return nil, err
				}
				*step = next
				return a.prepare(tx, step)
			}
		}
		jobs = append(jobs, job)
	}
	for id, cancel := range a.running {
		if !wanted[id] {
			cancel()
		}
	}
	return jobs, nil
}

// order has a compaction come after what the turn cannot go on without, which has
// the first claim on a budget.
func order(starts []loop.Start) []loop.Start {
	if len(starts) < 2 {
		return starts
	}
	return slices.SortedStableFunc(slices.Values(starts), func(x, y loop.Start) int {
		behind := func(s loop.Start) int {
			if s.What == event.EffectCompaction {
				return 1
			}
			return 0
		}
		return behind(x) - behind(y)
	})
}

func (a *actor) finished(id string) bool {
	for _, r := range a.outcomes {
		if r.id == id {
			return true
		}
	}
	return false
}

// perform starts an effect.
func (a *actor) perform(effects context.Context, job effect.Job) {
	ctx, cancel := context.WithCancel(effects)
	a.running[job.ID] = cancel
	ctx, attempt := a.w.Tracer.Begin(ctx, traced(&job))
	go func() {
		defer cancel()
		outcome := a.w.Performer.Perform(ctx, job)
		a.results <- result{id: job.ID, outcome: outcome, attempt: attempt, at: time.Now()}
	}()
}

// tell keeps what is told of an outcome once it is in the log.
func (a *actor) tell(r result, payloads []event.Payload) {
	if r.attempt == nil {
		return
	}
	if a.told == nil {
		a.told = map[string][]event.Payload{}
	}
	a.told[r.id] = payloads
}

// traced is what is told of an effect before it is made.
func traced(job *effect.Job) *tracing.Effect {
	e := &tracing.Effect{
		Project: job.Project, Session: job.Session, Turn: job.TurnID, Parent: job.TraceParent, ID: job.ID,
		What: job.What, Class: job.Class, Attempt: job.Attempt, Model: job.Model, Server: job.Server,
	}
	if job.Item != nil {
		e.Tool, e.Call = job.Item.Name, job.Item.CallID
	}
	return e
}

// wait returns when there is something to do.
func (a *actor) wait(wake time.Time, stopping bool) {
	var timer <-chan time.Time
	if !wake.IsZero() {
		// The log's clock counts in microseconds: one more, not to be too early.
		t := time.NewTimer(max(wake.Sub(a.w.Now()), 0) + time.Microsecond)
		defer t.Stop()
		timer = t.C
	}
	stop := a.stopping
	if stopping {
		stop = nil
	}
	select {
	case r := <-a.results:
		a.outcomes = append(a.outcomes, r)
	case <-a.pokes:
	case <-timer:
	case <-stop:
	}
	a.gather()
}

// gather takes further results that are there, so that they share a commit.
func (a *actor) gather() {
	for {
		select {
		case r := <-a.results:
			a.outcomes = append(a.outcomes, r)
		default:
			return
		}
	}
}

// pause decides what a failed append means. It returns false where the session
// is no longer this process's to run.
func (a *actor) pause(ctx context.Context, err error) bool {
	if errors.Is(err, session.ErrImpossible) && !errors.Is(err, store.ErrCorrupt) {
		if err = a.giveUp(ctx, err); err == nil {
			return true
		}
	}
	gone := errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrCorrupt)
	if gone || isClosed(a.stopping) {
		if !errors.Is(err, store.ErrNotFound) {
			a.w.Log.Error("a session is left alone", "session", a.id, "error", err)
		}
		a.abandon(errors.Is(err, store.ErrCorrupt))
		return false
	}
	a.failures++
	if a.failures == 1 || a.failures%20 == 0 {
		a.w.Log.Warn("a session cannot go on yet", "session", a.id, "error", err)
	}
	delay := min(50*time.Millisecond<<min(a.failures, 7), 5*time.Second)
	t := time.NewTimer(delay)
	defer t.Stop()
	select {
	case <-t.C:
	case <-a.stopping:
	}
	a.gather()
	return true
}

// giveUp ends the turn after an outcome that does not fit the session, which is
// a mistake of the runtime's and would only come again.
func (a *actor) giveUp(ctx context.Context, cause error) error {
	a.w.Log.Error("a turn is given up: its outcome does not fit the session", "session", a.id, "error", cause)
	err := a.update(ctx, func(tx *journal.Tx) error {
		return tx.Append(loop.GiveUp(tx.State, "internal_error", "The runtime made a mistake and could not go on with this turn. Its log has the details.")...)
	})
	if err == nil {
		a.forget()
	}
	return err
}

// abandon stops what is under way and waits for it, without appending anything.
// The session of a corrupt log is not taken up again by itself.
func (a *actor) abandon(corrupt bool) {
	for _, cancel := range a.running {
		cancel()
	}
	for n := len(a.running) - len(a.outcomes); n > 0; n-- {
		a.outcomes = append(a.outcomes, <-a.results)
	}
	for _, r := range a.outcomes {
		r.attempt.End(r.at, nil)
	}
	a.w.Performer.Leave(a.id)
	a.w.mu.Lock()
	delete(a.w.actors, a.id)
	if corrupt {
		a.w.corrupt[a.id] = true
	}
	a.w.mu.Unlock()
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
