package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
)

// candidates serves every name with the named models, of one world.
func candidates(w *world, names ...string) {
	w.resolve = func(string) ([]model.Candidate, error) {
		var out []model.Candidate
		for _, n := range names {
			out = append(out, model.Candidate{Name: "m/" + n, ID: n, Model: w})
		}
		return out, nil
	}
}

// TestRateLimit shows that the pause that a provider asks for is in the log, and
// kept.
func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Time
		w := &world{}
		w.answer = func(context.Context, *model.Request) (*model.Response, error) {
			asked = append(asked, time.Now())
			if len(asked) == 1 {
				return nil, &model.Error{Code: "rate_limit_exceeded", Message: "slow down", Status: 429, Retry: true, RetryAfter: 90 * time.Second}
			}
			return say("ok"), nil
		}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		hasEffect(session.EffectRetrying)(e)
		e.view(func(s *session.State) {
			if got := s.OpenEffects()[0].RetryAt.Sub(asked[0]); got < 90*time.Second || got > 91*time.Second {
				t.Errorf("it is tried again after %s, want 90 s", got)
			}
		})
		e.untilTurn("t1", session.TurnCompleted)
		if got := asked[1].Sub(asked[0]); got < 90*time.Second || got > 92*time.Second {
			t.Errorf("it was tried again after %s", got)
		}
		reqs := w.requests()
		if reqs[0].EffectID == "" || reqs[0].EffectID != reqs[1].EffectID {
			t.Errorf("the attempts have the effect ids %q and %q", reqs[0].EffectID, reqs[1].EffectID)
		}
		e.wantLog("tools.listed srv 0 error=false", "effect.failed model rate_limit_exceeded #1 again=true uncertain=false",
			"model.responded m/main [message  completed]", "turn.ended t1 completed")
	})
}

func TestModelFailsForGood(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		code string
		msg  string
	}{
		"told": {&model.Error{Code: "authentication_error", Message: "bad key"}, "authentication_error", "m/main: bad key"},
		"any":  {errors.New("what is this"), "internal_error", "m/main: what is this"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{answer: func(context.Context, *model.Request) (*model.Response, error) { return nil, c.err }}
				e := start(t, openStore(t), w)
				e.create(agent(nil))
				e.input("t1", "one")
				e.untilTurn("t1", session.TurnFailed)
				e.view(func(s *session.State) {
					if got := s.Turn("t1").Error; got.Code != c.code || got.Message != c.msg {
						t.Errorf("the turn failed with %+v", got)
					}
				})
				if n := len(w.requests()); n != 1 {
					t.Errorf("%d attempts, want 1", n)
				}
			})
		})
	}
}

func TestUnknownModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{resolve: func(string) ([]model.Candidate, error) { return nil, errors.New("add it to the models file") }}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnFailed)
		e.view(func(s *session.State) {
			if got := s.Turn("t1").Error; got.Code != "resource_not_found" || got.Message != "add it to the models file" {
				t.Errorf("the turn failed with %+v", got)
			}
		})
	})
}

// TestFallbacks shows which models are asked, in what order and how often.
func TestFallbacks(t *testing.T) {
	for name, c := range map[string]struct {
		errs map[string]error
		want string
		last string
	}{
		"busy, refused, answers": {map[string]error{
			"a": &model.Error{Code: "server_overloaded", Retry: true},
			"b": &model.Error{Code: "authentication_error"},
		}, "aaabc", session.TurnCompleted},
		"all fail": {map[string]error{
			"a": &model.Error{Code: "authentication_error"},
			"b": &model.Error{Code: "server_overloaded", Retry: true},
			"c": &model.Error{Code: "server_error", Retry: true},
		}, "abbbcccccccc", session.TurnFailed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := &world{}
				candidates(w, "a", "b", "c")
				w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
					if err := c.errs[req.Model]; err != nil {
						return nil, err
					}
					return say("ok"), nil
				}
				e := start(t, openStore(t), w)
				e.create(agent(nil))
				e.input("t1", "one")
				e.untilTurn("t1", c.last)
				var got []string
				for _, r := range w.requests() {
					got = append(got, r.Model)
				}
				if g := strings.Join(got, ""); g != c.want {
					t.Errorf("asked %s, want %s", g, c.want)
				}
			})
		})
	}
}

// TestRetriesSurviveRestart counts attempts over a restart between them.
func TestRetriesSurviveRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(context.Context, *model.Request) (*model.Response, error) {
			return nil, &model.Error{Code: "server_overloaded", Retry: true, RetryAfter: time.Minute}
		}}
		st := openStore(t)
		e := start(t, st, w)
		e.create(agent(nil))
		e.input("t1", "one")
		hasEffect(session.EffectRetrying)(e)
		e.stop()
		again := start(t, st, w)
		again.untilTurn("t1", session.TurnFailed)
		again.wantLog("tools.listed srv 0 error=false", "effect.failed model server_overloaded #1 again=true uncertain=false",
			"effect.failed model server_overloaded #2 again=true uncertain=false",
			"effect.failed model server_overloaded #3 again=true uncertain=false", "effect.failed model server_overloaded #4 again=true uncertain=false",
			"effect.failed model server_overloaded #5 again=true uncertain=false", "effect.failed model server_overloaded #6 again=true uncertain=false",
			"effect.failed model server_overloaded #7 again=true uncertain=false",
			"effect.failed model server_overloaded #8 again=false uncertain=false", "turn.ended t1 failed server_overloaded")
	})
}

// TestModelMistakes has a provider break its contract.
func TestModelMistakes(t *testing.T) {
	for name, c := range map[string]struct {
		answer func() (*model.Response, error)
		status string
		text   string
	}{
		"panic":           {func() (*model.Response, error) { panic("index out of range") }, session.TurnFailed, "index out of range"},
		"nothing":         {func() (*model.Response, error) { return nil, nil }, session.TurnFailed, "neither an answer nor an error"},
		"nothing in it":   {func() (*model.Response, error) { return &model.Response{}, nil }, session.TurnCompleted, ""},
		"bad provider":    {func() (*model.Response, error) { r := say("x"); r.Items[0].Provider = []byte("{"); return r, nil }, session.TurnFailed, "The runtime made a mistake"},
		"a call not JSON": {func() (*model.Response, error) { return call("srv__act {not json"), nil }, session.TurnCompleted, ""},
		"no such tool":    {func() (*model.Response, error) { return call("nothing"), nil }, session.TurnCompleted, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				broken := true
				w := &world{list: tools("act"), call: ok}
				w.answer = func(context.Context, *model.Request) (*model.Response, error) {
					if n := len(w.requests()); broken && (n == 1 || c.status == session.TurnFailed) {
						return c.answer()
					}
					return say("ok"), nil
				}
				e := start(t, openStore(t), w)
				e.create(agent(nil))
				e.input("t1", "one")
				e.untilTurn("t1", c.status)
				e.view(func(s *session.State) {
					if err := s.Turn("t1").Error; err != nil && !strings.Contains(err.Message, c.text) {
						t.Errorf("the turn failed with %+v", err)
					}
				})
				broken = false
				e.input("t2", "two")
				e.untilTurn("t2", session.TurnCompleted)
				reqs := w.requests()
				paired(t, reqs[len(reqs)-1].Items)
				if n := len(w.began("act")); n != 0 {
					t.Errorf("the tool was called %d times", n)
				}
			})
		})
	}
}

// TestInterleaved has an answer with text between its calls.
func TestInterleaved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := call("srv__act", "ask", "srv__act")
		r.Items = []event.Item{{Type: event.ItemReasoning}, r.Items[0], r.Items[1], say("between").Items[0], r.Items[2]}
		w := &world{list: tools("act"), call: ok, answer: script(r)}
		e := start(t, openStore(t), w)
		e.create(agent(nil))
		e.input("t1", "one")
		e.untilAction()
		e.answer("yes")
		e.untilTurn("t1", session.TurnCompleted)
		paired(t, w.requests()[1].Items)
	})
}
