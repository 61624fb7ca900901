package worker_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
)

func compacts(req *model.Request) bool { return req.Instructions == session.CompactionInstructions }

// counted answers with the usage that the request's size has, 100 tokens an item.
func counted(req *model.Request, r *model.Response) *model.Response {
	r.Usage = event.Usage{InputTokens: int64(100 * len(req.Items)), OutputTokens: 10}
	return r
}

func compacting(c event.Compaction) event.Agent {
	a := agent(nil)
	a.Compaction = c
	return a
}

// shape is the request's items in short.
func shape(req *model.Request) string {
	var b strings.Builder
	for _, it := range req.Items {
		switch it.Type {
		case event.ItemFunctionCall:
			b.WriteString("c")
		case event.ItemFunctionCallOutput:
			b.WriteString("o")
		case event.ItemCompaction:
			b.WriteString("S")
		default:
			b.WriteString(it.Role[:1])
		}
	}
	return b.String()
}

// TestBlockingCompaction compacts a turn of many calls, again and again, before
// the model is asked.
func TestBlockingCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{list: tools("act:pure"), call: ok}
		calls, summaries := 0, 0
		w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
			paired(t, req.Items)
			switch {
			case compacts(req):
				summaries++
				return counted(req, say(fmt.Sprintf("summary %d", summaries))), nil
			case calls < 40:
				calls++
				return counted(req, call("srv__act")), nil
			}
			return counted(req, say("ok")), nil
		}
		e := start(t, openStore(t), w)
		e.create(compacting(event.Compaction{Threshold: 3000}))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		if summaries < 2 {
			t.Errorf("compacted %d times, want at least twice", summaries)
		}
		for i, req := range w.requests() {
			if n := len(req.Items); n > 34 {
				t.Errorf("request %d has %d items", i, n)
			}
		}
		reqs := w.requests()
		last := reqs[len(reqs)-1]
		if last.Items[0].Type != event.ItemCompaction || last.Items[0].Text() != fmt.Sprintf("summary %d", summaries) || strings.Count(shape(last), "S") != 1 {
			t.Errorf("the last request is %s and begins with %q", shape(last), last.Items[0].Text())
		}
		e.view(func(s *session.State) {
			if s.Compactions != summaries {
				t.Errorf("%d compactions, want %d", s.Compactions, summaries)
			}
			covered := 0
			for _, en := range s.Items {
				covered += len(en.Covers)
			}
			if covered < s.ContextFrom-s.Compactions || covered > s.ContextFrom {
				t.Errorf("summaries cover %d items, %d are out of the context", covered, s.ContextFrom)
			}
		})
	})
}

// TestBackgroundCompaction goes on with calls while a summary is being made, and
// uses it when it is there: from the request after the one that it came in on.
func TestBackgroundCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, finish, made := make(chan struct{}), make(chan struct{}), make(chan struct{})
		w := &world{list: tools("act:pure"), call: ok}
		var summaries, cancelled atomic.Int64
		calls := 0
		w.answer = func(ctx context.Context, req *model.Request) (*model.Response, error) {
			if compacts(req) {
				if summaries.Add(1) > 1 {
					return say("another"), nil
				}
				close(begun)
				select {
				case <-finish:
				case <-ctx.Done():
					cancelled.Add(1)
				}
				defer close(made)
				return counted(req, say("the summary")), nil
			}
			calls++
			switch calls {
			case 17: // the one that is asked beside the compaction
				<-begun
			case 19:
				close(finish)
				<-made
				time.Sleep(time.Millisecond) // by the test's clock: until it is in the log
			case 22:
				return counted(req, say("ok")), nil
			}
			return counted(req, call("srv__act")), nil
		}
		e := start(t, openStore(t), w)
		e.create(compacting(event.Compaction{Async: true, Threshold: 3000}))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		if s, c := summaries.Load(), cancelled.Load(); s != 1 || c != 0 {
			t.Errorf("%d summaries were asked for, want 1; %d were stopped", s, c)
		}
		reqs := w.requests()
		last := reqs[len(reqs)-1]
		if !strings.HasPrefix(shape(last), "Sco") || strings.Count(shape(last), "c") >= 20 {
			t.Errorf("the last request is %s", shape(last))
		}
		paired(t, last.Items)
	})
}

// TestOverflow has the model refuse a conversation as too long.
func TestOverflow(t *testing.T) {
	tooLong := &model.Error{Code: session.CodeContextLength, Message: "too long"}
	for name, c := range map[string]struct {
		summary func() (*model.Response, error)
		last    string
		text    string
	}{
		"compacted": {func() (*model.Response, error) { return say("summary"), nil }, session.TurnCompleted, ""},
		"no summary": {
			func() (*model.Response, error) { return say(""), nil }, session.TurnFailed,
			"The conversation is too long for the model and could not be compacted: The model was asked for a summary of the conversation and gave none.",
		},
		"refused": {
			func() (*model.Response, error) { return nil, tooLong }, session.TurnFailed,
			"The conversation is too long for the model and could not be compacted: m/main: too long",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				summary := c.summary
				w := &world{list: tools("act:pure"), call: ok}
				w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
					switch {
					case compacts(req):
						return summary()
					case len(req.Items) > 20:
						return nil, tooLong
					case req.Items[len(req.Items)-1].Role != event.RoleUser && len(req.Items) > 15, len(req.Items) > 1 && req.Items[0].Type == event.ItemCompaction:
						return say("ok"), nil
					}
					return call("srv__act", "srv__act", "srv__act"), nil
				}
				e := start(t, openStore(t), w)
				e.create(agent(nil))
				e.input("t1", "one")
				e.untilTurn("t1", session.TurnCompleted)
				e.input("t2", "two")
				e.input("t3", "three")
				e.untilTurn("t3", c.last)
				if c.last == session.TurnFailed {
					e.view(func(s *session.State) {
						if err := s.Turn("t3").Error; err.Message != c.text {
							t.Errorf("the turn failed with %+v", err)
						}
					})
				}
				// A later turn tries again, and does not fail for what was before.
				summary = func() (*model.Response, error) { return say("summary"), nil }
				e.input("t4", "four")
				e.untilTurn("t4", session.TurnCompleted)
			})
		})
	}
}

// TestFailedCompaction shows that the model is asked all the same where a summary
// fails and there is room left, and that limits hold meanwhile.
func TestFailedCompaction(t *testing.T) {
	for _, async := range []bool{false, true} {
		t.Run(fmt.Sprint("async=", async), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				summaries := 0
				w := &world{list: tools("act:pure"), call: ok}
				w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
					if compacts(req) {
						summaries++
						return nil, &model.Error{Code: "authentication_error", Message: "bad key"}
					}
					return counted(req, call("srv__act")), nil
				}
				e := start(t, openStore(t), w)
				a := compacting(event.Compaction{Async: async, Threshold: 1000})
				a.Limits = &event.Limits{MaxSteps: 12}
				e.create(a)
				e.input("t1", "one")
				e.untilTurn("t1", session.TurnFailed)
				e.view(func(s *session.State) {
					if err := s.Turn("t1").Error; err.Code != "usage_limit_exceeded" {
						t.Errorf("the turn failed with %+v", err)
					}
				})
				if summaries != 1 {
					t.Errorf("%d summaries were asked for in one turn, want 1", summaries)
				}
				e.input("t2", "two")
				e.untilTurn("t2", session.TurnFailed)
				e.view(func(s *session.State) {
					if err := s.Turn("t2").Error; err.Code != "usage_limit_exceeded" {
						t.Errorf("the next turn failed with %+v", err)
					}
				})
			})
		})
	}
}

// TestLimitsDuringCompaction shows that a summary that is being made beside the
// turn hides none of its limits.
func TestLimitsDuringCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{list: tools("act:pure"), call: ok}
		w.answer = func(ctx context.Context, req *model.Request) (*model.Response, error) {
			if compacts(req) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			r := call("srv__act")
			r.Usage = event.Usage{InputTokens: 1100, OutputTokens: 10}
			return r, nil
		}
		price(w, 1)
		e := start(t, openStore(t), w)
		a := compacting(event.Compaction{Async: true, Threshold: 1000})
		a.Limits = &event.Limits{MaxSteps: 15}
		e.create(a, limit(1000))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnFailed)
		e.view(func(s *session.State) {
			if turn := s.Turn("t1"); turn.Steps != 15 || turn.Error.Code != "usage_limit_exceeded" {
				t.Errorf("after %d steps the turn failed with %+v", turn.Steps, turn.Error)
			}
		})
		e.asleep()
	})
}
