package worker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// box is an environment of functions.
type box struct {
	list  []event.ToolSpec
	call  func(context.Context, tool.Call) (tool.Result, error)
	close func()
}

func (b *box) List(context.Context) ([]event.ToolSpec, error) { return b.list, nil }

func (b *box) Call(ctx context.Context, c tool.Call) (tool.Result, error) { return b.call(ctx, c) }

func (b *box) Close() error {
	if b.close != nil {
		b.close()
	}
	return nil
}

func hosted(c *event.SessionCreated) {
	c.Environment = event.Environment{Type: event.EnvironmentHosted, Sandbox: event.SandboxJS}
}

// TestPokedWhileLeaving has an input come when the session's actor is about to
// go: after it looked last, and before it is gone.
func TestPokedWhileLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var e *engine
		closed := 0
		w := &world{answer: script()}
		w.open = func(context.Context, environment.Spec) (tool.Server, error) {
			return &box{close: func() {
				if closed++; closed == 1 {
					e.input("t2", "two")
					time.Sleep(time.Millisecond) // by the test's clock: until the hint was taken
				}
			}}, nil
		}
		e = start(t, openStore(t), w)
		e.create(agent(nil), hosted)
		e.input("t1", "one")
		e.untilTurn("t2", session.TurnCompleted)
		e.asleep()
	})
}

// TestEnvironment shows that a session's environment is opened when it is
// needed, stays open while the session waits, is suspended when nothing has
// happened for a while, and is opened again.
func TestEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var opened, closed atomic.Int64
		w := &world{answer: script(call("run"), call("ask"), call("run"))}
		w.open = func(_ context.Context, spec environment.Spec) (tool.Server, error) {
			opened.Add(1)
			if spec.Project != project || spec.Session != sess || !strings.HasSuffix(spec.Dir, "/proj/sess") {
				t.Errorf("opened for %+v", spec)
			}
			return &box{
				list:  []event.ToolSpec{{Name: "run", ItemType: event.ItemCommandExecution, Class: event.Idempotent}},
				call:  func(context.Context, tool.Call) (tool.Result, error) { return tool.Text("ran"), nil },
				close: func() { closed.Add(1) },
			}, nil
		}
		e := start(t, openStore(t), w)
		e.create(agent(nil), hosted)
		e.input("t1", "one")
		e.untilAction()
		e.asleep()
		count := func(when string, o, c int64, status string) {
			t.Helper()
			if opened.Load() != o || closed.Load() != c {
				t.Errorf("%s: opened %d times and closed %d times, want %d and %d", when, opened.Load(), closed.Load(), o, c)
			}
			e.view(func(s *session.State) {
				if s.Place.Status != status || s.Place.Resets != 0 {
					t.Errorf("%s: the environment is %s, reset %d times, want %s and never", when, s.Place.Status, s.Place.Resets, status)
				}
			})
		}
		count("while the session waits", 1, 0, session.PlaceConnected)
		time.Sleep(loop.DefaultIdle + 3*time.Second)
		count("after a while", 1, 1, session.PlaceSuspended)
		e.answer("yes")
		e.untilTurn("t1", session.TurnCompleted)
		e.asleep()
		count("after the turn", 2, 1, session.PlaceConnected)
		time.Sleep(loop.DefaultIdle + 3*time.Second)
		count("long after the turn", 2, 2, session.PlaceSuspended)
	})
}

func TestEnvironmentFails(t *testing.T) {
	missing := &environment.UnavailableError{Sandbox: "js", Reason: "no engine", Install: "install one"}
	for name, c := range map[string]struct {
		open  func(n int) (tool.Server, error)
		last  string
		tries int
	}{
		"not available": {func(int) (tool.Server, error) { return nil, missing }, session.TurnFailed, 1},
		"always fails":  {func(int) (tool.Server, error) { return nil, errors.New("disk") }, session.TurnFailed, 3},
		"fails at first": {func(n int) (tool.Server, error) {
			if n == 1 {
				return nil, errors.New("disk")
			}
			return &box{}, nil
		}, session.TurnCompleted, 2},
		"panics at first": {func(n int) (tool.Server, error) {
			if n == 1 {
				panic("nil map")
			}
			return &box{}, nil
		}, session.TurnCompleted, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				w := &world{answer: script()}
				w.open = func(context.Context, environment.Spec) (tool.Server, error) { n++; return c.open(n) }
				e := start(t, openStore(t), w)
				e.create(agent(nil), hosted)
				e.input("t1", "one")
				e.untilTurn("t1", c.last)
				if n != c.tries {
					t.Errorf("opened %d times, want %d", n, c.tries)
				}
				e.view(func(s *session.State) {
					if err := s.Turn("t1").Error; c.last == session.TurnFailed && err.Code != "sandbox_error" {
						t.Errorf("the turn failed with %+v", err)
					}
				})
			})
		})
	}
}

// TestEnvironmentCancelled cancels a turn whose environment failed once: the next
// turn sets it up.
func TestEnvironmentCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := 0
		w := &world{answer: script()}
		w.open = func(context.Context, environment.Spec) (tool.Server, error) {
			if n++; n == 1 {
				return nil, errors.New("disk")
			}
			return &box{}, nil
		}
		e := start(t, openStore(t), w)
		e.create(agent(nil), hosted)
		e.input("t1", "one")
		hasEffect(session.EffectRetrying)(e)
		e.cancelTurn()
		e.untilTurn("t1", session.TurnCancelled)
		e.input("t2", "two")
		e.untilTurn("t2", session.TurnCompleted)
	})
}

// TestServerDown has a server be down when a turn begins, and back at the next.
func TestServerDown(t *testing.T) {
	for _, required := range []bool{false, true} {
		t.Run(fmt.Sprint("required=", required), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				down := true
				w := &world{answer: script()}
				w.list = func(context.Context, *event.Tool) ([]event.ToolSpec, error) {
					if down {
						return nil, errors.New("connection refused")
					}
					return []event.ToolSpec{{Name: "act"}}, nil
				}
				e := start(t, openStore(t), w)
				a := agent(nil)
				a.Tools[0].Required = required
				e.create(a)
				e.input("t1", "one")
				if required {
					e.untilTurn("t1", session.TurnFailed)
					e.view(func(s *session.State) {
						want := "The MCP server 'srv' is required and could not be reached: connection refused"
						if err := s.Turn("t1").Error; err.Code != "connection_failed" || err.Message != want {
							t.Errorf("the turn failed with %+v", err)
						}
					})
				} else {
					e.untilTurn("t1", session.TurnCompleted)
					if names := offered(w.requests()[0]); names != "ask wait" {
						t.Errorf("the model was offered %s", names)
					}
				}
				down = false
				e.input("t2", "two")
				e.untilTurn("t2", session.TurnCompleted)
				reqs := w.requests()
				if names := offered(reqs[len(reqs)-1]); names != "ask srv__act wait" {
					t.Errorf("then the model was offered %s", names)
				}
			})
		})
	}
}

func offered(r *model.Request) string {
	var names []string
	for _, x := range r.Tools {
		names = append(names, x.Name)
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestToolsChange has the agent's tools be changed in the middle of a turn, also
// while the old ones are being listed.
func TestToolsChange(t *testing.T) {
	for name, listing := range map[string]bool{"while listing": true, "between steps": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, goOn := make(chan struct{}, 1), make(chan struct{})
				w := &world{answer: script(call("ask"), call("srv__new_tool")), call: ok}
				w.list = func(ctx context.Context, tl *event.Tool) ([]event.ToolSpec, error) {
					if tl.Transport != nil {
						return []event.ToolSpec{{Name: "new_tool"}}, nil
					}
					begun <- struct{}{}
					if listing {
						select {
						case <-goOn:
						case <-ctx.Done():
						}
					}
					return []event.ToolSpec{{Name: "old_tool"}}, nil
				}
				e := start(t, openStore(t), w)
				e.create(agent(nil))
				e.input("t1", "one")
				<-begun
				if !listing {
					e.untilAction()
				}
				changed := agent(nil)
				changed.Tools[0].Transport = &event.Transport{Type: "http", ServerURL: "http://new"}
				e.update(func(tx *journal.Tx) error { return tx.Append(&event.SessionUpdated{Agent: &changed}) })
				close(goOn)
				e.untilAction()
				e.answer("yes")
				e.untilTurn("t1", session.TurnCompleted)
				reqs := w.requests()
				if names := offered(reqs[len(reqs)-1]); names != "ask srv__new_tool wait" {
					t.Errorf("the model was offered %s", names)
				}
				if n := len(w.began("new_tool")); n != 1 {
					t.Errorf("the new tool was called %d times", n)
				}
				if first := offered(reqs[0]); listing && first != "ask srv__new_tool wait" {
					t.Errorf("at first the model was offered %s", first)
				}
			})
		})
	}
}

// TestToolNames has tools whose names no provider takes, or that are there twice.
func TestToolNames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("x", 70)
		targets := []string{"a.b", "a_b", "a b", "日本", "中国", long + "1", long + "2", "a.b", ""}
		w := &world{call: ok, list: tools("a.b", "a_b", "a b", "日本", "中国", long+"1", long+"2", "a.b", "")}
		w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
			if len(w.requests()) > 1 {
				return say("ok"), nil
			}
			var names []string
			for _, x := range req.Tools {
				names = append(names, x.Name)
			}
			return call(names...), nil
		}
		w.open = func(context.Context, environment.Spec) (tool.Server, error) {
			return &box{list: []event.ToolSpec{{Name: "ask"}, {Name: "wait"}}, call: ok}, nil
		}
		e := start(t, openStore(t), w)
		a := agent(nil)
		a.Tools = append(a.Tools, event.Tool{Type: event.ToolFunction, Name: "srv__a_b"})
		e.create(a, hosted)
		e.input("t1", "one")
		e.untilAction()
		e.answer("yes")
		e.answer("yes")
		e.until("the timer has failed", func(s *session.State) bool { return s.Status() == session.Idle })
		reqs := w.requests()
		seen := map[string]bool{}
		for _, x := range reqs[0].Tools {
			if seen[x.Name] || len(x.Name) == 0 || len(x.Name) > 64 || strings.Trim(x.Name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") != "" {
				t.Errorf("the name %q is bad or there twice", x.Name)
			}
			seen[x.Name] = true
		}
		if !seen["ask"] || !seen["srv__a_b"] {
			t.Errorf("the client's functions have other names: %v", seen)
		}
		called := map[string]int{}
		for _, c := range w.calls {
			called[c.Name]++
		}
		for _, name := range targets {
			if called[name] != 1 {
				t.Errorf("%q was called %d times, want once", name, called[name])
			}
		}
		for _, it := range reqs[1].Items {
			if it.Type == event.ItemFunctionCall && !seen[it.Name] {
				t.Errorf("the model is shown a call of %q, which it was not offered", it.Name)
			}
		}
		paired(t, reqs[1].Items)
	})
}
