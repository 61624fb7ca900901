package credential_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/vault"
)

// TestWhose shows whose credentials are shown to a server.
func TestWhose(t *testing.T) {
	w := newWorld(t)
	w.must("ana", nil, "")
	w.add(static("ana", "hers"))
	w.must("ana", nil, "Bearer hers")
	w.must("bob", nil, "")
	w.must("", nil, "")
	w.add(static("", "ours"))
	w.must("ana", nil, "Bearer hers")
	w.must("bob", nil, "Bearer ours")
	w.must("", nil, "Bearer ours")
	second := w.add(static("ana", "hers too"))
	w.refused("ana", nil, "2 credentials are for this server", second)

	named := mail()
	named.CredentialID = second
	if got, err := w.Authorize(t.Context(), w.caller("ana"), named, nil); err != nil || got != "Bearer hers too" {
		t.Errorf("named, it is %q: %v", got, err)
	}
	if got, err := w.Authorize(t.Context(), w.caller("bob"), named, nil); err == nil || got != "" {
		t.Errorf("named for another, it is %q: %v", got, err)
	}
	stdio := &event.Tool{Type: "mcp", ServerLabel: "local", Transport: &event.Transport{Type: "stdio", Command: "server"}}
	if got, err := w.Authorize(t.Context(), w.caller("ana"), stdio, nil); err != nil || got != "" {
		t.Errorf("a process is shown %q: %v", got, err)
	}
}

// TestAsked shows what happens where a server asks for a credential that there is
// none of, or does not take the one that there is.
func TestAsked(t *testing.T) {
	w := newWorld(t)
	const known = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp"
	for _, c := range []struct {
		authenticate    []string
		metadata, scope string
	}{
		{nil, known, ""},
		{[]string{`Bearer`}, known, ""},
		{[]string{`Bearer realm="x", resource_metadata="https://mcp.example.com/meta", scope="mail.read mail.send"`}, "https://mcp.example.com/meta", "mail.read mail.send"},
		{[]string{`Basic realm="x"`, `bearer scope="a"`}, known, "a"},
		{[]string{`Bearer resource_metadata="http://169.254.169.254/latest"`}, known, ""},
		{[]string{`Bearer resource_metadata="javascript:alert(1)", scope="a"`}, known, "a"},
		{[]string{`Bearer resource_metadata=https://mcp.example.com/meta`}, "https://mcp.example.com/meta", ""},
		{[]string{`Bearer scope="a` + "\x00" + `b"`}, known, ""},
		{[]string{`Bearer scope="` + strings.Repeat("a ", 2000) + `"`}, known, ""},
		{[]string{`Bearer "`, `Bearer scope="b"`}, known, "b"},
		{[]string{strings.Repeat("x", 100_000)}, known, ""},
	} {
		asked := w.consent(refusal("", c.authenticate...))
		if asked.Server != server || asked.Metadata != c.metadata || asked.Scope != c.scope {
			t.Errorf("%.100q asks for %+v, want %q %q", c.authenticate, asked, c.metadata, c.scope)
		}
	}
	w.refused("ana", refusal("", `Basic realm="x"`), "mail", "'basic'")

	alone := tool.Caller{Project: project, Session: "sess_1"}
	if got, err := w.Authorize(t.Context(), alone, mail(), nil); err != nil || got != "" {
		t.Errorf("without a vault: %q %v", got, err)
	}
	_, err := w.Authorize(t.Context(), alone, mail(), refusal(""))
	if err == nil || !strings.Contains(err.Error(), "the session has no vault") || !strings.Contains(err.Error(), "vault_ids") {
		t.Errorf("without a vault: %v", err)
	}
	plain := mail()
	plain.Transport.ServerURL = "http://mcp.internal/mcp"
	if _, err := w.Authorize(t.Context(), w.caller("ana"), plain, refusal("")); err == nil || !strings.Contains(err.Error(), "by https only") {
		t.Errorf("without https: %v", err)
	}

	id := w.add(static("ana", "static-canary"))
	w.refused("ana", refusal("Bearer static-canary"), "mail", id, "put another one there")
	w.must("ana", refusal("Bearer the one before"), "Bearer static-canary")
}

// TestUnreadable shows that what is wrong with a vault is said, and not taken for
// the want of a credential.
func TestUnreadable(t *testing.T) {
	w := newWorld(t)
	w.add(static("", "token"))
	c := w.caller("")
	c.Vaults = append(c.Vaults, "vault_gone")
	if _, err := w.Authorize(t.Context(), c, mail(), nil); err == nil || !strings.Contains(err.Error(), "vault_gone") {
		t.Errorf("a vault that is not there: %v", err)
	}
	if err := w.store.DeleteObject(t.Context(), "", "vault_key", project+"/"+w.vault); err != nil {
		t.Fatal(err)
	}
	w.refused("", nil, "cannot be opened")
}

// TestWithoutRefresh shows what becomes of an access token that cannot be renewed.
func TestWithoutRefresh(t *testing.T) {
	w := newWorld(t)
	n := oauth(newEndpoint(t), "")
	n.Auth.Refresh, n.Secrets.RefreshToken, n.Secrets.ClientSecret = nil, vault.Secret{}, vault.Secret{}
	id := w.add(n)
	w.clock.pass(2 * 3600e9)
	w.must("", nil, "Bearer access-0")
	w.refused("", refusal("Bearer access-0"), id, "no refresh token")
	n.Auth.Actor = "ana"
	w.add(n)
	w.consent(refusal("Bearer access-0"))
}

// TestNamedConsent shows that a person is asked about a credential that the agent
// names only where what they bring takes its place.
func TestNamedConsent(t *testing.T) {
	w := newWorld(t)
	put := func(actor, token string) string {
		t.Helper()
		c, err := w.vaults.PutConsented(t.Context(), project, w.vault, vault.NewCredential{
			Name: "c", Auth: vault.Auth{Type: vault.TypeOAuth, Actor: actor, ServerURL: server, Consent: &vault.Consent{ClientID: "c", TokenEndpointAuth: vault.ClientNone}},
			Secrets: vault.Secrets{Token: vault.NewSecret(token)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c.ID
	}
	named := mail()
	named.CredentialID = put("", "dead")
	_, err := w.Authorize(t.Context(), w.caller("ana"), named, refusal("Bearer dead"))
	var te *tool.Error
	if !errors.As(err, &te) || !strings.Contains(te.Message, named.CredentialID) || !strings.Contains(te.Message, "leave credential_id out") {
		t.Errorf("nobody's, named in ana's turn: %v, want an error that says which it is and what to do", err)
	}
	var asked *tool.ConsentError
	if _, err := w.Authorize(t.Context(), w.caller(""), named, refusal("Bearer dead")); !errors.As(err, &asked) {
		t.Errorf("nobody's, named in nobody's turn: %v, want a person to be asked", err)
	}
	w.consent(refusal("Bearer dead")) // the agent names none
	put("ana", "alive")
	w.must("ana", nil, "Bearer alive")
	named.CredentialID = put("ana", "dead too")
	if _, err := w.Authorize(t.Context(), w.caller("ana"), named, refusal("Bearer dead too")); !errors.As(err, &asked) {
		t.Errorf("ana's own, named: %v, want her to be asked", err)
	}
}
