// Package tokens is the wire protocol of the identity of agents: what others
// verify their tokens by (OpenID Connect Discovery, RFC 8414, JWKS), the exchange
// of tokens (RFC 8693), and what operators see and do of it. It decides nothing
// but how that is read and written.
package tokens

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/store"
)

// Config is what the protocol needs.
type Config struct {
	Issuer *workload.Issuer
	// Caller says who is the holder of an API key, or of a token of another issuer
	// that the server takes, and when what they show ends; zero is never. The error is
	// identity.ErrRefused, or a RefusedError, where nobody is.
	Caller func(ctx context.Context, shown string) (identity.Principal, time.Time, error)
	// Audiences are those that a caller may ask tokens for.
	Audiences []string
	// Subject is who acts in a session. store.ErrNotFound: the project has none.
	Subject func(ctx context.Context, project, session string) (workload.Subject, error)
	Now     func() time.Time
}

type api struct{ Config }

// The paths of standards, and those of Stayd's own.
const (
	discoveryPath = "/.well-known/openid-configuration"
	serverPath    = "/.well-known/oauth-authorization-server"
	exchangePath  = "/oauth/token"

	identityPath = "/v1/identity"
	rotatePath   = identityPath + "/keys/rotate"
	sessionPath  = "/v1/agents/sessions/{session_id}/token"
)

// Mount registers the protocol's operations.
func Mount(s *httpapi.Server, cfg Config) {
	a := &api{cfg}
	for _, op := range []httpapi.Operation{
		{Method: http.MethodGet, Path: discoveryPath, ID: "getOpenIDConfiguration", Open: true, Summary: "How tokens of agents are verified (OpenID Connect Discovery)", Result: discovery{}, Do: a.discovery},
		{Method: http.MethodGet, Path: serverPath, ID: "getAuthorizationServer", Open: true, Summary: "How tokens of agents are verified and exchanged (RFC 8414)", Result: discovery{}, Do: a.server},
		{Method: http.MethodGet, Path: workload.KeysPath, ID: "getKeySet", Open: true, Summary: "The keys that tokens of agents are signed with (JWKS)", Result: keySet{}, Do: a.keys},
		{Method: http.MethodPost, Path: exchangePath, ID: "exchangeToken", Open: true, Summary: "Exchange a token for one that says no more (RFC 8693)", Upload: mediaForm, Body: exchangeForm{}, Result: exchanged{}, Do: a.exchange},
		{Method: http.MethodGet, Path: identityPath, ID: "getIdentity", Summary: "The issuer of tokens of agents, and its keys", Result: identityObject{}, Do: a.show},
		{Method: http.MethodPost, Path: rotatePath, ID: "rotateIdentityKey", Scope: identity.Owner, Summary: "Sign tokens of agents by another key", Body: rotateSigningBody{}, Result: identityObject{}, Do: a.rotate},
		{Method: http.MethodPost, Path: sessionPath, ID: "createSessionToken", Scope: identity.Admin, Summary: "Sign a token that says what those of a session say", Body: sessionTokenBody{}, Result: sessionTokenObject{}, Do: a.session},
	} {
		s.Register(op)
	}
}

// answer says what an error means to whoever asked.
func answer(err error) error {
	var off *workload.OffError
	var value *workload.ValueError
	var same *workload.SameKeyError
	switch {
	case errors.As(err, &off):
		return &httpapi.Error{Status: http.StatusServiceUnavailable, Code: "identity_off", Err: err, Message: "Agents have no identity on this server: " + off.Why + "."}
	case errors.As(err, &value):
		return &httpapi.Error{Status: http.StatusBadRequest, Code: httpapi.CodeValue, Message: value.Message}
	case errors.As(err, &same):
		return &httpapi.Error{Status: http.StatusConflict, Code: "same_key", Message: same.Error()}
	}
	return err
}

// discovery is what is said of the issuer by both standards.
type discovery struct {
	Issuer        string   `json:"issuer"`
	KeySet        string   `json:"jwks_uri"`
	TokenEndpoint string   `json:"token_endpoint"`
	GrantTypes    []string `json:"grant_types_supported"`
	// There is no page at which a person would sign in.
	ResponseTypes   []string `json:"response_types_supported"`
	AuthMethods     []string `json:"token_endpoint_auth_methods_supported"`
	SubjectTypes    []string `json:"subject_types_supported,omitempty"`
	Algorithms      []string `json:"id_token_signing_alg_values_supported,omitempty"`
	ClaimsSupported []string `json:"claims_supported,omitempty"`
}

func (a *api) about() discovery {
	url := a.Issuer.URL()
	return discovery{
		Issuer: url, KeySet: a.Issuer.KeysURL(), TokenEndpoint: url + exchangePath,
		GrantTypes: []string{grantExchange}, ResponseTypes: []string{}, AuthMethods: []string{"none"},
	}
}

// cached answers with what others may keep for as long as they may the keys.
func cached(v any) (any, error) {
	data, err := httpapi.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode what is said of the issuer: %w", err)
	}
	return raw(http.StatusOK, "public, max-age="+strconv.Itoa(int(workload.CacheFor.Seconds())), data), nil
}

func raw(status int, cache string, data []byte) httpapi.Raw {
	return func(w http.ResponseWriter) {
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(data)))
		h.Set("Cache-Control", cache)
		w.WriteHeader(status)
		_, _ = w.Write(data) // if it fails, the client is gone
	}
}

func (a *api) discovery(c *httpapi.Call) (any, error) {
	if _, err := a.Issuer.Keys(c.Context()); err != nil {
		return nil, answer(err)
	}
	d := a.about()
	// Verifiers insist on one; it is what a token of an agent comes nearest to.
	d.ResponseTypes = []string{"id_token"}
	d.SubjectTypes, d.Algorithms = []string{"public"}, workload.Algorithms()
	d.ClaimsSupported = []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "scope", "client_id", "act", "stayd"}
	return cached(d)
}

func (a *api) server(c *httpapi.Call) (any, error) {
	if _, err := a.Issuer.Keys(c.Context()); err != nil {
		return nil, answer(err)
	}
	return cached(a.about())
}

// keySet is a JWKS in the document; workload makes the one that is sent.
type keySet struct {
	Keys []webKey `json:"keys"`
}

type webKey struct {
	Use       string `json:"use" enum:"sig"`
	KeyType   string `json:"kty" enum:"EC,OKP"`
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg" enum:"ES256,EdDSA"`
	Curve     string `json:"crv" enum:"P-256,Ed25519"`
	X         string `json:"x"`
	Y         string `json:"y,omitempty"`
}

func (a *api) keys(c *httpapi.Call) (any, error) {
	set, err := a.Issuer.Keys(c.Context())
	if err != nil {
		return nil, answer(err)
	}
	return cached(set)
}

// identityObject is the issuer on the wire, and signingKeyObject one of its keys.
type identityObject struct {
	Object      string             `json:"object" enum:"identity"`
	Issuer      string             `json:"issuer"`
	TrustDomain string             `json:"trust_domain" doc:"Of the SPIFFE ids of agents and sessions."`
	KeySet      string             `json:"jwks_uri"`
	Keys        []signingKeyObject `json:"keys"`
}

type signingKeyObject struct {
	ID         string  `json:"id"`
	Algorithm  string  `json:"algorithm"`
	Remote     *string `json:"remote" doc:"Its name in the service that has it; null where the server made it."`
	State      string  `json:"state" enum:"published,signing,retired,revoked"`
	CreatedAt  int64   `json:"created_at"`
	SignsFrom  int64   `json:"signs_from"`
	SignsUntil *int64  `json:"signs_until"`
}

func (a *api) render(keys []workload.KeyInfo) identityObject {
	o := identityObject{
		Object: "identity", Issuer: a.Issuer.URL(), TrustDomain: a.Issuer.TrustDomain(), KeySet: a.Issuer.KeysURL(), Keys: make([]signingKeyObject, len(keys)),
	}
	for n, k := range keys {
		o.Keys[n] = signingKeyObject{ID: k.ID, Algorithm: k.Algorithm, State: string(k.State), CreatedAt: k.CreatedAt.Unix(), SignsFrom: k.SignsFrom.Unix()}
		if k.Remote != "" {
			o.Keys[n].Remote = &k.Remote
		}
		if !k.SignsUntil.IsZero() {
			until := k.SignsUntil.Unix()
			o.Keys[n].SignsUntil = &until
		}
	}
	return o
}

func (a *api) show(c *httpapi.Call) (any, error) {
	keys, err := a.Issuer.List(c.Context())
	if err != nil {
		return nil, answer(err)
	}
	return a.render(keys), nil
}

type rotateSigningBody struct {
	Now bool `json:"now,omitzero" doc:"Have the new key sign at once, and revoke all others: tokens that they signed are not taken any more. Else the new key signs when others have had the time to read it."`
}

func (a *api) rotate(c *httpapi.Call) (any, error) {
	var body rotateSigningBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	keys, err := a.Issuer.Rotate(c.Context(), body.Now)
	if err != nil {
		return nil, answer(err)
	}
	return a.render(keys), nil
}

type sessionTokenBody struct {
	Audience  string   `json:"audience,omitzero" doc:"Whom the token is for."`
	Audiences []string `json:"audiences,omitzero" maxItems:"64" doc:"In place of 'audience': whom the tokens may be for that the token can be exchanged for."`
	Scope     []string `json:"scope,omitzero" maxItems:"64"`
}

type sessionTokenObject struct {
	Object    string `json:"object" enum:"agent.session.token"`
	Token     string `json:"token"`
	ExpiresAt int64  `json:"expires_at"`
}

func (a *api) session(c *httpapi.Call) (any, error) {
	var body sessionTokenBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	id := c.Path("session_id")
	s, err := a.Subject(c.Context(), c.Project, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, httpapi.NotFound("session", id)
	}
	if err != nil {
		return nil, err
	}
	if s.Actor, err = c.ActFor(s.Actor); err != nil {
		return nil, err
	}
	var token string
	var expires time.Time
	switch {
	case (body.Audience == "") == (len(body.Audiences) == 0):
		return nil, httpapi.Invalid("audience", "Give either 'audience', or 'audiences' for a token that is to be exchanged.")
	case body.Audience != "":
		token, expires, err = a.Issuer.Token(c.Context(), s, body.Audience, body.Scope)
	default:
		token, expires, err = a.Issuer.Delegation(c.Context(), s, body.Audiences, body.Scope)
	}
	if err != nil {
		return nil, answer(err)
	}
	return sessionTokenObject{Object: "agent.session.token", Token: token, ExpiresAt: expires.Unix()}, nil
}
