package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/stayd/stayd/internal/identity"
)

// DefaultProject is the project of a request that names none.
const DefaultProject = "default"

// admit decides whether the request is served, and for which project.
func (s *Server) admit(c *Call, pattern string) error {
	shown, given := bearer(c.Request)
	required := s.cfg.RequireKey || len(s.cfg.Keys) > 0
	switch {
	case required && s.open[pattern]:
		return nil
	case given && s.cfg.Callers != nil && strings.HasPrefix(shown, identity.Prefix):
		who, err := s.cfg.Callers(c.Context(), shown)
		if errors.Is(err, identity.ErrRefused) {
			return s.configured(c, shown) // the operator's keys may be any text
		}
		if err != nil {
			return err
		}
		return c.act(who)
	case required && !given:
		return &Error{
			Status:  http.StatusUnauthorized,
			Message: "You didn't provide an API key. Provide it in an Authorization header using Bearer auth (Authorization: Bearer YOUR_KEY).",
		}
	case required:
		return s.configured(c, shown)
	}
	if err := s.local(c.Request); err != nil {
		return err
	}
	c.Principal.Scope = identity.Owner
	return c.chooseProject()
}

// bearer is what the request shows as its API key.
func bearer(r *http.Request) (shown string, given bool) {
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	shown = strings.TrimSpace(shown)
	return shown, strings.EqualFold(scheme, "Bearer") && shown != ""
}

func incorrectKey() error {
	return &Error{Status: http.StatusUnauthorized, Code: "invalid_api_key", Message: "Incorrect API key provided."}
}

// act has the request served as the principal's.
func (c *Call) act(who identity.Principal) error {
	c.Principal, c.Project = who, who.Project
	if p := c.Header.Get("OpenAI-Project"); p != "" && p != who.Project {
		return &Error{Status: http.StatusUnauthorized, Code: "mismatched_project", Message: "The OpenAI-Project header should match the project of the API key."}
	}
	return nil
}

// allow refuses an operation that the caller's key is not for.
func (c *Call) allow(scope identity.Scope) error {
	if c.server.open[c.route] || c.Principal.Scope.Includes(scope) {
		return nil
	}
	return &Error{
		Status: http.StatusForbidden, Code: "insufficient_scope",
		Message: "This needs an API key with the scope '" + string(scope) + "', and the one provided has '" + string(c.Principal.Scope) + "'.",
	}
}

// ActFor returns whom the caller acts for: the one that was asked for, which may be
// empty, or else the only one that its principal may act for. It refuses another
// than that.
func (c *Call) ActFor(actor string) (string, error) {
	only := c.Principal.Actor
	switch {
	case only == "":
		return actor, nil
	case actor == "" || actor == only:
		return only, nil
	}
	return "", &Error{
		Status: http.StatusForbidden, Code: "actor_not_allowed", Param: "actor",
		Message: "Whoever shows this token acts for '" + only + "' and for nobody else.",
	}
}

// local keeps pages that a browser on this machine has open from speaking to a
// server that asks for no credentials: by a name that was made to resolve to
// loopback, or by a request across origins.
func (s *Server) local(r *http.Request) error {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	addr, err := netip.ParseAddr(host)
	if !strings.EqualFold(host, "localhost") && (err != nil || !addr.IsLoopback()) {
		return &Error{
			Status: http.StatusForbidden, Code: "host_not_allowed",
			Message: "A server without API keys answers only to loopback names. Use http://127.0.0.1, or configure API keys.",
		}
	}
	if err := s.origin.Check(r); err != nil {
		return &Error{Status: http.StatusForbidden, Code: "cross_origin", Message: "A server without API keys takes no writes from pages of another origin."}
	}
	return nil
}

func (c *Call) chooseProject() error {
	c.Project = c.Header.Get("OpenAI-Project")
	switch {
	case c.Project == "":
		c.Project = DefaultProject
	case !ValidName(c.Project):
		return Invalid("OpenAI-Project", "A project is named by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.")
	}
	return nil
}

// ValidName reports whether s is made of 1 to 64 of [A-Za-z0-9_-].
func ValidName(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
		default:
			return false
		}
	}
	return true
}

// configured takes a key that the operator set. It may manage its project.
func (s *Server) configured(c *Call, shown string) error {
	sum := sha256.Sum256([]byte(shown))
	who := identity.Principal{Scope: identity.Admin}
	// All keys are compared, so that the time taken tells nothing.
	for have, project := range s.cfg.Keys {
		if subtle.ConstantTimeCompare(sum[:], have[:]) == 1 {
			who.Project = project
		}
	}
	if who.Project == "" {
		return incorrectKey()
	}
	return c.act(who)
}
