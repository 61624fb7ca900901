package workload_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

const (
	issuer = "https://stayd.example.com"
	server = "https://mcp.example.com/mcp"
	other  = "https://other.example.com"
)

var begin = time.Date(2026, 5, 3, 9, 0, 0, 0, time.UTC)

// clock is a time that a test moves on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a store, a file of master keys, and issuers on them.
type world struct {
	t     testing.TB
	store store.Store
	keys  string // path of the file
	clock *clock
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	st, err := sqlite.Open(tb.Context(), filepath.Join(tb.TempDir(), "stayd.db"), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return newWorldOn(tb, st)
}

func newWorldOn(tb testing.TB, st store.Store) *world {
	tb.Cleanup(func() { st.Close() })
	return &world{t: tb, store: st, keys: filepath.Join(tb.TempDir(), "vault.keys"), clock: &clock{now: begin}}
}

func (w *world) config() workload.Config {
	w.t.Helper()
	keys, err := keyfile.Open(w.keys, true)
	if err != nil {
		w.t.Fatal(err)
	}
	return workload.Config{
		Store: w.store, Vaults: vault.New(w.store, keys, w.clock.Now), URL: issuer, TrustDomain: "stayd.example.com", Now: w.clock.Now,
		Log: slog.New(slog.DiscardHandler),
	}
}

// node is the issuer as a process sees it that starts now.
func (w *world) node() *workload.Issuer { return w.nodeOf(w.config()) }

func (w *world) nodeOf(cfg workload.Config) *workload.Issuer {
	w.t.Helper()
	i, err := workload.New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return i
}

// ann is an agent that acts for a person.
var ann = workload.Subject{Project: "p", Agent: "agent_1", AgentVersion: 3, Session: "sess_1", Actor: "ann", By: "key_1"}

// alone is one that acts for nobody.
var alone = workload.Subject{Project: "p", Agent: "agent_1", AgentVersion: 3, Session: "sess_1"}

// token, delegation and published do not end a test that fails, as goroutines of
// tests call them.
func (w *world) token(i *workload.Issuer, s workload.Subject) string {
	w.t.Helper()
	token, _, err := i.Token(context.Background(), s, server, nil)
	if err != nil {
		w.t.Error(err)
	}
	return token
}

func (w *world) delegation(i *workload.Issuer, s workload.Subject, audiences []string, scope ...string) string {
	w.t.Helper()
	token, _, err := i.Delegation(context.Background(), s, audiences, scope)
	if err != nil {
		w.t.Error(err)
	}
	return token
}

// part decodes the header (0) or the claims (1) of a token.
func part(tb testing.TB, token string, n int) string {
	tb.Helper()
	b, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[n])
	if err != nil {
		tb.Fatal(err)
	}
	return string(b)
}

// same compares JSON, in which "*" stands for any text.
func same(tb testing.TB, got, want string) {
	tb.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		tb.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		tb.Fatalf("%v: %s", err, want)
	}
	gm, wm := g.(map[string]any), w.(map[string]any)
	for name, v := range wm {
		if text, ok := gm[name].(string); v == "*" && ok && text != "" {
			gm[name] = "*"
		}
	}
	if diff := cmp.Diff(w, g); diff != "" {
		tb.Errorf("got %s: (-want +got)\n%s", got, diff)
	}
}

// verify checks a token by published keys, as anybody else does.
func verify(set jose.JSONWebKeySet, token string) error {
	sig, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		return err
	}
	_, err = sig.Verify(set)
	return err
}

func (w *world) published(i *workload.Issuer) jose.JSONWebKeySet {
	w.t.Helper()
	set, err := i.Keys(context.Background())
	if err != nil {
		w.t.Error(err)
	}
	return set
}
