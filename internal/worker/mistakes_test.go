package worker_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// TestPanicUnderLock has the operator's part panic where it is asked while the
// session is locked: the turn fails, and the process goes on.
func TestPanicUnderLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script()}
		w.resolve = func(string) ([]model.Candidate, error) { panic("nil map") }
		e := start(t, openStore(t), w)
		e.create(agent(nil), limit(100))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnFailed)
		e.view(func(s *session.State) {
			if err := s.Turn("t1").Error; err.Code != "internal_error" {
				t.Errorf("the turn failed with %+v", err)
			}
		})
		price(w, 1)
		e.input("t2", "two")
		e.untilTurn("t2", session.TurnCompleted)
	})
}

// spoiled is a store that reads something else of the session than was written.
type spoiled struct {
	store.Store
	reads atomic.Int64
}

func (s *spoiled) Read(ctx context.Context, p, id string, after int64, limit int) ([]event.Record, error) {
	r, err := s.Store.Read(ctx, p, id, after, limit)
	if len(r) > 1 {
		s.reads.Add(1)
		r[1].Data = []byte(`{}`)
	}
	return r, err
}

// TestCorruptSession is left alone, though it is due; others go on.
func TestCorruptSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(ctx context.Context, _ *model.Request) (*model.Response, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		inner := openStore(t)
		a := start(t, inner, w)
		a.create(agent(nil))
		a.input("t1", "one")
		a.stop()
		st := &spoiled{Store: inner}
		b := start(t, st, w)
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := st.reads.Load(); n != 1 {
			t.Errorf("the log was read %d times in a minute, want once", n)
		}
		if n := b.worker.Running(); n != 0 {
			t.Errorf("%d sessions are under way", n)
		}
		err := b.journal.View(t.Context(), project, sess, func(*session.State) error { return nil })
		if !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("a view of it: %v, want ErrCorrupt", err)
		}
	})
}

// gate holds up the worker's questions to the store.
type gate struct {
	store.Store
	hold chan chan struct{}
}

func (g *gate) Due(ctx context.Context, shards []int, before time.Time, limit int) ([]store.Index, error) {
	select {
	case goOn := <-g.hold:
		<-goOn
	default:
	}
	return g.Store.Due(ctx, shards, before, limit)
}

// TestDroppedHint cancels a turn while the worker has more hints than it takes.
func TestDroppedHint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 1)
		w := &world{answer: func(ctx context.Context, _ *model.Request) (*model.Response, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		g := &gate{Store: openStore(t), hold: make(chan chan struct{}, 1)}
		e := prepare(t, g.Store, w)
		e.worker.Due = g
		e.run()
		e.create(agent(nil))
		e.input("t1", "one")
		<-begun
		goOn := make(chan struct{})
		g.hold <- goOn
		time.Sleep(2 * time.Second) // until the worker asks
		for range 5000 {
			e.feed.Wake(feed.Hint{Project: project, Session: "none"})
		}
		e.cancelTurn()
		began := time.Now()
		close(goOn)
		e.untilTurn("t1", session.TurnCancelled)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %s until the turn was cancelled", took)
		}
	})
}

// TestDeletedWhileWaiting deletes a session that waits for its client.
func TestDeletedWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script(call("ask", `wait {"seconds":60}`))}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		e.untilAction()
		e.asleep()
		e.update(func(tx *journal.Tx) error {
			p, err := tx.State.Delete(event.Input{})
			if err != nil {
				return err
			}
			return tx.Append(p...)
		})
		e.asleep()
		time.Sleep(2 * time.Minute)
		e.asleep()
		if n := len(w.requests()); n != 1 {
			t.Errorf("%d model calls, want 1", n)
		}
		if n := len(e.records()); n == 0 {
			t.Error("the tombstone is gone")
		}
	})
}
