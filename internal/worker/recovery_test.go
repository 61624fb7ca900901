package worker_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/storefault"
	"github.com/stayd/stayd/internal/tool"
)

// TestSuperseded abandons a process in the middle of a call, without a stop: the
// next one takes the session up by the call's class, and what the first appends
// later changes nothing.
func TestSuperseded(t *testing.T) {
	lookups := map[string]event.EffectPolicy{"act_r": {Lookup: "find"}}
	const found, notFound = `{"status":"completed","output":"found"}`, `{"status":"not_found"}`
	const done, reconciled, unknown = "effect.finished completed reconciled=false", "effect.finished completed reconciled=true", "effect.unknown"
	for title, c := range map[string]struct {
		class  string
		lookup string
		calls  int
		log    []string
	}{
		"pure":                    {"pure", "", 2, []string{done}},
		"idempotent":              {"idempotent", "", 2, []string{"effect.started tool idempotent #1", "effect.started tool idempotent #2", done}},
		"reconcilable, done":      {"r", found, 1, []string{"effect.started tool reconcilable #1", reconciled}},
		"reconcilable, not there": {"r", notFound, 2, []string{"effect.started tool reconcilable #1", "effect.failed tool not_started #1 again=true uncertain=false", "effect.started tool reconcilable #2", done}},
		"once":                    {"once", "", 1, []string{"effect.started tool once #1", unknown}},
	} {
		t.Run(title, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, goOn := make(chan struct{}, 1), make(chan struct{})
				name := "act_" + c.class
				class := c.class
				if class == "r" {
					class = ""
				}
				w := &world{answer: script(call("srv__" + name)), list: tools(name+":"+class, "find:pure")}
				w.call = func(_ context.Context, x tool.Call) (tool.Result, error) {
					switch {
					case x.Name == "find":
						return tool.Text(c.lookup), nil
					case len(w.began(name)) > 1:
						return tool.Text("second"), nil
					}
					begun <- struct{}{}
					<-goOn
					return tool.Text("first"), nil
				}
				st := openStore(t)
				a := start(t, st, w)
				a.create(agent(lookups))
				a.input("t1", "one")
				<-begun
				b := start(t, st, w)
				b.untilTurn("t1", session.TurnCompleted)
				before := b.log()
				close(goOn)
				a.asleep()
				if after := b.log(); after != before {
					t.Errorf("the process that was superseded changed the log from\n%s\nto\n%s", before, after)
				}
				want := append([]string{"tools.listed srv 2 error=false", "model.responded m/main [mcp_call " + name + " in_progress]"}, c.log...)
				b.wantLog(append(want, "model.responded m/main [message  completed]", "turn.ended t1 completed")...)
				calls := w.began(name)
				if len(calls) != c.calls || calls[0].EffectID != calls[len(calls)-1].EffectID {
					t.Errorf("%d calls, want %d under one id", len(calls), c.calls)
				}
				b.input("t2", "two")
				b.untilTurn("t2", session.TurnCompleted)
			})
		})
	}
}

// TestLeaseClaimedAgain has the process lose its leases and claim them again while
// a call is made, which goes on.
func TestLeaseClaimedAgain(t *testing.T) {
	for _, class := range []string{"once", "idempotent"} {
		t.Run(class, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun, goOn := make(chan struct{}, 1), make(chan struct{})
				w := &world{answer: script(call("srv__act")), list: tools("act:" + class)}
				w.call = func(context.Context, tool.Call) (tool.Result, error) {
					begun <- struct{}{}
					<-goOn
					return tool.Text("ok"), nil
				}
				e := start(t, openStore(t), w)
				e.create(agent(nil))
				e.input("t1", "one")
				<-begun
				e.holder.Lost(store.ShardOf(sess))
				if err := e.holder.Acquire(t.Context(), 0, nil); err != nil {
					t.Fatal(err)
				}
				e.input("t2", "two") // has the session looked at
				synctest.Wait()
				close(goOn)
				e.untilTurn("t2", session.TurnCompleted)
				if n := len(w.began("act")); n != 1 {
					t.Errorf("%d calls, want 1", n)
				}
				e.view(func(s *session.State) {
					for _, en := range s.Items {
						if en.Type == event.ItemMCPCall && en.Status != event.StatusCompleted {
							t.Errorf("the call is %s (%s)", en.Status, en.Error)
						}
					}
				})
			})
		})
	}
}

// errSecond is what an append answers where another writer was first.
var errSecond = fmt.Errorf("the head is elsewhere: %w", store.ErrConflict)

// TestFaults has the store fail at each append of a session in turn, and expects
// it to end with nothing lost and nothing done twice.
func TestFaults(t *testing.T) {
	kinds := map[string]storefault.Rule{
		"lost before": {Err: store.ErrUnavailable},
		"lost after":  {Err: store.ErrUnavailable, After: true},
		"full":        {Err: store.ErrFull},
		"second":      {Err: errSecond},
		"crash":       {Crash: true},
		"crash after": {Crash: true, After: true},
	}
	for name, rule := range kinds {
		t.Run(name, func(t *testing.T) {
			for n := 1; ; n++ {
				rule.Append = n
				struck := false
				t.Run(strconv.Itoa(n), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { struck = faulty(t, rule) })
				})
				if t.Failed() {
					return
				}
				if !struck {
					if n < 10 {
						t.Errorf("the session has only %d appends", n-1)
					}
					return
				}
			}
		})
	}
}

// faulty runs a session of all classes, a client's call and a timer over a store
// with the fault, and reports whether it came about.
func faulty(t *testing.T, rule storefault.Rule) bool {
	t.Helper()
	w := &world{list: tools("look:pure", "book:idempotent", "pay", "send", "sent:pure")}
	w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
		outputs, last := 0, req.Items[len(req.Items)-1]
		for _, it := range req.Items {
			if it.Type == event.ItemFunctionCallOutput {
				outputs++
			}
		}
		if last.Role == event.RoleUser && outputs == 0 {
			return call("srv__look", "srv__book", "srv__pay", "srv__send", "ask", `wait {"seconds":1}`), nil
		}
		return say("ok"), nil
	}
	sent := map[string]bool{}
	var mu sync.Mutex
	w.call = func(_ context.Context, c tool.Call) (tool.Result, error) {
		mu.Lock()
		defer mu.Unlock()
		switch c.Name {
		case "send":
			if sent[c.EffectID] {
				t.Errorf("%s was sent twice", c.EffectID)
			}
			sent[c.EffectID] = true
		case "sent":
			if len(sent) == 0 {
				return tool.Text(`{"status":"not_found"}`), nil
			}
			return tool.Text(`{"status":"completed","output":"sent"}`), nil
		}
		return tool.Text(c.Name), nil
	}
	inner := openStore(t)
	st := storefault.New(inner, rule)
	e := start(t, st, w)
	policies := map[string]event.EffectPolicy{"send": {Lookup: "sent"}}
	if rule.Crash {
		e.drive(policies, st.Crashed())
		select {
		case <-st.Crashed():
			// A process that has crashed sends nothing any more. This one only loses its
			// store: what it was about to send is sent before the next one looks.
			synctest.Wait()
			e = start(t, st.Reopen(), w)
		default:
		}
	}
	e.drive(policies, nil)
	e.asleep()
	e.view(func(s *session.State) {
		for _, id := range []string{"t1", "t2"} {
			if turn := s.Turn(id); turn == nil || turn.Status != session.TurnCompleted {
				t.Errorf("turn %s is not completed\n%s", id, e.log())
			}
		}
		for _, en := range s.Items {
			if en.IsCall() && en.Status != event.StatusCompleted && (en.Name != "pay" || !rule.Crash) {
				t.Errorf("the call of %s is %s (%s)", en.Name, en.Status, en.Error)
			}
		}
		if got := len(s.Items); got != 11 {
			t.Errorf("%d items, want 11\n%s", got, e.log())
		}
	})
	if n := len(w.began("pay")); n > 1 || n == 0 && !rule.Crash {
		t.Errorf("a once effect was called %d times", n)
	}
	for _, name := range []string{"book", "send"} {
		calls := w.began(name)
		for _, c := range calls {
			if c.EffectID != calls[0].EffectID {
				t.Errorf("%s has two effect ids", name)
			}
		}
		if len(calls) != 1 && !rule.Crash {
			t.Errorf("%s was called %d times", name, len(calls))
		}
	}
	verify(t, e.records())
	return st.Appends() >= rule.Append
}

func verify(t *testing.T, records []event.Record) {
	t.Helper()
	var prev event.Hash
	for i := range records {
		if err := records[i].Verify(prev); err != nil {
			t.Error(err)
		}
		prev = records[i].Hash
	}
}

// drive does what a client does, with the same keys however often it has to ask,
// until the two turns of the session have ended or the process is dead.
func (e *engine) drive(policies map[string]event.EffectPolicy, dead <-chan struct{}) {
	e.t.Helper()
	gone := func(err error) bool { return errors.Is(err, storefault.ErrCrashed) }
	for range 1000 {
		err := e.journal.Create(e.t.Context(), project, sess, func(tx *journal.Tx) error {
			return tx.Append(&event.SessionCreated{Project: project, Agent: agent(policies), Environment: event.Environment{Type: event.EnvironmentNone}})
		})
		if gone(err) {
			return
		}
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		over := false
		err = e.journal.Update(e.t.Context(), project, sess, func(tx *journal.Tx) (err error) {
			over, err = act(tx)
			return err
		})
		if gone(err) || err == nil && over {
			return
		}
		if err != nil {
			continue
		}
		select {
		case <-changed:
		case <-dead:
			return
		}
	}
	e.t.Fatalf("the session does not end\n%s", e.log())
}

// act appends what the client does next, and reports whether all is over.
func act(tx *journal.Tx) (bool, error) {
	for _, id := range []string{"t1", "t2"} {
		in := event.Input{Key: id, RequestHash: id}
		if again, err := tx.State.Repeated(in); err != nil || again {
			if err != nil {
				return false, err
			}
			continue
		}
		p, err := tx.State.Message(in, id, "", []event.Item{{
			Type: event.ItemMessage, ID: "msg_" + id, Role: event.RoleUser, Status: event.StatusCompleted,
			Content: []event.Content{{Type: event.PartInputText, Text: id}},
		}})
		if err != nil {
			return false, err
		}
		return false, tx.Append(p...)
	}
	if open := tx.State.RequiredActions(); len(open) > 0 {
		p, err := tx.State.ToolResult(event.Input{}, open[0].TurnID, open[0].CallID, event.Item{Status: event.StatusCompleted, Output: event.TextOutput("yes")})
		if err != nil {
			return false, err
		}
		return false, tx.Append(p...)
	}
	return tx.State.Status() == session.Idle, nil
}
