package credential_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

const (
	project = "a"
	server  = "https://mcp.example.com/mcp"
	public  = "http://127.0.0.1:8080"
)

var start = time.Date(2026, 5, 3, 9, 0, 0, 0, time.UTC)

// clock is set by the test.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is a store with one vault, and a source of credentials over it.
type world struct {
	*credential.Source
	t      testing.TB
	clock  *clock
	store  store.Store
	vaults *vault.Vaults
	vault  string
	log    *logged
	keys   string // path of the file
	issuer *workload.Issuer
}

// hooked is a store that the test looks into; a hook that is nil does nothing.
type hooked struct {
	store.Store
	mu     sync.Mutex
	read   func(ctx context.Context, kind string) error
	update func(ctx context.Context, kind string) error
}

func newHooked(t testing.TB) *hooked {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stayd.db"), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return &hooked{Store: st}
}

func (h *hooked) set(read, update func(context.Context, string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.read, h.update = read, update
}

func (h *hooked) Object(ctx context.Context, project, kind, id string) (store.Object, error) {
	h.mu.Lock()
	hook := h.read
	h.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, kind); err != nil {
			return store.Object{}, err
		}
	}
	return h.Store.Object(ctx, project, kind, id)
}

func (h *hooked) UpdateObject(ctx context.Context, o store.Object) error {
	h.mu.Lock()
	hook := h.update
	h.mu.Unlock()
	if hook != nil {
		if err := hook(ctx, o.Kind); err != nil {
			return err
		}
	}
	return h.Store.UpdateObject(ctx, o)
}

// logged is all that was logged.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stayd.db"), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	return newWorldOn(t, st)
}

func newWorldOn(t testing.TB, st store.Store) *world {
	t.Helper()
	t.Cleanup(func() { st.Close() })
	w := &world{t: t, clock: &clock{at: start}, store: st, log: &logged{}, keys: filepath.Join(t.TempDir(), "vault.keys")}
	w.Source, w.vaults = w.process()
	v, err := w.vaults.Create(t.Context(), project, vault.Change{}, event.Input{})
	if err != nil {
		t.Fatal(err)
	}
	w.vault = v.ID
	return w
}

// process is what another process has over the same store.
func (w *world) process() (*credential.Source, *vault.Vaults) {
	w.t.Helper()
	keys, err := keyfile.Open(w.keys, true)
	if err != nil {
		w.t.Fatal(err)
	}
	client, err := outbound.New(outbound.Policy{Allow: []string{"127.0.0.0/8"}, MaxRedirects: -1, MaxBody: 2 << 20})
	if err != nil {
		w.t.Fatal(err)
	}
	vaults := vault.New(w.store, keys, w.clock.now)
	return w.source(vaults, client, public), vaults
}

// source is what has credentials, of a process that browsers find at the URL.
// What is outside it reaches by the client too, unless that is changed.
func (w *world) source(vaults *vault.Vaults, client *http.Client, url string, change ...func(*credential.Config)) *credential.Source {
	w.t.Helper()
	log := slog.New(slog.NewTextHandler(w.log, nil))
	issuer, err := workload.New(workload.Config{Store: w.store, Vaults: vaults, URL: url, TrustDomain: "stayd.example.com", Now: w.clock.now, Log: log})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := credential.Config{
		Vaults: vaults, Store: w.store, HTTP: client, Outside: client, PublicURL: url, Issuer: issuer, Now: w.clock.now, Log: log,
	}
	for _, f := range change {
		f(&cfg)
	}
	s := credential.New(cfg)
	w.t.Cleanup(s.Close)
	w.issuer = issuer
	return s
}

func (w *world) add(n vault.NewCredential) string {
	w.t.Helper()
	n.Name = "c"
	c, err := w.vaults.CreateCredential(w.t.Context(), project, w.vault, n, event.Input{})
	if err != nil {
		w.t.Fatal(err)
	}
	return c.ID
}

func (w *world) caller(actor string) tool.Caller {
	return tool.Caller{Project: project, Session: "sess_1", Actor: actor, Vaults: []string{w.vault}}
}

func mail() *event.Tool {
	return &event.Tool{Type: "mcp", ServerLabel: "mail", Transport: &event.Transport{Type: "http", ServerURL: server}}
}

// show is what actor's call shows at first, or after the challenge.
func (w *world) show(actor string, ch *tool.Challenge) (string, error) {
	w.t.Helper()
	return w.Authorize(w.t.Context(), w.caller(actor), mail(), ch)
}

func (w *world) must(actor string, ch *tool.Challenge, want string) {
	w.t.Helper()
	if got, err := w.show(actor, ch); err != nil || got != want {
		w.t.Errorf("shown is %q: %v, want %q", got, err, want)
	}
}

// refused wants an error with the texts, that is no question to a person.
func (w *world) refused(actor string, ch *tool.Challenge, texts ...string) {
	w.t.Helper()
	got, err := w.show(actor, ch)
	var te *tool.Error
	if !errors.As(err, &te) || te.Sent || got != "" {
		w.t.Errorf("shown is %q: %v, want an error of a call that was not sent", got, err)
		return
	}
	for _, s := range texts {
		if !strings.Contains(te.Message, s) {
			w.t.Errorf("the error is %q, want %q in it", te.Message, s)
		}
	}
}

// consent wants a question to ana.
func (w *world) consent(ch *tool.Challenge) *tool.ConsentError {
	w.t.Helper()
	got, err := w.show("ana", ch)
	var asked *tool.ConsentError
	if !errors.As(err, &asked) {
		w.t.Fatalf("shown is %q: %v, want a person to be asked", got, err)
	}
	return asked
}

func refusal(header string, authenticate ...string) *tool.Challenge {
	return &tool.Challenge{Refused: header, Authenticate: authenticate}
}

// endpoint is a token endpoint that answers as the test says.
type endpoint struct {
	url    string
	mu     sync.Mutex
	forms  []url.Values
	basics []string
	answer func(n int, form url.Values) (int, string)
}

// newEndpoint gives access-1, access-2 and so on, and as many refresh tokens.
func newEndpoint(t testing.TB) *endpoint {
	t.Helper()
	e := &endpoint{answer: func(n int, _ url.Values) (int, string) {
		return 200, fmt.Sprintf(`{"access_token":"access-%d","token_type":"bearer","refresh_token":"refresh-%d","expires_in":3600}`, n, n)
	}}
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			t.Error(err)
		}
		user, pass, _ := r.BasicAuth()
		e.mu.Lock()
		e.forms, e.basics = append(e.forms, r.PostForm), append(e.basics, user+":"+pass)
		n, answer := len(e.forms), e.answer
		e.mu.Unlock()
		status, body := answer(n, r.PostForm)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(hs.Close)
	e.url = hs.URL + "/token"
	return e
}

func (e *endpoint) set(answer func(n int, form url.Values) (int, string)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.answer = answer
}

func (e *endpoint) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.forms)
}

func (e *endpoint) form(n int) url.Values {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.forms[n]
}

// oauth is a credential with the tokens access-0 and refresh-0, that ends in an
// hour.
func oauth(e *endpoint, actor string) vault.NewCredential {
	expires, resource := start.Add(time.Hour).Format(time.RFC3339), "https://mcp.example.com"
	return vault.NewCredential{
		Auth: vault.Auth{Type: vault.TypeOAuth, Actor: actor, ServerURL: server, ExpiresAt: &expires, Refresh: &vault.Refresh{
			ClientID: "client", TokenEndpoint: e.url, TokenEndpointAuth: vault.ClientBasic, Resource: &resource,
		}},
		Secrets: vault.Secrets{Token: vault.NewSecret("access-0"), RefreshToken: vault.NewSecret("refresh-0"), ClientSecret: vault.NewSecret("client-canary")},
	}
}

func static(actor, token string) vault.NewCredential {
	return vault.NewCredential{Auth: vault.Auth{Type: vault.TypeBearer, Actor: actor, ServerURL: server}, Secrets: vault.Secrets{Token: vault.NewSecret(token)}}
}

// fails answers with an error of OAuth.
func fails(code, description string) func(int, url.Values) (int, string) {
	return func(int, url.Values) (int, string) {
		b, _ := json.Marshal(map[string]string{"error": code, "error_description": description})
		return 400, string(b)
	}
}

// at once calls fn from n goroutines, and returns when all have returned.
func atOnce(n int, fn func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { fn(i) })
	}
	all.Wait()
}

func (w *world) opened(id string) *vault.Opened {
	w.t.Helper()
	o, err := w.vaults.Open(context.WithoutCancel(w.t.Context()), project, w.vault, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

func contextOf(t testing.TB) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}
