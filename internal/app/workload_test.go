package app_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/zitadel/oidc/v3/pkg/client/tokenexchange"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/identity/oidc/oidctest"
	"github.com/stayd/stayd/internal/pgtest"
)

const (
	mcpServer = "https://mcp.example.com/mcp"
	mailTool  = "https://mail.example.com"
)

// issuing is a runtime that others find under its public URL.
func issuing(t *testing.T, change func(*app.Config)) *node {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t)
	cfg.PublicURL, cfg.TrustDomain = "http://"+l.Addr().String(), "stayd.example.com"
	if change != nil {
		change(&cfg)
	}
	return startOn(t, cfg, l)
}

type signed struct {
	Token     string
	ExpiresAt int64 `json:"expires_at"`
}

// claims decodes what a token says, without verifying it.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	body, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(body, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

type keyState struct{ ID, State, Algorithm string }

type issuerObject struct {
	Issuer      string
	TrustDomain string `json:"trust_domain"`
	Keys        []keyState
}

// TestOtherVerifier has tokens of sessions verified by the OpenID Connect library
// that others use, before and after the key was rotated and revoked.
func TestOtherVerifier(t *testing.T) {
	n := issuing(t, nil)
	var made session
	n.must(&made, "POST", sessions, `{"environment":{"type":"none"},"agent":{"model":"script/work"},"actor":"ann","input":"hello"}`)
	sign := func() string {
		var s signed
		n.must(&s, "POST", sessions+"/"+made.ID+"/token", `{"audience":"`+mcpServer+`","scope":["mail.read"]}`)
		return s.Token
	}
	provider, err := oidc.NewProvider(t.Context(), n.url)
	if err != nil {
		t.Fatal(err)
	}
	verifier := provider.Verifier(&oidc.Config{ClientID: mcpServer})
	first := sign()
	id, err := verifier.Verify(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Scope string
		Act   struct{ Sub string }
		Stayd map[string]any
	}
	if err := id.Claims(&c); err != nil {
		t.Fatal(err)
	}
	if session := "spiffe://stayd.example.com/project/default/session/" + made.ID; id.Subject != "ann" || id.Issuer != n.url || c.Scope != "mail.read" || c.Act.Sub != session || c.Stayd["project"] != "default" {
		t.Errorf("verified %s for %q: %+v", id.Issuer, id.Subject, c)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: mailTool}).Verify(t.Context(), first); err == nil {
		t.Error("another audience takes the token")
	}
	var after issuerObject
	n.must(&after, "POST", "/v1/identity/keys/rotate", `{}`)
	if len(after.Keys) != 2 || after.Keys[0].State != "signing" || after.Keys[1].State != "published" {
		t.Errorf("after a rotation: %+v", after)
	}
	if _, err := verifier.Verify(t.Context(), sign()); err != nil {
		t.Errorf("after a rotation: %v", err)
	}
	n.must(&after, "POST", "/v1/identity/keys/rotate", `{"now":true}`)
	if len(after.Keys) != 3 || after.Keys[0].State != "revoked" || after.Keys[1].State != "revoked" || after.Keys[2].State != "signing" {
		t.Errorf("after a revocation: %+v", after)
	}
	if _, err := verifier.Verify(t.Context(), sign()); err != nil {
		t.Errorf("signed by the new key: %v", err)
	}
	fresh, err := oidc.NewProvider(t.Context(), n.url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.Verifier(&oidc.Config{ClientID: mcpServer}).Verify(t.Context(), first); err == nil {
		t.Error("a token of a revoked key is taken")
	}
}

// exchange asks for another token, and returns the status and what was answered.
func (n *node) exchange(form url.Values) (int, map[string]any) {
	n.t.Helper()
	if form.Get("grant_type") == "" {
		form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
	}
	for _, name := range []string{"subject_token", "actor_token"} {
		if form.Get(name) != "" && form.Get(name+"_type") == "" {
			form.Set(name+"_type", "urn:ietf:params:oauth:token-type:access_token")
		}
	}
	a := n.as("").do("POST", "/oauth/token", form.Encode(), "Content-Type", "application/x-www-form-urlencoded")
	var out map[string]any
	if err := json.Unmarshal([]byte(a.body), &out); err != nil {
		n.t.Fatalf("%v: %s", err, a)
	}
	if got := a.header.Get("Cache-Control"); got != "no-store" {
		n.t.Errorf("Cache-Control is %q", got)
	}
	return a.status, out
}

// TestExchange hands the right of a caller on to an agent and a tool over HTTP, and
// has what is refused on the way.
func TestExchange(t *testing.T) {
	n := issuing(t, func(c *app.Config) {
		c.Keys = map[string]string{"operator-a": "a", "operator-b": "b"}
		c.TokenAudiences = []string{mcpServer, mailTool}
	})
	// What a caller and an agent of a project have.
	type project struct {
		key, session, delegation string
	}
	made := func(operator string) (p project) {
		by := n.as(operator)
		var key struct{ Key string }
		by.must(&key, "POST", "/v1/keys", `{"name":"caller","scope":"write"}`)
		var s session
		by.must(&s, "POST", sessions, `{"environment":{"type":"none"},"agent":{"model":"script/work"},"actor":"ann","input":"hello"}`)
		var d signed
		by.must(&d, "POST", sessions+"/"+s.ID+"/token", `{"audiences":["`+mcpServer+`"],"scope":["mail.read","mail.send"]}`)
		return project{key.Key, s.ID, d.Token}
	}
	a, b := made("operator-a"), made("operator-b")

	status, caller := n.exchange(url.Values{"subject_token": {a.key}, "audience": {n.url}, "audiences": {mcpServer}})
	if status != 200 || caller["token_type"] != "Bearer" || caller["scope"] != "read write" || caller["issued_token_type"] != "urn:ietf:params:oauth:token-type:access_token" {
		t.Fatalf("%d %v", status, caller)
	}
	handed, _ := caller["access_token"].(string)
	status, tool := n.exchange(url.Values{"subject_token": {handed}, "actor_token": {a.delegation}, "resource": {mcpServer}, "scope": {"read"}, "requested_token_type": {"urn:ietf:params:oauth:token-type:jwt"}})
	if status != 200 || tool["scope"] != "read" || tool["issued_token_type"] != "urn:ietf:params:oauth:token-type:jwt" {
		t.Fatalf("%d %v", status, tool)
	}
	if in, _ := tool["expires_in"].(float64); in < 1 || in > 600 {
		t.Errorf("it ends in %v seconds", tool["expires_in"])
	}
	token, _ := tool["access_token"].(string)
	provider, err := oidc.NewProvider(t.Context(), n.url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: mcpServer}).Verify(t.Context(), token); err != nil {
		t.Error(err)
	}
	got := claims(t, token)
	act := fmt.Sprint(got["act"])
	if want := "map[sub:spiffe://stayd.example.com/project/a/session/" + a.session + "]"; act != want || !strings.HasPrefix(got["sub"].(string), "key_") {
		t.Errorf("%v acts: %s, want %s", got["sub"], act, want)
	}

	var expiring struct{ Key string }
	n.as("operator-a").must(&expiring, "POST", "/v1/keys", `{"name":"for a minute","expires_at":`+strconv.FormatInt(time.Now().Add(time.Minute).Unix(), 10)+`}`)
	if status, short := n.exchange(url.Values{"subject_token": {expiring.Key}, "audience": {mcpServer}}); status != 200 || short["expires_in"].(float64) > 60 {
		t.Errorf("a key that ends in a minute: %d %v", status, short)
	}

	for name, tt := range map[string]struct {
		form        url.Values
		code, wants string
	}{
		"a token for a tool":               {url.Values{"subject_token": {token}, "audience": {mailTool}}, "invalid_request", "is for '" + mcpServer + "'"},
		"a token for a tool, for that":     {url.Values{"subject_token": {token}, "audience": {mcpServer}}, "invalid_request", "tokens that are exchanged are for this issuer"},
		"another audience than may be":     {url.Values{"subject_token": {a.key}, "audience": {"https://evil.example.com"}}, "invalid_target", "may not be exchanged"},
		"one that was taken away":          {url.Values{"subject_token": {handed}, "audience": {mailTool}}, "invalid_target", "may not be exchanged"},
		"a scope that is not there":        {url.Values{"subject_token": {handed}, "audience": {mcpServer}, "scope": {"read owner"}}, "invalid_scope", "'owner'"},
		"an agent of another project":      {url.Values{"subject_token": {handed}, "actor_token": {b.delegation}, "audience": {mcpServer}}, "invalid_request", "of another project"},
		"a key that acts":                  {url.Values{"subject_token": {handed}, "actor_token": {a.key}, "audience": {mcpServer}}, "invalid_request", "The actor_token is not taken"},
		"no key of ours":                   {url.Values{"subject_token": {"stayd_bm9ib2R5.x"}, "audience": {mcpServer}}, "invalid_request", "neither an API key nor a token"},
		"a key of the operator's file":     {url.Values{"subject_token": {"operator-a"}, "audience": {mcpServer}}, "invalid_request", "neither an API key nor a token"},
		"a token of nobody":                {url.Values{"subject_token": {"e30.e30.e30"}, "audience": {mcpServer}}, "invalid_request", "neither an API key nor a token"},
		"two audiences":                    {url.Values{"subject_token": {a.key}, "audience": {mcpServer, mailTool}}, "invalid_target", "one audience"},
		"an audience and another resource": {url.Values{"subject_token": {a.key}, "audience": {mcpServer}, "resource": {mailTool}}, "invalid_target", "one audience"},
		"no audience":                      {url.Values{"subject_token": {a.key}}, "invalid_request", "'audience' or 'resource'"},
		"no subject":                       {url.Values{"audience": {mcpServer}}, "invalid_request", "'subject_token' is missing"},
		"another type of subject":          {url.Values{"subject_token": {a.key}, "subject_token_type": {"urn:ietf:params:oauth:token-type:saml2"}, "audience": {mcpServer}}, "invalid_request", "'subject_token_type' is one of"},
		"another type of result":           {url.Values{"subject_token": {a.key}, "audience": {mcpServer}, "requested_token_type": {"urn:ietf:params:oauth:token-type:refresh_token"}}, "invalid_request", "requested_token_type is"},
		"a type of no actor":               {url.Values{"subject_token": {a.key}, "audience": {mcpServer}, "actor_token_type": {"x"}}, "invalid_request", "no 'actor_token'"},
		"twice the same":                   {url.Values{"subject_token": {a.key, a.key}, "audience": {mcpServer}}, "invalid_request", "given more than once"},
		"another grant":                    {url.Values{"grant_type": {"client_credentials"}}, "unsupported_grant_type", "The only grant_type here is"},
	} {
		t.Run(name, func(t *testing.T) {
			status, out := n.exchange(tt.form)
			if why, _ := out["error_description"].(string); status != 400 || out["error"] != tt.code || !strings.Contains(why, tt.wants) {
				t.Errorf("%d %v, want %s: %s", status, out, tt.code, tt.wants)
			}
		})
	}
	if a := n.do("POST", "/oauth/token", `{"grant_type":"x"}`); a.status != 400 || !strings.Contains(a.body, `"error":"invalid_request","error_description":"Send a form`) {
		t.Errorf("JSON: %s", a)
	}

	// No token is a key of the API.
	for name, bearer := range map[string]string{"for a tool": token, "for the issuer": a.delegation, "of a caller": handed} {
		if a := n.as(bearer).do("GET", sessions, ""); a.status != 401 {
			t.Errorf("a token %s is taken as a key: %s", name, a)
		}
	}
	// What is signed for sessions is for administrators of their project.
	for name, tt := range map[string]struct {
		key    string
		status int
	}{"a writer": {a.key, 403}, "an administrator of another project": {"operator-b", 404}, "nobody": {"", 401}} {
		if got := n.as(tt.key).do("POST", sessions+"/"+a.session+"/token", `{"audience":"x"}`); got.status != tt.status {
			t.Errorf("%s: %s", name, got)
		}
	}
	for _, admin := range []string{"operator-a", a.key} {
		if got := n.as(admin).do("POST", "/v1/identity/keys/rotate", `{"now":true}`); got.status != 403 {
			t.Errorf("who is no owner rotates keys: %s", got)
		}
	}
	// A caller whose key was revoked has nothing to exchange.
	var keys struct{ Data []struct{ ID, Name string } }
	n.as("operator-a").must(&keys, "GET", "/v1/keys", "")
	for _, k := range keys.Data {
		if k.Name == "caller" {
			n.as("operator-a").must(nil, "DELETE", "/v1/keys/"+k.ID, "")
		}
	}
	if status, out := n.exchange(url.Values{"subject_token": {a.key}, "audience": {mcpServer}}); status != 400 {
		t.Errorf("a revoked key: %d %v", status, out)
	}
}

// TestNoAudiences shows that a key mints nothing where the operator names nobody.
func TestNoAudiences(t *testing.T) {
	n := issuing(t, func(c *app.Config) { c.Keys = map[string]string{"operator": "a"} })
	var key struct{ Key string }
	n.as("operator").must(&key, "POST", "/v1/keys", `{"name":"caller","scope":"admin"}`)
	for _, audience := range []string{mcpServer, n.url} {
		if status, out := n.exchange(url.Values{"subject_token": {key.Key}, "audience": {audience}}); status != 400 || out["error"] != "invalid_target" {
			t.Errorf("%s: %d %v", audience, status, out)
		}
	}
}

// TestDiscovery has what others are told, in the forms of three standards.
func TestDiscovery(t *testing.T) {
	n := issuing(t, func(c *app.Config) { c.Keys = map[string]string{"operator": "a"} })
	var found issuerObject
	n.as("operator").must(&found, "GET", "/v1/identity", "")
	for path, want := range map[string]string{
		"/.well-known/openid-configuration": `{"issuer":"URL","jwks_uri":"URL/.well-known/jwks.json","token_endpoint":"URL/oauth/token",` +
			`"grant_types_supported":["urn:ietf:params:oauth:grant-type:token-exchange"],"response_types_supported":["id_token"],` +
			`"token_endpoint_auth_methods_supported":["none"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256","EdDSA"],` +
			`"claims_supported":["iss","sub","aud","exp","iat","nbf","jti","scope","client_id","act","stayd"]}`,
		"/.well-known/oauth-authorization-server": `{"issuer":"URL","jwks_uri":"URL/.well-known/jwks.json","token_endpoint":"URL/oauth/token",` +
			`"grant_types_supported":["urn:ietf:params:oauth:grant-type:token-exchange"],"response_types_supported":[],` +
			`"token_endpoint_auth_methods_supported":["none"]}`,
	} {
		a := n.do("GET", path, "")
		if got := a.body; a.status != 200 || got != strings.ReplaceAll(want, "URL", n.url) || a.header.Get("Cache-Control") != "public, max-age=300" {
			t.Errorf("%s: %s", path, a)
		}
	}
	a := n.do("GET", "/.well-known/jwks.json", "")
	var set struct{ Keys []map[string]string }
	if err := json.Unmarshal([]byte(a.body), &set); err != nil || len(set.Keys) != 1 || a.header.Get("Cache-Control") != "public, max-age=300" {
		t.Fatalf("%v: %s", err, a)
	}
	k := set.Keys[0]
	if len(k) != 7 || k["kty"] != "EC" || k["crv"] != "P-256" || k["alg"] != "ES256" || k["use"] != "sig" || k["kid"] != found.Keys[0].ID || k["x"] == "" || k["y"] == "" {
		t.Errorf("the key is %v, want its public part and no more", k)
	}
}

// TestIdentityOff shows what is said where signing keys cannot be kept.
func TestIdentityOff(t *testing.T) {
	n := issuing(t, func(c *app.Config) { c.Store = pgtest.Start(t) })
	id := n.create("hello", "")
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/.well-known/openid-configuration", ""},
		{"GET", "/.well-known/jwks.json", ""},
		{"GET", "/v1/identity", ""},
		{"POST", "/v1/identity/keys/rotate", "{}"},
		{"POST", sessions + "/" + id + "/token", `{"audience":"` + mcpServer + `"}`},
	} {
		if a := n.do(tt.method, tt.path, tt.body); a.status != 503 || !strings.Contains(a.body, `"code":"identity_off"`) || !strings.Contains(a.body, "set --vault-key or STAYD_VAULT_KEY") {
			t.Errorf("%s %s: %s", tt.method, tt.path, a)
		}
	}
}

// TestAgentVersion shows that a token names the version of the saved agent that
// its session began with.
func TestAgentVersion(t *testing.T) {
	n := issuing(t, nil)
	var agent struct{ ID string }
	n.must(&agent, "POST", "/v1/agents", `{"model":"script/work"}`)
	n.must(nil, "POST", "/v1/agents/"+agent.ID, `{"instructions":"Be brief."}`)
	var made session
	n.must(&made, "POST", sessions, `{"environment":{"type":"none"},"agent_id":"`+agent.ID+`","input":"hello"}`)
	n.must(nil, "POST", "/v1/agents/"+agent.ID, `{"instructions":"Be long."}`)
	var s signed
	n.must(&s, "POST", sessions+"/"+made.ID+"/token", `{"audience":"`+mcpServer+`"}`)
	got := claims(t, s.Token)
	base := "spiffe://stayd.example.com/project/default/"
	if got["client_id"] != base+"agent/"+agent.ID+"/version/2" || got["sub"] != base+"session/"+made.ID || got["act"] != nil {
		t.Errorf("it says %v", got)
	}
}

// TestShown has an agent show an MCP server a token of its own, by which the server
// knows agent, session and person.
func TestShown(t *testing.T) {
	n := issuing(t, func(c *app.Config) {
		// What callers may exchange tokens for is nothing that an agent shows another server.
		c.AllowOutbound, c.TokenAudiences = []string{"127.0.0.0/8"}, []string{mcpServer}
	})
	var verifier *oidc.IDTokenVerifier
	var mu sync.Mutex
	var said []string
	tokens := map[string]bool{}
	mail := mcp.NewServer(&mcp.Implementation{Name: "mail", Version: "1"}, nil)
	mcp.AddTool(mail, &mcp.Tool{Name: "whoami"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "You are known here."}}}, nil, nil
	})
	guarded := auth.RequireBearerToken(func(ctx context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
		id, err := verifier.Verify(ctx, token)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", auth.ErrInvalidToken, err)
		}
		var c struct {
			Scope string
			Act   struct{ Sub string }
		}
		if err := id.Claims(&c); err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		said, tokens[token] = append(said, id.Subject+" by "+c.Act.Sub), true
		return &auth.TokenInfo{Scopes: strings.Fields(c.Scope), Expiration: id.Expiry}, nil
	}, &auth.RequireBearerTokenOptions{Scopes: []string{"mail.read"}})(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return mail }, nil))
	server := httptest.NewServer(guarded)
	defer server.Close()
	provider, err := oidc.NewProvider(t.Context(), n.url)
	if err != nil {
		t.Fatal(err)
	}
	verifier = provider.Verifier(&oidc.Config{ClientID: server.URL})
	ask := func(at, identity string) (string, string) {
		var made session
		n.must(&made, "POST", sessions, `{"environment":{"type":"none"},"input":"Who am I?","actor":"ann","agent":{"model":"script/guarded",`+
			`"tools":[{"type":"mcp","server_label":"mail","required":true,"identity":`+identity+`,"transport":{"type":"http","server_url":"`+at+`"}}]}}`)
		n.until(made.ID, "idle")
		turns, items := n.turns(made.ID), n.items(made.ID)
		last := items[len(items)-1].text()
		if e := turns[0].Error; e != nil {
			last += e.Message
		}
		return made.ID, last
	}
	call := func(path, identity string) (string, string) { return ask(server.URL+path, identity) }
	id, got := call("", `{"scope":["mail.read"]}`)
	if !strings.Contains(got, "You are known here.") {
		t.Errorf("answered %q", got)
	}
	want := "ann by spiffe://stayd.example.com/project/default/session/" + id
	if len(said) == 0 || slices.ContainsFunc(said, func(s string) bool { return s != want }) {
		t.Errorf("the server was told %q, want %s", said, want)
	}
	if len(tokens) != 1 || len(said) < 3 {
		t.Errorf("%d requests had %d tokens, want one", len(said), len(tokens))
	}
	if _, got := call("/other", `{"scope":["mail.read"]}`); !strings.Contains(got, "it does not take the token of the agent") {
		t.Errorf("a token for another path of the server: %q", got)
	}
	if _, got := call("", `{}`); !strings.Contains(got, "Forbidden") {
		t.Errorf("without the scope: %q", got)
	}
	if _, got := call("", `{"audience":"`+server.URL+`","scope":["mail.read"]}`); !strings.Contains(got, "You are known here.") {
		t.Errorf("a token for the server, by its name: %q", got)
	}
	before := len(said)
	for _, audience := range []string{mcpServer, "https://another.example.com", server.URL + "/"} {
		if _, got := call("", `{"audience":"`+audience+`"}`); !strings.Contains(got, "is shown to that server alone; have the tool's identity.audience be the exact URL") {
			t.Errorf("a token for %s: %q", audience, got)
		}
	}
	// Over a connection that others can read no token is sent.
	open := strings.Replace(server.URL, "127.0.0.1", "mail.example.com", 1)
	if _, got := ask(open, `{}`); !strings.Contains(got, "a token of the agent is not shown to") || !strings.Contains(got, "without encryption to this machine only") {
		t.Errorf("a token for %s: %q", open, got)
	}
	if len(said) != before {
		t.Errorf("the server was told %q", said[before:])
	}
}

// TestOtherCaller has a caller with a token of another issuer exchange it, by a
// client of RFC 8693 that is not ours.
func TestOtherCaller(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	n := issuing(t, func(c *app.Config) {
		c.Issuers, c.AllowOutbound, c.TokenAudiences = issuersOf(t, p).Issuers, []string{"127.0.0.0/8"}, []string{mcpServer}
	})
	exchanger, err := tokenexchange.NewTokenExchanger(t.Context(), n.url)
	if err != nil {
		t.Fatal(err)
	}
	exchange := func(token, audience string) (*zitadel.TokenExchangeResponse, error) {
		return tokenexchange.ExchangeToken(t.Context(), exchanger, token, zitadel.AccessTokenType, "", "", nil, []string{audience}, []string{"read"}, zitadel.JWTTokenType)
	}
	ends := time.Now().Add(2 * time.Minute).Unix()
	got, err := exchange(tokenOf(p, "guests", "exp", ends), mcpServer)
	if err != nil {
		t.Fatal(err)
	}
	if got.TokenType != "Bearer" || got.IssuedTokenType != zitadel.JWTTokenType || got.Scopes.String() != "read" || got.ExpiresIn > 120 {
		t.Errorf("granted %+v", got)
	}
	says, who := claims(t, got.AccessToken), strings.TrimPrefix(p.URL, "http://")+"#ann"
	if stayd := fmt.Sprint(says["stayd"]); says["sub"] != who || says["client_id"] != who || says["aud"] != mcpServer || stayd != "map[project:people]" || says["exp"].(float64) > float64(ends) {
		t.Errorf("it says %v", says)
	}
	for name, tt := range map[string]struct{ token, audience, want string }{
		"another audience":      {tokenOf(p, "guests"), mailTool, "invalid_target"},
		"who is bound to one":   {tokenOf(p, "staff"), mcpServer, "may act for 'ann@example.com' alone"},
		"nobody's place":        {tokenOf(p, "strangers"), mcpServer, "The subject_token is not taken"},
		"one that has expired":  {tokenOf(p, "guests", "exp", time.Now().Add(-time.Hour).Unix()), mcpServer, "The subject_token is not taken"},
		"one for somebody else": {tokenOf(p, "guests", "aud", "other"), mcpServer, "The subject_token is not taken"},
		"what was exchanged":    {got.AccessToken, mcpServer, "tokens that are exchanged are for this issuer"},
		"a broken signature":    {tokenOf(p, "guests") + "x", mcpServer, "The subject_token is not taken"},
	} {
		if got, err := exchange(tt.token, tt.audience); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v %v, want %q", name, got, err, tt.want)
		}
	}
	p.SetDown(true)
	p.Rotate(jose.RS256)
	if _, err := exchange(tokenOf(p, "guests"), mcpServer); err == nil || !strings.Contains(err.Error(), "cannot be asked for its keys now") {
		t.Errorf("an issuer that is away: %v", err)
	}
	cfg := config(t)
	cfg.PublicURL = p.URL
	cfg.Issuers = issuersOf(t, p).Issuers
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "is this server, whose tokens are for others") {
		t.Errorf("a server that takes its own tokens: %v", err)
	}
}
