package httpapi

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"math"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/oidc"
)

// DefaultProject is the project of a request that names none.
const DefaultProject = "default"

// Tokens is what the server takes of other issuers.
type Tokens struct {
	// Check says who the bearer of a token is. Its errors are those of
	// internal/identity/oidc.
	Check func(ctx context.Context, shown string) (identity.Principal, error)
	// Resource is the URL under which others reach the server, without a slash at its
	// end.
	Resource string
	Issuers  []string
	Logins   []Login
}

// admit decides whether the request is served, and for which project. Who has to
// show something, and does not, is told where to get it.
func (s *Server) admit(c *Call, pattern string) error {
	err := s.admitted(c, pattern)
	var e *Error
	if s.cfg.Tokens == nil || !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
		return err
	}
	challenge := `Bearer resource_metadata="` + s.cfg.Tokens.Resource + resourcePath + `"`
	if _, given := bearer(c.Request); given {
		challenge += `, error="invalid_token"`
	}
	c.w.Header().Set("WWW-Authenticate", challenge)
	return err
}

func (s *Server) admitted(c *Call, pattern string) error {
	shown, given := bearer(c.Request)
	required := s.cfg.RequireKey || len(s.cfg.Keys) > 0 || s.cfg.Tokens != nil
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
		return s.nothingShown()
	case required:
		return s.configured(c, shown)
	}
	if err := s.local(c.Request); err != nil {
		return err
	}
	c.Principal.Scope = identity.Owner
	return c.chooseProject()
}

func (s *Server) nothingShown() error {
	e := &Error{
		Status:  http.StatusUnauthorized,
		Message: "You didn't provide an API key. Provide it in an Authorization header using Bearer auth (Authorization: Bearer YOUR_KEY).",
	}
	if s.cfg.Tokens != nil {
		e.Message = "You provided neither an API key nor a token. Provide one in an Authorization header using Bearer auth (Authorization: Bearer YOUR_KEY). `stayd login` gets a token."
	}
	return e
}

// bearer is what the request shows as its API key.
func bearer(r *http.Request) (shown string, given bool) {
	scheme, shown, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	shown = strings.TrimSpace(shown)
	return shown, strings.EqualFold(scheme, "Bearer") && shown != ""
}

// unknown answers for what is no key of the operator's: a token, or nothing that is
// taken.
func (s *Server) unknown(c *Call, shown string) error {
	const code = "invalid_api_key"
	switch {
	case s.cfg.Tokens == nil, strings.HasPrefix(shown, identity.Prefix):
		return &Error{Status: http.StatusUnauthorized, Code: code, Message: "Incorrect API key provided."}
	case !oidc.IsToken(shown):
		return &Error{
			Status: http.StatusUnauthorized, Code: code,
			Message: "What you provided is neither an API key of this server nor a signed token (JWT) of an issuer that it takes. Opaque tokens are not taken. `stayd login` gets a token.",
		}
	}
	who, err := s.cfg.Tokens.Check(c.Context(), shown)
	var refused *oidc.RefusedError
	var nowhere *oidc.NoProjectError
	var unavailable *oidc.UnavailableError
	switch {
	case errors.As(err, &refused):
		return &Error{Status: http.StatusUnauthorized, Code: refused.Code, Message: refused.Message}
	case errors.As(err, &nowhere):
		return &Error{Status: http.StatusForbidden, Code: "no_project", Message: nowhere.Message}
	case errors.As(err, &unavailable):
		return &Error{
			Status: http.StatusServiceUnavailable, Code: "issuer_unavailable", Message: unavailable.Error(), Err: unavailable.Err,
			RetryAfter: max(1, int(math.Ceil(unavailable.After.Seconds()))),
		}
	case err != nil:
		return err
	}
	return c.act(who)
}

// act has the request served as the principal's.
func (c *Call) act(who identity.Principal) error {
	c.Principal, c.Project = who, who.Project
	if p := c.Header.Get("OpenAI-Project"); p != "" && p != who.Project {
		shown := "API key"
		if who.Issuer != "" {
			shown = "token"
		}
		return &Error{Status: http.StatusUnauthorized, Code: "mismatched_project", Message: "The OpenAI-Project header should match the project of the " + shown + "."}
	}
	return nil
}

// allow refuses an operation that the caller's key is not for.
func (c *Call) allow(scope identity.Scope) error {
	if c.server.open[c.route] || c.Principal.Scope.Includes(scope) {
		return nil
	}
	if c.Principal.Issuer != "" {
		return &Error{
			Status: http.StatusForbidden, Code: "insufficient_scope",
			Message: "This needs the scope '" + string(scope) + "', and the token provided gives '" + string(c.Principal.Scope) + "'.",
		}
	}
	return &Error{
		Status: http.StatusForbidden, Code: "insufficient_scope",
		Message: "This needs an API key with the scope '" + string(scope) + "', and the one provided has '" + string(c.Principal.Scope) + "'.",
	}
}

// unbound refuses an operation that is about everybody in the project to a caller
// who acts for one actor alone.
func (c *Call) unbound(op *Operation) error {
	if c.Principal.Actor == "" || op.Bound || op.Open {
		return nil
	}
	return &Error{
		Status: http.StatusForbidden, Code: "actor_not_allowed",
		Message: "This is about everybody in the project, and whoever shows this token acts for '" + c.Principal.Actor + "' alone.",
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

// configured takes a key that the operator set, which may manage its project, or
// else a token.
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
		return s.unknown(c, shown)
	}
	return c.act(who)
}
