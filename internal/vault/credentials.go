package vault

import (
	"context"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// credentialKind is the kind of the credentials of one vault.
func credentialKind(vault string) string { return store.KindCredential + "/" + vault }

// CreateCredential makes a credential. A request with an idempotency key that was
// taken before returns what it made then.
func (v *Vaults) CreateCredential(ctx context.Context, project, vault string, n NewCredential, in event.Input) (Credential, error) {
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return Credential{}, err
	}
	if err := n.check(); err != nil {
		return Credential{}, err
	}
	key, err := v.dataKey(ctx, project, vault, true)
	if err != nil {
		return Credential{}, err
	}
	id := idFor("cred", in, project, vault)
	saved := &savedCredential{Name: n.Name, Metadata: n.Metadata, Auth: n.Auth}
	secrets := &sealed{Token: n.Secrets.Token.text, RefreshToken: n.Secrets.RefreshToken.text, ClientSecret: n.Secrets.ClientSecret.text, Created: in}
	if err := saved.seal(key, project, vault, id, secrets); err != nil {
		return Credential{}, err
	}
	row, err := v.insert(ctx, project, credentialKind(vault), id, saved)
	if errors.Is(err, store.ErrConflict) && in.Key != "" {
		if row, saved, err = v.credential(ctx, project, vault, id); err != nil {
			return Credential{}, err
		}
		before, err := saved.open(key, project, vault, id)
		if err != nil {
			return Credential{}, err
		}
		if before.Created != in {
			return Credential{}, ErrKeyReused
		}
	}
	if err != nil {
		return Credential{}, fmt.Errorf("create a credential in vault %s: %w", vault, err)
	}
	// A vault that was deleted meanwhile may have gone before the credential came.
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return Credential{}, v.afterDeletion(ctx, project, vault, err)
	}
	return credentialOf(row, vault, saved), nil
}

// afterDeletion clears away what was stored in a vault that is deleted.
func (v *Vaults) afterDeletion(ctx context.Context, project, vault string, err error) error {
	var gone *NotFoundError
	if errors.As(err, &gone) {
		err = errors.Join(err, v.clear(ctx, project, vault))
	}
	return err
}

// GetCredential returns what can be shown of a credential.
func (v *Vaults) GetCredential(ctx context.Context, project, vault, id string) (Credential, error) {
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return Credential{}, err
	}
	row, saved, err := v.credential(ctx, project, vault, id)
	if err != nil {
		return Credential{}, err
	}
	return credentialOf(row, vault, saved), nil
}

// ListCredentials returns a page of a vault's credentials by time of creation.
func (v *Vaults) ListCredentials(ctx context.Context, project, vault string, p Page) ([]Credential, error) {
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return nil, err
	}
	return list(ctx, v.store, project, credentialKind(vault), "credential", p, func(row *store.Object) (Credential, bool, error) {
		saved, err := decode[savedCredential](row)
		if err != nil || !matches(saved.Metadata, p.Metadata) || (p.Actor != "" && p.Actor != saved.Auth.Actor) {
			return Credential{}, false, err
		}
		return credentialOf(row, vault, saved), true, nil
	})
}

// RotateCredential replaces secrets or metadata of a credential.
func (v *Vaults) RotateCredential(ctx context.Context, project, vault, id string, rot Rotation, in event.Input) (Credential, error) {
	if rot.SetMetadata {
		if err := checkMetadata(rot.Metadata); err != nil {
			return Credential{}, err
		}
	}
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return Credential{}, err
	}
	var row *store.Object
	var saved *savedCredential
	err := again(func() (err error) {
		if row, saved, err = v.credential(ctx, project, vault, id); err != nil {
			return err
		}
		key, err := v.dataKey(ctx, project, vault, false)
		if err != nil {
			return err
		}
		secrets, err := saved.open(key, project, vault, id)
		if err != nil {
			return err
		}
		if repeated, err := remember(&secrets.Updated, in); repeated || err != nil {
			return err
		}
		if rot.SetMetadata {
			saved.Metadata = rot.Metadata
		}
		if rot.Auth != nil {
			if err := rot.Auth.apply(&saved.Auth, secrets); err != nil {
				return err
			}
		}
		if err := saved.seal(key, project, vault, id, secrets); err != nil {
			return err
		}
		return v.replace(ctx, row, saved)
	})
	if err != nil {
		return Credential{}, missing(err, "credential", id, "change")
	}
	return credentialOf(row, vault, saved), nil
}

// DeleteCredential deletes a credential.
func (v *Vaults) DeleteCredential(ctx context.Context, project, vault, id string) error {
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return err
	}
	if err := v.store.DeleteObject(ctx, project, credentialKind(vault), id); err != nil {
		return missing(err, "credential", id, "delete")
	}
	return nil
}

func (v *Vaults) credential(ctx context.Context, project, vault, id string) (*store.Object, *savedCredential, error) {
	row, err := v.store.Object(ctx, project, credentialKind(vault), id)
	if err != nil {
		return nil, nil, missing(err, "credential", id, "read")
	}
	saved, err := decode[savedCredential](&row)
	return &row, saved, err
}

func credentialOf(row *store.Object, vault string, saved *savedCredential) Credential {
	return Credential{
		ID: row.ID, VaultID: vault, Name: saved.Name, Metadata: saved.Metadata, Auth: saved.Auth, CreatedAt: row.CreatedAt, UpdatedAt: row.UpdatedAt,
	}
}

// apply replaces secrets of a credential.
func (r *AuthRotation) apply(a *Auth, s *sealed) error {
	if r.Type != a.Type {
		return bad("auth.type", "the credential is of the type '%s', which cannot be changed. Make a new credential.", a.Type)
	}
	if a.Type == TypeClient {
		return r.applyClient(a.Client, s)
	}
	if r.Token != nil {
		param := map[string]string{TypeBearer: "auth.token", TypeOAuth: "auth.access_token", TypeEnvironment: "auth.secret_value"}[a.Type]
		if err := checkSecret(param, *r.Token); err != nil {
			return err
		}
		s.Token = r.Token.text
		a.ExpiresAt = nil
	}
	if r.SetExpiresAt {
		if err := checkTime("auth.expires_at", r.ExpiresAt); err != nil {
			return err
		}
		a.ExpiresAt = r.ExpiresAt
	}
	if r.Refresh == nil {
		return nil
	}
	if a.Refresh == nil {
		return bad("auth.refresh", "the credential was made without a way to refresh it, which cannot be added. Make a new credential.")
	}
	return r.Refresh.apply(a.Refresh, s)
}

// applyClient replaces what an OAuth client shows.
func (r *AuthRotation) applyClient(to *Client, s *sealed) error {
	if r.SetScope {
		if r.Scope != nil {
			if err := checkText("auth.scope", *r.Scope); err != nil {
				return err
			}
		}
		to.Scope = r.Scope
	}
	if r.ClientSecret == nil {
		return nil
	}
	if to.TokenEndpointAuth == ClientNone || to.TokenEndpointAuth == ClientKey {
		return bad("auth.client_secret", "the client has no secret, which cannot be added. Make a new credential.")
	}
	if err := checkSecret("auth.client_secret", *r.ClientSecret); err != nil {
		return err
	}
	s.ClientSecret = r.ClientSecret.text
	return nil
}

func (r *RefreshRotation) apply(to *Refresh, s *sealed) error {
	if r.RefreshToken != nil {
		if err := checkSecret("auth.refresh.refresh_token", *r.RefreshToken); err != nil {
			return err
		}
		s.RefreshToken = r.RefreshToken.text
	}
	if r.SetScope {
		if r.Scope != nil {
			if err := checkText("auth.refresh.scope", *r.Scope); err != nil {
				return err
			}
		}
		to.Scope = r.Scope
	}
	if r.TokenEndpointAuth != "" && r.TokenEndpointAuth != to.TokenEndpointAuth {
		return bad("auth.refresh.token_endpoint_auth.type", "the client shows who it is by '%s', which cannot be changed. Make a new credential.", to.TokenEndpointAuth)
	}
	if r.ClientSecret != nil {
		if to.TokenEndpointAuth == ClientKey {
			return bad("auth.refresh.token_endpoint_auth.client_secret", "the client has no secret, which cannot be added. Make a new credential.")
		}
		if err := checkSecret("auth.refresh.token_endpoint_auth.client_secret", *r.ClientSecret); err != nil {
			return err
		}
		s.ClientSecret = r.ClientSecret.text
	}
	return nil
}
