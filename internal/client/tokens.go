package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
)

const identityPath = "/v1/identity"

// Identity is the issuer of tokens of agents.
type Identity struct {
	Issuer      string       `json:"issuer"`
	TrustDomain string       `json:"trust_domain"`
	KeySet      string       `json:"jwks_uri"`
	Keys        []SigningKey `json:"keys"` // the oldest first
}

// SigningKey is a key that tokens are signed with. Times are in Unix seconds.
type SigningKey struct {
	ID         string  `json:"id"`
	Algorithm  string  `json:"algorithm"`
	Remote     *string `json:"remote"` // its name in a service; nil: the server made it
	State      string  `json:"state"`  // published, signing, retired, revoked
	CreatedAt  int64   `json:"created_at"`
	SignsFrom  int64   `json:"signs_from"`
	SignsUntil *int64  `json:"signs_until"`
}

// RawJSON is the issuer as JSON.
func (i *Identity) RawJSON() string {
	b, err := json.Marshal(i)
	if err != nil {
		return "" // what was decoded can be encoded
	}
	return string(b)
}

// Identity returns the issuer with its keys.
func (c *Client) Identity(ctx context.Context) (*Identity, error) {
	var i Identity
	return &i, c.Do(ctx, http.MethodGet, identityPath, nil, &i)
}

// RotateIdentity has tokens signed by another key: when others have had the time
// to read it, or at once, which revokes all other keys.
func (c *Client) RotateIdentity(ctx context.Context, now bool) (*Identity, error) {
	var i Identity
	return &i, c.Do(ctx, http.MethodPost, identityPath+"/keys/rotate", map[string]bool{"now": now}, &i)
}

// NewToken says what a session's token is for: an audience, or audiences that it
// can be exchanged for.
type NewToken struct {
	Audience  string   `json:"audience,omitzero"`
	Audiences []string `json:"audiences,omitzero"`
	Scope     []string `json:"scope,omitzero"`
}

// SessionToken signs a token that says what those of a session say.
func (c *Client) SessionToken(ctx context.Context, session string, n NewToken) (string, error) {
	var out struct {
		Token string `json:"token"`
	}
	return out.Token, c.Do(ctx, http.MethodPost, "/v1/agents/sessions/"+url.PathEscape(session)+"/token", n, &out)
}
