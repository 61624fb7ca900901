package credential_test

import (
	"testing"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/credential/oauthtest"
	"github.com/stayd/stayd/internal/vault"
)

// TestRevocationElsewhere shows that a server which names the token endpoint of a
// client of the vault, and takes tokens back itself, is not sent them.
func TestRevocationElsewhere(t *testing.T) {
	w, p, evil := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath), newEndpoint(t)
	r := p.Guard(t)
	n := client(p.URL+"/oauth/token", vault.GrantCode)
	n.Auth.ServerURL, n.Auth.Client.ClientID, n.Auth.Client.TokenEndpointAuth = r.URL, oauthtest.Web, vault.ClientBasic
	n.Auth.Client.Scope, n.Auth.Client.Resource, n.Secrets.ClientSecret = nil, nil, vault.NewSecret(oauthtest.WebSecret)
	w.add(n)
	revoked := func() {
		t.Helper()
		made, err := w.finish(w.Source, w.away(w.begin(w.asks(r))))
		if err != nil {
			t.Fatal(err)
		}
		w.Revoke(t.Context(), []vault.Opened{*w.opened(made.ID)})
	}
	p.Describe(func(doc map[string]any) { doc["revocation_endpoint"] = evil.url })
	revoked()
	if evil.count() != 0 || p.Count("revoke") != 0 {
		t.Errorf("another server is asked to take tokens back %d times: %v", evil.count(), evil.forms)
	}
	p.Describe(nil)
	revoked()
	if p.Count("revoke") != 1 {
		t.Errorf("the server of the token endpoint is asked %d times, want once", p.Count("revoke"))
	}
}

// TestRevocationAudience shows that what is signed for an issuer is not shown to
// another server that takes its tokens back: that has something of its own.
func TestRevocationAudience(t *testing.T) {
	p, other := newPublished(t), newEndpoint(t)
	p.provider.Describe(func(doc map[string]any) { doc["revocation_endpoint"] = other.url })
	made := p.signIn()
	if c := made.Auth.Consent; c.Audience != p.provider.URL || c.RevocationEndpoint != other.url {
		t.Fatalf("consented as %+v", c)
	}
	p.Revoke(t.Context(), []vault.Opened{*p.opened(made.ID)})
	if other.count() != 1 {
		t.Fatalf("it is asked %d times, want once", other.count())
	}
	if who, whom := p.asserted(other.form(0).Get("client_assertion")); who != made.Auth.Consent.ClientID || whom != other.url {
		t.Errorf("it is told that the client is %s, to %s", who, whom)
	}
}
