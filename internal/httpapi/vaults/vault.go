package vaults

import (
	"net/http"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/vault"
)

// vaultBody is a new vault, or what is changed of one.
type vaultBody struct {
	Name     httpapi.Opt[string]            `json:"name,omitzero" doc:"1 to 256 bytes after spaces around it are taken off."`
	Metadata httpapi.Opt[map[string]string] `json:"metadata,omitzero" doc:"All of it, in place of what was there. Up to 16 pairs, with keys up to 64 and values up to 512 characters."`
}

func (b *vaultBody) change() vault.Change {
	ch := vault.Change{SetName: b.Name.Set, SetMetadata: b.Metadata.Set, Metadata: b.Metadata.V}
	if b.Name.Given() {
		ch.Name = &b.Name.V
	}
	return ch
}

type vaultObject struct {
	ID        string            `json:"id"`
	Object    string            `json:"object" enum:"vault"`
	CreatedAt int64             `json:"created_at" doc:"Unix time in seconds."`
	Name      *string           `json:"name"`
	Metadata  map[string]string `json:"metadata"`
}

func renderVault(v *vault.Vault) vaultObject {
	return vaultObject{ID: v.ID, Object: "vault", CreatedAt: v.CreatedAt.Unix(), Name: v.Name, Metadata: orEmpty(v.Metadata)}
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func (a *api) createVault(c *httpapi.Call) (any, error) {
	var body vaultBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	v, err := a.Vaults.Create(c.Context(), c.Project, body.change(), in)
	if err != nil {
		return nil, answer(err)
	}
	return renderVault(&v), nil
}

func (a *api) getVault(c *httpapi.Call) (any, error) {
	v, err := a.Vaults.Get(c.Context(), c.Project, c.Path("vault_id"))
	if err != nil {
		return nil, answer(err)
	}
	return renderVault(&v), nil
}

func (a *api) updateVault(c *httpapi.Call) (any, error) {
	var body vaultBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	if err := forAll(c); err != nil {
		return nil, err
	}
	v, err := a.Vaults.Update(c.Context(), c.Project, c.Path("vault_id"), body.change(), in)
	if err != nil {
		return nil, answer(err)
	}
	return renderVault(&v), nil
}

func (a *api) deleteVault(c *httpapi.Call) (any, error) {
	id := c.Path("vault_id")
	if err := forAll(c); err != nil {
		return nil, err
	}
	var revoked []vault.Opened
	if a.Revoke != nil {
		// A vault that cannot be read can be deleted.
		if found, err := a.Vaults.Consented(c.Context(), c.Project, id); err == nil {
			revoked = found
		}
	}
	if err := a.Vaults.Delete(c.Context(), c.Project, id); err != nil {
		return nil, answer(err)
	}
	a.revoke(c, revoked)
	return deletedVaultObject{ID: id, Object: "vault.deleted", Deleted: true}, nil
}

// forAll refuses who may act for one person alone: a vault has what others use.
func forAll(c *httpapi.Call) error {
	if c.Principal.Actor == "" {
		return nil
	}
	return &httpapi.Error{
		Status: http.StatusForbidden, Code: "actor_not_allowed",
		Message: "Whoever shows this token acts for '" + c.Principal.Actor + "' alone, and does not change or delete a vault that others use.",
	}
}

func (a *api) listVaults(c *httpapi.Call) (any, error) {
	p, nothing, err := page(c)
	if err != nil {
		return nil, err
	}
	var found []vaultObject
	if !nothing {
		list, err := a.Vaults.List(c.Context(), c.Project, p)
		if err != nil {
			return nil, answer(err)
		}
		for i := range list {
			found = append(found, renderVault(&list[i]))
		}
	}
	return httpapi.PageOf(found, p.Limit, func(o *vaultObject) string { return o.ID }), nil
}
