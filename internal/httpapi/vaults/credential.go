package vaults

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/vault"
)

type credentialObject struct {
	ID        string            `json:"id"`
	Object    string            `json:"object" enum:"vault.credential"`
	VaultID   string            `json:"vault_id"`
	Name      string            `json:"name"`
	Auth      authObject        `json:"auth"`
	Metadata  map[string]string `json:"metadata"`
	Actor     string            `json:"actor,omitempty" doc:"Whose it is; left out is nobody's own. An addition of Stayd's."`
	CreatedAt int64             `json:"created_at" doc:"Unix time in seconds."`
	UpdatedAt int64             `json:"updated_at" doc:"Unix time in seconds."`
}

// authObject is one of bearerObject, oauthObject, oauthClientObject and
// variableObject.
type authObject struct{ of any }

// MarshalJSON encodes what it is.
func (o authObject) MarshalJSON() ([]byte, error) { return httpapi.Marshal(o.of) }

// Schema tells the types apart.
func (authObject) Schema(r huma.Registry) *huma.Schema {
	return byType(map[string]*huma.Schema{
		vault.TypeBearer: httpapi.SchemaOf[bearerObject](r), vault.TypeOAuth: httpapi.SchemaOf[oauthObject](r), vault.TypeEnvironment: httpapi.SchemaOf[variableObject](r),
		vault.TypeClient: httpapi.SchemaOf[oauthClientObject](r),
	})
}

type bearerObject struct {
	Type      string `json:"type" enum:"static_bearer"`
	ServerURL string `json:"mcp_server_url"`
}

type oauthObject struct {
	Type      string         `json:"type" enum:"mcp_oauth"`
	ServerURL string         `json:"mcp_server_url"`
	ExpiresAt *string        `json:"expires_at"`
	Refresh   *refreshObject `json:"refresh"`
	Consent   *consentObject `json:"consent,omitempty" doc:"Where the runtime got the tokens by a person's consent. An addition of Stayd's."`
}

type consentObject struct {
	Issuer *string `json:"issuer" doc:"Who issued the tokens."`
	Scope  *string `json:"scope"`
}

type oauthClientObject struct {
	Type                  string       `json:"type" enum:"oauth_client"`
	ServerURL             string       `json:"mcp_server_url"`
	ClientID              string       `json:"client_id"`
	Grant                 string       `json:"grant" enum:"client_credentials,authorization_code"`
	TokenEndpoint         string       `json:"token_endpoint"`
	AuthorizationEndpoint *string      `json:"authorization_endpoint"`
	Client                clientObject `json:"token_endpoint_auth"`
	Resource              *string      `json:"resource"`
	Scope                 *string      `json:"scope"`
}

type refreshObject struct {
	ClientID      string       `json:"client_id"`
	TokenEndpoint string       `json:"token_endpoint"`
	Client        clientObject `json:"token_endpoint_auth"`
	Resource      *string      `json:"resource"`
	Scope         *string      `json:"scope"`
}

type clientObject struct {
	Type     string `json:"type" enum:"none,client_secret_basic,client_secret_post,private_key_jwt"`
	Audience string `json:"audience,omitempty" doc:"Of private_key_jwt, where it is not the token endpoint. An addition of Stayd's."`
}

type variableObject struct {
	Type       string           `json:"type" enum:"environment_variable"`
	SecretName string           `json:"secret_name"`
	Networking networkingObject `json:"networking"`
}

type networkingObject struct {
	Type         string   `json:"type" enum:"unrestricted,limited"`
	AllowedHosts []string `json:"allowed_hosts,omitempty"`
}

func renderCredential(c *vault.Credential) credentialObject {
	o := credentialObject{
		ID: c.ID, Object: "vault.credential", VaultID: c.VaultID, Name: c.Name, Metadata: orEmpty(c.Metadata), Actor: c.Auth.Actor,
		CreatedAt: c.CreatedAt.Unix(), UpdatedAt: c.UpdatedAt.Unix(),
	}
	a := &c.Auth
	switch a.Type {
	case vault.TypeBearer:
		o.Auth.of = bearerObject{Type: a.Type, ServerURL: a.ServerURL}
	case vault.TypeEnvironment:
		v := variableObject{Type: a.Type, SecretName: a.SecretName, Networking: networkingObject{Type: networkUnrestricted}}
		if a.AllowedHosts != nil {
			v.Networking = networkingObject{Type: networkLimited, AllowedHosts: a.AllowedHosts}
		}
		o.Auth.of = v
	case vault.TypeClient:
		k := a.Client
		o.Auth.of = oauthClientObject{
			Type: a.Type, ServerURL: a.ServerURL, ClientID: k.ClientID, Grant: k.Grant, TokenEndpoint: k.TokenEndpoint,
			AuthorizationEndpoint: k.AuthorizationEndpoint, Client: clientObject{Type: k.TokenEndpointAuth, Audience: k.Audience}, Resource: k.Resource, Scope: k.Scope,
		}
	default:
		v := oauthObject{Type: a.Type, ServerURL: a.ServerURL, ExpiresAt: a.ExpiresAt}
		if r := a.Refresh; r != nil {
			v.Refresh = &refreshObject{ClientID: r.ClientID, TokenEndpoint: r.TokenEndpoint, Client: clientObject{Type: r.TokenEndpointAuth, Audience: r.Audience}, Resource: r.Resource, Scope: r.Scope}
		}
		if k := a.Consent; k != nil {
			v.Consent = &consentObject{Issuer: orNull(k.Issuer), Scope: orNull(k.Scope)}
		}
		o.Auth.of = v
	}
	return o
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (a *api) createCredential(c *httpapi.Call) (any, error) {
	var body credentialBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	n := body.credential()
	if err := a.vouched(c, &n.Auth); err != nil {
		return nil, err
	}
	if n.Auth.Actor, err = c.ActFor(body.Actor); err != nil {
		return nil, err
	}
	made, err := a.Vaults.CreateCredential(c.Context(), c.Project, c.Path("vault_id"), n, in)
	if err != nil {
		return nil, answer(err)
	}
	return renderCredential(&made), nil
}

// vouched refuses a client that signs by the key of the runtime, as that signs for all
// projects: whose the client is, only the operator knows, but for the project's own.
func (a *api) vouched(c *httpapi.Call, auth *vault.Auth) error {
	const param = "auth.client_id"
	if auth.Client == nil || auth.Client.TokenEndpointAuth != vault.ClientKey {
		return nil
	}
	own, err := a.KeyClient(c.Project, auth.Client.ClientID)
	switch {
	case err != nil:
		return httpapi.Invalid(param, fmt.Sprintf("Invalid '%s': %s", param, err))
	case own || c.Principal.Scope.Includes(identity.Owner):
		return nil
	}
	return &httpapi.Error{
		Status: http.StatusForbidden, Code: "insufficient_scope", Param: param,
		Message: "The runtime signs for the clients of all projects by one key, so this needs the scope 'owner': the operator says which client is this project's.",
	}
}

func (a *api) getCredential(c *httpapi.Call) (any, error) {
	found, err := a.Vaults.GetCredential(c.Context(), c.Project, c.Path("vault_id"), c.Path("credential_id"))
	if err != nil {
		return nil, answer(err)
	}
	if err := ownOnly(c, &found); err != nil {
		return nil, err
	}
	return renderCredential(&found), nil
}

// ownOnly refuses a credential that is not the caller's, where they may act for
// one person alone.
func ownOnly(c *httpapi.Call, found *vault.Credential) error {
	if only := c.Principal.Actor; only != "" && only != found.Auth.Actor {
		return httpapi.NotFound("credential", found.ID)
	}
	return nil
}

// mine is ownOnly of the credential in the path.
func (a *api) mine(c *httpapi.Call) error {
	if c.Principal.Actor == "" {
		return nil
	}
	found, err := a.Vaults.GetCredential(c.Context(), c.Project, c.Path("vault_id"), c.Path("credential_id"))
	if err != nil {
		return answer(err)
	}
	return ownOnly(c, &found)
}

func (a *api) updateCredential(c *httpapi.Call) (any, error) {
	var body rotationBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	if err := a.mine(c); err != nil {
		return nil, err
	}
	changed, err := a.Vaults.RotateCredential(c.Context(), c.Project, c.Path("vault_id"), c.Path("credential_id"), body.rotation(), in)
	if err != nil {
		return nil, answer(err)
	}
	return renderCredential(&changed), nil
}

func (a *api) deleteCredential(c *httpapi.Call) (any, error) {
	id := c.Path("credential_id")
	if err := a.mine(c); err != nil {
		return nil, err
	}
	var revoked []vault.Opened
	if a.Revoke != nil {
		// A credential that cannot be read can be deleted.
		if o, err := a.Vaults.Open(c.Context(), c.Project, c.Path("vault_id"), id); err == nil && o.Auth.Consent != nil {
			revoked = append(revoked, *o)
		}
	}
	if err := a.Vaults.DeleteCredential(c.Context(), c.Project, c.Path("vault_id"), id); err != nil {
		return nil, answer(err)
	}
	a.revoke(c, revoked)
	return deletedVaultObject{ID: id, Object: "vault.credential.deleted", Deleted: true}, nil
}

func (a *api) revoke(c *httpapi.Call, deleted []vault.Opened) {
	if len(deleted) > 0 {
		a.Revoke(context.WithoutCancel(c.Context()), deleted)
	}
}

func (a *api) listCredentials(c *httpapi.Call) (any, error) {
	p, nothing, err := page(c)
	if err != nil {
		return nil, err
	}
	if p.Actor, err = c.ActFor(c.URL.Query().Get("actor")); err != nil {
		return nil, err
	}
	var found []credentialObject
	if nothing {
		if _, err := a.Vaults.Get(c.Context(), c.Project, c.Path("vault_id")); err != nil {
			return nil, answer(err)
		}
	} else {
		list, err := a.Vaults.ListCredentials(c.Context(), c.Project, c.Path("vault_id"), p)
		if err != nil {
			return nil, answer(err)
		}
		for i := range list {
			found = append(found, renderCredential(&list[i]))
		}
	}
	return httpapi.PageOf(found, p.Limit, func(o *credentialObject) string { return o.ID }), nil
}
