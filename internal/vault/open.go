package vault

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/store"
)

// Opened is a credential with its secrets.
type Opened struct {
	Credential
	Secrets Secrets
}

// AmbiguousError is more than one credential where one is needed.
type AmbiguousError struct {
	What string   // they are for
	IDs  []string // of the credentials
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%d credentials are for %s: %s; attach vaults of which one has a credential for it, or name the credential", len(e.IDs), e.What, strings.Join(e.IDs, ", "))
}

// OpenServer returns the credential of the vaults for the MCP server at the URL.
// An id chooses among several, and has to be of a credential for that server. With
// no id, nil is returned where none is for it. Errors: *NotFoundError for a vault
// or the id, *AmbiguousError, *NoKeyError, store.ErrCorrupt where what is stored
// was changed.
func (v *Vaults) OpenServer(ctx context.Context, project string, vaults []string, url, id string) (*Opened, error) {
	var found []attached
	err := v.attached(ctx, project, vaults, func(a attached) {
		isServer := a.saved.Auth.Type == TypeBearer || a.saved.Auth.Type == TypeOAuth
		if (id == "" || id == a.row.ID) && isServer && sameServer(a.saved.Auth.ServerURL) == sameServer(url) {
			found = append(found, a)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0 && id != "":
		return nil, &NotFoundError{What: "credential for this server", ID: id}
	case len(found) == 0:
		return nil, nil
	case len(found) > 1:
		e := &AmbiguousError{What: "this server"}
		for _, a := range found {
			e.IDs = append(e.IDs, a.row.ID)
		}
		return nil, e
	}
	opened, err := v.openAll(ctx, project, found)
	if err != nil {
		return nil, err
	}
	return &opened[0], nil
}

// OpenEnvironment returns the credentials of the vaults for an environment, by
// the name of their variable. Errors are those of OpenServer; an *AmbiguousError
// is two for one variable.
func (v *Vaults) OpenEnvironment(ctx context.Context, project string, vaults []string) ([]Opened, error) {
	byName := map[string]attached{}
	var twice *AmbiguousError
	err := v.attached(ctx, project, vaults, func(a attached) {
		if a.saved.Auth.Type != TypeEnvironment {
			return
		}
		name := a.saved.Auth.SecretName
		if before, taken := byName[name]; taken && twice == nil {
			twice = &AmbiguousError{What: "the variable " + name, IDs: []string{before.row.ID, a.row.ID}}
		}
		byName[name] = a
	})
	if err != nil {
		return nil, err
	}
	if twice != nil {
		return nil, twice
	}
	found := make([]attached, 0, len(byName))
	for _, a := range byName {
		found = append(found, a)
	}
	slices.SortFunc(found, func(a, b attached) int { return cmp.Compare(a.saved.Auth.SecretName, b.saved.Auth.SecretName) })
	return v.openAll(ctx, project, found)
}

// attached is a credential of a vault that a session has.
type attached struct {
	vault string
	row   store.Object
	saved *savedCredential
}

// attached calls fn with all credentials of the vaults, the oldest of each first.
func (v *Vaults) attached(ctx context.Context, project string, vaults []string, fn func(attached)) error {
	seen := map[string]bool{}
	for _, id := range vaults {
		if seen[id] {
			continue
		}
		seen[id] = true
		if _, _, err := v.vault(ctx, project, id); err != nil {
			return err
		}
		_, err := list(ctx, v.store, project, credentialKind(id), "credential", Page{Asc: true}, func(row *store.Object) (struct{}, bool, error) {
			saved, err := decode[savedCredential](row)
			if err == nil {
				fn(attached{vault: id, row: *row, saved: saved})
			}
			return struct{}{}, false, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (v *Vaults) openAll(ctx context.Context, project string, found []attached) ([]Opened, error) {
	opened := make([]Opened, len(found))
	for i, a := range found {
		key, err := v.dataKey(ctx, project, a.vault, false)
		if err != nil {
			return nil, err
		}
		s, err := a.saved.open(key, project, a.vault, a.row.ID)
		if err != nil {
			return nil, err
		}
		opened[i] = Opened{Credential: credentialOf(&a.row, a.vault, a.saved), Secrets: s.secrets()}
	}
	return opened, nil
}
