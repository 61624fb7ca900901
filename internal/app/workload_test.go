package app_test

import (
	"encoding/base64"
	"encoding/json"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/stayd/stayd/internal/app"
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
