// Package worker drives the sessions of the shards that this process holds: it
// asks the loop what is next, has it performed, and appends what came of it. A
// session that waits costs nothing here: it is found again in the store when its
// time comes or when something was appended to it.
package worker

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tracing"
)

// Due finds the sessions that have work to do.
type Due interface {
	Due(ctx context.Context, shards []int, before time.Time, limit int) ([]store.Index, error)
}

// Shards tells which shards this process holds.
type Shards interface{ Shards() []int }

// Worker runs sessions.
type Worker struct {
	Journal   *journal.Journal
	Performer *effect.Performer
	Feed      *feed.Feed
	Due       Due
	Shards    Shards
	Now       func() time.Time
	Log       *slog.Logger
	Tracer    *tracing.Tracer // nil tells nobody

	mu      sync.Mutex
	actors  map[string]*actor // by session id
	corrupt map[string]bool   // ids of sessions that are left alone
	closed  bool
	worked  bool // since the last poll
	quiet   int  // polls without work, one after another
	group   sync.WaitGroup
}

const (
	// pollEvery is how often the store is asked for sessions that are due. What
	// is appended in this process comes by the feed, at once.
	pollEvery = time.Second
	// dueLimit is how many sessions beside those that run are asked for.
	dueLimit = 1000
	// stopGrace is how long effects may go on after the process was asked to
	// stop.
	stopGrace = 10 * time.Second
)

// Run drives sessions until ctx ends. Then it takes up nothing new, gives what
// is under way some time to end, stops it, and returns when nothing runs any
// more.
func (w *Worker) Run(ctx context.Context) {
	w.mu.Lock()
	w.actors, w.corrupt = map[string]*actor{}, map[string]bool{}
	w.mu.Unlock()
	effects, stopEffects := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopEffects(nil)
	poll := time.NewTimer(0)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			w.drain(stopEffects)
			return
		case h := <-w.Feed.Runnable():
			w.poke(effects, h.Project, h.Session)
		case <-poll.C:
			more := w.poll(ctx, effects)
			if more {
				poll.Reset(0)
			} else {
				poll.Reset(pollEvery)
			}
			w.rest()
		}
	}
}

// quietPolls is after how many polls without work the states of waiting sessions
// are forgotten, and the memory that the work took is given back to the system.
// The Go runtime would keep it for minutes.
const quietPolls = 2

// rest counts the polls without work, one after another.
func (w *Worker) rest() {
	w.mu.Lock()
	if len(w.actors) > 0 || w.worked {
		w.worked, w.quiet = false, 0
	}
	w.quiet++
	give := w.quiet == quietPolls
	w.mu.Unlock()
	if give {
		w.Journal.Rest()
		debug.FreeOSMemory()
	}
}

// poll takes up the sessions that are due. It reports whether there may be more.
func (w *Worker) poll(ctx, effects context.Context) bool {
	missed := w.Feed.Missed()
	w.mu.Lock()
	limit := len(w.actors) + len(w.corrupt) + dueLimit
	if missed {
		for _, a := range w.actors {
			a.poke()
		}
	}
	w.mu.Unlock()
	due, err := w.Due.Due(ctx, w.Shards.Shards(), w.Now(), limit)
	if err != nil {
		if ctx.Err() == nil {
			w.Log.Warn("the store was not asked for due sessions", "error", err)
		}
		return false
	}
	fresh := 0
	for i := range due {
		if w.start(effects, due[i].Project, due[i].Session, false) {
			fresh++
		}
	}
	return len(due) == limit && fresh > 0
}

// poke has the session looked at: by its actor, or a new one.
func (w *Worker) poke(effects context.Context, project, session string) {
	w.start(effects, project, session, true)
}

// start makes an actor for the session, and reports whether it did. One that
// there is already is poked, if poke is set.
func (w *Worker) start(effects context.Context, project, session string, poke bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	if a := w.actors[session]; a != nil {
		if poke {
			a.poke()
		}
		return false
	}
	if w.corrupt[session] && !poke {
		return false
	}
	a := newActor(w, project, session)
	w.actors[session], w.worked = a, true
	w.group.Go(func() { a.run(effects) })
	return true
}

// leave removes the actor, unless it was poked since it last looked.
func (w *Worker) leave(a *actor) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if a.poked() && !w.closed {
		return false
	}
	delete(w.actors, a.id)
	return true
}

// drain waits for the actors to end: their effects may end by themselves for a
// while, and are then stopped.
func (w *Worker) drain(stopEffects context.CancelCauseFunc) {
	w.mu.Lock()
	w.closed = true
	for _, a := range w.actors {
		close(a.stopping)
	}
	n := len(w.actors)
	w.mu.Unlock()
	if n > 0 {
		w.Log.Info("stopping", "sessions", n)
	}
	done := make(chan struct{})
	go func() {
		w.group.Wait()
		close(done)
	}()
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-done:
	case <-grace.C:
		stopEffects(effect.ErrShutdown)
		<-done
	}
}

// Running is how many sessions are under way in this process.
func (w *Worker) Running() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.actors)
}
