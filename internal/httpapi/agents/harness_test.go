package agents_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/agents"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/vault"
)

// world is a server over a store of its own. What a worker would append, tests
// append by hand.
type world struct {
	t        testing.TB
	url      string
	sdk      openai.Client
	journal  *journal.Journal
	store    *faulty
	feed     *feed.Feed
	stopping chan struct{}
}

// faulty is a store that fails where it is told to.
type faulty struct {
	store.Store
	onAppend error
	onRead   error
	change   func(*event.Record) // what is read
}

func (f *faulty) Append(ctx context.Context, a *store.Append) error {
	if f.onAppend != nil {
		return f.onAppend
	}
	return f.Store.Append(ctx, a)
}

func (f *faulty) Read(ctx context.Context, project, session string, after int64, limit int) ([]event.Record, error) {
	if f.onRead != nil {
		return nil, f.onRead
	}
	records, err := f.Store.Read(ctx, project, session, after, limit)
	for i := range records {
		if f.change != nil {
			f.change(&records[i])
		}
	}
	return records, err
}

// errAny is an error that says nothing to a client.
var errAny = errors.New("disk on fire")

var start = time.Date(2026, 5, 3, 9, 0, 0, 0, time.UTC)

func newWorld(tb testing.TB) *world {
	tb.Helper()
	st, err := sqlite.Open(tb.Context(), filepath.Join(tb.TempDir(), "stayd.db"), sqlite.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { st.Close() })
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	holder := cluster.New(st, "test", time.Hour, log)
	if err := holder.Acquire(tb.Context(), 0, nil); err != nil {
		tb.Fatal(err)
	}
	w := &world{t: tb, store: &faulty{Store: st}, feed: feed.New(), stopping: make(chan struct{})}
	now := func() time.Time { return start }
	w.journal = journal.New(w.store, holder, now, func(c journal.Commit) { w.feed.Committed(c.Session, c.Records) })
	server := httpapi.New(httpapi.Config{Log: log, Version: "test", Stopping: w.stopping, Callers: func(_ context.Context, shown string) (identity.Principal, error) {
		actor := strings.TrimPrefix(shown, identity.Prefix)
		return identity.Principal{ID: "caller " + actor, Project: httpapi.DefaultProject, Scope: identity.Write, Actor: actor}, nil
	}})
	agents.Mount(server, agents.Config{
		Journal: w.journal, Store: w.store, Feed: w.feed, Blobs: st.Blobs(), Now: now,
		CheckModel: func(name string) error {
			if strings.HasPrefix(name, "test/") {
				return nil
			}
			return fmt.Errorf("there is no model '%s'", name)
		},
		CheckVault: func(_ context.Context, project, id string) error {
			if project == "default" && id == "vault_1" {
				return nil
			}
			return &vault.NotFoundError{What: "vault", ID: id}
		},
		ConsentURL: func(project, session, effectID, nonce string) string {
			return "http://test/consent/" + project + "/" + session + "/" + effectID + "/" + nonce
		},
		CheckSandbox: func(_ context.Context, name string) error {
			if name != event.SandboxBubblewrap {
				return nil
			}
			return errors.New("the bubblewrap sandbox is not available on this machine: install it")
		},
		DefaultSandbox: func(context.Context) string { return event.SandboxJS },
		AllowNetwork: func(access string) error {
			if access == event.NetworkEnabled {
				return errors.New("the operator allows no open network")
			}
			return nil
		},
		AllowStdio:          func(command string) bool { return command == "allowed-mcp" },
		CompactionThreshold: func(string) int64 { return 100_000 },
	})
	hs := httptest.NewServer(server)
	tb.Cleanup(func() {
		hs.CloseClientConnections() // streams would keep it from closing
		hs.Close()
	})
	w.url = hs.URL
	w.sdk = openai.NewClient(option.WithBaseURL(hs.URL+"/v1/"), option.WithAPIKey("none"), option.WithMaxRetries(0))
	return w
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
}

func idOf(tb testing.TB, a answer) string {
	tb.Helper()
	var o struct{ ID string }
	if err := json.Unmarshal([]byte(a.body), &o); err != nil || o.ID == "" {
		tb.Fatalf("status %d: %s: %v", a.status, a.body, err)
	}
	return o.ID
}

// do sends a request; headers are given as name, value pairs.
func (w *world) do(method, path, body string, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{status: resp.StatusCode, header: resp.Header, body: string(bytes.TrimSpace(data))}
}

// append is the worker's side: it appends to the session's log.
func (w *world) append(id string, payloads ...event.Payload) {
	w.t.Helper()
	err := w.journal.Update(w.t.Context(), httpapi.DefaultProject, id, func(tx *journal.Tx) error { return tx.Append(payloads...) })
	if err != nil {
		w.t.Fatal(err)
	}
}

// turn returns the id of the session's current turn.
func (w *world) turn(id string) string {
	w.t.Helper()
	var turn string
	err := w.journal.View(w.t.Context(), httpapi.DefaultProject, id, func(s *session.State) error {
		if t := s.Current(); t != nil {
			turn = t.ID
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return turn
}

// create makes a session with a function and an MCP server, with the input "Hi".
func (w *world) create() string {
	w.t.Helper()
	a := w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m","tools":[
		{"type":"function","name":"add","description":"Adds.","parameters":{"type":"object"}},
		{"type":"mcp","server_label":"files","transport":{"type":"http","server_url":"http://127.0.0.1:1/mcp"},
		 "effects":{"*":{"on_unknown":"ask"},"pay":{"approval":"always"}}}]}}`)
	if a.status != http.StatusOK {
		w.t.Fatalf("create: %d %s", a.status, a.body)
	}
	return idOf(w.t, a)
}

func message(id, text string) event.Item {
	return event.Item{
		Type: event.ItemMessage, ID: id, Role: event.RoleAssistant, Phase: event.PhaseFinalAnswer, Status: event.StatusCompleted,
		Content: []event.Content{{Type: event.PartOutputText, Text: text}},
	}
}

func call(kind, id, name, label string) event.Item {
	return event.Item{
		Type: kind, ID: id, CallID: "call_" + id, Name: name, ServerLabel: label, Arguments: json.RawMessage(`{"a":1}`), Status: event.StatusInProgress,
	}
}

func turnEnded(id string) event.Payload {
	return &event.TurnEnded{TurnID: id, Status: session.TurnCompleted}
}

// digestOf is the SHA-256 of a record's salt and data.
func digestOf(t *testing.T, salt string, data []byte) string {
	t.Helper()
	b, err := hex.DecodeString(salt)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(append(b, data...))
	return hex.EncodeToString(sum[:])
}
