package session_test

import (
	"errors"
	"testing"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// waiting is a session that waits for its client, for a person's approval, and for
// a person to tell what became of a call.
func waiting(t *testing.T) (s *session.State, ask, approve, unknown *session.Effect) {
	t.Helper()
	s = newSession(t, event.Agent{Tools: []event.Tool{
		{Type: event.ToolMCP, ServerLabel: "srv", Effects: map[string]event.EffectPolicy{
			"pay": {Approval: session.ApprovalAlways}, "send": {OnUnknown: session.OnUnknownAsk},
		}},
		{Type: event.ToolFunction, Name: "ask"},
	}})
	fold(t, s, input("t1", "go"), &event.ToolsListed{TurnID: "t1", ServerLabel: "srv", Tools: []event.ToolSpec{{Name: "pay"}, {Name: "send"}}})
	fold(t, s, answered(s, fn("ask"), fn("srv__pay"), fn("srv__send")))
	open := s.OpenEffects()
	fold(t, s, &event.EffectStarted{EffectID: open[2].ID, What: event.EffectTool, TurnID: "t1", Class: event.Once, Attempt: 1, Epoch: 1},
		&event.EffectUnknown{EffectID: open[2].ID, TurnID: "t1", Reason: "crash"})
	open = s.OpenEffects()
	return s, open[0], open[1], open[2]
}

// TestRefusals gives commands that the session does not take.
func TestRefusals(t *testing.T) {
	idle := func() *session.State { return newSession(t, event.Agent{}) }
	resolve := func(id, decision string) func(*session.State) error {
		return func(s *session.State) error {
			_, err := s.Resolve(event.EffectResolved{EffectID: id, Decision: decision})
			return err
		}
	}
	w, ask, approve, unknown := waiting(t)
	for name, c := range map[string]struct {
		s     *session.State
		do    func(*session.State) error
		code  string
		param string
		state bool
	}{
		"cancel of nothing": {idle(), func(s *session.State) error { _, err := s.Cancel(event.Input{}); return err }, session.CodeNoActiveTurn, "", true},
		"result of nothing": {idle(), func(s *session.State) error {
			_, err := s.ToolResult(event.Input{}, "t", "c", event.Item{})
			return err
		}, session.CodeUnknownCall, "call_id", false},
		"result of another turn's call": {w, func(s *session.State) error {
			_, err := s.ToolResult(event.Input{}, "t2", ask.CallID, event.Item{})
			return err
		}, session.CodeUnknownCall, "call_id", false},
		"result of the runtime's call": {w, func(s *session.State) error {
			_, err := s.ToolResult(event.Input{}, "t1", approve.CallID, event.Item{})
			return err
		}, session.CodeUnknownCall, "call_id", false},
		"no such effect":         {w, resolve("eff_none", event.DecisionApprove), session.CodeUnknownEffect, "effect_id", false},
		"approve what is open":   {w, resolve(unknown.ID, event.DecisionApprove), session.CodeNotWaiting, "decision", true},
		"retry what waits":       {w, resolve(approve.ID, event.DecisionRetry), session.CodeNotWaiting, "decision", true},
		"approve a client's":     {w, resolve(ask.ID, event.DecisionApprove), session.CodeNotWaiting, "decision", true},
		"a decision there isn't": {w, resolve(approve.ID, "perhaps"), session.CodeNotWaiting, "decision", true},
		"another request's key": {fold(t, idle(), &event.SessionUpdated{Input: event.Input{Key: "k", RequestHash: "1"}}), func(s *session.State) error {
			_, err := s.Repeated(event.Input{Key: "k", RequestHash: "2"})
			return err
		}, session.CodeKeyReused, "Idempotency-Key", false},
		"deletion while a turn runs": {fold(t, idle(), input("t1", "x")), func(s *session.State) error { _, err := s.Delete(event.Input{}); return err }, session.CodeSessionBusy, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.do(c.s)
			var r *session.Refusal
			if !errors.As(err, &r) {
				t.Fatalf("got %v, want a refusal", err)
			}
			if r.Code != c.code || r.Param != c.param || r.State != c.state || r.Message == "" {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestRepeated(t *testing.T) {
	s := fold(t, newSession(t, event.Agent{}), &event.SessionUpdated{Input: event.Input{Key: "k", RequestHash: "1"}})
	for _, c := range []struct {
		in   event.Input
		want bool
	}{{event.Input{Key: "k", RequestHash: "1"}, true}, {event.Input{Key: "other", RequestHash: "1"}, false}, {event.Input{}, false}} {
		if got, err := s.Repeated(c.in); got != c.want || err != nil {
			t.Errorf("%+v: %t, %v", c.in, got, err)
		}
	}
}

// TestEveryDecision resolves what waits, and shows that a turn's end takes the
// decision away.
func TestEveryDecision(t *testing.T) {
	for _, d := range []struct {
		unknown  bool
		decision string
		status   session.EffectStatus
		item     string
	}{
		{false, event.DecisionApprove, session.EffectPending, event.StatusInProgress},
		{false, event.DecisionDeny, session.EffectFailed, event.StatusFailed},
		{true, event.DecisionCompleted, session.EffectFinished, event.StatusCompleted},
		{true, event.DecisionFailed, session.EffectFailed, event.StatusFailed},
		{true, event.DecisionRetry, session.EffectPending, event.StatusInProgress},
	} {
		t.Run(d.decision, func(t *testing.T) {
			s, _, approve, unknown := waiting(t)
			e := approve
			if d.unknown {
				e = unknown
			}
			p, err := s.Resolve(event.EffectResolved{EffectID: e.ID, Decision: d.decision, Reason: "I looked"})
			if err != nil {
				t.Fatal(err)
			}
			fold(t, s, p...)
			it, _ := s.Item(e.ItemID)
			if got := s.Effect(e.ID); got.Status != d.status || it.Status != d.item {
				t.Errorf("the effect is %s and its item %s (%s), want %s and %s", got.Status, it.Status, it.Error, d.status, d.item)
			}
			if _, err := s.Resolve(event.EffectResolved{EffectID: e.ID, Decision: d.decision}); err == nil {
				t.Error("it was taken twice")
			}
			over, _, a, u := waiting(t)
			fold(t, over, &event.TurnEnded{TurnID: "t1", Status: session.TurnCancelled})
			if d.unknown {
				a = u
			}
			if _, err := over.Resolve(event.EffectResolved{EffectID: a.ID, Decision: d.decision}); err == nil {
				t.Error("it was taken after the end of the turn")
			}
		})
	}
}

func TestCancelTwice(t *testing.T) {
	s := fold(t, newSession(t, event.Agent{}), input("t1", "x"))
	p, err := s.Cancel(event.Input{})
	if err != nil || len(p) != 1 {
		t.Fatalf("%d records, %v", len(p), err)
	}
	fold(t, s, p...)
	if p, err := s.Cancel(event.Input{}); err != nil || len(p) != 0 {
		t.Errorf("a second time: %d records, %v", len(p), err)
	}
}
