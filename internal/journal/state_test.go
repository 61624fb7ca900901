package journal_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/loop"
	"github.com/stayd/stayd/internal/session"
)

// TestEviction shows that what is kept of sessions that nobody uses is bounded.
func TestEviction(t *testing.T) {
	b := over(t, open(t, temp(t)))
	text := strings.Repeat("abcdefgh", 128<<10) // 1 MiB
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const sessions = 60
	before := heap()
	for n := range sessions {
		err := b.Create(t.Context(), project, fmt.Sprintf("sess_%d", n), func(tx *journal.Tx) error {
			in := turn(1)
			in.Items[0].Content[0].Text = text
			return tx.Append(created(), in)
		})
		if err != nil {
			t.Fatal(err)
		}
		b.mu.Lock()
		b.commits = nil
		b.mu.Unlock()
	}
	if grown := heap() - before; grown > 40<<20 {
		t.Errorf("%d MiB are kept of %d MiB of logs, want at most 40", grown>>20, sessions)
	}
	for _, n := range []int{0, sessions - 1} {
		err := b.View(t.Context(), project, fmt.Sprintf("sess_%d", n), func(s *session.State) error {
			if got := len(s.Items[0].Text()); got != len(text) {
				t.Errorf("session %d has a text of %d bytes", n, got)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	runtime.KeepAlive(b)
}

// TestEvictionOfSmall does the same for sessions of a few records, of which most
// of the memory is not their text.
func TestEvictionOfSmall(t *testing.T) {
	b := over(t, open(t, temp(t)))
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	const sessions = 4000
	before := heap()
	var made sync.WaitGroup
	for w := range 16 {
		made.Go(func() {
			for n := w; n < sessions; n += 16 {
				err := b.Create(t.Context(), project, fmt.Sprintf("sess_%d", n), func(tx *journal.Tx) error {
					if err := tx.Append(created(), turn(1)); err != nil {
						return err
					}
					for range 3 {
						if err := step(tx); err != nil {
							return err
						}
						tx.State.Context()
						tx.State.RequestHash()
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				b.mu.Lock()
				b.commits = nil
				b.mu.Unlock()
			}
		})
	}
	made.Wait()
	grown := heap() - before
	t.Logf("%d MiB are kept of %d sessions", grown>>20, sessions)
	if grown > 40<<20 {
		t.Errorf("%d MiB are kept of %d sessions, want at most 40", grown>>20, sessions)
	}
	runtime.KeepAlive(b)
}

// long makes a session with a turn of n tool calls, so of 2n+3 records, as they
// are written.
func long(tb testing.TB, b *book, n int) {
	tb.Helper()
	b.create()
	const batch = 250
	done := 0
	for done < n {
		err := b.Update(tb.Context(), project, sess, func(tx *journal.Tx) error {
			if done == 0 {
				if err := tx.Append(turn(1)); err != nil {
					return err
				}
			}
			for range min(batch, n-done) {
				if err := step(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
		done += min(batch, n-done)
	}
}

// step appends a model's answer with one call, and what came of it.
func step(tx *journal.Tx) error {
	s := tx.State
	turn := s.Current()
	answer := []event.Item{{Type: event.ItemFunctionCall, Name: "srv__look", Arguments: json.RawMessage(`{"what":"this"}`)}}
	if s.Servers["srv"] == nil {
		a := s.Agent
		a.Tools = []event.Tool{{Type: event.ToolMCP, ServerLabel: "srv"}}
		if err := tx.Append(&event.SessionUpdated{Agent: &a}, &event.ToolsListed{ServerLabel: "srv", Tools: []event.ToolSpec{{Name: "look", Class: event.Pure}}}); err != nil {
			return err
		}
	}
	err := tx.Append(&event.ModelResponded{
		EffectID: session.ModelEffectID(s.ID, turn), TurnID: turn.ID, Model: "m",
		Items: s.Bind(turn, answer), Usage: event.Usage{InputTokens: 100, OutputTokens: 10},
	})
	if err != nil {
		return err
	}
	next := loop.Next(s, loop.Moment{Now: tx.Now, Epoch: tx.Epoch})
	return tx.Append(&event.EffectFinished{
		EffectID: next.Start[0].ID, TurnID: turn.ID, Status: event.StatusCompleted, Output: event.TextOutput(strings.Repeat("found ", 30)),
	})
}

// TestLongSession shows that neither loading nor a step of a session of 10,000
// records takes more, for each record, than in a short one. It counts
// allocations, since time depends on the machine.
func TestLongSession(t *testing.T) {
	b := over(t, open(t, temp(t)))
	long(t, b, 5000)
	fresh := journal.New(b.st, b.holder, time.Now, func(journal.Commit) {})
	began := time.Now()
	err := fresh.View(t.Context(), project, sess, func(s *session.State) error {
		t.Logf("%d records are loaded in %s", s.Seq, time.Since(began))
		for what, fn := range map[string]func(){
			"hash of the request": func() { s.RequestHash() },
			"context":             func() { s.Context() },
			"next step":           func() { loop.Next(s, loop.Moment{Now: began, Epoch: 1}) },
			"open effects":        func() { s.RequiredActions() },
		} {
			fn()
			if n := testing.AllocsPerRun(5, fn); n > 100 {
				t.Errorf("the %s takes %v allocations", what, n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func BenchmarkLoad(b *testing.B) {
	bk := over(b, open(b, temp(b)))
	long(b, bk, 5000)
	for b.Loop() {
		j := journal.New(bk.st, bk.holder, time.Now, func(journal.Commit) {})
		if err := j.View(b.Context(), project, sess, func(*session.State) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkContext(b *testing.B) {
	bk := over(b, open(b, temp(b)))
	long(b, bk, 5000)
	bk.view(func(s *session.State) {
		b.Run("context", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Context()
			}
		})
		b.Run("hash", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.RequestHash()
			}
		})
		b.Run("next", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				loop.Next(s, loop.Moment{Now: time.Now(), Epoch: 1})
			}
		})
	})
}

// TestStateIsFolded compares, after each of many random updates, the state that
// is kept with the one that is folded from the store.
func TestStateIsFolded(t *testing.T) {
	b := over(t, open(t, temp(t)))
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		b.id = fmt.Sprintf("sess_%d", runs)
		b.create()
		turns := 0
		for range rapid.IntRange(1, 25).Draw(rt, "updates") {
			err := b.Update(t.Context(), project, b.id, func(tx *journal.Tx) error {
				s := tx.State
				cur := s.Current()
				switch k := rapid.IntRange(0, 5).Draw(rt, "kind"); {
				case k == 0 || cur == nil:
					turns++
					return tx.Append(turn(turns))
				case k == 1:
					p, err := s.Cancel(event.Input{})
					if err != nil {
						return err
					}
					return tx.Append(append(p, &event.TurnEnded{TurnID: cur.ID, Status: session.TurnCancelled})...)
				case k == 2 && len(s.OpenEffects()) == 0:
					a := s.Agent
					a.Tools = []event.Tool{{Type: event.ToolFunction, Name: "ask"}}
					return tx.Append(&event.SessionUpdated{Agent: &a}, &event.ModelResponded{
						EffectID: session.ModelEffectID(s.ID, cur), TurnID: cur.ID, Model: "m", Usage: event.Usage{InputTokens: 5},
						Items: s.Bind(cur, []event.Item{{Type: event.ItemReasoning}, {Type: event.ItemFunctionCall, Name: "ask"}, {Type: event.ItemFunctionCall, Name: "none"}}),
					})
				case k == 3 && len(s.RequiredActions()) > 0:
					e := s.RequiredActions()[0]
					p, err := s.ToolResult(event.Input{}, e.TurnID, e.CallID, event.Item{Status: event.StatusCompleted, Output: event.TextOutput("x")})
					if err != nil {
						return err
					}
					return tx.Append(p...)
				case k == 4 && len(s.OpenEffects()) == 0:
					return step(tx)
				}
				// An update that is given up leaves nothing.
				if err := tx.Append(&event.TurnEnded{TurnID: cur.ID, Status: session.TurnFailed}); err != nil {
					return err
				}
				return errGivenUp
			})
			if err != nil && !errors.Is(err, errGivenUp) {
				rt.Fatal(err)
			}
			same(t.Context(), rt, b)
		}
	})
}

var errGivenUp = errors.New("given up")

func same(ctx context.Context, rt *rapid.T, b *book) {
	stored := session.New(b.id)
	records, err := b.st.Read(ctx, project, b.id, 0, 10_000)
	if err != nil {
		rt.Fatal(err)
	}
	for i := range records {
		if err := session.Fold(stored, &records[i]); err != nil {
			rt.Fatal(err)
		}
	}
	b.view(func(live *session.State) {
		type digest struct {
			seq                  int64
			hash, status, req    string
			tokens, input, turns int64
			open, steps          string
		}
		of := func(s *session.State) digest {
			d := digest{s.Seq, s.Hash.String(), s.Status(), s.RequestHash(), s.ContextTokens(), s.Usage.InputTokens, int64(len(s.Turns)), "", ""}
			for _, e := range s.OpenEffects() {
				d.open += e.ID + string(e.Status)
			}
			for _, e := range s.Items {
				d.steps += fmt.Sprint(e.Step, e.OutputIndex, e.Status, " ")
			}
			return d
		}
		if l, s := of(live), of(stored); l != s {
			rt.Fatalf("the live state is %+v, the stored one %+v", l, s)
		}
	})
}
