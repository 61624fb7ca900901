package vaults

import (
	"context"
	"fmt"

	"github.com/stayd/stayd/internal/vault"
)

// forgetPage is how many vaults, and credentials of one, are listed at once.
const forgetPage = 100

// Forgetter returns what deletes all credentials of one actor, in all vaults of the
// project, has those taken back that they consented to, and says how many they
// were. Credentials of nobody in particular stay.
func Forgetter(cfg Config) func(ctx context.Context, project, actor string) (int, error) {
	return func(ctx context.Context, project, actor string) (n int, err error) {
		for page := (vault.Page{Asc: true, Limit: forgetPage}); ; {
			list, err := cfg.Vaults.List(ctx, project, page)
			if err != nil {
				return n, fmt.Errorf("list vaults: %w", err)
			}
			for i := range list {
				deleted, err := cfg.forget(ctx, project, list[i].ID, actor)
				n += deleted
				if err != nil {
					return n, err
				}
			}
			if len(list) <= page.Limit {
				return n, nil
			}
			page.After = list[len(list)-1].ID
		}
	}
}

// forget deletes the actor's credentials of one vault.
func (cfg *Config) forget(ctx context.Context, project, id, actor string) (n int, err error) {
	var revoked []vault.Opened
	defer func() {
		if cfg.Revoke != nil && len(revoked) > 0 {
			cfg.Revoke(context.WithoutCancel(ctx), revoked)
		}
	}()
	for {
		// What was listed is deleted, so that the next ones are the first.
		list, err := cfg.Vaults.ListCredentials(ctx, project, id, vault.Page{Actor: actor, Asc: true, Limit: forgetPage})
		if err != nil || len(list) == 0 {
			return n, err
		}
		for i := range list {
			// A credential that cannot be read can be deleted.
			if o, err := cfg.Vaults.Open(ctx, project, id, list[i].ID); err == nil && o.Auth.Consent != nil {
				revoked = append(revoked, *o)
			}
			if err := cfg.Vaults.DeleteCredential(ctx, project, id, list[i].ID); err != nil {
				return n, fmt.Errorf("delete a credential of an actor: %w", err)
			}
			n++
		}
	}
}
