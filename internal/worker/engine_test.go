package worker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/blob/blobtest"
	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/worker"
)

const (
	project = "proj"
	sess    = "sess"
)

// world is what the engine reaches: models, one MCP server for every label, and
// an environment, all made of functions.
type world struct {
	resolve func(name string) ([]model.Candidate, error) // nil is the one model "m/main"
	answer  func(ctx context.Context, req *model.Request) (*model.Response, error)
	list    func(ctx context.Context, t *event.Tool) ([]event.ToolSpec, error) // nil lists nothing
	connect func(ctx context.Context) error                                    // nil connects at once
	call    func(ctx context.Context, c tool.Call) (tool.Result, error)
	open    func(ctx context.Context, spec environment.Spec) (tool.Server, error)

	mu    sync.Mutex
	calls []tool.Call // that began
	asked []*model.Request
	blobs *blobtest.Memory
}

func (w *world) Resolve(name string) ([]model.Candidate, error) {
	if w.resolve != nil {
		return w.resolve(name)
	}
	return []model.Candidate{{Name: "m/main", ID: "main", Model: w}}, nil
}

func (w *world) Generate(ctx context.Context, req *model.Request, _ func(model.Delta)) (*model.Response, error) {
	w.mu.Lock()
	w.asked = append(w.asked, req)
	w.mu.Unlock()
	return w.answer(ctx, req)
}

func (w *world) Server(ctx context.Context, _ tool.Caller, t *event.Tool) (tool.Server, error) {
	if w.connect != nil {
		if err := w.connect(ctx); err != nil {
			return nil, err
		}
	}
	return &server{w, t}, nil
}

// files is where the contents of workspaces are, whichever machine they are on.
func (w *world) files() *blobtest.Memory {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.blobs == nil {
		w.blobs = blobtest.NewMemory()
	}
	return w.blobs
}

func (w *world) Check(context.Context) error { return nil }

func (w *world) Open(ctx context.Context, spec environment.Spec) (tool.Server, error) {
	return w.open(ctx, spec)
}

// began returns the calls of the named tool so far.
func (w *world) began(name string) []tool.Call {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []tool.Call
	for _, c := range w.calls {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

func (w *world) requests() []*model.Request {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]*model.Request(nil), w.asked...)
}

type server struct {
	w *world
	t *event.Tool
}

func (s *server) List(ctx context.Context) ([]event.ToolSpec, error) {
	if s.w.list == nil {
		return nil, nil
	}
	return s.w.list(ctx, s.t)
}

func (s *server) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	s.w.mu.Lock()
	s.w.calls = append(s.w.calls, c)
	s.w.mu.Unlock()
	return s.w.call(ctx, c)
}

func (s *server) Close() error { return nil }

// engine is one process over a store.
type engine struct {
	t       *testing.T
	w       *world
	st      store.Store
	holder  *cluster.Holder
	journal *journal.Journal
	feed    *feed.Feed
	worker  *worker.Worker
	cancel  context.CancelFunc
	done    sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed at the next commit
}

func openStore(t *testing.T) *sqlite.Store {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stayd.db"), sqlite.Options{Logger: testLog()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return st
}

func testLog() *slog.Logger {
	if os.Getenv("WORKER_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// start runs an engine. All engines of a test have one owner, so that each
// supersedes the leases of the one before it.
func start(t *testing.T, st store.Store, w *world) *engine {
	t.Helper()
	e := prepare(t, st, w)
	e.run()
	return e
}

// prepare makes an engine that does not run yet.
func prepare(t *testing.T, st store.Store, w *world) *engine {
	t.Helper()
	e := &engine{t: t, w: w, st: st, changed: make(chan struct{})}
	e.holder = cluster.New(st, "owner", time.Hour, testLog())
	for n := 1; ; n++ {
		err := e.holder.Acquire(t.Context(), 0, nil)
		if err == nil {
			break
		}
		if n == 3 {
			t.Fatal(err)
		}
	}
	e.feed = feed.New()
	e.journal = journal.New(st, e.holder, time.Now, func(c journal.Commit) {
		e.feed.Committed(c.Session, c.Records)
		if c.Runnable {
			e.feed.Wake(feed.Hint{Project: c.Project, Session: c.Session})
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		close(e.changed)
		e.changed = make(chan struct{})
	})
	e.worker = &worker.Worker{
		Journal: e.journal, Feed: e.feed, Due: st, Shards: e.holder, Now: time.Now, Log: testLog(),
		Performer: &effect.Performer{
			Catalog: w, Servers: w, Feed: e.feed, Now: time.Now,
			Environments: &effect.Environments{
				Dir: t.TempDir(), Blobs: w.files(), Sandboxes: map[string]environment.Driver{"": w, event.SandboxJS: w},
			},
		},
	}
	return e
}

func (e *engine) run() {
	ctx, cancel := context.WithCancel(context.Background())
	e.cancel = cancel
	e.done.Go(func() { e.worker.Run(ctx) })
	e.t.Cleanup(e.stop)
}

// stop ends the worker as a process that is asked to stop does.
func (e *engine) stop() {
	e.cancel()
	e.done.Wait()
}

func (e *engine) update(fn func(*journal.Tx) error) {
	e.t.Helper()
	if err := e.journal.Update(e.t.Context(), project, sess, fn); err != nil {
		e.t.Fatal(err)
	}
}

// do appends what a command of the session appends.
func (e *engine) do(command func(*session.State) ([]event.Payload, error)) {
	e.t.Helper()
	e.update(func(tx *journal.Tx) error {
		p, err := command(tx.State)
		if err != nil {
			return err
		}
		return tx.Append(p...)
	})
}

func (e *engine) create(a event.Agent, change ...func(*event.SessionCreated)) {
	e.t.Helper()
	c := &event.SessionCreated{Project: project, Agent: a, Environment: event.Environment{Type: event.EnvironmentNone}}
	for _, f := range change {
		f(c)
	}
	err := e.journal.Create(e.t.Context(), project, sess, func(tx *journal.Tx) error { return tx.Append(c) })
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *engine) input(turn, text string) {
	e.t.Helper()
	e.do(func(s *session.State) ([]event.Payload, error) {
		return s.Message(event.Input{}, turn, "", []event.Item{{
			Type: event.ItemMessage, ID: "msg_" + turn, Role: event.RoleUser, Status: event.StatusCompleted,
			Content: []event.Content{{Type: event.PartInputText, Text: text}},
		}})
	})
}

func (e *engine) cancelTurn() {
	e.t.Helper()
	e.do(func(s *session.State) ([]event.Payload, error) { return s.Cancel(event.Input{}) })
}

// answer answers the client's call that is open longest.
func (e *engine) answer(text string) {
	e.t.Helper()
	e.do(func(s *session.State) ([]event.Payload, error) {
		for _, x := range s.RequiredActions() {
			if x.Kind == event.EffectClient {
				return s.ToolResult(event.Input{}, x.TurnID, x.CallID, event.Item{Status: event.StatusCompleted, Output: event.TextOutput(text)})
			}
		}
		return nil, errors.New("no call is open")
	})
}

func (e *engine) resolve(decision, output string) {
	e.t.Helper()
	e.do(func(s *session.State) ([]event.Payload, error) {
		p := event.EffectResolved{EffectID: s.RequiredActions()[0].ID, Decision: decision}
		if output != "" {
			p.Output = event.TextOutput(output)
		}
		return s.Resolve(p)
	})
}

// patience is how long, by the test's clock, anything may take.
const patience = 3 * time.Hour

// until waits until the session is as the test wants it.
func (e *engine) until(what string, ok func(*session.State) bool) {
	e.t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		e.mu.Lock()
		changed := e.changed
		e.mu.Unlock()
		done := false
		err := e.journal.View(e.t.Context(), project, sess, func(s *session.State) error {
			done = ok(s)
			return nil
		})
		if err != nil && !errors.Is(err, store.ErrUnavailable) {
			e.t.Fatalf("until %s: %v", what, err)
		}
		if done {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			e.t.Fatalf("never: %s\n%s", what, e.log())
		}
	}
}

func (e *engine) untilTurn(id, status string) {
	e.t.Helper()
	e.until("turn "+id+" "+status, func(s *session.State) bool { return s.Turn(id) != nil && s.Turn(id).Status == status })
}

func (e *engine) untilAction() {
	e.t.Helper()
	e.until("requires action", func(s *session.State) bool { return s.Status() == session.RequiresAction })
}

func (e *engine) view(fn func(*session.State)) {
	e.t.Helper()
	err := e.journal.View(e.t.Context(), project, sess, func(s *session.State) error {
		fn(s)
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

func (e *engine) records() []event.Record {
	e.t.Helper()
	out, err := e.st.Read(context.Background(), project, sess, 0, 100_000)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// log tells the session's log, a line a record.
func (e *engine) log() string {
	e.t.Helper()
	var b strings.Builder
	records := e.records()
	for i := range records {
		b.WriteString(tell(e.t, &records[i]) + "\n")
	}
	return b.String()
}

func tell(t *testing.T, r *event.Record) string {
	t.Helper()
	p, err := event.Decode(r)
	if err != nil {
		t.Fatal(err)
	}
	switch p := p.(type) {
	case *event.TurnCreated:
		return fmt.Sprintf("%s %s", r.Kind, p.TurnID)
	case *event.TurnEnded:
		code := ""
		if p.Error != nil {
			code = " " + p.Error.Code
		}
		return fmt.Sprintf("%s %s %s%s", r.Kind, p.TurnID, p.Status, code)
	case *event.ModelResponded:
		var b strings.Builder
		fmt.Fprintf(&b, "%s %s", r.Kind, p.Model)
		for i := range p.Items {
			fmt.Fprintf(&b, " [%s %s %s]", p.Items[i].Type, p.Items[i].Name, p.Items[i].Status)
		}
		return b.String()
	case *event.EffectStarted:
		return fmt.Sprintf("%s %s %s #%d", r.Kind, p.What, p.Class, p.Attempt)
	case *event.EffectFailed:
		return fmt.Sprintf("%s %s %s #%d again=%t uncertain=%t", r.Kind, p.What, p.Code, p.Attempt, p.RetryAt != nil, p.Uncertain)
	case *event.EffectFinished:
		return fmt.Sprintf("%s %s reconciled=%t", r.Kind, p.Status, p.Reconciled)
	case *event.ToolsListed:
		return fmt.Sprintf("%s %s %d error=%t", r.Kind, p.ServerLabel, len(p.Tools), p.Error != "")
	case *event.EnvironmentChanged:
		return fmt.Sprintf("%s %s", r.Kind, p.Status)
	}
	return string(r.Kind)
}

// wantLog compares the log, from the record after the first turn.created on.
func (e *engine) wantLog(want ...string) {
	e.t.Helper()
	lines := strings.Split(strings.TrimSpace(e.log()), "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, "turn.created") {
			lines = lines[i+1:]
			break
		}
	}
	if got, w := strings.Join(lines, "\n"), strings.Join(want, "\n"); got != w {
		e.t.Errorf("the log is\n%s\nwant\n%s", got, w)
	}
}

// Answers of models.

func say(text string) *model.Response {
	return &model.Response{ID: "resp", Model: "main", Usage: event.Usage{InputTokens: 100, OutputTokens: 10}, Items: []event.Item{
		{Type: event.ItemMessage, Content: []event.Content{{Type: event.PartOutputText, Text: text}}},
	}}
}

func call(names ...string) *model.Response {
	r := &model.Response{ID: "resp", Model: "main", Usage: event.Usage{InputTokens: 100, OutputTokens: 10}}
	for i, n := range names {
		name, args, ok := strings.Cut(n, " ")
		if !ok {
			args = "{}"
		}
		r.Items = append(r.Items, event.Item{Type: event.ItemFunctionCall, CallID: fmt.Sprintf("call_%d", i), Name: name, Arguments: json.RawMessage(args)})
	}
	return r
}

// script answers the requests one after another, whatever they ask, and by
// saying "done" when it is at its end.
func script(answers ...*model.Response) func(context.Context, *model.Request) (*model.Response, error) {
	var mu sync.Mutex
	n := 0
	return func(context.Context, *model.Request) (*model.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		if n == len(answers) {
			return say("done"), nil
		}
		n++
		return answers[n-1], nil
	}
}

// tools lists tools, each given as name:class.
func tools(names ...string) func(context.Context, *event.Tool) ([]event.ToolSpec, error) {
	return func(context.Context, *event.Tool) ([]event.ToolSpec, error) {
		var out []event.ToolSpec
		for _, n := range names {
			name, class, _ := strings.Cut(n, ":")
			out = append(out, event.ToolSpec{Name: name, Class: event.Class(class)})
		}
		return out, nil
	}
}

// agent has the server "srv" with the policies, the function "ask" and a timer.
func agent(effects map[string]event.EffectPolicy) event.Agent {
	return event.Agent{ID: "agent", Model: "main", Tools: []event.Tool{
		{Type: event.ToolMCP, ServerLabel: "srv", Effects: effects},
		{Type: event.ToolFunction, Name: "ask"},
		{Type: event.ToolTimer},
	}}
}

func ok(context.Context, tool.Call) (tool.Result, error) { return tool.Text("ok"), nil }

// hang waits for its context to end.
func hang(ctx context.Context) (tool.Result, error) {
	<-ctx.Done()
	return tool.Result{}, &tool.Error{Message: ctx.Err().Error(), Sent: true, Err: ctx.Err()}
}
