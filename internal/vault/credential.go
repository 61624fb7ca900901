package vault

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Secret is a text that is shown nowhere: printed, logged or encoded it is a
// placeholder.
type Secret struct{ text string }

// NewSecret hides a text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal returns the text, to be handed to whom it is meant for.
func (s Secret) Reveal() string { return s.text }

// hidden is what is seen of a secret.
const hidden = "[secret]"

func (Secret) String() string { return hidden }

// Format is as String, for every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue is as String.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalJSON is as String.
func (Secret) MarshalJSON() ([]byte, error) { return json.Marshal(hidden) }

// The types of credentials.
const (
	TypeBearer      = "static_bearer"
	TypeOAuth       = "mcp_oauth"
	TypeEnvironment = "environment_variable"
	TypeClient      = "oauth_client" // Stayd's addition
)

// The grants by which an OAuth client of a credential gets tokens.
const (
	GrantClient = "client_credentials" // for itself
	GrantCode   = "authorization_code" // for people who consent
)

// The ways in which an OAuth client shows a token endpoint who it is.
const (
	ClientNone  = "none"
	ClientBasic = "client_secret_basic"
	ClientPost  = "client_secret_post"
	ClientKey   = "private_key_jwt" // by the key of the runtime; Stayd's addition
)

// Auth is how a credential is used, without its secrets.
type Auth struct {
	Type string `json:"type"`
	// Actor is whose the credential is: it is used for nobody else. Empty is nobody's
	// own, and used for all.
	Actor string `json:"actor,omitempty"`
	// ServerURL is the MCP server that a token is for, or a client gets tokens for.
	ServerURL string `json:"mcp_server_url,omitempty"`
	// ExpiresAt is when an OAuth access token ends, in RFC 3339 as it was given; nil
	// is not known.
	ExpiresAt *string  `json:"expires_at,omitempty"`
	Refresh   *Refresh `json:"refresh,omitempty"`
	// SecretName is the variable that has the placeholder of an environment's secret.
	SecretName string `json:"secret_name,omitempty"`
	// AllowedHosts are where the secret may be sent; none are all that the environment
	// may reach by name.
	AllowedHosts []string `json:"allowed_hosts,omitempty"`
	Client       *Client  `json:"client,omitempty"`
	// Consent is set where a person consented and the runtime got the tokens.
	Consent *Consent `json:"consent,omitempty"`
}

// Client is an OAuth client, without its secret.
type Client struct {
	ClientID          string `json:"client_id"`
	Grant             string `json:"grant"` // GrantClient or GrantCode
	TokenEndpoint     string `json:"token_endpoint"`
	TokenEndpointAuth string `json:"token_endpoint_auth"` // ClientNone, ClientBasic, ClientPost or ClientKey
	// Audience is for whom ClientKey signs; empty is the token endpoint.
	Audience string `json:"audience,omitempty"`
	// AuthorizationEndpoint is where people consent; nil is found out from the server.
	AuthorizationEndpoint *string `json:"authorization_endpoint,omitempty"`
	Resource              *string `json:"resource,omitempty"`
	Scope                 *string `json:"scope,omitempty"`
}

// Consent is what a person consented to.
type Consent struct {
	Issuer string `json:"issuer,omitempty"` // of the tokens; empty is not known
	Scope  string `json:"scope,omitempty"`
	// RevocationEndpoint takes tokens back; empty where there is none. The client is
	// the one that the tokens were issued to.
	RevocationEndpoint string `json:"revocation_endpoint,omitempty"`
	ClientID           string `json:"client_id"`
	TokenEndpointAuth  string `json:"token_endpoint_auth"`
	Audience           string `json:"audience,omitempty"` // as a Client has it
}

// Refresh is how an OAuth access token is renewed, without the secrets for it.
type Refresh struct {
	ClientID          string  `json:"client_id"`
	TokenEndpoint     string  `json:"token_endpoint"`
	TokenEndpointAuth string  `json:"token_endpoint_auth"` // as a Client has it, and so is Audience
	Audience          string  `json:"audience,omitempty"`
	Resource          *string `json:"resource,omitempty"`
	Scope             *string `json:"scope,omitempty"`
}

// Secrets are what of a credential is sealed. Token is the bearer token, the
// access token or the environment's secret; the others are for getting new ones.
type Secrets struct {
	Token        Secret
	RefreshToken Secret
	ClientSecret Secret
}

// Credential is what can be shown of one.
type Credential struct {
	ID        string
	VaultID   string
	Name      string
	Metadata  map[string]string
	Auth      Auth
	CreatedAt time.Time
	UpdatedAt time.Time
}

// NewCredential is a credential that is to be made.
type NewCredential struct {
	Name     string
	Metadata map[string]string
	Auth     Auth
	Secrets  Secrets
}

// Rotation is what a credential gets instead of what it has. What is nil stays.
type Rotation struct {
	SetMetadata bool
	Metadata    map[string]string
	Auth        *AuthRotation
}

// AuthRotation replaces secrets. Where the credential is for, and how a client
// shows who it is, cannot be changed.
type AuthRotation struct {
	Type  string // of the credential
	Token *Secret
	// ExpiresAt is the end of an OAuth access token. Where it is not set, a new token
	// has none.
	SetExpiresAt bool
	ExpiresAt    *string
	Refresh      *RefreshRotation
	// SetScope, Scope and ClientSecret are of an OAuth client.
	SetScope     bool
	Scope        *string
	ClientSecret *Secret
}

// RefreshRotation replaces what an OAuth access token is renewed with.
type RefreshRotation struct {
	RefreshToken *Secret
	SetScope     bool
	Scope        *string
	// TokenEndpointAuth is empty where nothing about it is said.
	TokenEndpointAuth string
	ClientSecret      *Secret
}
