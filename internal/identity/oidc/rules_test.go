package oidc_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/identity/oidc/oidctest"
)

// TestRules has who is given which place, and what the others are told.
func TestRules(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serveFile(t, `
issuers:
  - issuer: `+p.URL+`
    audience: stayd
    principals:
      - {claims: {groups: ops, level: 3}, project: a, scope: owner}
      - {claims: {realm_access.roles: [dev, qa], active: true}, project: b, scope: write, actor: user.name}
      - {claims: {"https://example.com/team": red}, project: c, scope: read}
      - {claims: {email: ann@example.com}, project: d, scope: read, actor: email}
      - {claims: {sub: robot}, project: e, scope: admin, actor: email}
`)
	is := func(project string, scope identity.Scope, sub, actor string) identity.Principal {
		return identity.Principal{ID: strings.TrimPrefix(p.URL, "http://") + "#" + sub, Issuer: p.URL, Project: project, Scope: scope, Actor: actor}
	}
	roles := func(all ...any) map[string]any { return map[string]any{"roles": all} }
	user := map[string]any{"name": "Ann"}
	const (
		good    = "The token is good, and gives 'ann' no project of this server: "
		lacks   = good + "it has no claim '"
		wrong   = good + "what its claims say is not what the server's operator lets in."
		without = "The token does not say whom its bearer acts for: it has no claim '"
	)
	for _, tt := range []struct {
		name   string
		claims []any
		want   identity.Principal
		said   string // where there is no place
	}{
		{"both claims", []any{"level", 3}, is("a", "owner", "ann", ""), ""},
		{"a number as a text", []any{"level", "3"}, is("a", "owner", "ann", ""), ""},
		{"the first rule", []any{"level", 3, "sub", "robot"}, is("a", "owner", "robot", ""), ""},
		{"one of the claims", []any{"level", 4}, identity.Principal{}, lacks + "active', 'email', 'https://example.com/team', 'realm_access.roles'. It may take another scope"},
		{"in an object", []any{"realm_access", roles("x", "qa"), "active", true, "user", user}, is("b", "write", "ann", "Ann"), ""},
		{"by the whole name", []any{"realm_access.roles", "dev", "active", true, "user.name", "Bob"}, is("b", "write", "ann", "Bob"), ""},
		{"a text that begins alike", []any{"realm_access", roles("developer"), "active", true}, identity.Principal{}, lacks},
		{"a list of lists", []any{"realm_access", roles([]string{"dev"}), "active", true}, identity.Principal{}, lacks},
		{"false", []any{"realm_access", roles("dev"), "active", false}, identity.Principal{}, lacks},
		{"null", []any{"realm_access", roles("dev"), "active", map[string]any{}}, identity.Principal{}, lacks},
		{"a name with dots", []any{"https://example.com/team", "red"}, is("c", "read", "ann", ""), ""},
		{"an address that is known to be true", []any{"email", "ann@example.com", "email_verified", true}, is("d", "read", "ann", "ann@example.com"), ""},
		{"an address that may not be", []any{"email", "ann@example.com"}, identity.Principal{}, "Its e-mail address counts only where 'email_verified' is true."},
		{"an address that is not", []any{"email", "ann@example.com", "email_verified", false}, identity.Principal{}, "Its e-mail address counts only where 'email_verified' is true."},
		{"an address that a number says is", []any{"email", "ann@example.com", "email_verified", 1}, identity.Principal{}, "Its e-mail address counts only where 'email_verified' is true."},
		{"all there and all wrong", []any{"level", 4, "realm_access", roles(), "active", true, "https://example.com/team", "blue", "email", "x@example.com", "email_verified", true}, identity.Principal{}, wrong},

		{"nobody to act for", []any{"realm_access", roles("dev"), "active", true}, identity.Principal{}, without + "user.name'"},
		{"to act for nobody", []any{"realm_access", roles("dev"), "active", true, "user.name", ""}, identity.Principal{}, without + "user.name'"},
		{"to act for several", []any{"realm_access", roles("dev"), "active", true, "user.name", []string{"ann", "bob"}}, identity.Principal{}, without + "user.name'"},
		{"to act for a line", []any{"realm_access", roles("dev"), "active", true, "user.name", "ann\nbob"}, identity.Principal{}, without + "user.name'"},
		{"to act for a long name", []any{"realm_access", roles("dev"), "active", true, "user.name", strings.Repeat("a", 257)}, identity.Principal{}, without + "user.name'"},
		{"to act for an address that may not be", []any{"sub", "robot", "email", "ann@example.com"}, identity.Principal{}, without + "email' that can be taken for that. Its e-mail address counts only where"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			token := p.Sign(s.claims(p.URL, tt.claims...))
			if tt.said == "" {
				s.taken(token, tt.want)
				return
			}
			who, err := s.Check(context.Background(), token)
			var nowhere *oidc.NoProjectError
			if !errors.As(err, &nowhere) || !strings.Contains(nowhere.Message, tt.said) || who != (identity.Principal{}) {
				t.Errorf("got %+v, %v; want %q", who, err, tt.said)
			}
			// What would have matched is nobody's business.
			for _, secret := range []string{"red", "qa", "robot"} {
				if strings.Contains(err.Error(), "'"+secret+"'") {
					t.Errorf("%q tells what would match", err)
				}
			}
		})
	}
}

// TestEverybody has a rule without claims.
func TestEverybody(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serveFile(t, "issuers: [{issuer: '"+p.URL+"', audience: stayd, principals: [{claims: {}, project: all, scope: read}]}]")
	s.taken(p.Sign(s.claims(p.URL, "groups", nil)), identity.Principal{ID: strings.TrimPrefix(p.URL, "http://") + "#ann", Issuer: p.URL, Project: "all", Scope: identity.Read})
}
