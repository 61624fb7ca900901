package worker_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/storefault"
)

// reserved returns the intentions of model calls and compactions in the log.
func (e *engine) reserved() []*event.EffectStarted {
	e.t.Helper()
	var out []*event.EffectStarted
	records := e.records()
	for i := range records {
		p, err := event.Decode(&records[i])
		if err != nil {
			e.t.Fatal(err)
		}
		if p, ok := p.(*event.EffectStarted); ok && p.ReservedNanoUSD > 0 {
			out = append(out, p)
		}
	}
	return out
}

const cent = 10_000_000 // nano-USD

// TestBudget reserves what a call may cost before it is made, and limits its
// output to that.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script()}
		price(w, 10) // a token is 0.001 cents
		e := start(t, openStore(t), w)
		e.create(agent(nil), limit(1)) // 1,000 tokens
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		out := w.requests()[0].MaxOutputTokens
		if out < 800 || out > 1000 {
			t.Errorf("the output is limited to %d tokens, want nearly 1,000", out)
		}
		r := e.reserved()
		if len(r) != 1 || r[0].ReservedNanoUSD > cent || r[0].ReservedNanoUSD < out*10_000 {
			t.Fatalf("reserved %+v", r)
		}
		e.view(func(s *session.State) {
			if want := int64(110 * 10_000); s.CostNanoUSD != want || s.Turn("t1").CostNanoUSD != want {
				t.Errorf("the session cost %d, the turn %d, want %d", s.CostNanoUSD, s.Turn("t1").CostNanoUSD, want)
			}
		})
	})
}

func TestNoPrice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script()}
		e := start(t, openStore(t), w)
		e.create(agent(nil), limit(100))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnFailed)
		if n := len(w.requests()); n != 0 {
			t.Errorf("%d calls of a model without a price", n)
		}
	})
}

// TestExhausted spends a budget over turns; the input that it is no longer enough
// for fails, and so does the one that waits behind it, until there is more.
func TestExhausted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: func(_ context.Context, req *model.Request) (*model.Response, error) {
			r := say("ok")
			r.Usage.OutputTokens = req.MaxOutputTokens // all that it may
			return r, nil
		}}
		price(w, 10)
		e := start(t, openStore(t), w)
		e.create(agent(nil), limit(1))
		for _, turn := range []string{"t1", "t2", "t3"} {
			e.input(turn, "more")
		}
		e.untilTurn("t3", session.TurnFailed)
		e.view(func(s *session.State) {
			if err := s.Turn("t2").Error; err == nil || err.Code != "session_budget_exceeded" {
				t.Errorf("the second turn: %+v", err)
			}
			if s.CostNanoUSD > 12*cent/10 {
				t.Errorf("the session cost %d nano-USD of %d", s.CostNanoUSD, cent)
			}
		})
		if n := len(w.requests()); n != 1 {
			t.Errorf("%d calls, want 1", n)
		}
		more := int64(5)
		e.update(func(tx *journal.Tx) error {
			return tx.Append(&event.SessionUpdated{SpendLimit: &event.SpendLimit{Limit: &more}})
		})
		e.input("t4", "more")
		e.untilTurn("t4", session.TurnCompleted)
	})
}

// TestLostReservation crashes while the model answers: what was reserved counts as
// spent, and the call is made again with what is left.
func TestLostReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun, goOn := make(chan struct{}, 1), make(chan struct{})
		w := &world{}
		w.answer = func(context.Context, *model.Request) (*model.Response, error) {
			if len(w.requests()) > 1 {
				return say("ok"), nil
			}
			begun <- struct{}{}
			<-goOn
			return say("late"), nil
		}
		price(w, 1)
		st := openStore(t)
		a := start(t, st, w)
		a.create(agent(nil), limit(10))
		a.input("t1", "one")
		<-begun
		b := start(t, st, w)
		b.untilTurn("t1", session.TurnCompleted)
		close(goOn)
		r := b.reserved()
		if len(r) != 2 || r[0].Attempt != 1 || r[1].Attempt != 2 || r[0].ReservedNanoUSD+r[1].ReservedNanoUSD > 10*cent {
			t.Fatalf("reserved %+v", r)
		}
		b.view(func(s *session.State) {
			want := r[0].ReservedNanoUSD + 110*1000
			if s.CostNanoUSD != want || s.Turn("t1").CostNanoUSD != want {
				t.Errorf("the session cost %d, the turn %d, want %d", s.CostNanoUSD, s.Turn("t1").CostNanoUSD, want)
			}
		})
		a.asleep()
	})
}

// TestCancelledReservation cancels while the model answers: nobody will know what
// that has cost.
func TestCancelledReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan struct{}, 1)
		w := &world{answer: func(ctx context.Context, _ *model.Request) (*model.Response, error) {
			begun <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		price(w, 1)
		e := start(t, openStore(t), w)
		e.create(agent(nil), limit(10))
		e.input("t1", "one")
		<-begun
		e.cancelTurn()
		e.untilTurn("t1", session.TurnCancelled)
		e.view(func(s *session.State) {
			if want := e.reserved()[0].ReservedNanoUSD; s.CostNanoUSD != want {
				t.Errorf("the session cost %d, want %d", s.CostNanoUSD, want)
			}
		})
	})
}

// TestLostAnswerOfReservation has the answer be lost of the append that reserves:
// the call is made once, and with its limit.
func TestLostAnswerOfReservation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{answer: script()}
		price(w, 10)
		st := storefault.New(openStore(t), storefault.Rule{Append: 3, After: true, Err: store.ErrUnavailable})
		e := start(t, st, w)
		e.create(agent(nil), limit(1))
		e.input("t1", "one")
		e.untilTurn("t1", session.TurnCompleted)
		if r := e.reserved(); len(r) != 1 {
			t.Errorf("reserved %d times, want once", len(r))
		}
		reqs := w.requests()
		if len(reqs) != 1 || reqs[0].MaxOutputTokens < 800 || reqs[0].MaxOutputTokens > 1000 {
			t.Errorf("%d calls, the first limited to %d tokens", len(reqs), reqs[0].MaxOutputTokens)
		}
	})
}

// TestBudgetOfTwo has a compaction in the background share a budget with the turn.
func TestBudgetOfTwo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{}
		w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
			if req.Instructions == session.CompactionInstructions {
				time.Sleep(time.Second)
			}
			return say("ok"), nil
		}
		price(w, 10)
		e := start(t, openStore(t), w)
		a := agent(nil)
		a.Compaction = event.Compaction{Async: true, Threshold: 100}
		e.create(a, limit(4))
		for _, id := range []string{"t1", "t2", "t3", "t4", "t5", "t6"} {
			e.input(id, "one")
		}
		e.until("idle after all", func(s *session.State) bool { return len(s.Turns) == 6 && s.Status() == session.Idle })
		var open, most int64
		byID := map[string]int64{}
		records := e.records()
		var spent int64
		for i := range records {
			p, err := event.Decode(&records[i])
			if err != nil {
				t.Fatal(err)
			}
			switch p := p.(type) {
			case *event.EffectStarted:
				byID[p.EffectID] = p.ReservedNanoUSD
			case *event.ModelResponded:
				spent += p.CostNanoUSD
				delete(byID, p.EffectID)
			case *event.ContextCompacted:
				spent += p.CostNanoUSD
				delete(byID, p.EffectID)
			case *event.TurnEnded:
				for _, r := range byID {
					spent += r
				}
				clear(byID)
			}
			open = spent
			for _, r := range byID {
				open += r
			}
			most = max(most, open)
		}
		if most > 4*cent {
			t.Errorf("%d nano-USD were spent or reserved at once, of %d", most, 4*cent)
		}
		e.view(func(s *session.State) {
			for _, x := range s.Turns {
				if x.Status != session.TurnCompleted {
					t.Errorf("turn %s is %s for want of a summary that there was no budget for: %+v", x.ID, x.Status, x.Error)
				}
			}
			if s.CostNanoUSD != spent {
				t.Errorf("the session cost %d, the log says %d", s.CostNanoUSD, spent)
			}
		})
	})
}
