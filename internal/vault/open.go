package vault

import (
	"context"
	"fmt"
	"maps"
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
// One of the actor's own goes before one that is nobody's, and of these one that the
// runtime got by a person's consent before what was put there; one of another
// actor's is never opened. An id chooses among several, and has to be of a
// credential for that server. With no id, nil is returned where none is for it.
// Errors: *NotFoundError for a vault or the id, *AmbiguousError, *NoKeyError,
// store.ErrCorrupt where what is stored was changed.
func (v *Vaults) OpenServer(ctx context.Context, project string, vaults []string, actor, url, id string) (*Opened, error) {
	return v.openOne(ctx, project, vaults, actor, url, id, func(a *Auth) bool {
		return a.Type == TypeBearer || a.Type == TypeOAuth || (a.Type == TypeClient && a.Client.Grant == GrantClient)
	})
}

// OpenClient returns the OAuth client of the vaults by which people consent to the
// use of the MCP server, or nil. Errors are those of OpenServer.
func (v *Vaults) OpenClient(ctx context.Context, project string, vaults []string, actor, url string) (*Opened, error) {
	return v.openOne(ctx, project, vaults, actor, url, "", func(a *Auth) bool {
		return a.Type == TypeClient && a.Client.Grant == GrantCode
	})
}

func (v *Vaults) openOne(ctx context.Context, project string, vaults []string, actor, url, id string, suits func(*Auth) bool) (*Opened, error) {
	var found []attached
	err := v.attached(ctx, project, vaults, func(a attached) {
		use := &a.saved.Auth
		if (id == "" || id == a.row.ID) && suits(use) && use.forActor(actor) && sameServer(use.ServerURL) == sameServer(url) {
			found = append(found, a)
		}
	})
	if err != nil {
		return nil, err
	}
	found = nearest(found)
	switch {
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

// forActor reports whether the credential may be used for the actor.
func (a *Auth) forActor(actor string) bool { return a.Actor == "" || a.Actor == actor }

// nearest is what of the credentials goes before the others: somebody's own, then
// the first one that somebody consented to.
func nearest(found []attached) []attached {
	if own := slices.DeleteFunc(slices.Clone(found), func(a attached) bool { return a.saved.Auth.Actor == "" }); len(own) > 0 {
		found = own
	}
	if i := slices.IndexFunc(found, func(a attached) bool { return a.saved.Auth.Consent != nil }); i >= 0 {
		return found[i : i+1]
	}
	return found
}

// OpenEnvironment returns the credentials of the vaults for an environment, by
// the name of their variable; the actor's own go before those that are nobody's.
// Errors are those of OpenServer; an *AmbiguousError is two for one variable.
func (v *Vaults) OpenEnvironment(ctx context.Context, project string, vaults []string, actor string) ([]Opened, error) {
	byName := map[string][]attached{}
	err := v.attached(ctx, project, vaults, func(a attached) {
		if use := &a.saved.Auth; use.Type == TypeEnvironment && use.forActor(actor) {
			byName[use.SecretName] = append(byName[use.SecretName], a)
		}
	})
	if err != nil {
		return nil, err
	}
	found := make([]attached, 0, len(byName))
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		one := nearest(byName[name])
		if len(one) > 1 {
			return nil, &AmbiguousError{What: "the variable " + name, IDs: []string{one[0].row.ID, one[1].row.ID}}
		}
		found = append(found, one...)
	}
	return v.openAll(ctx, project, found)
}

// Open returns one credential of a vault.
func (v *Vaults) Open(ctx context.Context, project, vault, id string) (*Opened, error) {
	if _, _, err := v.vault(ctx, project, vault); err != nil {
		return nil, err
	}
	row, saved, err := v.credential(ctx, project, vault, id)
	if err != nil {
		return nil, err
	}
	opened, err := v.openAll(ctx, project, []attached{{vault: vault, row: *row, saved: saved}})
	if err != nil {
		return nil, err
	}
	return &opened[0], nil
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
