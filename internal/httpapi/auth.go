package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// DefaultProject is the project of a request that names none.
const DefaultProject = "default"

// open is what is served without credentials: it tells nothing about anybody.
var open = map[string]bool{"GET /healthz": true, "GET /readyz": true, "GET /openapi.json": true}

// admit decides whether the request is served, and for which project.
func (s *Server) admit(c *Call, pattern string) error {
	if len(s.cfg.Keys) == 0 {
		if err := s.local(c.Request); err != nil {
			return err
		}
		return c.chooseProject()
	}
	if open[pattern] {
		return nil
	}
	return s.authenticate(c)
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

func (s *Server) authenticate(c *Call) error {
	scheme, key, _ := strings.Cut(c.Header.Get("Authorization"), " ")
	key = strings.TrimSpace(key)
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return &Error{
			Status:  http.StatusUnauthorized,
			Message: "You didn't provide an API key. Provide it in an Authorization header using Bearer auth (Authorization: Bearer YOUR_KEY).",
		}
	}
	sum := sha256.Sum256([]byte(key))
	found := false
	// All keys are compared, so that the time taken tells nothing.
	for have, project := range s.cfg.Keys {
		if subtle.ConstantTimeCompare(sum[:], have[:]) == 1 {
			c.Project, found = project, true
		}
	}
	if !found {
		return &Error{Status: http.StatusUnauthorized, Code: "invalid_api_key", Message: "Incorrect API key provided."}
	}
	if p := c.Header.Get("OpenAI-Project"); p != "" && p != c.Project {
		return &Error{Status: http.StatusUnauthorized, Code: "mismatched_project", Message: "The OpenAI-Project header should match the project of the API key."}
	}
	return nil
}
