// Package vaults is the wire protocol of vaults and credentials, as the OpenAI
// Agents API has it, and beside it the rotation of the master key. Secrets come
// in by it and never go out.
package vaults

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/vault"
)

// Config is what the protocol needs.
type Config struct {
	Vaults *vault.Vaults
	// Revoke takes back what people consented to, of credentials that were deleted; nil
	// does not.
	Revoke func(ctx context.Context, credentials []vault.Opened)
	// KeyClient reports whether a client that signs by the key of the runtime is the
	// project's own. The error is about one that nothing is signed for.
	KeyClient func(project, client string) (own bool, err error)
}

type api struct{ Config }

const (
	basePath        = "/v1/vaults"
	vaultPath       = basePath + "/{vault_id}"
	credentialsPath = vaultPath + "/credentials"
	credentialPath  = credentialsPath + "/{credential_id}"
)

// Mount registers the protocol's operations.
func Mount(s *httpapi.Server, cfg Config) {
	a := &api{Config: cfg}
	for _, op := range a.operations() {
		s.Register(op)
	}
}

func (a *api) operations() []httpapi.Operation {
	query := append(httpapi.PageParams(),
		httpapi.Param{Name: "status", Doc: "active or archived. Nothing is archived by Stayd."},
		httpapi.Param{Name: "status[]", Doc: "As status, one or both.", Repeated: true},
		httpapi.Param{Name: "metadata[]", Doc: "Only those with all of these pairs, as metadata[key]=value."})
	ofVault := slices.Concat(query, []httpapi.Param{{Name: "actor", Doc: "Only those that are this actor's own. An addition of Stayd's."}})
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: basePath, ID: "createVault", Bound: true, Summary: "Create a vault", Body: vaultBody{}, Result: vaultObject{}, Do: a.createVault},
		{Method: http.MethodGet, Path: basePath, ID: "listVaults", Bound: true, Summary: "List vaults", Query: query, Result: httpapi.List[vaultObject]{}, Do: a.listVaults},
		{Method: http.MethodGet, Path: vaultPath, ID: "getVault", Bound: true, Summary: "Get a vault", Result: vaultObject{}, Do: a.getVault},
		{Method: http.MethodPost, Path: vaultPath, ID: "updateVault", Bound: true, Summary: "Change a vault", Body: vaultBody{}, Result: vaultObject{}, Do: a.updateVault},
		{Method: http.MethodDelete, Path: vaultPath, ID: "deleteVault", Bound: true, Summary: "Delete a vault and all its credentials", Result: deletedVaultObject{}, Do: a.deleteVault},
		{Method: http.MethodPost, Path: credentialsPath, ID: "createVaultCredential", Bound: true, Summary: "Create a credential", Body: credentialBody{}, Result: credentialObject{}, Do: a.createCredential},
		{Method: http.MethodGet, Path: credentialsPath, ID: "listVaultCredentials", Bound: true, Summary: "List the credentials of a vault", Query: ofVault, Result: httpapi.List[credentialObject]{}, Do: a.listCredentials},
		{Method: http.MethodGet, Path: credentialPath, ID: "getVaultCredential", Bound: true, Summary: "Get a credential, without its secrets", Result: credentialObject{}, Do: a.getCredential},
		{Method: http.MethodPost, Path: credentialPath, ID: "updateVaultCredential", Bound: true, Summary: "Replace secrets or metadata of a credential", Body: rotationBody{}, Result: credentialObject{}, Do: a.updateCredential},
		{Method: http.MethodDelete, Path: credentialPath, ID: "deleteVaultCredential", Bound: true, Summary: "Delete a credential", Result: deletedVaultObject{}, Do: a.deleteCredential},
		{
			Method: http.MethodPost, Path: basePath + "/rewrap", ID: "rewrapVaultKeys", Body: struct{}{}, Result: rewrapObject{}, Scope: identity.Owner, Do: a.rewrap,
			Summary: "Encrypt the keys of all vaults under the current master key. An addition of Stayd's",
		},
	}
}

// answer says how an error of the vaults is answered.
func answer(err error) error {
	var value *vault.ValueError
	var gone *vault.NotFoundError
	var key *vault.NoKeyError
	switch {
	case errors.As(err, &value):
		return httpapi.Invalid(value.Param, value.Message)
	case errors.As(err, &gone):
		return httpapi.NotFound(gone.What, gone.ID)
	case errors.Is(err, vault.ErrKeyReused):
		return &httpapi.Error{
			Status: http.StatusConflict, Code: httpapi.CodeKeyReused, Param: "Idempotency-Key",
			Message: "This Idempotency-Key was used for another request. Use a new key for a new request.",
		}
	case errors.As(err, &key) && key.ID == "":
		return &httpapi.Error{Status: http.StatusServiceUnavailable, Code: "vault_key_missing", Err: err, Message: "Vaults need a master key: " + key.Where + "."}
	case errors.As(err, &key):
		return &httpapi.Error{
			Status: http.StatusServiceUnavailable, Code: "vault_key_wrong", Err: err,
			Message: "The secrets of this vault were encrypted under the master key '" + key.ID + "', which the server does not have. Its log says where it was looked for. Nothing was done.",
		}
	}
	return err
}

// page reads which part of a list is asked for, and whether there is none as
// nothing is archived.
func page(c *httpapi.Call) (p vault.Page, nothing bool, err error) {
	asked, err := c.Pages()
	if err != nil {
		return p, false, err
	}
	p = vault.Page{After: asked.After, Asc: asked.Asc, Limit: asked.Limit}
	values := c.URL.Query()
	if p.Metadata, err = filter(values); err != nil {
		return p, false, err
	}
	nothing, err = archived(values)
	return p, nothing, err
}

// archived reports whether only what is archived is asked for.
func archived(values url.Values) (bool, error) {
	active, archived := false, false
	for name, got := range values {
		if !strings.HasPrefix(name, "status") {
			continue
		}
		if name != "status" && name != "status[]" {
			return false, &httpapi.Error{Status: http.StatusBadRequest, Code: httpapi.CodeUnknown, Param: name, Message: "Unknown parameter: '" + name + "'."}
		}
		for _, s := range got {
			switch s {
			case "active":
				active = true
			case "archived":
				archived = true
			default:
				return false, httpapi.Invalid(name, "Invalid value: '"+s+"'. Supported values are: 'active' and 'archived'.")
			}
		}
	}
	return archived && !active, nil
}

// Bounds of a filter by metadata.
const (
	maxPairs = 16
	maxKey   = 64  // characters
	maxValue = 512 // characters
)

func filter(values url.Values) (map[string]string, error) {
	var pairs map[string]string
	for name := range values {
		key, ok := strings.CutPrefix(name, "metadata[")
		if !ok {
			continue
		}
		key = strings.TrimSuffix(key, "]")
		value := values.Get(name)
		if n := utf8.RuneCountInString(key); n == 0 || n > maxKey || utf8.RuneCountInString(value) > maxValue {
			return nil, httpapi.Invalid(name, "A filter by metadata has keys of 1 to 64 characters and values of at most 512.")
		}
		if pairs == nil {
			pairs = map[string]string{}
		}
		pairs[key] = value
	}
	if len(pairs) > maxPairs {
		return nil, httpapi.Invalid("metadata", "A filter by metadata has at most 16 pairs.")
	}
	return pairs, nil
}

// rewrapObject says what became of the keys of vaults.
type rewrapObject struct {
	Object    string         `json:"object" enum:"vault.rewrap"`
	MasterKey string         `json:"master_key" doc:"Id of the current master key."`
	Keys      int            `json:"keys" doc:"How many keys of vaults there are."`
	Moved     int            `json:"moved" doc:"How many of them were under another master key."`
	Left      map[string]int `json:"left" doc:"How many are still under master keys that the server does not have, by the id of the key."`
}

func (a *api) rewrap(c *httpapi.Call) (any, error) {
	if err := c.Decode(&struct{}{}); err != nil {
		return nil, err
	}
	done, err := a.Vaults.Rewrap(c.Context())
	if err != nil {
		return nil, answer(err)
	}
	return rewrapObject{Object: "vault.rewrap", MasterKey: done.Master, Keys: done.Keys, Moved: done.Moved, Left: done.Left}, nil
}

type deletedVaultObject struct {
	ID      string `json:"id"`
	Object  string `json:"object" enum:"vault.deleted,vault.credential.deleted"`
	Deleted bool   `json:"deleted"`
}

// byType is a union that the field type decides.
func byType(refs map[string]*huma.Schema) *huma.Schema {
	return httpapi.BesideSecrets(httpapi.ByType("", refs))
}
