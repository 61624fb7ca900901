package vaults

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/vault"
)

// credentialBody is a new credential.
type credentialBody struct {
	Name     string                         `json:"name" doc:"1 to 256 bytes after spaces around it are taken off."`
	Auth     authBody                       `json:"auth"`
	Metadata httpapi.Opt[map[string]string] `json:"metadata,omitzero" doc:"Up to 16 pairs, with keys up to 64 and values up to 512 characters."`
	Actor    string                         `json:"actor,omitzero" doc:"Whose the credential is: it is used in sessions with them and when they speak, and never for others. An addition of Stayd's."`
}

func (b *credentialBody) credential() vault.NewCredential {
	n := vault.NewCredential{Name: b.Name, Metadata: b.Metadata.V, Auth: vault.Auth{Type: b.Auth.Type, ServerURL: b.Auth.ServerURL}}
	a := &b.Auth
	switch a.Type {
	case vault.TypeBearer:
		n.Secrets.Token = vault.NewSecret(a.Token)
	case vault.TypeEnvironment:
		n.Secrets.Token = vault.NewSecret(a.SecretValue)
		n.Auth.SecretName = a.SecretName
		if a.Networking.Type == networkLimited {
			n.Auth.AllowedHosts = append([]string{}, a.Networking.AllowedHosts...)
		}
	case vault.TypeClient:
		n.Secrets.ClientSecret = vault.NewSecret(a.Client.Secret)
		n.Auth.Client = &vault.Client{
			ClientID: a.ClientID, Grant: a.Grant, TokenEndpoint: a.TokenEndpoint, TokenEndpointAuth: a.Client.Type,
			AuthorizationEndpoint: orNil(a.AuthorizationEndpoint), Resource: orNil(a.Resource), Scope: orNil(a.Scope), Audience: a.Client.Audience.V,
		}
	case vault.TypeOAuth:
		n.Secrets.Token = vault.NewSecret(a.AccessToken)
		n.Auth.ExpiresAt = orNil(a.ExpiresAt)
		if a.Refresh.Given() {
			r := &a.Refresh.V
			n.Auth.Refresh = &vault.Refresh{
				ClientID: r.ClientID, TokenEndpoint: r.TokenEndpoint, TokenEndpointAuth: r.Client.Type, Resource: orNil(r.Resource), Scope: orNil(r.Scope),
			}
			n.Secrets.RefreshToken, n.Secrets.ClientSecret = vault.NewSecret(r.RefreshToken), vault.NewSecret(r.Client.Secret)
		}
	}
	return n
}

func orNil(o httpapi.Opt[string]) *string {
	if !o.Given() {
		return nil
	}
	return &o.V
}

// authBody is a way to authenticate, of any type.
type authBody struct {
	Type        string                   `json:"type"`
	ServerURL   string                   `json:"mcp_server_url"`
	Token       string                   `json:"token"`
	AccessToken string                   `json:"access_token"`
	ExpiresAt   httpapi.Opt[string]      `json:"expires_at"`
	Refresh     httpapi.Opt[refreshBody] `json:"refresh"`
	SecretName  string                   `json:"secret_name"`
	SecretValue string                   `json:"secret_value"`
	Networking  networkingBody           `json:"networking"`

	ClientID              string              `json:"client_id"`
	Grant                 string              `json:"grant"`
	TokenEndpoint         string              `json:"token_endpoint"`
	AuthorizationEndpoint httpapi.Opt[string] `json:"authorization_endpoint"`
	Client                clientBody          `json:"token_endpoint_auth"`
	Resource              httpapi.Opt[string] `json:"resource"`
	Scope                 httpapi.Opt[string] `json:"scope"`
}

// Schema tells the types apart.
func (authBody) Schema(r huma.Registry) *huma.Schema {
	return byType(map[string]*huma.Schema{
		vault.TypeBearer: httpapi.SchemaOf[bearerBody](r), vault.TypeOAuth: httpapi.SchemaOf[oauthBody](r), vault.TypeEnvironment: httpapi.SchemaOf[variableBody](r),
		vault.TypeClient: httpapi.SchemaOf[oauthClientBody](r),
	})
}

type bearerBody struct {
	Type      string `json:"type" enum:"static_bearer"`
	ServerURL string `json:"mcp_server_url" doc:"The https URL of the MCP server; http to this machine is taken too."`
	Token     string `json:"token" doc:"Never returned."`
}

type oauthBody struct {
	Type        string                   `json:"type" enum:"mcp_oauth"`
	ServerURL   string                   `json:"mcp_server_url" doc:"The https URL of the MCP server; http to this machine is taken too."`
	AccessToken string                   `json:"access_token" doc:"Never returned."`
	ExpiresAt   httpapi.Opt[string]      `json:"expires_at,omitzero" doc:"When the access token expires, in RFC 3339."`
	Refresh     httpapi.Opt[refreshBody] `json:"refresh,omitzero"`
}

// oauthClientBody is a client that gets tokens. It is an addition of Stayd's.
type oauthClientBody struct {
	Type                  string              `json:"type" enum:"oauth_client"`
	ServerURL             string              `json:"mcp_server_url" doc:"The https URL of the MCP server; http to this machine is taken too."`
	ClientID              string              `json:"client_id"`
	Grant                 string              `json:"grant" enum:"client_credentials,authorization_code" doc:"client_credentials uses the server in the client's own name; authorization_code asks people to consent."`
	TokenEndpoint         string              `json:"token_endpoint" doc:"An https URL."`
	AuthorizationEndpoint httpapi.Opt[string] `json:"authorization_endpoint,omitzero" doc:"Where people consent; where it is left out, the server is asked. With the grant authorization_code alone."`
	Client                clientBody          `json:"token_endpoint_auth"`
	Resource              httpapi.Opt[string] `json:"resource,omitzero"`
	Scope                 httpapi.Opt[string] `json:"scope,omitzero" doc:"Scopes with spaces between them."`
}

type refreshBody struct {
	ClientID      string              `json:"client_id"`
	RefreshToken  string              `json:"refresh_token" doc:"Never returned."`
	TokenEndpoint string              `json:"token_endpoint" doc:"An https URL."`
	Client        secretClientBody    `json:"token_endpoint_auth"`
	Resource      httpapi.Opt[string] `json:"resource,omitzero"`
	Scope         httpapi.Opt[string] `json:"scope,omitzero" doc:"Scopes with spaces between them."`
}

// clientBody is how a client shows who it is, of any type.
type clientBody struct {
	Type     string              `json:"type"`
	Secret   string              `json:"client_secret"`
	Audience httpapi.Opt[string] `json:"audience"`
}

// Schema tells the types apart.
func (clientBody) Schema(r huma.Registry) *huma.Schema {
	ways := clientWays(r)
	ways[vault.ClientKey] = httpapi.SchemaOf[clientKeyBody](r)
	return byType(ways)
}

// secretClientBody is one of those that the Agents API has.
type secretClientBody clientBody

// Schema tells the types apart.
func (secretClientBody) Schema(r huma.Registry) *huma.Schema { return byType(clientWays(r)) }

func clientWays(r huma.Registry) map[string]*huma.Schema {
	return map[string]*huma.Schema{
		vault.ClientNone: httpapi.SchemaOf[clientNone](r), vault.ClientBasic: httpapi.SchemaOf[clientBasicBody](r), vault.ClientPost: httpapi.SchemaOf[clientPostBody](r),
	}
}

// clientKeyBody is a client that signs by the key of the runtime. It is an addition
// of Stayd's.
type clientKeyBody struct {
	Type     string              `json:"type" enum:"private_key_jwt"`
	Audience httpapi.Opt[string] `json:"audience,omitzero" doc:"For whom the runtime signs, as an issuer's URL, on the server of the token endpoint; where it is left out, it is that endpoint."`
}

type clientNone struct {
	Type string `json:"type" enum:"none"`
}

type clientBasicBody struct {
	Type   string `json:"type" enum:"client_secret_basic"`
	Secret string `json:"client_secret" doc:"Never returned."`
}

type clientPostBody struct {
	Type   string `json:"type" enum:"client_secret_post"`
	Secret string `json:"client_secret" doc:"Never returned."`
}

type variableBody struct {
	Type        string         `json:"type" enum:"environment_variable"`
	SecretName  string         `json:"secret_name" doc:"The variable that programs find a placeholder in."`
	SecretValue string         `json:"secret_value" doc:"Never returned."`
	Networking  networkingBody `json:"networking"`
}

// networkingBody says where a secret may be sent.
type networkingBody struct {
	Type         string   `json:"type"`
	AllowedHosts []string `json:"allowed_hosts"`
}

const (
	networkUnrestricted = "unrestricted"
	networkLimited      = "limited"
)

// Schema tells the types apart.
func (networkingBody) Schema(r huma.Registry) *huma.Schema {
	return byType(map[string]*huma.Schema{
		networkUnrestricted: httpapi.SchemaOf[networkingUnrestricted](r), networkLimited: httpapi.SchemaOf[networkingLimited](r),
	})
}

type networkingUnrestricted struct {
	Type string `json:"type" enum:"unrestricted"`
}

type networkingLimited struct {
	Type         string   `json:"type" enum:"limited"`
	AllowedHosts []string `json:"allowed_hosts" doc:"1 to 16 names of hosts or IPv4 addresses, without scheme, port, path and wildcard."`
}

// rotationBody is what a credential gets instead of what it has.
type rotationBody struct {
	Auth     httpapi.Opt[authRotation]      `json:"auth,omitzero"`
	Metadata httpapi.Opt[map[string]string] `json:"metadata,omitzero" doc:"All of it, in place of what was there."`
}

// authRotation is new secrets, of any type.
type authRotation struct {
	Type        string                       `json:"type"`
	Token       httpapi.Opt[string]          `json:"token"`
	AccessToken httpapi.Opt[string]          `json:"access_token"`
	SecretValue httpapi.Opt[string]          `json:"secret_value"`
	ExpiresAt   httpapi.Opt[string]          `json:"expires_at"`
	Refresh     httpapi.Opt[refreshRotation] `json:"refresh"`

	ClientSecret httpapi.Opt[string] `json:"client_secret"`
	Scope        httpapi.Opt[string] `json:"scope"`
}

// Schema tells the types apart.
func (authRotation) Schema(r huma.Registry) *huma.Schema {
	return byType(map[string]*huma.Schema{
		vault.TypeBearer: httpapi.SchemaOf[bearerRotation](r), vault.TypeOAuth: httpapi.SchemaOf[oauthRotation](r), vault.TypeEnvironment: httpapi.SchemaOf[variableRotation](r),
		vault.TypeClient: httpapi.SchemaOf[oauthClientRotation](r),
	})
}

type bearerRotation struct {
	Type  string `json:"type" enum:"static_bearer"`
	Token string `json:"token" doc:"Never returned."`
}

type variableRotation struct {
	Type        string `json:"type" enum:"environment_variable"`
	SecretValue string `json:"secret_value" doc:"Never returned."`
}

type oauthRotation struct {
	Type        string                       `json:"type" enum:"mcp_oauth"`
	AccessToken httpapi.Opt[string]          `json:"access_token,omitzero" doc:"Never returned."`
	ExpiresAt   httpapi.Opt[string]          `json:"expires_at,omitzero" doc:"In RFC 3339. Where it is left out, a new access token has none."`
	Refresh     httpapi.Opt[refreshRotation] `json:"refresh,omitzero"`
}

type oauthClientRotation struct {
	Type         string              `json:"type" enum:"oauth_client"`
	ClientSecret httpapi.Opt[string] `json:"client_secret,omitzero" doc:"Never returned."`
	Scope        httpapi.Opt[string] `json:"scope,omitzero" doc:"null asks for none any more."`
}

type refreshRotation struct {
	RefreshToken httpapi.Opt[string]         `json:"refresh_token,omitzero" doc:"Never returned."`
	Scope        httpapi.Opt[string]         `json:"scope,omitzero" doc:"null sends none any more."`
	Client       httpapi.Opt[clientRotation] `json:"token_endpoint_auth,omitzero"`
}

// clientRotation is a new secret of a client, of any type that has one.
type clientRotation struct {
	Type   string              `json:"type"`
	Secret httpapi.Opt[string] `json:"client_secret"`
}

// Schema tells the types apart.
func (clientRotation) Schema(r huma.Registry) *huma.Schema {
	return byType(map[string]*huma.Schema{
		vault.ClientBasic: httpapi.SchemaOf[clientBasicRotation](r), vault.ClientPost: httpapi.SchemaOf[clientPostRotation](r),
	})
}

type clientBasicRotation struct {
	Type   string              `json:"type" enum:"client_secret_basic"`
	Secret httpapi.Opt[string] `json:"client_secret,omitzero" doc:"Never returned."`
}

type clientPostRotation struct {
	Type   string              `json:"type" enum:"client_secret_post"`
	Secret httpapi.Opt[string] `json:"client_secret,omitzero" doc:"Never returned."`
}

func (b *rotationBody) rotation() vault.Rotation {
	rot := vault.Rotation{SetMetadata: b.Metadata.Set, Metadata: b.Metadata.V}
	if !b.Auth.Given() {
		return rot
	}
	a := &b.Auth.V
	rot.Auth = &vault.AuthRotation{Type: a.Type, SetExpiresAt: a.ExpiresAt.Set, ExpiresAt: orNil(a.ExpiresAt)}
	rot.Auth.SetScope, rot.Auth.Scope, rot.Auth.ClientSecret = a.Scope.Set, orNil(a.Scope), secret(a.ClientSecret)
	for _, token := range []httpapi.Opt[string]{a.Token, a.AccessToken, a.SecretValue} {
		if token.Given() {
			rot.Auth.Token = secret(token)
		}
	}
	if a.Refresh.Given() {
		r := &a.Refresh.V
		rot.Auth.Refresh = &vault.RefreshRotation{RefreshToken: secret(r.RefreshToken), SetScope: r.Scope.Set, Scope: orNil(r.Scope)}
		if r.Client.Given() {
			rot.Auth.Refresh.TokenEndpointAuth, rot.Auth.Refresh.ClientSecret = r.Client.V.Type, secret(r.Client.V.Secret)
		}
	}
	return rot
}

func secret(o httpapi.Opt[string]) *vault.Secret {
	if !o.Given() {
		return nil
	}
	s := vault.NewSecret(o.V)
	return &s
}
