package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// outcomes makes a tool that answers its calls one after another as told: "ok",
// "failed", "unsent", "sent", "panic", or "hang". The last is repeated.
func outcomes(of ...string) func(context.Context, tool.Call) (tool.Result, error) {
	var n atomic.Int64
	return func(ctx context.Context, _ tool.Call) (tool.Result, error) {
		switch what := of[min(int(n.Add(1)), len(of))-1]; what {
		case "ok":
			return tool.Text("ok"), nil
		case "failed":
			return tool.Failure("no such file"), nil
		case "unsent":
			return tool.Result{}, &tool.Error{Message: "connection refused"}
		case "sent":
			return tool.Result{}, fmt.Errorf("in the transport: %w", &tool.Error{Message: "connection reset", Sent: true})
		case "plain":
			return tool.Result{}, errors.New("an error of another type")
		case "panic":
			panic("nil map")
		case "garbage":
			return tool.Result{Output: []byte("{not json")}, nil
		default:
			return hang(ctx)
		}
	}
}

func TestToolErrors(t *testing.T) {
	failed := func(n int, again, uncertain bool) string {
		return fmt.Sprintf("effect.failed tool connection_failed #%d again=%t uncertain=%t", n, again, uncertain)
	}
	started := func(class string, n int) string { return fmt.Sprintf("effect.started tool %s #%d", class, n) }
	const done, unknown = "effect.finished completed reconciled=false", "effect.unknown"
	for _, c := range []struct {
		class string
		does  []string
		log   []string
		calls int
	}{
		{"pure", []string{"unsent", "ok"}, []string{failed(1, true, false), done}, 2},
		{"pure", []string{"sent", "ok"}, []string{failed(1, true, true), done}, 2},
		{"pure", []string{"panic", "ok"}, []string{failed(1, true, true), done}, 2},
		{"pure", []string{"failed"}, []string{"effect.finished failed reconciled=false"}, 1},
		{"pure", []string{"garbage"}, []string{done}, 1},
		{"idempotent", []string{"unsent", "ok"}, []string{started("idempotent", 1), failed(1, true, false), started("idempotent", 2), done}, 2},
		{"idempotent", []string{"sent", "plain", "ok"}, []string{
			started("idempotent", 1), failed(1, true, true), started("idempotent", 2),
			failed(2, true, true), started("idempotent", 3), done,
		}, 3},
		{"once", []string{"unsent", "ok"}, []string{started("once", 1), failed(1, true, false), started("once", 2), done}, 2},
		{"once", []string{"sent", "ok"}, []string{started("once", 1), unknown}, 1},
		{"once", []string{"plain", "ok"}, []string{started("once", 1), unknown}, 1},
		{"once", []string{"panic", "ok"}, []string{started("once", 1), unknown}, 1},
		{"once", []string{"unsent", "sent", "ok"}, []string{started("once", 1), failed(1, true, false), started("once", 2), unknown}, 2},
		{"once", []string{"unsent"}, []string{
			started("once", 1), failed(1, true, false), started("once", 2), failed(2, true, false), started("once", 3),
			failed(3, true, false), started("once", 4), failed(4, true, false), started("once", 5), failed(5, false, false),
		}, 5},
	} {
		t.Run(c.class+" "+strings.Join(c.does, ","), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: script(call("srv__act")), list: tools("act:" + c.class), call: outcomes(c.does...)}
				e := start(t, openStore(t), w)
				e.create(agent(nil))
				e.input("t1", "one")
				e.untilTurn("t1", session.TurnCompleted)
				want := append([]string{"tools.listed srv 1 error=false", "model.responded m/main [mcp_call act in_progress]"}, c.log...)
				e.wantLog(append(want, "model.responded m/main [message  completed]", "turn.ended t1 completed")...)
				calls := w.began("act")
				if len(calls) != c.calls {
					t.Errorf("%d calls, want %d", len(calls), c.calls)
				}
				for _, x := range calls {
					if x.EffectID != calls[0].EffectID || x.EffectID == "" {
						t.Errorf("the effect ids are %q and %q", calls[0].EffectID, x.EffectID)
					}
				}
				paired(t, w.requests()[1].Items)
			})
		})
	}
}

// TestLookup has a reconcilable call of which no answer came be looked up.
func TestLookup(t *testing.T) {
	const notFound, found = `{"status":"not_found"}`, `{"status":"completed","output":"paid"}`
	for name, c := range map[string]struct {
		lookups []any // a string is an answer, an error or a time none, and nil hangs
		calls   int
		status  string
		text    string
	}{
		"completed":                {[]any{found}, 1, event.StatusCompleted, "paid"},
		"completed, not a text":    {[]any{`{"status":"completed","output":{"n":1}}`}, 1, event.StatusCompleted, `{"n":1}`},
		"completed, with nothing":  {[]any{`{"status":"completed"}`}, 1, event.StatusCompleted, ""},
		"failed":                   {[]any{`{"status":"failed","error":"no funds"}`}, 1, event.StatusFailed, "no funds"},
		"not found":                {[]any{notFound}, 2, event.StatusCompleted, "ok"},
		"unknown":                  {[]any{`{"status":"unknown"}`}, 1, event.StatusIncomplete, "unknown"},
		"garbage":                  {[]any{"what?"}, 1, event.StatusIncomplete, "unknown"},
		"an array":                 {[]any{"[]"}, 1, event.StatusIncomplete, "unknown"},
		"unreachable, then found":  {[]any{&tool.Error{Message: "refused"}, &tool.Error{Message: "reset", Sent: true}, found}, 1, event.StatusCompleted, "paid"},
		"hangs, then found":        {[]any{nil, found}, 1, event.StatusCompleted, "paid"},
		"unreachable for an hour":  {[]any{time.Hour, found}, 1, event.StatusCompleted, "paid"},
		"unreachable, never there": {[]any{time.Hour, notFound}, 2, event.StatusCompleted, "ok"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				n, looked := 0, 0
				act := outcomes("sent", "ok")
				w := &world{answer: script(call("srv__act")), list: tools("act", "find:pure")}
				w.call = func(ctx context.Context, call tool.Call) (tool.Result, error) {
					if call.Name == "act" {
						return act(ctx, call)
					}
					if want := `{"effect_id":"` + w.began("act")[0].EffectID + `"}`; string(call.Arguments) != want {
						t.Errorf("the lookup was asked for %s, want %s", call.Arguments, want)
					}
					looked++
					switch a := c.lookups[n].(type) {
					case nil:
						n++
						return hang(ctx)
					case string:
						return tool.Text(a), nil
					case error:
						n++
						return tool.Result{}, a
					case time.Duration:
						if time.Since(began) > a {
							n++
						}
					}
					return tool.Result{}, &tool.Error{Message: "refused"}
				}
				e := start(t, openStore(t), w)
				e.create(agent(map[string]event.EffectPolicy{"act": {Lookup: "find"}}))
				e.input("t1", "one")
				e.untilTurn("t1", session.TurnCompleted)
				e.view(func(s *session.State) {
					var it session.Entry
					for _, en := range s.Items {
						if en.Type == event.ItemMCPCall {
							it = en
						}
					}
					if got := event.OutputText(it.Output) + it.Error; it.Status != c.status || !strings.Contains(got, c.text) {
						t.Errorf("the call is %s with %q, want %s with %q", it.Status, got, c.status, c.text)
					}
				})
				if got := len(w.began("act")); got != c.calls {
					t.Errorf("%d calls, want %d", got, c.calls)
				}
				if looked > 60 {
					t.Errorf("it was looked up %d times in %s", looked, time.Since(began))
				}
			})
		})
	}
}

// TestTimeout ends calls by the timeout of their policy.
func TestTimeout(t *testing.T) {
	for class, want := range map[string]string{
		"pure":       "effect.failed tool request_timeout #1 again=false uncertain=false",
		"once":       "effect.started tool once #1\neffect.unknown",
		"idempotent": "effect.started tool idempotent #1\neffect.failed tool connection_failed #1 again=true uncertain=true\neffect.started tool idempotent #2\neffect.finished completed reconciled=false",
	} {
		t.Run(class, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: script(call("srv__act")), list: tools("act:" + class), call: outcomes("hang", "ok")}
				e := start(t, openStore(t), w)
				e.create(agent(map[string]event.EffectPolicy{"*": {TimeoutSeconds: 20}}))
				began := time.Now()
				e.input("t1", "one")
				e.untilTurn("t1", session.TurnCompleted)
				if took := time.Since(began); took < 20*time.Second || took > 25*time.Second {
					t.Errorf("the turn took %s", took)
				}
				want := "tools.listed srv 1 error=false\nmodel.responded m/main [mcp_call act in_progress]\n" + want +
					"\nmodel.responded m/main [message  completed]\nturn.ended t1 completed"
				e.wantLog(strings.Split(want, "\n")...)
			})
		})
	}
}

// TestApproval has a person decide about a call before it is made.
func TestApproval(t *testing.T) {
	for decision, want := range map[string]struct {
		calls  int
		status string
	}{
		event.DecisionApprove: {1, event.StatusCompleted},
		event.DecisionDeny:    {0, event.StatusFailed},
	} {
		t.Run(decision, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: script(call("srv__act", "ask")), list: tools("act"), call: ok}
				e := start(t, openStore(t), w)
				e.create(agent(map[string]event.EffectPolicy{"act": {Approval: session.ApprovalAlways}}))
				e.input("t1", "one")
				e.untilAction()
				if n := len(w.began("act")); n != 0 {
					t.Fatalf("%d calls before the decision", n)
				}
				e.resolve(decision, "")
				e.answer("yes")
				e.untilTurn("t1", session.TurnCompleted)
				if n := len(w.began("act")); n != want.calls {
					t.Errorf("%d calls, want %d", n, want.calls)
				}
				e.view(func(s *session.State) {
					for _, en := range s.Items {
						if en.Type == event.ItemMCPCall && en.Status != want.status {
							t.Errorf("the call is %s (%s)", en.Status, en.Error)
						}
					}
				})
			})
		})
	}
}

// TestOnUnknownAsk has a person tell what became of a call.
func TestOnUnknownAsk(t *testing.T) {
	for decision, want := range map[string]struct {
		calls  int
		status string
		text   string
	}{
		event.DecisionCompleted: {1, event.StatusCompleted, "it was sent"},
		event.DecisionFailed:    {1, event.StatusFailed, "did not take effect"},
		event.DecisionRetry:     {2, event.StatusCompleted, "ok"},
	} {
		t.Run(decision, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: script(call("srv__act")), list: tools("act"), call: outcomes("sent", "ok")}
				e := start(t, openStore(t), w)
				e.create(agent(map[string]event.EffectPolicy{"act": {OnUnknown: session.OnUnknownAsk}}))
				e.input("t1", "one")
				e.untilAction()
				output := ""
				if decision == event.DecisionCompleted {
					output = "it was sent"
				}
				e.resolve(decision, output)
				e.untilTurn("t1", session.TurnCompleted)
				if n := len(w.began("act")); n != want.calls {
					t.Errorf("%d calls, want %d", n, want.calls)
				}
				e.view(func(s *session.State) {
					for _, en := range s.Items {
						if en.Type == event.ItemMCPCall && (en.Status != want.status || !strings.Contains(event.OutputText(en.Output)+en.Error, want.text)) {
							t.Errorf("the call is %s with %s%s", en.Status, en.Output, en.Error)
						}
					}
				})
				paired(t, w.requests()[1].Items)
			})
		})
	}
}

// TestConnectTimeout has the timeout of a call's policy bound the connecting too.
func TestConnectTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script(call("srv__act")), list: tools("act"), call: ok}
		hung := false
		w.connect = func(ctx context.Context) error {
			if len(w.requests()) == 0 {
				return nil // to list
			}
			hung = true
			<-ctx.Done()
			return ctx.Err()
		}
		e := start(t, openStore(t), w)
		e.create(agent(map[string]event.EffectPolicy{"act": {TimeoutSeconds: 5}}))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		if !hung {
			t.Error("nothing was connected")
		}
		e.wantLog("tools.listed srv 1 error=false", "model.responded m/main [mcp_call act in_progress]", "effect.started tool once #1",
			"effect.failed tool request_timeout #1 again=false uncertain=false", "model.responded m/main [message  completed]", "turn.ended t1 completed")
	})
}
