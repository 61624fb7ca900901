package credential

import (
	"slices"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/stayd/stayd/internal/vault"
)

// challenge is what a server says of the credentials that it wants (RFC 6750
// section 3, RFC 9728 section 5.1).
type challenge struct {
	metadata     string // URL of the description of its protection; empty is not said
	scope        string
	insufficient bool   // the token was good, but not for this
	scheme       string // what it wants, where that is no bearer token
}

// Bounds of what a server says of itself, in bytes.
const (
	maxChallenge = 8 << 10
	maxScope     = 2 << 10
)

// parseChallenge reads the values of WWW-Authenticate. What cannot be read counts
// as not said.
func parseChallenge(values []string) challenge {
	var c challenge
	var others []string
	found := false
	for _, v := range values {
		if len(v) > maxChallenge {
			continue
		}
		parsed, err := oauthex.ParseWWWAuthenticate([]string{v})
		if err != nil {
			continue
		}
		for _, p := range parsed {
			if p.Scheme != "bearer" {
				others = append(others, p.Scheme)
				continue
			}
			found = true
			if m := p.Params["resource_metadata"]; c.metadata == "" && vault.CheckURL(m) == nil {
				c.metadata = m
			}
			if s, ok := cleanScope(p.Params["scope"]); ok && c.scope == "" {
				c.scope = s
			}
			c.insufficient = c.insufficient || p.Params["error"] == "insufficient_scope"
		}
	}
	if !found && len(others) > 0 {
		c.scheme = clean(others[0], 20)
	}
	return c
}

// cleanScope reads scopes with spaces between them, and reports whether they are
// of the characters that scopes have (RFC 6749 section 3.3).
func cleanScope(s string) (string, bool) {
	if len(s) > maxScope {
		return "", false
	}
	for _, r := range s {
		if r < ' ' || r > '~' || r == '"' || r == '\\' {
			return "", false
		}
	}
	return strings.Join(strings.Fields(s), " "), true
}

// union joins scopes, each once, in their order.
func union(scopes ...string) string {
	var all []string
	for _, s := range scopes {
		for one := range strings.FieldsSeq(s) {
			if !slices.Contains(all, one) {
				all = append(all, one)
			}
		}
	}
	return strings.Join(all, " ")
}

// clean makes a text of a server fit to be shown: printable, and not long.
func clean(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > most {
		s = s[:most] + "..."
	}
	return s
}
