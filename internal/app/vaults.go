package app

import (
	"context"
	"errors"
	"time"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/masters"
)

// VaultKeys is where the master keys of vaults are.
func (c *Config) VaultKeys() masters.Place {
	return masters.Place{Setting: c.VaultKey, Data: c.Data, Shared: c.Store != "", Outbound: c.outside(toKeys)}
}

func openVaults(ctx context.Context, cfg *Config, st store.Store) (*vault.Vaults, error) {
	master, err := masters.Open(ctx, cfg.VaultKeys())
	if err != nil {
		return nil, err
	}
	return vault.New(st, master, time.Now), nil
}

// settleVaults goes on with deletions of vaults and rotations of the master key
// that did not come to their end before, and encrypts what was stored before there
// was a master key.
func (a *App) settleVaults(ctx context.Context) {
	err := a.vaults.Finish(ctx)
	if err == nil {
		var done vault.Rewrapped
		done, err = a.vaults.Rewrap(ctx)
		for id, n := range done.Left {
			a.log.Warn("the secrets of vaults cannot be read without a master key that is not there", "master_key", id, "vaults", n)
		}
	}
	var none *vault.NoKeyError
	if unset := errors.As(err, &none) && none.ID == ""; err != nil && !unset && ctx.Err() == nil {
		a.log.Warn("the keys of vaults could not be brought under the current master key", "error", err)
	}
	if err := a.keeper.SealSigner(ctx); err != nil && ctx.Err() == nil {
		a.log.Warn("the key of receipts could not be encrypted", "error", err)
	}
}
