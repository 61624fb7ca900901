package credential_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/credential/oauthtest"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/vault"
)

func client(tokenEndpoint, grant string) vault.NewCredential {
	scope, resource := "read", "https://mcp.example.com"
	return vault.NewCredential{
		Auth: vault.Auth{Type: vault.TypeClient, ServerURL: server, Client: &vault.Client{
			ClientID: "client", Grant: grant, TokenEndpoint: tokenEndpoint, TokenEndpointAuth: vault.ClientPost, Scope: &scope, Resource: &resource,
		}},
		Secrets: vault.Secrets{ClientSecret: vault.NewSecret("client-canary")},
	}
}

// TestClient shows that the token of a client is got once for all who need it, is
// got anew before it ends, when it is refused and when the client is changed.
func TestClient(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	id := w.add(client(e.url, vault.GrantClient))
	atOnce(100, func(int) { w.must("ana", nil, "Bearer access-1") })
	want := url.Values{"grant_type": {"client_credentials"}, "client_id": {"client"}, "client_secret": {"client-canary"}, "scope": {"read"}, "resource": {"https://mcp.example.com"}}
	if diff := cmp.Diff(want, e.form(0)); diff != "" || e.count() != 1 {
		t.Errorf("%d requests: %s", e.count(), diff)
	}
	w.clock.pass(time.Hour - 61*time.Second)
	w.must("", nil, "Bearer access-1")
	w.clock.pass(time.Second)
	atOnce(50, func(int) { w.must("bob", nil, "Bearer access-2") })
	atOnce(50, func(int) { w.must("bob", refusal("Bearer access-2"), "Bearer access-3") })
	secret := vault.NewSecret("another")
	_, err := w.vaults.RotateCredential(t.Context(), project, w.vault, id, vault.Rotation{Auth: &vault.AuthRotation{Type: vault.TypeClient, ClientSecret: &secret, SetScope: true}}, event.Input{})
	if err != nil {
		t.Fatal(err)
	}
	w.must("bob", nil, "Bearer access-4")
	if f := e.form(3); e.count() != 4 || f.Get("client_secret") != "another" || f.Has("scope") {
		t.Errorf("%d requests, the last one %v", e.count(), f)
	}
	e.set(fails("server_error", ""))
	w.clock.pass(time.Hour - 30*time.Second)
	w.must("bob", nil, "Bearer access-4")
	w.clock.pass(30 * time.Second)
	w.refused("bob", nil, id, "server_error")
	e.set(fails("invalid_client", "another is wrong"))
	w.refused("bob", nil, id, "invalid_client: [secret] is wrong", "put another secret there")
	w.secret("another", "client-canary")
}

// TestClientOfProvider gets a token of a whole provider.
func TestClientOfProvider(t *testing.T) {
	w, p := newWorld(t), oauthtest.Start(t, public+"/oauth/callback")
	n := client(p.URL+"/oauth/token", vault.GrantClient)
	n.Auth.Client.ClientID, n.Auth.Client.TokenEndpointAuth, n.Secrets.ClientSecret = oauthtest.Service, vault.ClientBasic, vault.NewSecret(oauthtest.ServiceSecret)
	w.add(n)
	first, err := w.show("", nil)
	if err != nil || len(first) < 20 {
		t.Fatalf("shown is %q: %v", first, err)
	}
	second, err := w.show("", refusal(first))
	if err != nil || second == first || p.Count("client_credentials") != 2 {
		t.Errorf("after it was refused, it is %q: %v", second, err)
	}
}

// TestClientOfPeople shows that a client by which people consent is no credential.
func TestClientOfPeople(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	w.add(client(e.url, vault.GrantCode))
	w.must("ana", nil, "")
	w.consent(refusal(""))
	if e.count() != 0 {
		t.Error("a token was asked for")
	}
}
