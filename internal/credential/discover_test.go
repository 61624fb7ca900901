package credential_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// host is a server that has documents about itself.
type host struct {
	url  string
	mu   sync.Mutex
	docs map[string]string // by path
	hits map[string]int
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := &host{docs: map[string]string{}, hits: map[string]int{}}
	hs := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.hits[r.URL.Path]++
		doc, ok := h.docs[r.URL.Path]
		if to, redirects := strings.CutPrefix(doc, "-> "); redirects {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(doc))
	}))
	t.Cleanup(hs.Close)
	h.url = hs.URL
	return h
}

func object(fields map[string]any) string {
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// issues is the document of an issuer at the URL, with changes.
func issues(url string, changes map[string]any) string {
	doc := map[string]any{
		"issuer": url, "authorization_endpoint": url + "/authorize", "token_endpoint": url + "/token", "registration_endpoint": url + "/register",
		"code_challenge_methods_supported": []string{"S256"},
	}
	for k, v := range changes {
		doc[k] = v
	}
	return object(doc)
}

const (
	resourcePath = "/.well-known/oauth-protected-resource/mcp"
	issuerPath   = "/.well-known/oauth-authorization-server"
)

// TestDiscovery shows where it is looked who issues tokens for a server, and that
// they are asked for no more than that server.
func TestDiscovery(t *testing.T) {
	for what, place := range map[string]func(h *host){
		"as they should": func(h *host) {
			h.docs[resourcePath] = object(map[string]any{"resource": h.url + "/mcp", "authorization_servers": []string{h.url}})
			h.docs[issuerPath] = issues(h.url, nil)
		},
		"at the root": func(h *host) {
			h.docs["/.well-known/oauth-protected-resource"] = object(map[string]any{"resource": h.url, "authorization_servers": []string{h.url + "/"}})
			h.docs[issuerPath] = issues(h.url+"/", map[string]any{"authorization_endpoint": h.url + "/authorize", "registration_endpoint": h.url + "/register"})
		},
		"a tenant's": func(h *host) {
			h.docs[resourcePath] = object(map[string]any{"resource": h.url + "/mcp", "authorization_servers": []string{h.url + "/tenant/1"}})
			h.docs[issuerPath+"/tenant/1"] = issues(h.url+"/tenant/1", map[string]any{"authorization_endpoint": h.url + "/authorize", "registration_endpoint": h.url + "/register"})
		},
		"OpenID Connect": func(h *host) {
			h.docs[resourcePath] = object(map[string]any{"resource": h.url + "/mcp", "authorization_servers": []string{h.url + "/tenant"}})
			h.docs["/tenant/.well-known/openid-configuration"] = issues(h.url+"/tenant", map[string]any{"authorization_endpoint": h.url + "/authorize", "registration_endpoint": h.url + "/register"})
		},
		"with a slash": func(h *host) {
			h.docs[resourcePath] = object(map[string]any{"resource": h.url + "/mcp/", "authorization_servers": []string{h.url}})
			h.docs[issuerPath] = issues(h.url, nil)
		},
		"without a word on its protection": func(h *host) { h.docs[issuerPath] = issues(h.url, nil) },
	} {
		w, h := newWorld(t), newHost(t)
		h.docs["/register"] = `{"client_id":"made"}`
		place(h)
		to, err := w.Begin(t.Context(), w.asksAt(h.url), "browser")
		if err != nil || !strings.HasPrefix(to, h.url+"/authorize?") || !strings.Contains(to, "client_id=made") {
			t.Errorf("%s: %q %v", what, to, err)
		}
		want := h.url + "/mcp"
		if what == "with a slash" {
			want += "/"
		}
		if u, err := url.Parse(to); err != nil || u.Query().Get("resource") != want {
			t.Errorf("%s: the token is asked for by %q, want it for %s", what, to, want)
		}
	}
}

// asksAt is what ana is asked for the server below an origin.
func (w *world) asksAt(origin string) credential.Asked {
	return credential.Asked{Link: link, Server: origin + "/mcp", Metadata: origin + resourcePath, Actor: "ana", Vault: w.vault, Vaults: []string{w.vault}}
}

// TestEvilDocuments shows what servers may not say of themselves.
func TestEvilDocuments(t *testing.T) {
	secret := newHost(t)
	secret.docs["/latest"] = issues(secret.url, nil)
	big := `{"resource":"` + strings.Repeat("x", 3<<20) + `"}`
	for what, c := range map[string]struct {
		resource, issuer func(h *host) string
		want             string
	}{
		"not JSON":           {func(*host) string { return "<html>" }, nil, "not the JSON"},
		"huge":               {func(*host) string { return big }, nil, "more than 1048576 bytes"},
		"large":              {func(*host) string { return `"` + strings.Repeat("x", 1<<20) + `"` }, nil, "more than 1048576 bytes"},
		"nothing":            {func(*host) string { return "null" }, nil, "is not the server"},
		"of another server":  {says("https://mcp.example.com", "https://login.example.com"), nil, "is not the server"},
		"of another path":    {func(h *host) string { return says(h.url+"/other", "https://login.example.com")(h) }, nil, "is not the server"},
		"with a fragment":    {func(h *host) string { return says(h.url+"/mcp#x", "https://login.example.com")(h) }, nil, "is not the server"},
		"of half a path":     {func(h *host) string { return says(h.url+"/mc", "https://login.example.com")(h) }, nil, "is not the server"},
		"without an issuer":  {func(h *host) string { return object(map[string]any{"resource": h.url}) }, nil, "names no authorization server"},
		"metadata service":   {own("http://169.254.169.254/"), nil, "has no https URL"},
		"metadata, by https": {own("https://169.254.169.254/"), nil, "was not reached: "},
		"private, by https":  {own("https://10.0.0.1"), nil, "was not reached: "},
		"a file":             {own("file:///etc/passwd"), nil, "has no https URL"},
		"with a password":    {own("https://u:p@login.example.com"), nil, "has no https URL"},
		"with a query":       {own("https://login.example.com?a=b"), nil, "has no https URL"},
		"a redirect":         {func(*host) string { return "-> " + secret.url + "/latest" }, nil, "does not say how people consent"},
		"issuer not JSON":    {nil, func(*host) string { return "]" }, "not the JSON"},
		"issuer is a list":   {nil, func(*host) string { return "[]" }, "not the JSON"},
		"another issuer":     {nil, func(h *host) string { return issues(h.url, map[string]any{"issuer": "https://login.example.com"}) }, "another issuer"},
		"no issuer":          {nil, func(h *host) string { return issues(h.url, map[string]any{"issuer": nil}) }, "another issuer"},
		"script for a page": {nil, func(h *host) string {
			return issues(h.url, map[string]any{"authorization_endpoint": "javascript:alert(1)"})
		}, "authorization_endpoint is no https URL"},
		"tokens without https": {nil, func(h *host) string {
			return issues(h.url, map[string]any{"token_endpoint": "http://login.example.com/token"})
		}, "token_endpoint is no https URL"},
		"tokens of metadata": {nil, func(h *host) string {
			return issues(h.url, map[string]any{"token_endpoint": "http://169.254.169.254/token"})
		}, "token_endpoint is no https URL"},
		"no token endpoint":   {nil, func(h *host) string { return issues(h.url, map[string]any{"token_endpoint": ""}) }, "token_endpoint is no https URL"},
		"registers elsewhere": {nil, func(h *host) string { return issues(h.url, map[string]any{"registration_endpoint": "ftp://x"}) }, "registration_endpoint is no https URL"},
		"registers at metadata": {nil, func(h *host) string {
			return issues(h.url, map[string]any{"registration_endpoint": "https://169.254.169.254/"})
		}, "was not reached: "},
		"no PKCE": {nil, func(h *host) string { return issues(h.url, map[string]any{"code_challenge_methods_supported": nil}) }, "PKCE"},
		"plain PKCE": {nil, func(h *host) string {
			return issues(h.url, map[string]any{"code_challenge_methods_supported": []string{"plain"}})
		}, "PKCE"},
		"no codes": {nil, func(h *host) string {
			return issues(h.url, map[string]any{"response_types_supported": []string{"token"}})
		}, "no authorization codes"},
		"does not register": {nil, func(h *host) string { return issues(h.url, map[string]any{"registration_endpoint": ""}) }, "does not register clients by itself"},
	} {
		w, h := newWorld(t), newHost(t)
		h.docs[resourcePath], h.docs[issuerPath], h.docs["/register"] = own(h.url)(h), issues(h.url, nil), `{"client_id":"made"}`
		if c.resource != nil {
			h.docs[resourcePath] = c.resource(h)
			delete(h.docs, issuerPath)
		}
		if c.issuer != nil {
			h.docs[issuerPath] = c.issuer(h)
		}
		to, err := w.Begin(t.Context(), w.asksAt(h.url), "browser")
		wantRefusal(t, fmt.Sprintf("%s, sent to %q", what, to), err, c.want)
		if err != nil && len(err.Error()) > 1200 {
			t.Errorf("%s: the error has %d bytes", what, len(err.Error()))
		}
	}
	if len(secret.hits) > 0 {
		t.Errorf("a redirect was followed: %v", secret.hits)
	}
}

// says is a document of a resource, and own one of the server itself.
func says(resource, issuer string) func(*host) string {
	return func(*host) string {
		return object(map[string]any{"resource": resource, "authorization_servers": []string{issuer}})
	}
}

func own(issuer string) func(*host) string {
	return func(h *host) string { return says(h.url+"/mcp", issuer)(h) }
}

// TestRegistration shows what becomes of what servers answer to who registers a
// client.
func TestRegistration(t *testing.T) {
	for answer, want := range map[string]string{
		`{"client_id":"made"}`: "",
		`{"client_id":"made","client_secret":"s","token_endpoint_auth_method":"client_secret_post","client_secret_expires_at":0}`: "",
		``:                      "no client that can be used",
		`{"client_secret":"s"}`: "no client that can be used",
		`{"client_id":7}`:       "no client that can be used",
		`{"client_id":"` + strings.Repeat("c", 10_000) + `"}`:                 "no client that can be used",
		`{"client_id":"made","token_endpoint_auth_method":"private_key_jwt"}`: `"private_key_jwt", which is not known here`,
		"-> http://169.254.169.254/":                                          "answered with status 302",
	} {
		w, h := newWorld(t), newHost(t)
		h.docs[resourcePath], h.docs[issuerPath], h.docs["/register"] = own(h.url)(h), issues(h.url, nil), answer
		_, err := w.Begin(t.Context(), w.asksAt(h.url), "browser")
		if want == "" && err != nil {
			t.Errorf("%s: %v", answer, err)
		}
		if want != "" {
			wantRefusal(t, answer, err, want)
		}
	}

	// One whose secret ends is registered again.
	w, h := newWorld(t), newHost(t)
	h.docs[resourcePath], h.docs[issuerPath] = own(h.url)(h), issues(h.url, nil)
	until := func(t int64) {
		h.docs["/register"] = object(map[string]any{"client_id": "made", "client_secret": "registered-canary", "client_secret_expires_at": t})
	}
	until(start.Unix() + 3600)
	begin := func(times int) {
		t.Helper()
		if _, err := w.Begin(t.Context(), w.asksAt(h.url), "browser"); err != nil || h.hits["/register"] != times {
			t.Errorf("registered %d times, want %d: %v", h.hits["/register"], times, err)
		}
	}
	begin(1)
	begin(1)
	w.clock.pass(3600e9)
	until(start.Unix() + 7200)
	begin(2)
	begin(2)
	rows, err := w.store.Object(t.Context(), project, store.KindOAuthClient, id(t, w))
	if err != nil || strings.Contains(string(rows.Data), "canary") || strings.Contains(string(rows.Data), "made") {
		t.Errorf("the store has %s: %v", rows.Data, err)
	}
}

// id is that of the one registered client.
func id(t testing.TB, w *world) string {
	t.Helper()
	rows, err := w.store.ListObjects(t.Context(), store.ObjectQuery{Project: project, Kind: store.KindOAuthClient, Limit: 100})
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d clients: %v", len(rows), err)
	}
	return rows[0].ID
}

// TestRevoke shows how tokens are taken back.
func TestRevoke(t *testing.T) {
	w, p, _, made := consented(t)
	o := w.opened(made.ID)
	w.Revoke(t.Context(), []vault.Opened{*o})
	if p.Count("revoke") != 1 {
		t.Errorf("asked %d times to take tokens back", p.Count("revoke"))
	}
	guarded := mail()
	guarded.Transport.ServerURL = made.Auth.ServerURL
	w.clock.pass(3600e9)
	if _, err := w.Authorize(t.Context(), w.caller("ana"), guarded, nil); err == nil || !strings.Contains(err.Error(), "consent") {
		t.Errorf("tokens that were taken back: %v", err)
	}
	// A server that fails at it is in the log, without the token.
	o.Auth.Consent.RevocationEndpoint = "http://127.0.0.1:1/revoke"
	w.Revoke(t.Context(), []vault.Opened{*o})
	if !strings.Contains(w.log.String(), made.ID) || !strings.Contains(w.log.String(), "could not be taken back") {
		t.Errorf("the log says %s", w.log)
	}
	w.secret(p.Secrets()...)
}
