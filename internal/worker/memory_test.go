package worker_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/storefault"
)

// remembering is an agent with a memory.
func remembering(strategies ...string) event.Agent {
	a := agent(nil)
	a.Memory = &event.Memory{
		Strategies: strategies,
		Namespaces: map[string]string{"turn": "/actors/{actorId}/said", "semantic": "/actors/{actorId}/facts", "core": "/actors/{actorId}/core"},
	}
	return a
}

// with is whom a session is with.
func with(actor string) func(*event.SessionCreated) {
	return func(c *event.SessionCreated) { c.Actor = actor }
}

// remember gives the engine, which does not run yet, a long-term memory in its
// store.
func (e *engine) remember() *keeper.Keeper {
	k := keeper.New(keeper.Config{Store: e.st, Now: time.Now, Log: testLog()})
	e.worker.Performer.Keeper = k
	return k
}

// drawing is a model that answers "ok", and draws one fact where it is asked to.
func drawing(answer *model.Response) func(context.Context, *model.Request) (*model.Response, error) {
	return func(_ context.Context, r *model.Request) (*model.Response, error) {
		if strings.HasPrefix(r.Instructions, "You keep the long-term memory") {
			return say(`{"facts":[{"text":"Ann lives in Rome.","lines":[1],"valid_from":null,"replaces":null,"confidence":0.9}],"preferences":[],"summary":""}`), nil
		}
		return answer, nil
	}
}

// What a session writes to memory while it is being deleted is not left behind: the
// write has begun, and the session is deleted and forgotten before it is there.
func TestDeletedWhileItRemembers(t *testing.T) {
	for name, tt := range map[string]struct {
		agent  event.Agent
		answer *model.Response
		late   memory.Strategy
	}{
		"keeps what was said in a turn that was cancelled": {remembering(), nil, memory.Turn},
		"draws from what was said":                         {remembering("semantic"), say("ok"), memory.Semantic},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := storefault.New(openStore(t))
				w := &world{answer: drawing(tt.answer)}
				if tt.answer == nil {
					w.answer = func(ctx context.Context, _ *model.Request) (*model.Response, error) {
						<-ctx.Done()
						return nil, ctx.Err()
					}
				}
				e := prepare(t, st, w)
				k := e.remember()
				late, over := make(chan error, 1), false
				st.OnMemories = func(w *store.MemoryWrite) error {
					if !over && len(w.Add) > 0 && w.Add[0].Strategy == tt.late {
						over = true
						late <- e.forgetSession(k)
					}
					return nil
				}
				e.run()
				e.create(tt.agent, with("ann"))
				e.input("t1", "I live in Rome.")
				if tt.answer == nil {
					e.untilAsked()
					e.cancelTurn()
				}
				if err := <-late; err != nil {
					t.Fatal(err)
				}
				synctest.Wait() // the write is over
				list, err := k.List(t.Context(), store.MemoryQuery{Project: project, Superseded: true, Limit: 10})
				if err != nil {
					t.Fatal(err)
				}
				for i := range list {
					t.Errorf("left behind: %s %q", list[i].Strategy, list[i].Text)
				}
				e.stop()
			})
		})
	}
}

// forgetSession deletes the session with what is remembered of it.
func (e *engine) forgetSession(k *keeper.Keeper) error {
	_, err := k.Forget(e.t.Context(), project, keeper.Selection{SessionID: sess, Erase: func(ctx context.Context) (int, error) {
		return 1, e.journal.Update(ctx, project, sess, func(tx *journal.Tx) error {
			p, err := tx.State.Delete(event.Input{})
			if err != nil {
				return err
			}
			return tx.Append(p...)
		})
	}}, "")
	return err
}

// untilAsked waits until the model is asked.
func (e *engine) untilAsked() {
	e.t.Helper()
	for range patience / time.Second {
		if len(e.w.requests()) > 0 {
			return
		}
		time.Sleep(time.Second)
	}
	e.t.Fatal("the model was not asked")
}

// An answer from which nothing could be written is paid for, and so is the one that
// is asked for in its place.
func TestAnswersThatCannotBeWrittenAreCounted(t *testing.T) {
	for name, limited := range map[string][]func(*event.SessionCreated){"with a limit": {limit(1000)}, "without one": nil} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				st := storefault.New(openStore(t))
				w := &world{answer: drawing(say("ok"))}
				price(w, 10)
				e := prepare(t, st, w)
				k := e.remember()
				failures := 2
				st.OnMemories = func(w *store.MemoryWrite) error {
					if len(w.Add) > 0 && w.Add[0].Strategy == memory.Semantic && failures > 0 {
						failures--
						return errors.New("the disk is away")
					}
					return nil
				}
				e.run()
				e.create(remembering("semantic"), append(limited, with("ann"))...)
				e.input("t1", "I live in Rome.")
				e.until("what was said is drawn from", func(s *session.State) bool { return s.Memory.Extracted > 0 })
				e.view(func(s *session.State) {
					// The turn's answer, and three of the extraction, each of 110 tokens.
					if want := int64(4 * 110 * 10_000); s.CostNanoUSD != want || s.Usage.InputTokens != 400 || s.Usage.OutputTokens != 40 {
						t.Errorf("the session cost %d with %+v, want %d", s.CostNanoUSD, s.Usage, want)
					}
					if turn := s.Turn("t1"); turn.CostNanoUSD != 110*10_000 {
						t.Errorf("the turn cost %d", turn.CostNanoUSD)
					}
					if s.Reserved() != 0 {
						t.Errorf("%d are reserved still", s.Reserved())
					}
				})
				if n := len(w.requests()); n != 4 {
					t.Errorf("the model was asked %d times, want 4", n)
				}
				list, err := k.List(t.Context(), store.MemoryQuery{Project: project, Strategies: []memory.Strategy{memory.Semantic}, Limit: 10})
				if err != nil || len(list) != 1 {
					t.Errorf("%d facts, %v; want one", len(list), err)
				}
				e.stop()
			})
		})
	}
}
