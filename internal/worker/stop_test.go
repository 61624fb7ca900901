package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStopLetsEnd stops the process while a call is made, which may end; nothing
// new is begun, and the next process goes on from there.
func TestStopLetsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, goOn := make(chan struct{}, 1), make(chan struct{})
		w := &world{answer: script(call("srv__act"), call("srv__next")), list: tools("act", "next")}
		w.call = func(_ context.Context, c tool.Call) (tool.Result, error) {
			if c.Name == "act" {
				begun <- struct{}{}
				<-goOn
			}
			return tool.Text("ok"), nil
		}
		st := openStore(t)
		e := start(t, st, w)
		e.create(agent(nil))
		e.input("t1", "one")
		<-begun
		stopped := make(chan struct{})
		go func() {
			e.stop()
			close(stopped)
		}()
		time.Sleep(time.Second) // by the test's clock: the stop waits for the call
		close(goOn)
		<-stopped
		want := []string{
			"tools.listed srv 2 error=false", "model.responded m/main [mcp_call act in_progress]",
			"effect.started tool once #1", "effect.finished completed reconciled=false",
		}
		e.wantLog(want...)
		if n := len(w.requests()); n != 1 {
			t.Errorf("%d model calls before the restart, want 1", n)
		}
		again := start(t, st, w)
		again.untilTurn("t1", session.TurnCompleted)
		again.wantLog(append(want, "model.responded m/main [mcp_call next in_progress]", "effect.started tool once #1",
			"effect.finished completed reconciled=false", "model.responded m/main [message  completed]", "turn.ended t1 completed")...)
		if n := len(w.began("act")); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
	})
}

// TestStopHanging stops the process while a call hangs: it is stopped after the
// grace, and taken up by the next process by its class.
func TestStopHanging(t *testing.T) {
	for name, c := range map[string]struct {
		class string
		does  string // after the stop
		calls int
		want  []string
	}{
		"pure":             {"pure", "hang", 2, []string{"effect.finished completed reconciled=false"}},
		"idempotent":       {"idempotent", "hang", 2, []string{"effect.started tool idempotent #1", "effect.started tool idempotent #2", "effect.finished completed reconciled=false"}},
		"once":             {"once", "hang", 1, []string{"effect.started tool once #1", "effect.unknown"}},
		"once, never sent": {"once", "unsent", 2, []string{"effect.started tool once #1", "effect.failed tool connection_failed #1 again=true uncertain=false", "effect.started tool once #2", "effect.finished completed reconciled=false"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := make(chan struct{}, 1)
				w := &world{answer: script(call("srv__act")), list: tools("act:" + c.class)}
				w.call = func(ctx context.Context, _ tool.Call) (tool.Result, error) {
					if len(w.began("act")) > 1 {
						return tool.Text("ok"), nil
					}
					begun <- struct{}{}
					<-ctx.Done()
					return tool.Result{}, &tool.Error{Message: "stopped", Sent: c.does == "hang", Err: ctx.Err()}
				}
				st := openStore(t)
				e := start(t, st, w)
				e.create(agent(nil))
				e.input("t1", "one")
				<-begun
				began := time.Now()
				e.stop()
				if took := time.Since(began); took < 10*time.Second || took > 11*time.Second {
					t.Errorf("the stop took %s", took)
				}
				again := start(t, st, w)
				again.untilTurn("t1", session.TurnCompleted)
				want := append([]string{"tools.listed srv 1 error=false", "model.responded m/main [mcp_call act in_progress]"}, c.want...)
				again.wantLog(append(want, "model.responded m/main [message  completed]", "turn.ended t1 completed")...)
				calls := w.began("act")
				if len(calls) != c.calls || calls[0].EffectID != calls[len(calls)-1].EffectID {
					t.Errorf("%d calls, want %d under one id", len(calls), c.calls)
				}
			})
		})
	}
}

// TestStopReserves stops a process whose session has a budget: what was not begun
// is not reserved either.
func TestStopReserves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, goOn := make(chan struct{}, 1), make(chan struct{})
		w := &world{answer: script(call("srv__act")), list: tools("act:pure")}
		w.call = func(context.Context, tool.Call) (tool.Result, error) {
			begun <- struct{}{}
			<-goOn
			return tool.Text("ok"), nil
		}
		price(w, 1)
		st := openStore(t)
		e := start(t, st, w)
		e.create(agent(nil), limit(100))
		e.input("t1", "one")
		<-begun
		stopped := make(chan struct{})
		go func() {
			e.stop()
			close(stopped)
		}()
		time.Sleep(time.Second)
		close(goOn)
		<-stopped
		e.view(func(s *session.State) {
			if n := len(s.OpenEffects()); n != 0 {
				t.Errorf("%d effects are open", n)
			}
		})
		again := start(t, st, w)
		again.untilTurn("t1", session.TurnCompleted)
		again.view(func(s *session.State) {
			if want := int64(2 * 110 * 1000); s.CostNanoUSD != want {
				t.Errorf("the session cost %d, want %d", s.CostNanoUSD, want)
			}
		})
	})
}

// price gives the one model a price in USD for a million tokens.
func price(w *world, usd float64) {
	w.resolve = func(string) ([]model.Candidate, error) {
		return []model.Candidate{{Name: "m/main", ID: "main", Model: w, Price: &model.Price{Input: usd, Output: usd}}}, nil
	}
}

func limit(cents int64) func(*event.SessionCreated) {
	return func(c *event.SessionCreated) { c.SpendLimit = &cents }
}
