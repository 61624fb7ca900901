// Package bench measures the engine on the machine that it runs on, beside what
// the machine can do at most. What it drives is the engine that serves: the
// journal, the worker and the effects over a real store, and the sandboxes and
// snapshots of workspaces; only the model and the tool are its own, and take no
// time.
package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/worker"
)

const (
	modelName = "bench/steps"
	// stepBytes is what each step writes that is new.
	stepBytes = 1024
	// calls is how many tool calls a turn makes. A turn takes calls+1 model
	// calls, so 2*calls+1 steps.
	calls = 5
)

// engine is the runtime's engine over a store.
type engine struct {
	project string
	store   store.Store
	journal *journal.Journal
	holder  *cluster.Holder
	worker  *worker.Worker
	load    *load

	ended   sync.Map // session id -> chan struct{}
	commits atomic.Pointer[func(journal.Commit)]
	cancel  context.CancelFunc
	done    sync.WaitGroup
}

// start runs an engine whose sessions are the project's. It takes the store over.
func start(ctx context.Context, st store.Store, project string, l *load) (*engine, error) {
	e := &engine{project: project, store: st, load: l}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	e.holder = cluster.New(st, cluster.Owner(), cluster.DefaultTTL, log)
	if err := e.holder.Acquire(ctx, 2*cluster.DefaultTTL, nil); err != nil {
		return nil, err
	}
	f := feed.New()
	e.journal = journal.New(st, e.holder, time.Now, func(c journal.Commit) {
		if hook := e.commits.Load(); hook != nil && len(c.Records) > 0 {
			(*hook)(c)
		}
		f.Committed(c.Session, c.Records)
		if c.Runnable {
			f.Wake(feed.Hint{Project: c.Project, Session: c.Session})
		}
		if n := len(c.Records); n > 0 && c.Records[n-1].Kind == event.KindTurnEnded {
			if ch, ok := e.ended.LoadAndDelete(c.Session); ok {
				close(ch.(chan struct{}))
			}
		}
	})
	e.worker = &worker.Worker{
		Journal: e.journal, Feed: f, Due: st, Shards: e.holder, Now: time.Now, Log: log,
		Performer: &effect.Performer{Catalog: l, Servers: l, Feed: f, Now: time.Now},
	}
	ctx, e.cancel = context.WithCancel(ctx)
	e.holder.Start(ctx)
	e.done.Go(func() { e.worker.Run(ctx) })
	return e, nil
}

// stop ends the engine, and closes the store.
func (e *engine) stop() error {
	e.cancel()
	e.done.Wait()
	e.holder.Stop(context.Background())
	return e.store.Close()
}

// create makes a session with one turn, which begins at once. The channel is
// closed when the turn has ended.
func (e *engine) create(ctx context.Context, id string, agent event.Agent, text string) (<-chan struct{}, error) {
	done := make(chan struct{})
	e.ended.Store(id, done)
	err := e.journal.Create(ctx, e.project, id, func(tx *journal.Tx) error {
		return tx.Append(
			&event.SessionCreated{Project: e.project, Agent: agent, Environment: event.Environment{Type: event.EnvironmentNone}},
			&event.TurnCreated{TurnID: "turn_" + id, Items: []event.Item{userMessage("msg_"+id, text)}},
		)
	})
	return done, err
}

func userMessage(id, text string) event.Item {
	return event.Item{
		Type: event.ItemMessage, ID: id, Role: event.RoleUser, Status: event.StatusCompleted,
		Content: []event.Content{{Type: event.PartInputText, Text: text}},
	}
}

// agent calls the bench's tool, which is pure.
func agent() event.Agent {
	return event.Agent{ID: "agent_bench", Model: modelName, Tools: []event.Tool{
		{Type: event.ToolMCP, ServerLabel: "bench", Transport: &event.Transport{Type: "http", ServerURL: "http://bench"}},
	}}
}

// load is the model and the tool of the bench.
type load struct {
	calls int
	// result is what a call answers.
	result func(n int) string
	// hold, where it is set, stops the model at the last call of a turn for good;
	// held counts them.
	hold bool
	held atomic.Int64
}

func newLoad() *load {
	text := strings.Repeat("x", stepBytes)
	return &load{calls: calls, result: func(int) string { return text }}
}

// Resolve makes load a model.Catalog.
func (l *load) Resolve(name string) ([]model.Candidate, error) {
	if name != modelName {
		return nil, fmt.Errorf("the bench has no model %q", name)
	}
	return []model.Candidate{{Name: modelName, Model: l, ID: "steps", Price: &model.Price{}}}, nil
}

// Generate calls the tool until the turn has made its calls.
func (l *load) Generate(ctx context.Context, req *model.Request, _ func(model.Delta)) (*model.Response, error) {
	made := 0
	for i := len(req.Items) - 1; i >= 0 && req.Items[i].Type != event.ItemMessage; i-- {
		if req.Items[i].Type == event.ItemFunctionCallOutput {
			made++
		}
	}
	text := l.result(-made - 1)
	if made >= l.calls {
		return &model.Response{Model: "steps", Items: []event.Item{{
			Type: event.ItemMessage, Content: []event.Content{{Type: event.PartOutputText, Text: text}},
		}}}, nil
	}
	if l.hold && made == l.calls-1 {
		l.held.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	args, err := json.Marshal(map[string]string{"note": text})
	if err != nil {
		return nil, err
	}
	return &model.Response{Model: "steps", Items: []event.Item{{
		Type: event.ItemFunctionCall, CallID: fmt.Sprintf("call_%d", made), Name: "bench__step", Arguments: args,
	}}}, nil
}

// Server makes load the sessions' only MCP server.
func (l *load) Server(context.Context, tool.Caller, *event.Tool) (tool.Server, error) { return l, nil }

// List implements tool.Server.
func (l *load) List(context.Context) ([]event.ToolSpec, error) {
	return []event.ToolSpec{{Name: "step", Class: event.Pure, Parameters: json.RawMessage(`{"type":"object"}`)}}, nil
}

// Call implements tool.Server.
func (l *load) Call(_ context.Context, c tool.Call) (tool.Result, error) {
	var n int
	if _, err := fmt.Sscanf(c.EffectID[len(c.EffectID)-8:], "%x", &n); err != nil {
		return tool.Result{}, fmt.Errorf("effect id %q: %w", c.EffectID, err)
	}
	return tool.Text(l.result(n)), nil
}

// Close implements tool.Server.
func (l *load) Close() error { return nil }

var errEnded = errors.New("the measurement was stopped")

// turn makes a session, and waits until its turn has ended.
func (e *engine) turn(ctx context.Context, id string, a event.Agent, text string) error {
	done, err := e.create(ctx, id, a, text)
	if err != nil {
		return err
	}
	return wait(ctx, done)
}

// next gives a session its next turn, and waits until that has ended.
func (e *engine) next(ctx context.Context, id, text string) error {
	done := make(chan struct{})
	e.ended.Store(id, done)
	err := e.journal.Update(ctx, e.project, id, func(tx *journal.Tx) error {
		return tx.Append(&event.TurnCreated{TurnID: fmt.Sprintf("turn_%d", tx.State.Seq), Items: []event.Item{userMessage(fmt.Sprintf("msg_%d", tx.State.Seq), text)}})
	})
	if err != nil {
		return err
	}
	return wait(ctx, done)
}

func wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return errEnded
	}
}
