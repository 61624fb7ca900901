package worker_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/tool"
)

// TestManySessions runs sessions side by side, with inputs and cancels at random
// moments of theirs, and compares the state that is kept of each with the one that
// is folded from the store, while they run.
func TestManySessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{list: tools("look:pure", "act", "book:idempotent")}
		w.call = func(ctx context.Context, c tool.Call) (tool.Result, error) {
			select {
			case <-time.After(time.Duration(len(c.EffectID)+int(c.EffectID[4])) * time.Millisecond):
				return tool.Text("ok"), nil
			case <-ctx.Done():
				return hang(ctx)
			}
		}
		w.answer = func(_ context.Context, req *model.Request) (*model.Response, error) {
			switch n := len(req.Items); {
			case n%7 == 3:
				return call("srv__act"), nil
			case n%5 == 1:
				return call("srv__look", "srv__book"), nil
			}
			return say("ok"), nil
		}
		e := start(t, openStore(t), w)
		const sessions, turns = 12, 6
		var clients sync.WaitGroup
		for n := range sessions {
			clients.Go(func() { e.chat(n, turns) })
		}
		clients.Wait()
		e.asleep()
		seen := map[string]int{}
		for _, c := range w.began("act") {
			if seen[c.EffectID]++; seen[c.EffectID] > 1 {
				t.Errorf("a once effect was called %d times", seen[c.EffectID])
			}
		}
	})
}

// chat is one client: it sends its inputs, cancels now and then, and looks at the
// session after each.
func (e *engine) chat(n, turns int) {
	id, ctx := fmt.Sprintf("sess_%d", n), context.Background()
	err := e.journal.Create(ctx, project, id, func(tx *journal.Tx) error {
		return tx.Append(&event.SessionCreated{Project: project, Agent: agent(nil), Environment: event.Environment{Type: event.EnvironmentNone}})
	})
	if err != nil {
		e.t.Error(err)
		return
	}
	for k := range turns {
		err := e.journal.Update(ctx, project, id, func(tx *journal.Tx) error {
			return tx.Append(&event.TurnCreated{TurnID: fmt.Sprint("t", k), Items: []event.Item{{Type: event.ItemMessage, ID: fmt.Sprint("m", k), Role: event.RoleUser}}})
		})
		if err != nil {
			e.t.Error(err)
		}
		time.Sleep(time.Duration((n*37+k*53)%160) * time.Millisecond) // by the test's clock
		if (n+k)%3 == 0 {
			err = e.journal.Update(ctx, project, id, func(tx *journal.Tx) error {
				if tx.State.Current() == nil {
					return nil
				}
				p, err := tx.State.Cancel(event.Input{})
				if err != nil {
					return err
				}
				return tx.Append(p...)
			})
			if err != nil {
				e.t.Error(err)
			}
		}
		e.compare(ctx, id)
	}
	for range 1000 {
		idle := false
		if err := e.journal.View(ctx, project, id, func(s *session.State) error { idle = s.Status() == session.Idle; return nil }); err != nil {
			e.t.Error(err)
		}
		if idle {
			e.compare(ctx, id)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	e.t.Errorf("session %s does not end", id)
}

// compare checks the session's state against its log, while nobody can append.
func (e *engine) compare(ctx context.Context, id string) {
	err := e.journal.View(ctx, project, id, func(live *session.State) error {
		stored := session.New(id)
		records, err := e.st.Read(ctx, project, id, 0, 10_000)
		if err != nil {
			return err
		}
		for i := range records {
			if err := session.Fold(stored, &records[i]); err != nil {
				return err
			}
		}
		if live.Seq != stored.Seq || live.Hash != stored.Hash || live.Status() != stored.Status() || live.RequestHash() != stored.RequestHash() {
			e.t.Errorf("%s: record %d, %s, %s live; record %d, %s, %s stored", id, live.Seq, live.Status(), live.RequestHash(), stored.Seq, stored.Status(), stored.RequestHash())
		}
		return nil
	})
	if err != nil {
		e.t.Error(err)
	}
}
