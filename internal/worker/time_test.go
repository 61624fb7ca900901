package worker_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
)

// asleep waits until no session is under way.
func (e *engine) asleep() {
	e.t.Helper()
	for range 100 {
		synctest.Wait()
		if e.worker.Running() == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond) // by the test's clock
	}
	e.t.Fatalf("%d sessions are under way\n%s", e.worker.Running(), e.log())
}

// TestShortTimer is waited for by the session's actor.
func TestShortTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script(call(`wait {"seconds":1.5}`))}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		began := time.Now()
		e.input("t1", "one")
		hasEffect(session.EffectStarted)(e)
		synctest.Wait()
		if n := e.worker.Running(); n != 1 {
			t.Errorf("%d sessions are under way, want 1", n)
		}
		e.untilTurn("t1", session.TurnCompleted)
		if took := time.Since(began); took < 1500*time.Millisecond || took > 1600*time.Millisecond {
			t.Errorf("the turn took %s", took)
		}
	})
}

// TestLongTimer hibernates, and is found by the next process.
func TestLongTimer(t *testing.T) {
	for name, restart := range map[string]bool{"same process": false, "next process": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: script(call(`wait {"seconds":1000}`, "ask"))}
				st := openStore(t)
				e := start(t, st, w)
				e.create(agent(nil))
				began := time.Now()
				e.input("t1", "one")
				e.untilAction()
				e.asleep()
				e.answer("x")
				e.asleep()
				if restart {
					e.stop()
					time.Sleep(2000 * time.Second) // the process is away
					e = start(t, st, w)
				}
				e.untilTurn("t1", session.TurnCompleted)
				took, want := time.Since(began), 1000*time.Second
				if restart {
					want = 2000 * time.Second
				}
				if took < want || took > want+3*time.Second {
					t.Errorf("the turn took %s, want %s", took, want)
				}
			})
		})
	}
}

// TestBadTimer tells the model.
func TestBadTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script(call(`wait {"seconds":-1}`, `wait {"until":"tomorrow"}`, `wait {}`, `wait {"until":"1999-01-01T00:00:00Z"}`))}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		var got []string
		for _, it := range w.requests()[1].Items {
			if it.Type == event.ItemFunctionCallOutput {
				got = append(got, it.Status)
			}
		}
		if !slices.Equal(got, []string{event.StatusFailed, event.StatusFailed, event.StatusFailed, event.StatusCompleted}) {
			t.Errorf("the timers are %v", got)
		}
	})
}

// TestWaitingCostsNothing has sessions wait for their client: none is under way,
// and there are no more goroutines than without them. An answer wakes one.
func TestWaitingCostsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
			if len(req.Items) == 1 {
				return call("ask"), nil
			}
			return say("ok"), nil
		}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		e.untilAction()
		e.asleep()
		before := runtime.NumGoroutine()
		const n = 200
		for i := range n {
			err := e.journal.Create(t.Context(), project, fmt.Sprintf("other_%d", i), func(tx *journal.Tx) error {
				return tx.Append(
					&event.SessionCreated{Project: project, Agent: agent(nil), Environment: event.Environment{Type: event.EnvironmentNone}},
					&event.TurnCreated{TurnID: "t", Items: []event.Item{{Type: event.ItemMessage, ID: "m", Role: event.RoleUser}}})
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range n {
			for {
				waits := false
				err := e.journal.View(t.Context(), project, fmt.Sprintf("other_%d", i), func(s *session.State) error {
					waits = s.Status() == session.RequiresAction
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if waits {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		e.asleep()
		if after := runtime.NumGoroutine(); after > before {
			t.Errorf("%d goroutines with %d more sessions that wait, %d without", after, n, before)
		}
		e.answer("yes")
		e.untilTurn("t1", session.TurnCompleted)
	})
}

// TestDeadline ends a turn by its limit of time, whatever it waits for.
func TestDeadline(t *testing.T) {
	for name, answer := range map[string]func(context.Context, *model.Request) (*model.Response, error){
		"the model": func(ctx context.Context, _ *model.Request) (*model.Response, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		},
		"the client": script(call("ask")),
		"a tool":     script(call("srv__act")),
		"a timer":    script(call(`wait {"seconds":100000}`)),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: answer, list: tools("act"), call: outcomes("hang")}
				e := start(t, openStore(t), w)
				a := agent(nil)
				a.Limits = &event.Limits{MaxSeconds: 30}
				e.create(a)
				began := time.Now()
				e.input("t1", "one")
				e.untilTurn("t1", session.TurnFailed)
				if took := time.Since(began); took < 30*time.Second || took > 33*time.Second {
					t.Errorf("the turn took %s", took)
				}
				e.view(func(s *session.State) {
					if err := s.Turn("t1").Error; err.Code != "request_timeout" {
						t.Errorf("the turn failed with %+v", err)
					}
				})
				e.asleep()
			})
		})
	}
}

func TestLimits(t *testing.T) {
	for name, l := range map[string]event.Limits{"steps": {MaxSteps: 3}, "tokens": {MaxTokens: 330}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{
					answer: func(context.Context, *model.Request) (*model.Response, error) { return call("srv__act"), nil },
					list:   tools("act:pure"), call: ok,
				}
				e := start(t, openStore(t), w)
				a := agent(nil)
				a.Limits = &l
				e.create(a)
				e.input("t1", "one")
				e.untilTurn("t1", session.TurnFailed)
				if n := len(w.requests()); n != 3 {
					t.Errorf("%d model calls, want 3", n)
				}
				if n := len(w.began("act")); n != 3 {
					t.Errorf("%d tool calls, want 3: what was asked for is done", n)
				}
				e.view(func(s *session.State) {
					if err := s.Turn("t1").Error; err.Code != "usage_limit_exceeded" {
						t.Errorf("the turn failed with %+v", err)
					}
				})
			})
		})
	}
}
