package worker_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// TestParallelCalls has each of the calls of one answer wait for the other.
func TestParallelCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		met := make(chan struct{})
		w := &world{
			answer: script(call("srv__left", "srv__right")),
			list:   tools("left:pure", "right:once"),
			call: func(_ context.Context, c tool.Call) (tool.Result, error) {
				if c.Name == "left" {
					met <- struct{}{}
				} else {
					<-met
				}
				return tool.Text(c.Name), nil
			},
		}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "go")
		e.untilTurn("t1", session.TurnCompleted)
		last := w.requests()[1].Items
		var outputs []string
		for _, it := range last {
			if it.Type == event.ItemFunctionCallOutput {
				outputs = append(outputs, event.OutputText(it.Output))
			}
		}
		if fmt.Sprint(outputs) != "[left right]" {
			t.Errorf("the model was given the outputs %v", outputs)
		}
	})
}

// TestInputsAreQueued sends inputs while a turn runs.
func TestInputsAreQueued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, goOn := make(chan struct{}, 1), make(chan struct{})
		w := &world{}
		w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
			if len(w.requests()) == 1 {
				begun <- struct{}{}
				<-goOn
			}
			return say("re: " + req.Items[len(req.Items)-1].Text()), nil
		}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		<-begun
		e.input("t2", "two")
		e.input("t3", "three")
		e.view(func(s *session.State) {
			if a, b, c := s.Turn("t1").Status, s.Turn("t2").Status, s.Turn("t3").Status; a != session.TurnInProgress || b != session.TurnQueued || c != session.TurnQueued {
				t.Errorf("turns are %s, %s, %s", a, b, c)
			}
		})
		close(goOn)
		e.untilTurn("t3", session.TurnCompleted)
		e.view(func(s *session.State) {
			var all strings.Builder
			for _, it := range s.Items {
				all.WriteString(it.Text() + ", ")
			}
			if got, want := all.String(), "one, re: one, two, re: two, three, re: three, "; got != want {
				t.Errorf("the conversation is %q, want %q", got, want)
			}
		})
	})
}

func TestHundredCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := make([]*model.Response, 100)
		for i := range answers {
			answers[i] = call("srv__step")
		}
		w := &world{answer: script(answers...), list: tools("step:idempotent"), call: ok}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "go")
		e.untilTurn("t1", session.TurnCompleted)
		calls := w.began("step")
		ids := map[string]bool{}
		for _, c := range calls {
			ids[c.EffectID] = true
		}
		if len(calls) != 100 || len(ids) != 100 {
			t.Errorf("%d calls under %d effect ids, want 100 of each", len(calls), len(ids))
		}
		e.stop()
		synctest.Wait()
		if n := e.worker.Running(); n != 0 {
			t.Errorf("%d sessions run after the stop", n)
		}
	})
}
