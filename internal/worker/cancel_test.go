package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// TestCancelModel cancels while the model answers; the input behind it runs then.
func TestCancelModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, stopped := make(chan struct{}, 1), make(chan struct{})
		w := &world{}
		w.answer = func(ctx context.Context, _ *model.Request) (*model.Response, error) {
			if len(w.requests()) > 1 {
				return say("second"), nil
			}
			begun <- struct{}{}
			<-ctx.Done()
			close(stopped)
			return nil, ctx.Err()
		}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		<-begun
		e.input("t2", "two")
		e.cancelTurn()
		e.untilTurn("t2", session.TurnCompleted)
		<-stopped
		e.wantLog("tools.listed srv 0 error=false", "turn.created t2", "turn.cancel_requested", "turn.ended t1 cancelled",
			"model.responded m/main [message  completed]", "turn.ended t2 completed")
	})
}

// TestCancelTool cancels while a tool runs, by the tool's class.
func TestCancelTool(t *testing.T) {
	for class, want := range map[event.Class][]string{
		event.Pure: {"turn.created t2", "turn.cancel_requested", "turn.ended t1 cancelled"},
		event.Idempotent: {
			"effect.started tool idempotent #1", "turn.created t2", "turn.cancel_requested",
			"effect.unknown", "turn.ended t1 cancelled",
		},
		event.Once: {
			"effect.started tool once #1", "turn.created t2", "turn.cancel_requested",
			"effect.unknown", "turn.ended t1 cancelled",
		},
	} {
		t.Run(string(class), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := make(chan struct{}, 1)
				w := &world{
					answer: script(call("srv__act")), list: tools("act:" + string(class)),
					call: func(ctx context.Context, _ tool.Call) (tool.Result, error) {
						begun <- struct{}{}
						return hang(ctx)
					},
				}
				e := start(t, openStore(t), w)
				e.create(agent(nil))
				e.input("t1", "one")
				<-begun
				e.input("t2", "two")
				e.cancelTurn()
				e.untilTurn("t2", session.TurnCompleted)
				e.wantLog(append(append([]string{"tools.listed srv 1 error=false", "model.responded m/main [mcp_call act in_progress]"}, want...),
					"model.responded m/main [message  completed]", "turn.ended t2 completed")...)
				if n := len(w.began("act")); n != 1 {
					t.Errorf("the tool was called %d times", n)
				}
			})
		})
	}
}

// TestCancelEndedTool cancels a call that ends all the same: its result is kept.
func TestCancelEndedTool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 1)
		w := &world{
			answer: script(call("srv__act")), list: tools("act"),
			call: func(ctx context.Context, _ tool.Call) (tool.Result, error) {
				begun <- struct{}{}
				<-ctx.Done()
				return tool.Text("done all the same"), nil
			},
		}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		<-begun
		e.cancelTurn()
		e.untilTurn("t1", session.TurnCancelled)
		e.wantLog("tools.listed srv 1 error=false", "model.responded m/main [mcp_call act in_progress]", "effect.started tool once #1",
			"turn.cancel_requested", "effect.finished completed reconciled=false", "turn.ended t1 cancelled")
	})
}

// TestCancelWaits cancels while the turn waits for something outside.
func TestCancelWaits(t *testing.T) {
	always := map[string]event.EffectPolicy{"act": {Approval: session.ApprovalAlways}}
	for name, c := range map[string]struct {
		answer *model.Response
		err    error
		wait   func(*engine)
	}{
		"for the client":   {call("ask"), nil, (*engine).untilAction},
		"for approval":     {call("srv__act"), nil, (*engine).untilAction},
		"for a timer":      {call(`wait {"seconds":86400}`), nil, hasEffect(session.EffectStarted)},
		"for a retry":      {nil, &model.Error{Code: "rate_limit_exceeded", Retry: true, RetryAfter: time.Hour}, hasEffect(session.EffectRetrying)},
		"for both of many": {call("ask", "srv__act", "ask"), nil, (*engine).untilAction},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{list: tools("act"), call: ok}
				w.answer = func(context.Context, *model.Request) (*model.Response, error) {
					if len(w.requests()) == 1 {
						return c.answer, c.err
					}
					return say("second"), nil
				}
				e := start(t, openStore(t), w)
				e.create(agent(always))
				e.input("t1", "one")
				c.wait(e)
				e.input("t2", "two")
				e.cancelTurn()
				e.untilTurn("t2", session.TurnCompleted)
				e.view(func(s *session.State) {
					if got := s.Turn("t1").Status; got != session.TurnCancelled {
						t.Errorf("the turn is %s", got)
					}
				})
				if n := len(w.began("act")); n != 0 {
					t.Errorf("the tool was called %d times", n)
				}
				paired(t, w.requests()[1].Items)
			})
		})
	}
}

func hasEffect(status session.EffectStatus) func(*engine) {
	return func(e *engine) {
		e.t.Helper()
		e.until("an effect is "+string(status), func(s *session.State) bool {
			for _, x := range s.OpenEffects() {
				if x.Status == status {
					return true
				}
			}
			return false
		})
	}
}

// paired checks what providers demand: each call has one output, which comes after
// it and before the next thing that the user or, in another answer, the model
// says; and all calls of an answer come before their outputs.
func paired(t *testing.T, items []*event.Item) {
	t.Helper()
	open := map[string]bool{}
	answering := false
	for i, it := range items {
		switch it.Type {
		case event.ItemFunctionCall:
			if answering && len(open) > 0 {
				t.Errorf("item %d: a call stands between the outputs of an answer", i)
			}
			answering, open[it.CallID] = false, true
		case event.ItemFunctionCallOutput:
			if !open[it.CallID] {
				t.Errorf("item %d: an output of %s, which is not open", i, it.CallID)
			}
			answering = true
			delete(open, it.CallID)
		case event.ItemMessage, event.ItemCompaction:
			if len(open) > 0 && (it.Role == event.RoleUser || answering) {
				t.Errorf("item %d: %s %s comes before the outputs of %v", i, it.Role, it.Type, open)
			}
		default:
			if it.Type != event.ItemReasoning {
				t.Errorf("item %d is of type %s", i, it.Type)
			}
		}
	}
	if len(open) > 0 {
		t.Errorf("no outputs of %v", open)
	}
}
