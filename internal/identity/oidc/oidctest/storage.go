package oidctest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// storage is what the provider asks for its state. What the device flow does not
// need it does not have.
type storage struct {
	op.Storage
	p *Provider
}

// signingKey is a key as the provider signs with it, and publicKey as it shows it.
type signingKey struct{ key Key }

func (k signingKey) SignatureAlgorithm() jose.SignatureAlgorithm { return k.key.Algorithm }
func (k signingKey) ID() string                                  { return k.key.ID }
func (k signingKey) Key() any                                    { return k.key.Private }

type publicKey struct{ key Key }

func (k publicKey) Algorithm() jose.SignatureAlgorithm { return k.key.Algorithm }
func (k publicKey) ID() string                         { return k.key.ID }
func (k publicKey) Key() any                           { return k.key.Private.Public() }
func (k publicKey) Use() string                        { return "sig" }

func (s *storage) Health(context.Context) error { return nil }

func (s *storage) SigningKey(context.Context) (op.SigningKey, error) {
	return signingKey{s.p.Key()}, nil
}

func (s *storage) SignatureAlgorithms(context.Context) ([]jose.SignatureAlgorithm, error) {
	return []jose.SignatureAlgorithm{s.p.Key().Algorithm}, nil
}

func (s *storage) KeySet(context.Context) ([]op.Key, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	var set []op.Key
	for _, k := range s.p.keys {
		set = append(set, publicKey{k})
	}
	return set, nil
}

// client is the public client of a command line.
type client struct{ opaque bool }

func (c *client) GetID() string                       { return ClientID }
func (c *client) RedirectURIs() []string              { return nil }
func (c *client) PostLogoutRedirectURIs() []string    { return nil }
func (c *client) ApplicationType() op.ApplicationType { return op.ApplicationTypeNative }
func (c *client) AuthMethod() oidc.AuthMethod         { return oidc.AuthMethodNone }
func (c *client) ResponseTypes() []oidc.ResponseType  { return nil }
func (c *client) GrantTypes() []oidc.GrantType {
	return []oidc.GrantType{oidc.GrantTypeDeviceCode, oidc.GrantTypeRefreshToken}
}
func (c *client) LoginURL(string) string { return "" }
func (c *client) AccessTokenType() op.AccessTokenType {
	if c.opaque {
		return op.AccessTokenTypeBearer
	}
	return op.AccessTokenTypeJWT
}
func (c *client) IDTokenLifetime() time.Duration { return time.Hour }
func (c *client) DevMode() bool                  { return false }
func (c *client) RestrictAdditionalIdTokenScopes() func([]string) []string { //nolint:revive // the name is the interface's
	return func(s []string) []string { return s }
}

func (c *client) RestrictAdditionalAccessTokenScopes() func([]string) []string {
	return func(s []string) []string { return s }
}
func (c *client) IsScopeAllowed(string) bool           { return true }
func (c *client) IDTokenUserinfoClaimsAssertion() bool { return true }
func (c *client) ClockSkew() time.Duration             { return 0 }

func (s *storage) GetClientByClientID(_ context.Context, id string) (op.Client, error) {
	if id != ClientID {
		return nil, fmt.Errorf("there is no client %q", id)
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return &client{opaque: s.p.options.Opaque}, nil
}

func (s *storage) AuthorizeClientIDSecret(context.Context, string, string) error {
	return errors.New("the client has no secret")
}

// claimsOf are those of a subject.
func (s *storage) claimsOf(subject string) map[string]any {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.options.Claims[subject]
}

func (s *storage) GetPrivateClaimsFromScopes(_ context.Context, subject, _ string, _ []string) (map[string]any, error) {
	return s.claimsOf(subject), nil
}

func (s *storage) SetUserinfoFromScopes(context.Context, *oidc.UserInfo, string, string, []string) error {
	return nil
}

func (s *storage) SetUserinfoFromRequest(_ context.Context, info *oidc.UserInfo, r op.IDTokenRequest, _ []string) error {
	info.Subject = r.GetSubject()
	for name, v := range s.claimsOf(r.GetSubject()) {
		info.AppendClaims(name, v)
	}
	return nil
}

func (s *storage) StoreDeviceAuthorization(_ context.Context, clientID, deviceCode, userCode string, expires time.Time, scopes []string) error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	s.p.codes[userCode] = deviceCode
	s.p.devices[deviceCode] = &op.DeviceAuthorizationState{ClientID: clientID, Audience: s.p.options.Audience, Scopes: scopes, Expires: expires}
	return nil
}

func (s *storage) GetDeviceAuthorizatonState(_ context.Context, _, deviceCode string) (*op.DeviceAuthorizationState, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	state := s.p.devices[deviceCode]
	if state == nil {
		return nil, errors.New("there is no such device")
	}
	found := *state
	return &found, nil
}

// grant is what a refresh token stands for.
type grant struct {
	subject          string
	audience, scopes []string
	at               time.Time
}

func (g *grant) GetAMR() []string              { return nil }
func (g *grant) GetAudience() []string         { return g.audience }
func (g *grant) GetAuthTime() time.Time        { return g.at }
func (g *grant) GetClientID() string           { return ClientID }
func (g *grant) GetScopes() []string           { return g.scopes }
func (g *grant) GetSubject() string            { return g.subject }
func (g *grant) SetCurrentScopes(all []string) { g.scopes = all }

func (s *storage) CreateAccessToken(_ context.Context, _ op.TokenRequest) (string, time.Time, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	return s.p.next("access"), s.p.end(), nil
}

// CreateAccessAndRefreshTokens gives a new refresh token for the one before, which
// is good no more.
func (s *storage) CreateAccessAndRefreshTokens(_ context.Context, r op.TokenRequest, before string) (string, string, time.Time, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	delete(s.p.refresh, before)
	made := s.p.next("refresh")
	s.p.refresh[made] = &grant{subject: r.GetSubject(), audience: r.GetAudience(), scopes: r.GetScopes(), at: time.Now()}
	return s.p.next("access"), made, s.p.end(), nil
}

func (p *Provider) next(kind string) string {
	p.issued++
	return fmt.Sprintf("%s-%d", kind, p.issued)
}

func (p *Provider) end() time.Time {
	if p.options.Lifetime == 0 {
		return time.Now().Add(time.Hour)
	}
	return time.Now().Add(p.options.Lifetime)
}

func (s *storage) TokenRequestByRefreshToken(_ context.Context, token string) (op.RefreshTokenRequest, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	g := s.p.refresh[token]
	if g == nil {
		return nil, op.ErrInvalidRefreshToken
	}
	found := *g
	return &found, nil
}

func (s *storage) GetRefreshTokenInfo(_ context.Context, _, token string) (string, string, error) {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	g := s.p.refresh[token]
	if g == nil {
		return "", "", op.ErrInvalidRefreshToken
	}
	return g.subject, token, nil
}

func (s *storage) RevokeToken(_ context.Context, token, _, _ string) *oidc.Error {
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	if s.p.refresh[token] != nil {
		delete(s.p.refresh, token)
		s.p.revoked = append(s.p.revoked, token)
	}
	return nil
}
