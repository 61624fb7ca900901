package vault_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

func of(actor string, n vault.NewCredential) vault.NewCredential {
	n.Auth.Actor = actor
	return n
}

// shown is the token that is opened for an actor.
func (w *world) shown(id, actor string) (string, error) {
	w.t.Helper()
	o, err := w.OpenServer(w.t.Context(), "a", []string{id}, actor, server, "")
	if err != nil || o == nil {
		return "", err
	}
	return o.Secrets.Token.Reveal(), nil
}

// TestActors shows whose credentials are opened for whom.
func TestActors(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	want := func(actor, token string) {
		t.Helper()
		if got, err := w.shown(id, actor); err != nil || got != token {
			t.Errorf("for %q the token is %q: %v, want %q", actor, got, err, token)
		}
	}
	hers := w.credential("a", id, of("ana", bearer(server, "hers")))
	want("ana", "hers")
	want("bob", "")
	want("", "")
	w.credential("a", id, bearer(server, "ours"))
	want("ana", "hers")
	want("bob", "ours")
	want("", "ours")
	var gone *vault.NotFoundError
	if o, err := w.OpenServer(t.Context(), "a", []string{id}, "bob", server, hers); !errors.As(err, &gone) {
		t.Errorf("hers, named for bob: %v %v", o, err)
	}
	another := w.credential("a", id, of("ana", bearer(server, "hers too")))
	var ambiguous *vault.AmbiguousError
	if got, err := w.shown(id, "ana"); !errors.As(err, &ambiguous) || len(ambiguous.IDs) != 2 {
		t.Errorf("two of hers: %q %v", got, err)
	}
	if o, err := w.OpenServer(t.Context(), "a", []string{id}, "ana", server, another); err != nil || o.ID != another {
		t.Errorf("named: %v %v", o, err)
	}

	// What she consented to goes before, and takes its own place.
	consent := of("ana", oauth(server))
	consent.Auth.Consent = &vault.Consent{Issuer: "https://login.example.com", ClientID: "client", TokenEndpointAuth: vault.ClientBasic}
	consent.Name = "consent"
	first, err := w.PutConsented(t.Context(), "a", id, consent)
	if err != nil {
		t.Fatal(err)
	}
	want("ana", "access-1")
	consent.Secrets.Token = vault.NewSecret("access-2")
	second, err := w.PutConsented(t.Context(), "a", id, consent)
	if err != nil || second.ID != first.ID {
		t.Errorf("consented again it is %s: %v, want %s", second.ID, err, first.ID)
	}
	want("ana", "access-2")
	want("bob", "ours")
	if listed, err := w.Consented(t.Context(), "a", id); err != nil || len(listed) != 1 || listed[0].ID != first.ID {
		t.Errorf("%d were consented to: %v", len(listed), err)
	}
	listed, err := w.ListCredentials(t.Context(), "a", id, vault.Page{Limit: 10, Actor: "ana"})
	if err != nil || len(listed) != 3 {
		t.Errorf("%d are hers: %v", len(listed), err)
	}
}

// TestConsentedAgain shows what stays of a credential when its person consents again.
func TestConsentedAgain(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	consent := of("ana", oauth(server))
	consent.Auth.Consent = &vault.Consent{Issuer: "https://login.example.com", ClientID: "client", TokenEndpointAuth: vault.ClientBasic}
	first, err := w.PutConsented(t.Context(), "a", id, consent)
	if err != nil {
		t.Fatal(err)
	}
	byHand := vault.NewSecret("by hand")
	rotation := vault.Rotation{SetMetadata: true, Metadata: map[string]string{"team": "mail"}, Auth: &vault.AuthRotation{Type: vault.TypeOAuth, Token: &byHand}}
	rotate := func() {
		t.Helper()
		if _, err := w.RotateCredential(t.Context(), "a", id, first.ID, rotation, event.Input{Key: "rotate-1"}); err != nil {
			t.Error(err)
		}
	}
	want := func(token string) {
		t.Helper()
		o, err := w.Open(t.Context(), "a", id, first.ID)
		if err != nil || o.Secrets.Token.Reveal() != token || o.Metadata["team"] != "mail" {
			t.Errorf("it is %+v with another token than %q: %v", o, token, err)
		}
	}
	rotate()
	want("by hand")
	consent.Secrets.Token = vault.NewSecret("access-2")
	if again, err := w.PutConsented(t.Context(), "a", id, consent); err != nil || again.Metadata["team"] != "mail" {
		t.Errorf("consented again it is %+v: %v", again, err)
	}
	want("access-2")
	rotate() // a repetition of what was done before
	want("access-2")

	// A person repairs what cannot be read any more.
	o, fields := w.row("a", credentials(id), first.ID)
	fields["sealed"] = "AAAA"
	w.forge(o, fields)
	if _, err := w.PutConsented(t.Context(), "a", id, consent); err != nil {
		t.Error(err)
	}
	want("access-2")
}

// TestActorBound shows that nobody's credential, and another's, cannot be made
// one's own in the store.
func TestActorBound(t *testing.T) {
	for from, to := range map[string]any{"ana": "bob", "bob": nil, "": "bob"} {
		w := newWorld(t)
		id := w.vault("a")
		credential := w.credential("a", id, of(from, bearer(server, "token")))
		o, fields := w.row("a", credentials(id), credential)
		auth := fields["auth"].(map[string]any)
		if auth["actor"] = to; to == nil {
			delete(auth, "actor")
		}
		w.forge(o, fields)
		if got, err := w.shown(id, "bob"); !errors.Is(err, store.ErrCorrupt) {
			t.Errorf("from %q to %v: %q %v, want ErrCorrupt", from, to, got, err)
		}
	}
}

// TestActorVariables shows which variables an environment of an actor is given.
func TestActorVariables(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	w.credential("a", id, variable("KEY", "ours"))
	w.credential("a", id, of("ana", variable("KEY", "hers")))
	w.credential("a", id, of("ana", variable("ONLY", "hers alone")))
	for actor, want := range map[string]string{"": "KEY=ours", "bob": "KEY=ours", "ana": "KEY=hers ONLY=hers alone"} {
		opened, err := w.OpenEnvironment(t.Context(), "a", []string{id}, actor)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, o := range opened {
			got = append(got, o.Auth.SecretName+"="+o.Secrets.Token.Reveal())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q is given %v, want %s", actor, got, want)
		}
	}
}

// TestClients shows what an OAuth client of a vault may be, and that its secret is
// sealed with where it goes.
func TestClients(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	made := func(change func(*vault.NewCredential)) vault.NewCredential {
		n := vault.NewCredential{
			Name: "client",
			Auth: vault.Auth{Type: vault.TypeClient, ServerURL: server, Client: &vault.Client{
				ClientID: "client", Grant: vault.GrantClient, TokenEndpoint: "https://login.example.com/token", TokenEndpointAuth: vault.ClientBasic,
			}},
			Secrets: vault.Secrets{ClientSecret: vault.NewSecret("client-secret")},
		}
		change(&n)
		return n
	}
	bad := "javascript:alert(1)"
	good := "https://login.example.com/authorize"
	for param, change := range map[string]func(*vault.NewCredential){
		"auth.mcp_server_url":                    func(n *vault.NewCredential) { n.Auth.ServerURL = "http://mcp.example.com" },
		"auth.client_id":                         func(n *vault.NewCredential) { n.Auth.Client.ClientID = "" },
		"auth.token_endpoint":                    func(n *vault.NewCredential) { n.Auth.Client.TokenEndpoint = "http://login.example.com" },
		"auth.token_endpoint_auth.client_secret": func(n *vault.NewCredential) { n.Secrets.ClientSecret = vault.Secret{} },
		"auth.token_endpoint_auth.type":          func(n *vault.NewCredential) { n.Auth.Client.TokenEndpointAuth = vault.ClientNone },
		"auth.scope":                             func(n *vault.NewCredential) { n.Auth.Client.Scope = new(string) },
		"actor":                                  func(n *vault.NewCredential) { n.Auth.Actor = strings.Repeat("a", 257) },
		"auth.authorization_endpoint":            func(n *vault.NewCredential) { n.Auth.Client.AuthorizationEndpoint = &good },
		"auth.authorization_endpoint ": func(n *vault.NewCredential) {
			n.Auth.Client.Grant, n.Auth.Client.AuthorizationEndpoint = vault.GrantCode, &bad
		},
		"auth.token_endpoint_auth.client_secret ": func(n *vault.NewCredential) { n.Secrets.ClientSecret = vault.NewSecret("a\nb") },
	} {
		var value *vault.ValueError
		_, err := w.CreateCredential(t.Context(), "a", id, made(change), once)
		if !errors.As(err, &value) || value.Param != strings.TrimSpace(param) {
			t.Errorf("%s: %v", param, err)
		}
	}
	credential := w.credential("a", id, made(func(*vault.NewCredential) {}))
	o, fields := w.row("a", credentials(id), credential)
	if strings.Contains(string(o.Data), "client-secret") {
		t.Errorf("the store has %s", o.Data)
	}
	if open, err := w.OpenServer(t.Context(), "a", []string{id}, "", server, ""); err != nil || open.Secrets.ClientSecret.Reveal() != "client-secret" {
		t.Errorf("opened: %v", err)
	}
	if open, err := w.OpenClient(t.Context(), "a", []string{id}, "", server); err != nil || open != nil {
		t.Errorf("as a client of people: %v %v", open, err)
	}
	fields["auth"].(map[string]any)["client"].(map[string]any)["token_endpoint"] = "https://evil.example.com"
	w.forge(o, fields)
	if open, err := w.OpenServer(t.Context(), "a", []string{id}, "", server, ""); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("sent elsewhere: %v %v", open, err)
	}
}

// TestClaim shows who may renew the tokens of a credential, and until when.
func TestClaim(t *testing.T) {
	w := newWorld(t)
	other := w.over(w.store)
	id := w.vault("a")
	credential := w.credential("a", id, oauth(server))
	claim := func(v *vault.Vaults, owner string, want bool) *vault.Opened {
		t.Helper()
		o, held, err := v.Claim(t.Context(), "a", id, credential, owner, time.Minute)
		if err != nil || held != want {
			t.Errorf("%s has it: %v %v, want %v", owner, held, err, want)
		}
		return o
	}
	before := claim(w.Vaults, "one", true)
	claim(other, "two", false)
	claim(w.Vaults, "one", true)
	if err := other.Release(t.Context(), "a", id, credential, "two"); err != nil {
		t.Error(err)
	}
	claim(other, "two", false)
	if err := w.Release(t.Context(), "a", id, credential, "one"); err != nil {
		t.Error(err)
	}
	after := claim(other, "two", true)
	if !after.UpdatedAt.Equal(before.UpdatedAt) || after.Secrets.Token != before.Secrets.Token {
		t.Errorf("a claim changed %+v to %+v", before, after)
	}
	renewed, err := other.Renew(t.Context(), "a", id, credential, "two", vault.Renewal{
		From: vault.NewSecret("refresh-1"), Token: vault.NewSecret("access-2"), RefreshToken: vault.NewSecret("refresh-2"), ExpiresAt: start.Add(time.Hour),
	})
	if err != nil || renewed.Secrets.Token.Reveal() != "access-2" || *renewed.Auth.ExpiresAt != "2026-05-03T10:00:00Z" {
		t.Errorf("renewed: %v", err)
	}
	claim(w.Vaults, "one", true)
	late, err := w.Renew(t.Context(), "a", id, credential, "one", vault.Renewal{From: vault.NewSecret("refresh-1"), Token: vault.NewSecret("late")})
	if err != nil || late.Secrets.Token.Reveal() != "access-2" {
		t.Errorf("too late: %v", err)
	}
	claim(other, "two", true)
	var gone *vault.NotFoundError
	if _, _, err := w.Claim(t.Context(), "a", id, "cred_nowhere", "one", time.Minute); !errors.As(err, &gone) {
		t.Errorf("none: %v", err)
	}
}
