package app_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/identity/oidc/oidctest"
)

// issuersOf is a configuration that takes tokens of the provider.
func issuersOf(t *testing.T, p *oidctest.Provider) app.Config {
	t.Helper()
	cfg := config(t)
	cfg.PublicURL = "HTTPS://stayd.example.com/"
	var err error
	cfg.Issuers, err = oidc.Parse("issuers.yaml", []byte(`
issuers:
  - issuer: `+p.URL+`
    audience: [stayd, https://stayd.example.com]
    client_id: cli
    scopes: [openid, groups]
    principals:
      - {claims: {groups: ops}, project: infra, scope: admin}
      - {claims: {groups: staff}, project: people, scope: write, actor: email}
      - {claims: {groups: guests}, project: people, scope: read}
`))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// tokenOf is a good token for a member of the group. Further claims are names and
// values in turn.
func tokenOf(p *oidctest.Provider, group string, more ...any) string {
	claims := map[string]any{
		"iss": p.URL, "sub": "ann", "aud": "stayd", "groups": []string{group}, "exp": time.Now().Add(time.Hour).Unix(),
		"email": "ann@example.com", "email_verified": true,
	}
	for i := 0; i < len(more); i += 2 {
		claims[more[i].(string)] = more[i+1]
	}
	return p.Sign(claims)
}

const challenge = `Bearer resource_metadata="https://stayd.example.com/.well-known/oauth-protected-resource"`

// TestIssuers has who is let in by tokens and keys, what for, and what the others
// are told.
func TestIssuers(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	cfg := issuersOf(t, p)
	cfg.Keys = map[string]string{"operator": "infra", "a.b.c": "infra"}
	n := start(t, cfg)
	ops, staff, guest := tokenOf(p, "ops"), tokenOf(p, "staff"), tokenOf(p, "guests")
	var made struct{ Key string }
	n.as(ops).must(&made, "POST", "/v1/keys", `{"name":"robot","scope":"read"}`)
	host := strings.TrimPrefix(p.URL, "http://")
	for _, tt := range []struct {
		name, shown, method, path, body string
		status                          int
		want, challenge                 string
	}{
		{"nothing", "", "GET", "/v1/whoami", "", 401, "You provided neither an API key nor a token.", challenge},
		{"a token", ops, "GET", "/v1/whoami", "", 200, `{"object":"principal","id":"` + host + `#ann","issuer":"` + p.URL + `","project":"infra","scope":"admin","actor":null}`, ""},
		{"a token that is bound", staff, "GET", "/v1/whoami", "", 200, `{"object":"principal","id":"` + host + `#ann","issuer":"` + p.URL + `","project":"people","scope":"write","actor":"ann@example.com"}`, ""},
		{"an operator's key", "operator", "GET", "/v1/whoami", "", 200, `{"object":"principal","id":null,"issuer":null,"project":"infra","scope":"admin","actor":null}`, ""},
		{"an operator's key that looks like a token", "a.b.c", "GET", "/v1/whoami", "", 200, `"project":"infra"`, ""},
		{"a key", made.Key, "GET", "/v1/whoami", "", 200, `"issuer":null,"project":"infra","scope":"read","actor":null}`, ""},
		{"another key", made.Key + "x", "GET", "/v1/whoami", "", 401, `"Incorrect API key provided."`, challenge + `, error="invalid_token"`},
		{"an opaque token", "opaque", "GET", "/v1/whoami", "", 401, "neither an API key of this server nor a signed token (JWT)", challenge + `, error="invalid_token"`},
		{"no token", "a.b.d", "GET", "/v1/whoami", "", 401, `"The header of the token cannot be read: it is not base64 as URLs have it.","type":"invalid_request_error","param":null,"code":"invalid_token"`, challenge + `, error="invalid_token"`},
		{"an old token", tokenOf(p, "ops", "exp", 1), "GET", "/v1/whoami", "", 401, `The token expired at 1970-01-01T00:00:01Z. Get a new one.","type":"invalid_request_error","param":null,"code":"token_expired"`, challenge + `, error="invalid_token"`},
		{"for another audience", tokenOf(p, "ops", "aud", "other"), "GET", "/v1/whoami", "", 401, `"wrong_audience"`, challenge + `, error="invalid_token"`},
		{"of another issuer", tokenOf(p, "ops", "iss", "https://evil.example.com"), "GET", "/v1/whoami", "", 401, `"unknown_issuer"`, challenge + `, error="invalid_token"`},
		{"no place", tokenOf(p, "others"), "GET", "/v1/whoami", "", 403, `"no_project"`, ""},
		{"looking", guest, "GET", sessions, "", 200, `"object":"list"`, ""},
		{"looking, and changing", guest, "POST", sessions, sessionBody("script/work", "hello", ""), 403, `"This needs the scope 'write', and the token provided gives 'read'.","type":"invalid_request_error","param":null,"code":"insufficient_scope"`, ""},
		{"changing", staff, "POST", sessions, sessionBody("script/work", "hello", ""), 200, `"object":"agent.session"`, ""},
		{"managing keys without the scope", staff, "GET", "/v1/keys", "", 403, "This needs the scope 'admin'", ""},
		{"open", "", "GET", "/healthz", "", 200, `{"status":"ok"}`, ""},
		{"open, whatever is shown", "a.b.d", "GET", "/readyz", "", 200, `{"status":"ok"}`, ""},
		{"metrics", "", "GET", "/metrics", "", 401, "neither an API key nor a token", challenge},
		{"about itself", "", "GET", "/.well-known/oauth-protected-resource", "", 200, `{"resource":"https://stayd.example.com","authorization_servers":["` + p.URL + `"],"scopes_supported":["groups","openid"],"bearer_methods_supported":["header"],"stayd_login":[{"issuer":"` + p.URL + `","client_id":"cli","scopes":["openid","groups"],"audience":["stayd","https://stayd.example.com"]}]}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := n.as(tt.shown).do(tt.method, tt.path, tt.body)
			if a.status != tt.status || !strings.Contains(a.body, tt.want) {
				t.Errorf("%s, want %d %s", a, tt.status, tt.want)
			}
			if got := a.header.Get("WWW-Authenticate"); got != tt.challenge {
				t.Errorf("challenge %q, want %q", got, tt.challenge)
			}
		})
	}
	// The project is the token's, whatever is asked for.
	a := n.as(ops).do("GET", sessions, "", "OpenAI-Project", "people")
	if a.status != 401 || !strings.Contains(a.body, "The OpenAI-Project header should match the project of the token.") {
		t.Errorf("another project: %s", a)
	}
	if ids := all[struct{ ID string }](n.as(ops), sessions+"?limit=10"); len(ids) != 0 {
		t.Errorf("a session of another project is listed: %v", ids)
	}
}

// TestIssuerDown starts a server whose issuer is away, and has keys of the issuer
// come and go while it serves.
func TestIssuerDown(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	p.SetDown(true)
	n := start(t, issuersOf(t, p))
	before := tokenOf(p, "ops")
	a := n.as(before).do("GET", "/v1/whoami", "")
	if a.status != 503 || a.header.Get("Retry-After") != "5" || !strings.Contains(a.body, `"issuer_unavailable"`) || !strings.Contains(a.body, "The issuer "+p.URL+" cannot be asked for its keys now") {
		t.Errorf("got %s, %v", a, a.header)
	}
	if strings.Contains(a.body, "EOF") || strings.Contains(a.body, "dial") {
		t.Errorf("the answer tells what went wrong inside: %s", a)
	}
	p.SetDown(false)
	wait(t, "the issuer to be asked again", func() bool { return n.as(before).do("GET", "/v1/whoami", "").status == 200 })
	p.Rotate(jose.ES256)
	p.Forget()
	n.as(tokenOf(p, "ops")).must(nil, "GET", "/v1/whoami", "")
	if a := n.as(before).do("GET", "/v1/whoami", ""); a.status != 401 || !strings.Contains(a.body, `"invalid_signature"`) {
		t.Errorf("by a key that is gone: %s", a)
	}
}

// TestIssuersOnLoopback has a server on loopback ask for a token as soon as there
// are issuers, and none without.
func TestIssuersOnLoopback(t *testing.T) {
	n := start(t, config(t))
	if a := n.do("GET", "/v1/whoami", ""); a.status != 200 || a.body != `{"object":"principal","id":null,"issuer":null,"project":"default","scope":"owner","actor":null}` {
		t.Errorf("nobody has to say who calls: %s", a)
	}
	if a := n.do("GET", "/.well-known/oauth-protected-resource", ""); a.status != 404 {
		t.Errorf("without issuers: %s", a)
	}
	cfg := issuersOf(t, oidctest.Start(t, oidctest.Options{}))
	if a := start(t, cfg).do("GET", sessions, ""); a.status != 401 {
		t.Errorf("with issuers: %s", a)
	}
}
