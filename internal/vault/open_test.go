package vault_test

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/vault"
)

// TestOpenServer shows which credential is for which server.
func TestOpenServer(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	w.credential("a", id, bearer("https://mcp.example.com/mcp", "path"))
	w.credential("a", id, bearer("https://MCP.Example.com:443/", "root"))
	w.credential("a", id, bearer("https://mcp.example.com:8443/mcp", "port"))
	w.credential("a", id, bearer("http://127.0.0.1:9000/mcp", "loopback"))
	w.credential("a", id, bearer("https://mcp.example.com/mcp?team=blue", "query"))
	w.credential("a", id, variable("TOKEN", "variable"))
	for server, want := range map[string]string{
		"https://mcp.example.com/mcp":           "path",
		"https://mcp.example.com/mcp/":          "path",
		"HTTPS://mcp.EXAMPLE.com:443/mcp":       "path",
		"https://mcp.example.com":               "root",
		"https://mcp.example.com/":              "root",
		"https://mcp.example.com:8443/mcp":      "port",
		"http://127.0.0.1:9000/mcp":             "loopback",
		"https://mcp.example.com/mcp?team=blue": "query",
		"http://mcp.example.com/mcp":            "",
		"https://mcp.example.com/MCP":           "",
		"https://mcp.example.com/mcp/admin":     "",
		"https://mcp.example.com.evil.com/mcp":  "",
		"https://evil.com/mcp":                  "",
		"https://user@mcp.example.com/mcp":      "",
		"https://mcp.example.com/%6dcp/../mcp":  "",
		"https://mcp.example.com/mcp?team=red":  "",
		"://":                                   "",
	} {
		if got, err := w.token(w.Vaults, id, server); err != nil || got != want {
			t.Errorf("%s has the token %q: %v, want %q", server, got, err, want)
		}
	}
}

// TestChosen shows that one of several credentials for a server is meant only
// where it is named.
func TestChosen(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	first, second := w.vault("a"), w.vault("a")
	one := w.credential("a", first, bearer(server, "one"))
	two := w.credential("a", second, oauth(server))
	other := w.credential("a", second, bearer("https://other.example.com", "other"))
	foreign := w.vault("b")
	theirs := w.credential("b", foreign, bearer(server, "theirs"))

	var ambiguous *vault.AmbiguousError
	if _, err := w.OpenServer(ctx, "a", []string{second, first}, "", server, ""); !errors.As(err, &ambiguous) || !slices.Equal(ambiguous.IDs, []string{two, one}) {
		t.Errorf("two for a server: %v, want both named", err)
	}
	if got, err := w.OpenServer(ctx, "a", []string{first, first}, "", server, ""); err != nil || got.ID != one {
		t.Errorf("one vault twice: %v %v", got, err)
	}
	for id, want := range map[string]string{one: "one", two: "access-1"} {
		got, err := w.OpenServer(ctx, "a", []string{first, second}, "", server, id)
		if err != nil || got.Secrets.Token.Reveal() != want {
			t.Errorf("named, it is %v: %v, want %s", got, err, want)
		}
	}
	var gone *vault.NotFoundError
	for _, id := range []string{other, theirs, "cred_nowhere"} {
		if got, err := w.OpenServer(ctx, "a", []string{first, second}, "", server, id); !errors.As(err, &gone) || gone.ID != id {
			t.Errorf("%s, which is for another server or project, gave %v: %v", id, got, err)
		}
	}
	if got, err := w.OpenServer(ctx, "a", []string{first, foreign}, "", server, ""); !errors.As(err, &gone) || gone.ID != foreign {
		t.Errorf("a vault of another project gave %v: %v", got, err)
	}
	if got, err := w.OpenServer(ctx, "a", nil, "", server, ""); got != nil || err != nil {
		t.Errorf("without vaults: %v %v", got, err)
	}
}

// TestOpenEnvironment shows what the environment of a session is given.
func TestOpenEnvironment(t *testing.T) {
	w := newWorld(t)
	first, second := w.vault("a"), w.vault("a")
	w.credential("a", first, variable("ZULU", "z"))
	w.credential("a", first, bearer(server, "not for environments"))
	w.credential("a", second, variable("ALPHA", "a", "API.example.com", "10.0.0.1"))
	opened, err := w.OpenEnvironment(t.Context(), "a", []string{first, second}, "")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range opened {
		got = append(got, o.Auth.SecretName+"="+o.Secrets.Token.Reveal()+" to "+strings.Join(o.Auth.AllowedHosts, ","))
	}
	if diff := cmp.Diff([]string{"ALPHA=a to api.example.com,10.0.0.1", "ZULU=z to "}, got); diff != "" {
		t.Error(diff)
	}
	again := w.credential("a", second, variable("ZULU", "other"))
	var ambiguous *vault.AmbiguousError
	if _, err := w.OpenEnvironment(t.Context(), "a", []string{first, second}, ""); !errors.As(err, &ambiguous) || !slices.Contains(ambiguous.IDs, again) {
		t.Errorf("two for a variable: %v", err)
	}
}

// TestRotateCredential shows which secrets a rotation replaces, and which stay.
func TestRotateCredential(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.vault("a")
	credential := w.credential("a", id, oauth(server))
	secret := func(s string) *vault.Secret {
		v := vault.NewSecret(s)
		return &v
	}
	text := func(s string) *string { return &s }
	show := func() string {
		t.Helper()
		o, err := w.OpenServer(ctx, "a", []string{id}, "", server, "")
		if err != nil {
			t.Fatal(err)
		}
		parts := []string{o.Secrets.Token.Reveal(), o.Secrets.RefreshToken.Reveal(), o.Secrets.ClientSecret.Reveal()}
		for _, s := range []*string{o.Auth.ExpiresAt, o.Auth.Refresh.Scope} {
			if s == nil {
				s = text("none")
			}
			parts = append(parts, *s)
		}
		return strings.Join(parts, " | ")
	}
	for _, step := range []struct {
		what string
		rot  vault.AuthRotation
		want string
	}{
		{"nothing", vault.AuthRotation{}, "access-1 | refresh-1 | client-1 | 2026-06-01T00:00:00Z | read write"},
		{"expiry", vault.AuthRotation{SetExpiresAt: true, ExpiresAt: text("2027-01-01T00:00:00+02:00")}, "access-1 | refresh-1 | client-1 | 2027-01-01T00:00:00+02:00 | read write"},
		{"token", vault.AuthRotation{Token: secret("access-2")}, "access-2 | refresh-1 | client-1 | none | read write"},
		{"token and expiry", vault.AuthRotation{Token: secret("access-3"), SetExpiresAt: true, ExpiresAt: text("2028-01-01T00:00:00Z")}, "access-3 | refresh-1 | client-1 | 2028-01-01T00:00:00Z | read write"},
		{"no expiry", vault.AuthRotation{SetExpiresAt: true}, "access-3 | refresh-1 | client-1 | none | read write"},
		{"refresh token", vault.AuthRotation{Refresh: &vault.RefreshRotation{RefreshToken: secret("refresh-2")}}, "access-3 | refresh-2 | client-1 | none | read write"},
		{"scope", vault.AuthRotation{Refresh: &vault.RefreshRotation{SetScope: true, Scope: text("read")}}, "access-3 | refresh-2 | client-1 | none | read"},
		{"no scope, client secret", vault.AuthRotation{Refresh: &vault.RefreshRotation{SetScope: true, TokenEndpointAuth: vault.ClientBasic, ClientSecret: secret("client-2")}}, "access-3 | refresh-2 | client-2 | none | none"},
	} {
		step.rot.Type = vault.TypeOAuth
		if _, err := w.RotateCredential(ctx, "a", id, credential, vault.Rotation{Auth: &step.rot}, once); err != nil {
			t.Fatalf("%s: %v", step.what, err)
		}
		if got := show(); got != step.want {
			t.Errorf("%s:\ngot  %s\nwant %s", step.what, got, step.want)
		}
	}
	before := show()
	for _, wrong := range []vault.AuthRotation{
		{Type: vault.TypeBearer, Token: secret("x")},
		{Type: vault.TypeOAuth, Token: secret("")},
		{Type: vault.TypeOAuth, Token: secret("a\nb")},
		{Type: vault.TypeOAuth, Token: secret("a\xff")},
		{Type: vault.TypeOAuth, SetExpiresAt: true, ExpiresAt: text("tomorrow")},
		{Type: vault.TypeOAuth, Token: secret("x"), Refresh: &vault.RefreshRotation{TokenEndpointAuth: vault.ClientPost}},
		{Type: vault.TypeOAuth, Token: secret("x"), Refresh: &vault.RefreshRotation{ClientSecret: secret("\x00")}},
	} {
		var value *vault.ValueError
		if _, err := w.RotateCredential(ctx, "a", id, credential, vault.Rotation{Auth: &wrong}, once); !errors.As(err, &value) {
			t.Errorf("%+v: %v, want a ValueError", wrong, err)
		}
	}
	if got := show(); got != before {
		t.Errorf("what was refused changed %s to %s", before, got)
	}
}

// TestNotUTF8 shows that what is not UTF-8, and would not be what was given once it
// was stored, is refused.
func TestNotUTF8(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	named := bearer(server, "token")
	named.Name = "a\xff"
	tagged := bearer(server, "token")
	tagged.Metadata = map[string]string{"k": "\xff"}
	owned := bearer(server, "token")
	owned.Auth.Actor = "\xff"
	for what, in := range map[string]vault.NewCredential{
		"url": bearer("https://example.com/\xff", "token"), "host": bearer("https://%ff", "token"), "secret": bearer(server, "\xff"),
		"name": named, "metadata": tagged, "actor": owned,
	} {
		var value *vault.ValueError
		if c, err := w.CreateCredential(t.Context(), "a", id, in, once); !errors.As(err, &value) {
			t.Errorf("%s: %+v, %v, want a ValueError", what, c, err)
		}
	}
}

// TestRepeated shows that a repeated request is done once, and that the store has
// no hash of a request with a secret in it.
func TestRepeated(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	id := w.vault("a")
	const hash, otherHash = "hash-of-the-first", "hash-of-the-second"
	in := event.Input{Key: "k", RequestHash: hash}
	first, err := w.CreateCredential(ctx, "a", id, bearer(server, "token"), in)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := w.CreateCredential(ctx, "a", id, bearer(server, "token"), in); err != nil || again.ID != first.ID {
		t.Errorf("repeated it is %s: %v, want %s", again.ID, err, first.ID)
	}
	other := event.Input{Key: "k", RequestHash: otherHash}
	if _, err := w.CreateCredential(ctx, "a", id, bearer(server, "other"), other); !errors.Is(err, vault.ErrKeyReused) {
		t.Errorf("the key with another request: %v", err)
	}
	token := vault.NewSecret("token-2")
	rot := vault.Rotation{Auth: &vault.AuthRotation{Type: vault.TypeBearer, Token: &token}}
	for range 2 {
		if _, err := w.RotateCredential(ctx, "a", id, first.ID, rot, in); err != nil {
			t.Fatal(err)
		}
	}
	o, fields := w.row("a", credentials(id), first.ID)
	if o.Version != 2 || strings.Contains(string(o.Data), "hash") {
		t.Errorf("after one rotation, twice, the row is of version %d: %v", o.Version, fields)
	}
	if _, err := w.RotateCredential(ctx, "a", id, first.ID, vault.Rotation{SetMetadata: true}, other); !errors.Is(err, vault.ErrKeyReused) {
		t.Errorf("the key with another rotation: %v", err)
	}
}

// FuzzServer shows that a credential that is taken for a URL is found by it, and
// never for a server elsewhere.
func FuzzServer(f *testing.F) {
	for _, s := range []string{server, "https://a:443", "http://[::1]:80/x/", "https://a.b/%2f/?q#", "https://A/b//", "https://u:p@a", "https://[fe80::1%25en0]/", "https:a", "https://a:/", "https://\xf9"} {
		f.Add(s, server)
	}
	f.Add("https://%f9", "https://%fa")
	w := newWorld(f)
	id := w.vault("a")
	f.Fuzz(func(t *testing.T, s, asked string) {
		c, err := w.CreateCredential(t.Context(), "a", id, bearer(s, "token"), once)
		var value *vault.ValueError
		if errors.As(err, &value) {
			return
		}
		if err != nil {
			t.Fatalf("%q: %v", s, err)
		}
		defer func() {
			if err := w.DeleteCredential(t.Context(), "a", id, c.ID); err != nil {
				t.Error(err)
			}
		}()
		if got, err := w.OpenServer(t.Context(), "a", []string{id}, "", s, c.ID); err != nil || got.Secrets.Token.Reveal() != "token" {
			t.Errorf("%q is not found by itself: %v", s, err)
		}
		if got, err := w.OpenServer(t.Context(), "a", []string{id}, "", asked, ""); err == nil && got != nil {
			mine, err1 := url.Parse(s)
			theirs, err2 := url.Parse(asked)
			if err1 != nil || err2 != nil || !strings.EqualFold(mine.Hostname(), theirs.Hostname()) || !strings.EqualFold(mine.Scheme, theirs.Scheme) || theirs.User != nil {
				t.Errorf("%q is given what is for %q", asked, s)
			}
		}
	})
}
