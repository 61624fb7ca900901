package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/openai/openai-go/v3"
)

// RewrappedKeys says what became of the keys of vaults.
type RewrappedKeys struct {
	MasterKey string         `json:"master_key"` // id of the current one
	Keys      int            `json:"keys"`       // of vaults
	Moved     int            `json:"moved"`      // of them, from another master key
	Left      map[string]int `json:"left"`       // by the master key that the server does not have
}

// RewrapVaultKeys has the keys of all vaults encrypted under the current master
// key. Vaults and credentials themselves are the SDK's.
func (c *Client) RewrapVaultKeys(ctx context.Context) (*RewrappedKeys, error) {
	r := &RewrappedKeys{}
	return r, c.Do(ctx, http.MethodPost, "/v1/vaults/rewrap", struct{}{}, r)
}

// NewCredential is a credential that is to be made, with what Stayd adds to those
// of the SDK.
type NewCredential struct {
	Name     string            `json:"name"`
	Auth     any               `json:"auth"` // of the SDK, or an OAuthClient
	Metadata map[string]string `json:"metadata,omitempty"`
	Actor    string            `json:"actor,omitempty"` // whose it is; empty is nobody's own
}

// OAuthClient is a client that gets tokens for an MCP server.
type OAuthClient struct {
	Type                  string            `json:"type"` // "oauth_client"
	ServerURL             string            `json:"mcp_server_url"`
	ClientID              string            `json:"client_id"`
	Grant                 string            `json:"grant"` // "client_credentials" or "authorization_code"
	TokenEndpoint         string            `json:"token_endpoint"`
	AuthorizationEndpoint string            `json:"authorization_endpoint,omitempty"`
	Client                TokenEndpointAuth `json:"token_endpoint_auth"`
	Resource              string            `json:"resource,omitempty"`
	Scope                 string            `json:"scope,omitempty"`
}

// TokenEndpointAuth is how a client shows who it is.
type TokenEndpointAuth struct {
	Type     string `json:"type"` // "client_secret_basic", "client_secret_post", "private_key_jwt" or "none"
	Secret   string `json:"client_secret,omitempty"`
	Audience string `json:"audience,omitempty"` // of private_key_jwt; empty is the token endpoint
}

// AddCredential puts a credential into a vault.
func (c *Client) AddCredential(ctx context.Context, vault string, n NewCredential) (*openai.Credential, error) {
	made := &openai.Credential{}
	return made, c.Do(ctx, http.MethodPost, "/v1/vaults/"+url.PathEscape(vault)+"/credentials", n, made)
}
