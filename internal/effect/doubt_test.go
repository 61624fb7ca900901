package effect_test

import (
	"context"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/tool"
)

// unreachable is a server that no call gets to; sent says whether it might have.
type unreachable struct{ sent bool }

func (u unreachable) Server(context.Context, tool.Caller, *event.Tool) (tool.Server, error) {
	return u, nil
}

func (u unreachable) List(context.Context) ([]event.ToolSpec, error) { return nil, nil }

func (u unreachable) Close() error { return nil }

func (u unreachable) Call(context.Context, tool.Call) (tool.Result, error) {
	return tool.Result{}, &tool.Error{Message: "no answer", Sent: u.sent}
}

func TestFailedCallSaysWhetherItMayHaveTakenPlace(t *testing.T) {
	tests := []struct {
		name      string
		class     event.Class
		attempt   int
		sent      bool // this attempt
		doubt     bool // an earlier one
		stopped   bool
		want      event.Kind
		uncertain bool
		again     bool
	}{
		{"pure, sent", event.Pure, 1, true, false, false, event.KindEffectFailed, true, true},
		{"pure, last attempt", event.Pure, 5, true, false, false, event.KindEffectFailed, false, false},
		{"once, not sent", event.Once, 1, false, false, false, event.KindEffectFailed, false, true},
		{"once, sent", event.Once, 1, true, false, false, event.KindEffectUnknown, false, false},
		{"once, not sent, last attempt", event.Once, 5, false, false, false, event.KindEffectFailed, false, false},
		{"idempotent, not sent", event.Idempotent, 2, false, false, false, event.KindEffectFailed, false, true},
		{"idempotent, sent", event.Idempotent, 1, true, false, false, event.KindEffectFailed, true, true},
		{"idempotent, not sent after doubt", event.Idempotent, 2, false, true, false, event.KindEffectFailed, true, true},
		{"idempotent, not sent after doubt, last attempt", event.Idempotent, 5, false, true, false, event.KindEffectUnknown, false, false},
		{"idempotent, not sent after doubt, turn cancelled", event.Idempotent, 2, false, true, true, event.KindEffectUnknown, false, false},
		{"idempotent, not sent, turn cancelled", event.Idempotent, 2, false, false, true, event.KindEffectFailed, false, false},
		{"reconcilable, sent, is looked up however often it takes", event.Reconcilable, 9, true, false, false, event.KindEffectFailed, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := &effect.Performer{Servers: unreachable{tt.sent}, Feed: feed.New(), Now: time.Now}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tt.stopped {
				cancel()
			}
			out := p.Perform(ctx, effect.Job{Session: "s", Tool: &event.Tool{}, Start: loop.Start{
				ID: "eff", What: event.EffectTool, TurnID: "turn", Attempt: tt.attempt, Class: tt.class, Doubt: tt.doubt,
				Item: &event.Item{Type: event.ItemMCPCall, Name: "call"}, Server: "srv",
			}})
			if out == nil {
				t.Fatal("nothing is appended")
			}
			got := out(nil)[0]
			if got.Kind() != tt.want {
				t.Fatalf("got %s, want %s", got.Kind(), tt.want)
			}
			if f, ok := got.(*event.EffectFailed); ok && (f.Uncertain != tt.uncertain || (f.RetryAt != nil) != tt.again) {
				t.Errorf("got uncertain %t and retry at %v, want %t and again %t", f.Uncertain, f.RetryAt, tt.uncertain, tt.again)
			}
		})
	}
}
