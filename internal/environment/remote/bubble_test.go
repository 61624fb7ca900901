package remote_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/environment/remote"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/tool"
)

const (
	project = "proj"
	sess    = "sess_1"
	env     = "env_1"
	token   = "envtok_1"
)

var errStopping = errors.New("the process stops")

// bubble is a hub over a store, which is reached by pipes, and by the clock of
// the test.
type bubble struct {
	t       *testing.T
	hub     *remote.Hub
	journal *journal.Journal
	dial    chan net.Conn
	lines   []*line
}

// inBubble runs a test with a clock of its own.
func inBubble(t *testing.T, test func(t *testing.T, b *bubble)) {
	t.Helper()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		quiet := slog.New(slog.DiscardHandler)
		st, err := sqlite.Open(t.Context(), filepath.Join(dir, "stayd.db"), sqlite.Options{Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		holder := cluster.New(st, "owner", time.Hour, quiet)
		if err := holder.Acquire(t.Context(), 0, nil); err != nil {
			t.Fatal(err)
		}
		b := &bubble{t: t, dial: make(chan net.Conn)}
		b.journal = journal.New(st, holder, time.Now, func(journal.Commit) {})
		err = b.journal.Create(t.Context(), project, sess, func(tx *journal.Tx) error {
			return tx.Append(&event.SessionCreated{Project: project, Agent: event.Agent{ID: "a", Model: "m"}, Environment: event.Environment{
				Type: event.EnvironmentSelfHosted, ID: env, Directory: "/w", TokenHash: sha256.Sum256([]byte(token)),
			}})
		})
		if err != nil {
			t.Fatal(err)
		}
		b.hub = remote.NewHub(remote.HubConfig{
			Journal: b.journal, Log: slog.New(slog.NewTextHandler(t.Output(), nil)), Stopping: errStopping,
			Projects: func(*http.Request) []string { return []string{"other", project} },
		})
		mux := http.NewServeMux()
		mux.Handle(remote.ConnectPath, b.hub.Handler())
		srv := &http.Server{Handler: mux}
		l := &pipes{dial: b.dial, closed: make(chan struct{})}
		served := make(chan error, 1)
		go func() { served <- srv.Serve(l) }()
		defer func() {
			for _, l := range b.lines {
				l.Close()
			}
			b.hub.Close()
			srv.Close()
			<-served
			if err := st.Close(); err != nil {
				t.Error(err)
			}
		}()
		test(t, b)
	})
}

// pipes is a listener whose connections are pipes.
type pipes struct {
	dial   chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dial:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// line is a connection with buffers on its way, as a network has them. It can go
// dead: nothing comes through any more, and neither end is told.
type line struct {
	dead  atomic.Bool
	conns [4]net.Conn // the machine's, two on the way, the runtime's
}

func newLine() *line {
	l := &line{}
	l.conns[0], l.conns[1] = net.Pipe()
	l.conns[2], l.conns[3] = net.Pipe()
	l.carry(l.conns[1], l.conns[2])
	l.carry(l.conns[2], l.conns[1])
	return l
}

// carry takes what comes from one end to the other, until an end is closed.
func (l *line) carry(from, to net.Conn) {
	way := make(chan []byte, 1<<12)
	go func() {
		defer close(way)
		for {
			b := make([]byte, 32<<10)
			n, err := from.Read(b)
			if err != nil {
				return
			}
			way <- b[:n]
		}
	}()
	go func() {
		for b := range way {
			if !l.dead.Load() {
				to.Write(b)
			}
		}
		if !l.dead.Load() {
			to.Close()
		}
	}()
}

func (l *line) Close() {
	for _, c := range l.conns {
		c.Close()
	}
}

// connect connects as a machine does.
func (b *bubble) connect(environment, token string) (*websocket.Conn, *line, int, string) {
	b.t.Helper()
	var l *line
	client := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		l = newLine()
		b.dial <- l.conns[3]
		return l.conns[0], nil
	}}}
	conn, resp, err := websocket.Dial(b.t.Context(), "http://runtime/v1/agents/environments/"+environment+"/connect", //nolint:bodyclose // the library reads it
		&websocket.DialOptions{HTTPClient: client, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}})
	if resp == nil {
		b.t.Fatal(err)
	}
	b.lines = append(b.lines, l)
	if err == nil {
		return conn, l, resp.StatusCode, ""
	}
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		b.t.Fatal(err)
	}
	return nil, nil, resp.StatusCode, string(answer)
}

// served is a connection that a machine serves.
type served struct {
	*line
	ended chan error
}

// serve has the machine serve a new connection, and returns once it is taken.
func (b *bubble) serve(ctx context.Context, m *remote.Machine) *served {
	b.t.Helper()
	return b.serveWith(ctx, m, token)
}

func (b *bubble) serveWith(ctx context.Context, m *remote.Machine, token string) *served {
	b.t.Helper()
	conn, l, status, answer := b.connect(env, token)
	if conn == nil {
		b.t.Fatalf("the connection was refused: %d %s", status, answer)
	}
	s := &served{line: l, ended: make(chan error, 1)}
	welcomed := make(chan struct{})
	go func() { s.ended <- m.Serve(ctx, conn, func(remote.Welcome) { close(welcomed) }) }()
	select {
	case <-welcomed:
	case err := <-s.ended:
		b.t.Fatalf("the machine was not taken: %v", err)
	}
	return s
}

// renew has the log say that the environment has this token now.
func (b *bubble) renew(token string) {
	b.t.Helper()
	err := b.journal.Update(b.t.Context(), project, sess, func(tx *journal.Tx) error {
		return tx.Append(&event.TokenRenewed{TokenHash: sha256.Sum256([]byte(token))})
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// status is what the log says of the environment.
func (b *bubble) status() (status string) {
	b.t.Helper()
	err := b.journal.View(context.Background(), project, sess, func(s *session.State) error {
		status = s.Place.Status
		return nil
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return status
}

// outcome is what came of a call.
type outcome struct {
	res tool.Result
	err error
}

func (b *bubble) call(ctx context.Context, effect, name, args string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		res, err := b.hub.Server(project, sess).Call(ctx, tool.Call{EffectID: effect, Session: sess, Name: name, Arguments: json.RawMessage(args)})
		done <- outcome{res, err}
	}()
	return done
}

// sent reports whether the call has no answer, and whether it may have been made.
func sent(err error) string {
	var te *tool.Error
	switch {
	case err == nil:
		return "answered"
	case !errors.As(err, &te):
		return "no tool.Error"
	case te.Sent:
		return "sent"
	}
	return "not sent"
}

// desk is what a machine offers in these tests: look is pure, and work takes as
// long as the test wants.
type desk struct {
	began   chan tool.Call
	results chan tool.Result

	mu    sync.Mutex
	count map[string]int // of calls, by effect id
}

func newDesk() *desk {
	return &desk{began: make(chan tool.Call, 100), results: make(chan tool.Result), count: map[string]int{}}
}

func (d *desk) List(context.Context) ([]event.ToolSpec, error) {
	return []event.ToolSpec{
		{Name: "work", Class: event.Once, ItemType: event.ItemCommandExecution, Parameters: json.RawMessage(`{"type":"object"}`)},
		{Name: "look", Class: event.Pure, ItemType: event.ItemMCPCall, Parameters: json.RawMessage(`{"type":"object"}`)},
	}, nil
}

func (d *desk) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	d.mu.Lock()
	d.count[c.EffectID]++
	d.mu.Unlock()
	d.began <- c
	select {
	case res := <-d.results:
		return res, nil
	case <-ctx.Done():
		err := context.Cause(ctx)
		return tool.Result{}, &tool.Error{Message: "it was stopped: " + err.Error(), Sent: true, Err: err}
	}
}

func (d *desk) Close() error { return nil }

func (d *desk) times(effect string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.count[effect]
}

// machine offers the desk, with the memory in the file.
func machine(t *testing.T, d *desk, memory string) *remote.Machine {
	t.Helper()
	mem, err := remote.OpenMemory(memory)
	if err != nil {
		t.Fatal(err)
	}
	m, err := remote.NewMachine(t.Context(), remote.MachineConfig{Name: "laptop", Folder: "/w", Server: d, Memory: mem})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Close()
		mem.Close()
	})
	return m
}

func copied(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}
