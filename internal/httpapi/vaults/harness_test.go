package vaults_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/vaults"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

const path = "/v1/vaults"

const (
	keyA  = identity.Prefix + "a"
	keyB  = identity.Prefix + "b"
	admin = identity.Prefix + "admin"
	// keyAna is of somebody who may act for ana alone.
	keyAna = identity.Prefix + "ana"
	// keyClient is the client that signs by the runtime's key and is the project a's.
	keyClient = "https://stayd.example.com/oauth/clients/a/private_key_jwt"
)

var callers = map[string]identity.Principal{
	keyA: {Project: "a", Scope: identity.Owner}, keyB: {Project: "b", Scope: identity.Owner}, admin: {Project: "a", Scope: identity.Admin},
	keyAna: {Project: "a", Scope: identity.Write, Actor: "ana"},
}

// world is a server of vaults over a data folder of its own.
type world struct {
	t      testing.TB
	url    string
	key    string // API key
	data   string // folder
	keys   string // path of the master keys
	store  store.Store
	vaults *vault.Vaults
	seen   *seen
	revoke func(context.Context, []vault.Opened)
}

// seen is all that the server logged and answered.
type seen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *seen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// newWorld speaks for the project a, and another() for the project b.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{t: tb, key: keyA, data: tb.TempDir(), seen: &seen{}}
	w.keys = filepath.Join(w.data, "vault.keys")
	keys, err := keyfile.Open(w.keys, true)
	if err != nil {
		tb.Fatal(err)
	}
	w.serve(keys)
	return w
}

func (w *world) serve(master vault.Master) {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.seen, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var err error
	w.store, err = sqlite.Open(w.t.Context(), filepath.Join(w.data, "stayd.db"), sqlite.Options{Logger: log})
	if err != nil {
		w.t.Fatal(err)
	}
	server := httpapi.New(httpapi.Config{
		Log: log, Version: "test", Stopping: make(chan struct{}), RequireKey: true,
		Callers: func(_ context.Context, key string) (identity.Principal, error) {
			who, ok := callers[key]
			if !ok {
				return who, identity.ErrRefused
			}
			return who, nil
		},
	})
	w.vaults = vault.New(w.store, master, time.Now)
	vaults.Mount(server, vaults.Config{
		Vaults: w.vaults, Revoke: func(ctx context.Context, deleted []vault.Opened) { w.revoke(ctx, deleted) },
		KeyClient: func(project, client string) (bool, error) {
			if client == "https://stayd.example.com" {
				return false, errors.New("nothing is signed for it")
			}
			return project == "a" && client == keyClient, nil
		},
	})
	hs := httptest.NewServer(server)
	w.t.Cleanup(func() {
		hs.Close()
		if err := w.store.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.url = hs.URL
}

func (w *world) another() *world {
	other := *w
	other.key = keyB
	return &other
}

// sdk is the official client, whose answers are seen.
func (w *world) sdk() *openai.Client {
	client := openai.NewClient(option.WithBaseURL(w.url+"/v1/"), option.WithAPIKey(w.key), option.WithMaxRetries(0), option.WithHTTPClient(&http.Client{Transport: recorder{w.seen}}))
	return &client
}

// recorder notes what is answered.
type recorder struct{ seen *seen }

func (r recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := resp.Header.Write(r.seen); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.TeeReader(resp.Body, r.seen))
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, err
}

type answer struct {
	status int
	body   string
}

// do sends a request; headers are names and values in turn.
func (w *world) do(method, path, body string, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+w.key)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := (&http.Client{Transport: recorder{w.seen}}).Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{status: resp.StatusCode, body: string(data)}
}

func hasStatus(err error, status int) bool {
	var e *openai.Error
	return errors.As(err, &e) && e.StatusCode == status
}
