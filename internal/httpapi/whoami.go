package httpapi

import (
	"net/http"
	"slices"
)

// Login is how a command line gets a token of an issuer for its user.
type Login struct {
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"client_id"`
	Scopes   []string `json:"scopes"`
	Audience []string `json:"audience" doc:"Whom the token has to be for: one of these."`
}

// resourcePath is where a server says which issuers it takes tokens of (RFC 9728).
const resourcePath = "/.well-known/oauth-protected-resource"

// protectedResource is what a server says of itself to whoever needs a token.
type protectedResource struct {
	Resource             string   `json:"resource"`
	AuthorizationServers []string `json:"authorization_servers"`
	ScopesSupported      []string `json:"scopes_supported,omitempty"`
	BearerMethods        []string `json:"bearer_methods_supported"`
	Logins               []Login  `json:"stayd_login" doc:"How a command line gets a token."`
}

// principalObject is who calls, on the wire.
type principalObject struct {
	Object  string  `json:"object" enum:"principal"`
	ID      *string `json:"id" doc:"Of the API key, or the subject of the token at its issuer; null for a key of the operator's, and where nobody has to say who calls."`
	Issuer  *string `json:"issuer" doc:"Of the token; null for a key."`
	Project string  `json:"project"`
	Scope   string  `json:"scope" enum:"read,write,admin,owner"`
	Actor   *string `json:"actor" doc:"Whom the caller acts for, and nobody else; null is anybody."`
}

// callers registers what tells callers who they are, and how to become one.
func (s *Server) callers() {
	s.Register(Operation{
		Method: http.MethodGet, Path: "/v1/whoami", ID: "whoami", Bound: true, Summary: "Who calls, and what for", Result: principalObject{},
		Do: func(c *Call) (any, error) {
			p := &c.Principal
			return principalObject{
				Object: "principal", ID: optional(p.ID), Issuer: optional(p.Issuer), Project: c.Project, Scope: string(p.Scope), Actor: optional(p.Actor),
			}, nil
		},
	})
	t := s.cfg.Tokens
	if t == nil {
		return
	}
	about := protectedResource{Resource: t.Resource, AuthorizationServers: t.Issuers, BearerMethods: []string{"header"}, Logins: t.Logins}
	for _, l := range t.Logins {
		about.ScopesSupported = append(about.ScopesSupported, l.Scopes...)
	}
	slices.Sort(about.ScopesSupported)
	about.ScopesSupported = slices.Compact(about.ScopesSupported)
	s.Register(Operation{
		Method: http.MethodGet, Path: resourcePath, ID: "protectedResource", Open: true, Summary: "Whose tokens the server takes (RFC 9728)", Result: about,
		Do: func(*Call) (any, error) { return about, nil },
	})
}
