package oidc

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/identity"
)

// maxActor is the longest name of whom somebody acts for, in bytes.
const maxActor = 256

// principal is who the token's subject is here. The error is a *NoProjectError.
func (is *trusted) principal(tok *token) (identity.Principal, error) {
	for i := range is.Rules {
		r := &is.Rules[i]
		if !r.matches(tok.claims) {
			continue
		}
		who := identity.Principal{ID: is.name + "#" + tok.subject, Issuer: is.URL, Project: r.Project, Scope: r.Scope}
		if r.Actor == "" {
			return who, nil
		}
		actor, ok := r.actor(tok.claims)
		if !ok {
			return identity.Principal{}, &NoProjectError{Message: "The token does not say whom its bearer acts for: it has no claim '" + r.Actor + "' that can be taken for that." + unverified(tok.claims, r.Actor)}
		}
		who.Actor = actor
		return who, nil
	}
	return identity.Principal{}, &NoProjectError{Message: is.lacking(tok)}
}

func (r *Rule) matches(claims map[string]any) bool {
	for name, allowed := range r.Claims {
		if name == email && !emailVerified(claims) {
			return false
		}
		have, ok := claim(claims, name)
		if !ok || !matches(have, allowed) {
			return false
		}
	}
	return true
}

// actor is whom the bearer of the token acts for.
func (r *Rule) actor(claims map[string]any) (string, bool) {
	if r.Actor == email && !emailVerified(claims) {
		return "", false
	}
	v, ok := claim(claims, r.Actor)
	if !ok {
		return "", false
	}
	s, ok := v.(string)
	return s, ok && s != "" && len(s) <= maxActor && !strings.ContainsFunc(s, func(c rune) bool { return c < ' ' || c == utf8.RuneError })
}

// email is the claim that counts only where the issuer has seen that it is true.
const email = "email"

func emailVerified(claims map[string]any) bool {
	v := claims["email_verified"]
	return v == true || v == "true" // some issuers write it as a text
}

// matches reports whether a claim, or a member of one that is a list, is allowed.
func matches(have any, allowed []string) bool {
	if list, ok := have.([]any); ok {
		return slices.ContainsFunc(list, func(v any) bool { return matchesOne(v, allowed) })
	}
	return matchesOne(have, allowed)
}

func matchesOne(have any, allowed []string) bool {
	switch v := have.(type) {
	case string:
		return slices.Contains(allowed, v)
	case bool:
		return slices.Contains(allowed, strconv.FormatBool(v))
	case json.Number:
		return slices.Contains(allowed, v.String())
	}
	return false
}

// claim finds a claim by its name, which is one as it stands, or else goes into an
// object at one of its dots.
func claim(o map[string]any, name string) (any, bool) {
	if v, ok := o[name]; ok {
		return v, true
	}
	for i, c := range name {
		if c != '.' {
			continue
		}
		if inner, ok := o[name[:i]].(map[string]any); ok {
			if v, ok := claim(inner, name[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

// lacking says what would help the token to a project, without the values that
// would.
func (is *trusted) lacking(tok *token) string {
	text := "The token is good, and gives '" + tok.subject + "' no project of this server: "
	var missing []string
	for i := range is.Rules {
		for name := range is.Rules[i].Claims {
			if _, ok := claim(tok.claims, name); !ok && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	slices.Sort(missing)
	hint := ""
	if slices.ContainsFunc(is.Rules, func(r Rule) bool { return r.Claims[email] != nil }) {
		hint = unverified(tok.claims, email)
	}
	if len(missing) > 0 {
		return text + "it has no claim '" + strings.Join(missing, "', '") + "'. It may take another scope to get it, or the server's operator to let you in." + hint
	}
	return text + "what its claims say is not what the server's operator lets in." + hint
}

// unverified is a sentence for a claim that does not count as it is.
func unverified(claims map[string]any, name string) string {
	if _, ok := claims[email]; name == email && ok && !emailVerified(claims) {
		return " Its e-mail address counts only where 'email_verified' is true."
	}
	return ""
}
