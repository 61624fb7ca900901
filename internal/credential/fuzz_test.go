package credential

import (
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/vault"
)

// FuzzLink shows that a link which is taken is the one that is made of what it
// says.
func FuzzLink(f *testing.F) {
	f.Add(strings.TrimPrefix(Link{"default", "sess_1", "eff_1", "PR00F"}.Path(), consentRoot))
	for _, s := range []string{"", ".", "a.", ".a", "YS9iL2M.n.o", "YS9iL2M=.n", "YS9iLw.n", "YS9iL2M.n\n", "0C80L0\n0.0", "YS9i\nL2M.n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, ok := ParseLink(s)
		if !ok {
			return
		}
		if l.Project == "" || l.Session == "" || l.EffectID == "" || l.Proof == "" || l.Path() != consentRoot+s {
			t.Errorf("%q is %+v, whose path is %s", s, l, l.Path())
		}
	})
}

// FuzzChallenge shows that nothing that a server says in WWW-Authenticate is kept
// which is not what it should be.
func FuzzChallenge(f *testing.F) {
	for _, s := range []string{
		`Bearer`, `Bearer realm="x", resource_metadata="https://mcp.example.com/meta", scope="a b"`, `Bearer scope="\"`, `Basic realm="x", Bearer scope=a`,
		`Bearer error="insufficient_scope", scope="a"`, "Bearer resource_metadata=\"https://u:p@x/\"", `bearer ,,,=`, "Negotiate YII=", `Bearer scope="` + "\x1b" + `"`,
	} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		c := parseChallenge([]string{a, b})
		if c.metadata != "" && vault.CheckURL(c.metadata) != nil {
			t.Errorf("the metadata is at %q", c.metadata)
		}
		if strings.ContainsAny(c.scope, "\"\\\r\n\x00") || len(c.scope) > maxScope || !utf8.ValidString(c.scope) {
			t.Errorf("the scope is %q", c.scope)
		}
		if len(c.scheme) > 30 || strings.ContainsAny(c.scheme, "\r\n\x1b") {
			t.Errorf("the scheme is %q", c.scheme)
		}
	})
}

// FuzzResource shows that no document leads away from https, nor is taken for a
// server elsewhere.
func FuzzResource(f *testing.F) {
	for _, s := range []string{
		`{"resource":"https://mcp.example.com","authorization_servers":["https://login.example.com"]}`, `{"resource":"https://mcp.example.com/mcp/"}`,
		`{"resource":"https://MCP.example.com:443/m%63p","authorization_servers":["http://169.254.169.254"]}`, `null`, `[]`, `{"resource":"//mcp.example.com"}`,
	} {
		f.Add([]byte(s), "https://mcp.example.com/mcp")
	}
	f.Fuzz(func(t *testing.T, data []byte, server string) {
		r, err := parseResource(data, server)
		if err != nil {
			return
		}
		if checkIssuer(r.Servers[0]) != nil {
			t.Errorf("the issuer is %q", r.Servers[0])
		}
		mine, err1 := url.Parse(server)
		theirs, err2 := url.Parse(r.Resource)
		if err1 != nil || err2 != nil || !strings.EqualFold(mine.Hostname(), theirs.Hostname()) || !strings.HasPrefix(mine.EscapedPath()+"/", strings.TrimSuffix(theirs.EscapedPath(), "/")+"/") {
			t.Errorf("%q is taken for %q", r.Resource, server)
		}
	})
}

// FuzzIssuer shows that no endpoint is taken to which secrets may not be sent.
func FuzzIssuer(f *testing.F) {
	const of = "https://login.example.com"
	f.Add([]byte(`{"issuer":"`+of+`","authorization_endpoint":"`+of+`/a","token_endpoint":"`+of+`/t","code_challenge_methods_supported":["S256"]}`), of)
	f.Add([]byte(`{"issuer":"`+of+`/","authorization_endpoint":"javascript:1","token_endpoint":"http://10.0.0.1","code_challenge_methods_supported":["S256"]}`), of)
	f.Add([]byte(`{"issuer":1}`), "")
	f.Fuzz(func(t *testing.T, data []byte, of string) {
		i, err := parseIssuer(data, of)
		if err != nil {
			return
		}
		for _, s := range []string{i.Authorization, i.Token, i.Registration, i.Revocation} {
			if s != "" && vault.CheckURL(s) != nil {
				t.Errorf("%q is taken", s)
			}
		}
		if strings.TrimSuffix(i.Issuer, "/") != strings.TrimSuffix(of, "/") {
			t.Errorf("%q is taken for %q", i.Issuer, of)
		}
	})
}
