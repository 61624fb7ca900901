package credential_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/credential/oauthtest"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/consent"
	"github.com/stayd/stayd/internal/httpapi/tokens"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// published is a runtime that others find by https, and a provider that reads what
// it says of itself.
type published struct {
	*world
	*credential.Source
	url      string
	http     *http.Client // trusts the runtime
	provider *oauthtest.Server
	guarded  *oauthtest.Resource
}

func newPublished(t *testing.T) *published {
	t.Helper()
	return publish(t, newWorld(t))
}

// publish has the world be found by https.
func publish(t *testing.T, w *world) *published {
	t.Helper()
	p := &published{world: w}
	p.clock.pass(time.Since(start)) // the provider looks at its own
	hs := httptest.NewUnstartedServer(nil)
	p.url = "https://" + hs.Listener.Addr().String()
	door := httpapi.New(httpapi.Config{})
	hs.Config.Handler = door
	hs.StartTLS()
	t.Cleanup(hs.Close)
	p.http = hs.Client()
	p.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	p.Source = p.source(p.vaults, p.http, p.url)
	consent.Mount(door, consent.Config{Credentials: p.Source, PublicURL: p.url})
	tokens.Mount(door, tokens.Config{Issuer: p.issuer, Now: p.clock.now})
	p.provider = oauthtest.Start(t, p.url+credential.CallbackPath)
	p.provider.ReadDocuments(p.http)
	p.guarded = p.provider.Guard(t)
	return p
}

// client is who the runtime says that it is where ana is asked.
func (p *published) client(project string) string {
	p.t.Helper()
	a := p.asks(p.guarded)
	if project != a.Project {
		a.Project, a.Vault, a.Vaults = project, "", nil
	}
	to, err := p.Begin(p.t.Context(), a, "browser")
	if err != nil {
		p.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		p.t.Fatal(err)
	}
	return u.Query().Get("client_id")
}

// signIn has ana consent at the provider.
func (p *published) signIn() vault.Credential {
	p.t.Helper()
	to, err := p.Begin(p.t.Context(), p.asks(p.guarded), "browser")
	if err != nil {
		p.t.Fatal(err)
	}
	at, err := url.Parse(to)
	if err != nil {
		p.t.Fatal(err)
	}
	made, err := p.finish(p.Source, p.away(at))
	if err != nil {
		p.t.Fatal(err)
	}
	return made
}

// TestDocument shows that a provider which reads documents is shown that of the
// project, that codes and refresh tokens are taken from who signs by the keys in it,
// and that they are taken back so.
func TestDocument(t *testing.T) {
	p := newPublished(t)
	made := p.signIn()
	id := p.url + "/oauth/clients/a/private_key_jwt"
	if c := made.Auth.Consent; c.ClientID != id || c.TokenEndpointAuth != "private_key_jwt" || c.Audience != p.provider.URL || p.provider.Count("register") != 0 {
		t.Fatalf("consented as %+v after %d registrations", c, p.provider.Count("register"))
	}
	guarded := mail()
	guarded.Transport.ServerURL = p.guarded.URL
	shown, err := p.Authorize(t.Context(), p.caller("ana"), guarded, nil)
	if err != nil {
		t.Fatal(err)
	}
	header, err := p.Authorize(t.Context(), p.caller("ana"), guarded, refusal(shown))
	if err != nil || header == shown || p.provider.Count("refresh_token") != 1 {
		t.Fatalf("renewed %d times, shown is %q: %v", p.provider.Count("refresh_token"), header, err)
	}
	p.Revoke(t.Context(), []vault.Opened{*p.opened(made.ID)})
	if log := p.log.String(); p.provider.Count("revoke") != 1 || strings.Contains(log, "could not be taken back") {
		t.Errorf("taken back %d times: %s", p.provider.Count("revoke"), log)
	}
	p.secret(p.provider.Secrets()...)
}

// TestDocumentOfProject shows that projects are different clients, and that what is
// said of one is said of all, whether they are there or not.
func TestDocumentOfProject(t *testing.T) {
	p := newPublished(t)
	if got := p.client("b"); got != p.url+"/oauth/clients/b/private_key_jwt" {
		t.Errorf("the project b is the client %s", got)
	}
	for path, want := range map[string]struct {
		status int
		body   string
	}{
		"nobody/none": {200, `{"client_id":"` + p.url + `/oauth/clients/nobody/none","client_name":"Stayd","client_uri":"` + p.url + `",` +
			`"redirect_uris":["` + p.url + `/oauth/callback"],"grant_types":["authorization_code","refresh_token"],"response_types":["code"],"token_endpoint_auth_method":"none"}`},
		"a/private_key_jwt":     {200, `"token_endpoint_auth_method":"private_key_jwt","jwks_uri":"` + p.url + `/.well-known/jwks.json"}`},
		"a/client_secret_basic": {404, "not_found"},
		"%22/none":              {404, "not_found"},
	} {
		resp, err := p.http.Get(p.url + "/oauth/clients/" + path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		body := strings.TrimSpace(string(data))
		if resp.StatusCode != want.status || !strings.Contains(body, want.body) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
}

// TestDocumentWithoutKeys shows which document is shown to providers that do not
// take what the runtime signs: the one of a client that is safe by PKCE alone.
func TestDocumentWithoutKeys(t *testing.T) {
	p := newPublished(t)
	for what, change := range map[string]func(map[string]any){
		"no such method": func(doc map[string]any) {
			doc["token_endpoint_auth_methods_supported"] = []string{"none", "client_secret_basic"}
		},
		"no methods":            func(doc map[string]any) { delete(doc, "token_endpoint_auth_methods_supported") },
		"other algorithms only": func(doc map[string]any) { doc["token_endpoint_auth_signing_alg_values_supported"] = []string{"RS256"} },
	} {
		p.provider.Describe(change)
		if got := p.client(project); got != p.url+"/oauth/clients/a/none" {
			t.Errorf("%s: the client is %s", what, got)
		}
		if c := p.signIn().Auth.Consent; c.TokenEndpointAuth != vault.ClientNone || c.Audience != "" {
			t.Errorf("%s: consented as %+v", what, c)
		}
	}
	if n := p.provider.Count("register"); n != 0 {
		t.Errorf("%d clients were registered", n)
	}
}

// TestDocumentKeyAway shows that a key which cannot be had now is none that is not
// there: nobody is told that the client does not exist, or is sent as another client.
func TestDocumentKeyAway(t *testing.T) {
	st := newHooked(t)
	p := publish(t, newWorldOn(t, st))
	away := errors.New("nobody can read this")
	st.set(func(_ context.Context, kind string) error {
		if kind == store.KindSigningKeys {
			return away
		}
		return nil
	}, nil)
	status := func(auth string) int {
		t.Helper()
		resp, err := p.http.Get(p.url + "/oauth/clients/a/" + auth)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	if key, none := status("private_key_jwt"), status("none"); key != http.StatusServiceUnavailable || none != http.StatusOK {
		t.Errorf("the documents are answered with %d and %d", key, none)
	}
	var no *credential.Refusal
	if to, err := p.Begin(t.Context(), p.asks(p.guarded), "browser"); !errors.Is(err, away) || errors.As(err, &no) {
		t.Errorf("the browser is sent to %q: %v", to, err)
	}
	st.set(nil, nil)
	if got := p.client(project); status("private_key_jwt") != http.StatusOK || got != p.url+"/oauth/clients/a/private_key_jwt" {
		t.Errorf("when it is back the client is %s", got)
	}
}

// TestDocumentOff shows that a runtime which signs nothing has no client that signs.
func TestDocumentOff(t *testing.T) {
	w := newWorld(t)
	s := w.source(vault.New(w.store, vault.Unset("name one"), w.clock.now), http.DefaultClient, "https://stayd.example.com")
	if d, err := s.Document(t.Context(), project, "private_key_jwt"); d != nil || err != nil {
		t.Errorf("the document is %+v: %v", d, err)
	}
	if d, err := s.Document(t.Context(), project, "none"); d == nil || err != nil {
		t.Errorf("the one of a client without keys is %+v: %v", d, err)
	}
}

// TestDocumentOrder shows what goes before a document, and when a client is
// registered though the provider reads documents.
func TestDocumentOrder(t *testing.T) {
	p := newPublished(t)
	own := client(p.provider.URL+"/oauth/token", vault.GrantCode)
	own.Auth.ServerURL, own.Auth.Client.ClientID, own.Auth.Client.Scope, own.Auth.Client.Resource = p.guarded.URL, oauthtest.Web, nil, nil
	id := p.add(own)
	if got := p.client(project); got != oauthtest.Web {
		t.Errorf("with a client in the vault it is %s", got)
	}
	if err := p.vaults.DeleteCredential(t.Context(), project, p.vault, id); err != nil {
		t.Fatal(err)
	}

	p.provider.Describe(func(doc map[string]any) { delete(doc, "client_id_metadata_document_supported") })
	if got := p.client("b"); got != oauthtest.Registered || p.provider.Count("register") != 1 {
		t.Errorf("with a provider that reads none it is %s after %d registrations", got, p.provider.Count("register"))
	}
	p.provider.Describe(nil)
	if got := p.client("b"); got != oauthtest.Registered || p.provider.Count("register") != 1 {
		t.Errorf("with one that was registered before it is %s after %d registrations", got, p.provider.Count("register"))
	}

	// Nobody finds the document of a runtime whose name leads nowhere, or to another.
	elsewhere := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"client_id":"another"}`)) }))
	defer elsewhere.Close()
	for _, url := range []string{"https://127.0.0.1:1", elsewhere.URL} {
		p.Source = p.source(p.vaults, elsewhere.Client(), url)
		p.provider.Describe(func(doc map[string]any) { delete(doc, "registration_endpoint") })
		if got := p.client(project); got != url+"/oauth/clients/a/private_key_jwt" {
			t.Errorf("at %s, with a provider that registers none, it is %s", url, got)
		}
		p.provider.Describe(nil)
		if got := p.client(project); got != oauthtest.Registered {
			t.Errorf("at %s it is %s", url, got)
		}
	}
	p.Source = p.source(p.vaults, p.http, public)
	p.provider.Describe(nil)
	if got := p.client("c"); got != oauthtest.Registered {
		t.Errorf("without https it is %s", got)
	}
}

// TestDocumentInside shows that a client is registered where the runtime finds its
// document at an address that the operator lets it reach, and others do not.
func TestDocumentInside(t *testing.T) {
	p := newPublished(t)
	outside, err := outbound.New(outbound.Policy{MaxRedirects: -1})
	if err != nil {
		t.Fatal(err)
	}
	p.Source = p.source(p.vaults, p.http, p.url, func(c *credential.Config) { c.Outside = outside })
	if got := p.client(project); got != oauthtest.Registered || p.provider.Count("register") != 1 {
		t.Errorf("the client is %s after %d registrations", got, p.provider.Count("register"))
	}
}

// TestKeyClient shows that a client of a vault gets tokens by the key of the runtime,
// for itself and for people: each request is signed for its server, anew.
func TestKeyClient(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	n := client(e.url, vault.GrantClient)
	n.Auth.Client.TokenEndpointAuth, n.Secrets.ClientSecret = vault.ClientKey, vault.Secret{}
	w.add(n)
	w.must("", nil, "Bearer access-1")
	w.must("", refusal("Bearer access-1"), "Bearer access-2")
	first, second := e.form(0), e.form(1)
	for _, form := range []url.Values{first, second} {
		if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || form.Get("client_id") != "client" || form.Has("client_secret") {
			t.Errorf("sent is %v", form)
		}
		if who, whom := w.asserted(form.Get("client_assertion")); who != "client" || whom != e.url {
			t.Errorf("it says that it is %s, to %s", who, whom)
		}
	}
	if first.Get("client_assertion") == second.Get("client_assertion") {
		t.Error("the same was shown twice")
	}
	e.set(func(_ int, form url.Values) (int, string) {
		return fails("invalid_client", "no "+form.Get("client_assertion"))(0, nil)
	})
	w.refused("", refusal("Bearer access-2"), "invalid_client: no [secret]")

	p := newPublished(t)
	own := client(p.provider.URL+"/oauth/token", vault.GrantCode)
	own.Auth.ServerURL, own.Auth.Client.ClientID = p.guarded.URL, p.url+"/oauth/clients/a/private_key_jwt"
	own.Auth.Client.TokenEndpointAuth, own.Auth.Client.Audience, own.Auth.Client.Scope, own.Auth.Client.Resource = vault.ClientKey, p.provider.URL, nil, nil
	own.Secrets.ClientSecret = vault.Secret{}
	p.add(own)
	if made := p.signIn(); made.Auth.Refresh.Audience != p.provider.URL || made.Auth.Consent.TokenEndpointAuth != vault.ClientKey {
		t.Errorf("consented as %+v", made.Auth.Consent)
	}
}

// asserted is who an assertion is of, and for whom, when the published keys verify it.
func (w *world) asserted(signed string) (who, whom string) {
	w.t.Helper()
	sig, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		w.t.Fatal(err)
	}
	keys, err := w.issuer.Keys(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	body, err := sig.Verify(keys)
	if err != nil {
		w.t.Fatal(err)
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Subject  string `json:"sub"`
		Audience string `json:"aud"`
	}
	if err := json.Unmarshal(body, &claims); err != nil || claims.Issuer != claims.Subject {
		w.t.Fatalf("%s: %v", body, err)
	}
	return claims.Subject, claims.Audience
}
