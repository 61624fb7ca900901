package crashtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/crashtest/outside"
	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/script"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/storefault"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/worker"
)

const project = "crashtest"

// engine is the runtime's engine in this process, over a store that may die.
type engine struct {
	journal *journal.Journal
	changed chan struct{} // signalled after a commit
	store   *storefault.Store
	stop    func()
}

// startEngine runs an engine until stop. owner is the same for every engine over
// a store, so that its leases are claimed again at once, under new epochs.
func startEngine(t *testing.T, st *storefault.Store, world *outside.World, refused int, catalog model.Catalog) *engine {
	t.Helper()
	e := &engine{store: st, changed: make(chan struct{}, 1)}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if os.Getenv("CRASHTEST_LOG") != "" {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	holder := cluster.New(st, "crashtest", time.Minute, log)
	if err := holder.Acquire(t.Context(), 0, nil); err != nil {
		t.Fatal(err)
	}
	f := feed.New()
	e.journal = journal.New(st, holder, time.Now, func(c journal.Commit) {
		f.Committed(c.Session, c.Records)
		if c.Runnable {
			f.Wake(feed.Hint{Project: c.Project, Session: c.Session})
		}
		select {
		case e.changed <- struct{}{}:
		default:
		}
	})
	w := &worker.Worker{
		Journal: e.journal, Feed: f, Due: st, Shards: holder, Now: time.Now, Log: log,
		Performer: &effect.Performer{
			Catalog: catalog, Servers: servers{world, refused}, Feed: f, Now: time.Now,
			Keeper: keeper.New(keeper.Config{Store: st, Now: time.Now, Log: log}),
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() { w.Run(ctx) })
	e.stop = func() {
		cancel()
		done.Wait()
	}
	return e
}

// scripts is a catalog of one script.
type scripts struct{ *script.Script }

func (s scripts) Resolve(string) ([]model.Candidate, error) {
	return []model.Candidate{{Name: "script/crash", ID: "crash", Model: s.Script}}, nil
}

// servers gives sessions the world as their only server, in this process.
type servers struct {
	world   *outside.World
	refused int // of a thousand calls
}

func (s servers) Server(context.Context, tool.Caller, *event.Tool) (tool.Server, error) {
	return s, nil
}

func (s servers) List(context.Context) ([]event.ToolSpec, error) {
	schema := json.RawMessage(`{"type":"object"}`)
	return []event.ToolSpec{
		{Name: outside.Look, Parameters: schema, Class: event.Pure},
		{Name: outside.Book, Parameters: schema, Class: event.Idempotent},
		{Name: outside.Pay, Parameters: schema},
		{Name: outside.Send, Parameters: schema},
		{Name: outside.Sent, Parameters: schema, Class: event.Pure},
	}, nil
}

func (s servers) Call(_ context.Context, c tool.Call) (tool.Result, error) {
	if rand.N(1000) < s.refused {
		return tool.Result{}, &tool.Error{Message: "connection refused"}
	}
	call := &outside.Call{Tool: c.Name, Effect: c.EffectID, Key: c.EffectID, Args: c.Arguments}
	v, err := s.world.Receive(call)
	if err != nil {
		return tool.Result{}, err
	}
	var text string
	if v.Fault != outside.CutBefore {
		if text, err = s.world.Take(call); err != nil {
			return tool.Result{}, errors.Join(err, v.End())
		}
	}
	if err := v.End(); err != nil {
		return tool.Result{}, err
	}
	if v.Fault != outside.NoFault {
		return tool.Result{}, &tool.Error{Message: "the connection was cut", Sent: true}
	}
	return tool.Text(text), nil
}

func (s servers) Close() error { return nil }

// The inputs of the reference session, each with its idempotency key.
var inputs = []string{"first ask wait", "second"}

const sessionID = "sess_crash"

func (r *reference) agent() event.Agent {
	return event.Agent{Memory: r.memory, ID: "agent_crash", Model: "script/crash", Tools: []event.Tool{
		{
			Type: event.ToolMCP, ServerLabel: "world", Transport: &event.Transport{Type: "http", ServerURL: "http://world"},
			Effects: map[string]event.EffectPolicy{outside.Send: {Lookup: outside.Sent}},
		},
		{Type: event.ToolFunction, Name: "agree", Parameters: json.RawMessage(`{"type":"object"}`)},
		{Type: event.ToolTimer},
	}}
}

// drive is the client of the reference session: it does what is still to be
// done, whatever was done before, until the session has ended or the engine is
// dead. Once the log has as many records as the reference says, it cancels the turn
// that runs then.
func (e *engine) drive(ctx context.Context, r *reference) error {
	for {
		err := e.journal.Create(ctx, project, sessionID, func(tx *journal.Tx) error {
			return tx.Append(&event.SessionCreated{
				Project: project, Agent: r.agent(), Environment: event.Environment{Type: event.EnvironmentNone}, Actor: "ana",
			})
		})
		over := false
		if err == nil || errors.Is(err, store.ErrConflict) {
			err = e.journal.Update(ctx, project, sessionID, func(tx *journal.Tx) (err error) {
				over, err = act(tx, r.cancelAt)
				return err
			})
		}
		switch {
		case over && err == nil:
			return nil
		case errors.Is(err, storefault.ErrCrashed) || (err != nil && !errors.Is(err, store.ErrUnavailable)):
			return err
		case err != nil:
			continue // whether it was taken is found out by asking again
		}
		select {
		case <-e.changed:
		case <-e.store.Crashed():
			return storefault.ErrCrashed
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// act appends what a client does next, and reports whether all is over.
func act(tx *journal.Tx, cancelAt int64) (over bool, err error) {
	if _, done := tx.State.SeenKey("cancel"); cancelAt > 0 && tx.State.Seq >= cancelAt && !done && tx.State.Current() != nil {
		return false, appendAll(tx)(tx.State.Cancel(event.Input{Key: "cancel"}))
	}
	for i, text := range inputs {
		in := event.Input{Key: fmt.Sprintf("key %d", i), RequestHash: text}
		if done, err := tx.State.Repeated(in); err != nil || done {
			if err != nil {
				return false, err
			}
			continue
		}
		return false, appendAll(tx)(tx.State.Message(in, fmt.Sprintf("turn_%d", i), "", []event.Item{{
			Type: event.ItemMessage, ID: fmt.Sprintf("msg_%d", i), Role: event.RoleUser, Status: event.StatusCompleted,
			Content: []event.Content{{Type: event.PartInputText, Text: text}},
		}}))
	}
	for _, eff := range tx.State.RequiredActions() {
		answer := event.Item{Status: event.StatusCompleted, Output: event.TextOutput("agreed")}
		return false, appendAll(tx)(tx.State.ToolResult(event.Input{Key: "answer " + eff.ID}, eff.TurnID, eff.CallID, answer))
	}
	s := tx.State
	return s.Status() == session.Idle && len(s.Unkept()) == 0 && len(s.Unextracted()) == 0, nil
}

func appendAll(tx *journal.Tx) func([]event.Payload, error) error {
	return func(p []event.Payload, err error) error {
		if err != nil {
			return err
		}
		return tx.Append(p...)
	}
}

// records reads the log of the reference session as a client does.
func records(ctx context.Context, st store.Store) ([]Record, error) {
	var out []Record
	for {
		page, err := st.Read(ctx, project, sessionID, int64(len(out)), 100)
		if err != nil || len(page) == 0 {
			return out, err
		}
		for i := range page {
			r := &page[i]
			out = append(out, Record{
				Session: r.Session, Seq: r.Seq, Time: r.Time, Kind: string(r.Kind), Version: r.Version,
				Data: r.Data, Salt: r.Salt, Digest: r.Digest.String(), Hash: r.Hash.String(),
			})
		}
	}
}
