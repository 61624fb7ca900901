package keeper

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// Of the row of the key of receipts, which is one for all processes of a store.
const (
	ownProject = "stayd:runtime" // that no caller has
	signerRow  = "receipts"
	sealName   = "receipts" // of what is sealed
)

// savedSigner is what the store has of the key: sealed, or else as it is, where
// there is no master key to seal it under.
type savedSigner struct {
	Sealed []byte `json:"sealed"`
}

// signer returns the key that receipts are signed with, which is made when it is
// first needed. Errors: a *vault.NoKeyError where it was sealed under a master key
// that is not there.
func (k *Keeper) signer(ctx context.Context) (ed25519.PrivateKey, error) {
	for range 3 {
		row, err := k.Store.Object(ctx, ownProject, store.KindReceipt, signerRow)
		if err == nil {
			seed, _, err := k.openSeed(ctx, &row)
			if err != nil {
				return nil, fmt.Errorf("open the key of receipts: %w", err)
			}
			return ed25519.NewKeyFromSeed(seed), nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("read the key of receipts: %w", err)
		}
		seed := make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		data, _, err := k.sealSeed(ctx, seed)
		if err != nil {
			return nil, err
		}
		now := k.Now()
		err = k.Store.CreateObject(ctx, store.Object{Project: ownProject, Kind: store.KindReceipt, ID: signerRow, Version: 1, CreatedAt: now, UpdatedAt: now, Data: data})
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, fmt.Errorf("store the key of receipts: %w", err)
		}
	}
	return nil, errors.New("the key of receipts could not be made")
}

// SealSigner encrypts the key of receipts where it was stored as it is, by a server
// that had no master key.
func (k *Keeper) SealSigner(ctx context.Context) error {
	row, err := k.Store.Object(ctx, ownProject, store.KindReceipt, signerRow)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the key of receipts: %w", err)
	}
	seed, plain, err := k.openSeed(ctx, &row)
	if err != nil || !plain {
		return err
	}
	data, sealed, err := k.sealSeed(ctx, seed)
	if err != nil || !sealed {
		return err
	}
	row.Version, row.UpdatedAt, row.Data = row.Version+1, k.Now(), data
	if err := k.Store.UpdateObject(ctx, row); err != nil && !errors.Is(err, store.ErrConflict) { // another process was first
		return fmt.Errorf("store the key of receipts: %w", err)
	}
	return nil
}

// openSeed reads the key, and whether it was stored as it is.
func (k *Keeper) openSeed(ctx context.Context, row *store.Object) (seed []byte, plain bool, err error) {
	var saved savedSigner
	if plain = json.Unmarshal(row.Data, &seed) == nil; !plain {
		if err := json.Unmarshal(row.Data, &saved); err != nil {
			return nil, false, fmt.Errorf("the key of receipts cannot be read: %w", store.ErrCorrupt)
		}
		if k.Vaults == nil {
			return nil, false, &vault.NoKeyError{Where: "the key of receipts is encrypted"}
		}
		if seed, err = k.Vaults.OpenOwn(ctx, sealName, saved.Sealed, signerRow); err != nil {
			return nil, false, err
		}
	}
	if len(seed) != ed25519.SeedSize {
		return nil, false, fmt.Errorf("the key of receipts has %d bytes: %w", len(seed), store.ErrCorrupt)
	}
	return seed, plain, nil
}

// sealSeed is the key as it is stored, and whether it is sealed.
func (k *Keeper) sealSeed(ctx context.Context, seed []byte) (data []byte, sealed bool, err error) {
	var saved savedSigner
	if k.Vaults != nil {
		saved.Sealed, err = k.Vaults.SealOwn(ctx, sealName, seed, signerRow)
	}
	var none *vault.NoKeyError
	switch unset := errors.As(err, &none) && none.ID == ""; {
	case unset || k.Vaults == nil:
		k.unsealed.Do(func() {
			k.Log.Warn("the key that receipts of forgetting are signed with is stored unencrypted, as there is no master key for vaults")
		})
		data, err = json.Marshal(seed)
	case err != nil:
		return nil, false, fmt.Errorf("encrypt the key of receipts: %w", err)
	default:
		sealed = true
		data, err = json.Marshal(saved)
	}
	if err != nil {
		return nil, false, fmt.Errorf("encode the key of receipts: %w", err)
	}
	return data, sealed, nil
}
