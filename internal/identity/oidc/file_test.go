package oidc_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/oidc"
)

// TestFile has a file with everything, and one with no more than it has to have.
func TestFile(t *testing.T) {
	const file = `
issuers:
  - issuer: https://login.example.com/realms/a/
    audience: [one, two]
    client_id: cli
    scopes: [openid, groups]
    skew: 2m30s
    algorithms: ES256
    principals:
      - claims: {groups: [x, y], email: ann@example.com, admin: True, level: 3}
        project: p-1
        scope: owner
        actor: preferred_username
      - {claims: {}, project: p_2, scope: read}
  - issuer: http://127.0.0.1:8081
    audience: one
    client_id: cli
    principals: [{claims: {sub: a}, project: p, scope: write}]
`
	want := []oidc.Issuer{{
		URL: "https://login.example.com/realms/a/", Audience: []string{"one", "two"}, ClientID: "cli", Scopes: []string{"openid", "groups"},
		Skew: 150 * time.Second, Algorithms: []string{"ES256"},
		Rules: []oidc.Rule{
			{
				Claims:  map[string][]string{"groups": {"x", "y"}, "email": {"ann@example.com"}, "admin": {"true"}, "level": {"3"}},
				Project: "p-1", Scope: identity.Owner, Actor: "preferred_username",
			},
			{Claims: map[string][]string{}, Project: "p_2", Scope: identity.Read},
		},
	}, {
		URL: "http://127.0.0.1:8081", Audience: []string{"one"}, ClientID: "cli", Scopes: []string{"openid", "profile", "email", "offline_access"},
		Skew: time.Minute, Algorithms: []string{"RS256", "ES256", "EdDSA", "PS256"},
		Rules: []oidc.Rule{{Claims: map[string][]string{"sub": {"a"}}, Project: "p", Scope: identity.Write}},
	}}
	path := filepath.Join(t.TempDir(), "issuers.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := oidc.Load(path)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v, %s", err, diff)
	}
	if _, err := oidc.Load(path + ".not"); err == nil || !strings.Contains(err.Error(), "the file of issuers cannot be read") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestFileRefused has files that are refused, and what is said of which line.
func TestFileRefused(t *testing.T) {
	const start, rule = "issuers:\n  - issuer: https://a.example.com\n    audience: x\n", "    principals:\n      - {claims: {sub: a}, project: p, scope: read}\n"
	for _, tt := range []struct{ name, file, want string }{
		{"nothing", "", "f.yaml: there are no issuers; write a list of them under `issuers:`"},
		{"none", "issuers: []", "f.yaml: there are no issuers"},
		{"a list", "- issuer: https://a.example.com", "f.yaml:1: this is not of the form that is expected here"},
		{"two documents", start + rule + "---\n" + start + rule, "f.yaml: a file of issuers holds one YAML document"},
		{"no YAML", "issuers: [", "f.yaml:1: did not find expected node content"},
		{"unknown field", "providers: {}\n" + start + rule, `f.yaml:1: unknown field "providers"; known are issuers`},
		{"unknown field of an issuer", start + "    jwks: https://a\n" + rule, `f.yaml:4: unknown field "jwks"; known are issuer, audience, client_id, scopes, skew, algorithms, principals`},
		{"unknown field of a principal", start + strings.Replace(rule, "scope: read", "scope: read, role: x", 1), `f.yaml:5: unknown field "role"; known are claims, project, scope, actor`},
		{"field twice", start + "    audience: y\n" + rule, `f.yaml:4: mapping key "audience" already defined at line 3`},
		{"no issuer", "issuers:\n  - audience: x\n" + rule, `f.yaml:2: the issuer "" is not a URL like https://login.example.com`},
		{"plain http", strings.Replace(start, "https", "http", 1) + rule, `f.yaml:2: the issuer "http://a.example.com" is not reached by https`},
		{"a name like loopback", strings.Replace(start, "https://a.example.com", "http://localhost.example.com", 1) + rule, "is not reached by https"},
		{"another scheme", strings.Replace(start, "https", "file", 1) + rule, "is not reached by https"},
		{"a user", strings.Replace(start, "https://", "https://u:p@", 1) + rule, "is not a URL like"},
		{"a query", strings.Replace(start, "example.com", "example.com?x=1", 1) + rule, "is not a URL like"},
		{"no host", strings.Replace(start, "https://a.example.com", "https:///x", 1) + rule, "is not a URL like"},
		{"twice", start + rule + strings.TrimPrefix(start, "issuers:\n") + rule, "f.yaml:6: the issuer https://a.example.com is there twice"},
		{"no audience", "issuers:\n  - issuer: https://a.example.com\n" + rule, "f.yaml:2: the issuer has no audience"},
		{"empty audience", strings.Replace(start, "audience: x", "audience: ''", 1) + rule, "f.yaml:3: this is not a text"},
		{"audience of a list of lists", strings.Replace(start, "audience: x", "audience: [[x]]", 1) + rule, "f.yaml:3: this is not a text"},
		{"no audience in a list", strings.Replace(start, "audience: x", "audience: []", 1) + rule, "f.yaml:3: this is neither a text nor a list of texts"},
		{"scopes without a client", start + "    scopes: openid\n" + rule, "f.yaml:4: scopes are for `stayd login`, which needs a client_id"},
		{"long skew", start + "    skew: 5m1s\n" + rule, "f.yaml:4: the skew 5m1s is not from 0s to 5m0s"},
		{"negative skew", start + "    skew: -1s\n" + rule, "f.yaml:4: the skew -1s is not from"},
		{"skew without a unit", start + "    skew: soon\n" + rule, "f.yaml:4: this is not of the form"},
		{"none as an algorithm", start + "    algorithms: [RS256, none]\n" + rule, `f.yaml:4: the algorithm "none" is none that only the issuer can sign by; there are RS256,`},
		{"a shared secret", start + "    algorithms: HS256\n" + rule, `f.yaml:4: the algorithm "HS256" is none that only the issuer can sign by`},
		{"no principals", start, "f.yaml:2: the issuer has no principals"},
		{"no claims", start + strings.Replace(rule, "claims: {sub: a}, ", "", 1), "f.yaml:5: the principal has no claims"},
		{"null claims", start + strings.Replace(rule, "{sub: a}", "", 1), "f.yaml:5: the principal has no claims"},
		{"claim without a value", start + strings.Replace(rule, "{sub: a}", "{sub: }", 1), `f.yaml:5: the claim "sub" has no value`},
		{"claim of an object", start + strings.Replace(rule, "{sub: a}", "{sub: {a: b}}", 1), "f.yaml:5: this is neither a text nor a list of texts"},
		{"no project", start + strings.Replace(rule, "project: p, ", "", 1), `f.yaml:5: the project "" is not named by`},
		{"project with a slash", start + strings.Replace(rule, "project: p", "project: a/b", 1), `f.yaml:5: the project "a/b" is not named by`},
		{"another scope", start + strings.Replace(rule, "scope: read", "scope: root", 1), `f.yaml:5: the scope "root" is none of read, write, admin, owner`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := oidc.Parse("f.yaml", []byte(tt.file))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %+v, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// TestFileOfDocument has the file that the documentation shows.
func TestFileOfDocument(t *testing.T) {
	data, err := os.ReadFile("../../../docs/identity.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(data), "```yaml\n")
	file, _, closed := strings.Cut(rest, "```")
	if !ok || !closed {
		t.Fatal("docs/identity.md shows no file")
	}
	issuers, err := oidc.Parse("docs/identity.md", []byte(file))
	if err != nil || len(issuers) != 1 || len(issuers[0].Rules) != 3 || issuers[0].Rules[1].Actor != "preferred_username" {
		t.Errorf("got %+v, %v", issuers, err)
	}
}
