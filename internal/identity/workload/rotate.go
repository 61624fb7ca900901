package workload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/store"
)

// State is what a key is for at a time.
type State string

// The states, in the order in which a key has them.
const (
	Published State = "published" // known to others, and does not sign yet
	Signing   State = "signing"
	Retired   State = "retired" // signs no more; what it signed is still taken
	Revoked   State = "revoked" // what it signed is not taken
)

// KeyInfo is what may be known of a key.
type KeyInfo struct {
	ID         string
	Algorithm  string
	Remote     string // name in a service; empty: it was made here
	State      State
	CreatedAt  time.Time
	SignsFrom  time.Time
	SignsUntil time.Time // zero is not yet known
	RevokedAt  time.Time // zero is not
}

// List returns the keys, the oldest first.
func (i *Issuer) List(ctx context.Context) ([]KeyInfo, error) {
	r, err := i.read(ctx, 0)
	if err != nil {
		return nil, err
	}
	return i.infos(r), nil
}

func (i *Issuer) infos(r *ring) []KeyInfo {
	now := i.cfg.Now()
	signing := r.signing(now)
	found := []KeyInfo{}
	for _, e := range r.Keys {
		k := KeyInfo{ID: e.ID, Algorithm: e.Algorithm, Remote: e.Remote, State: Retired, CreatedAt: e.CreatedAt, SignsFrom: e.SignsFrom, SignsUntil: r.until(e), RevokedAt: e.RevokedAt}
		switch {
		case e.revoked():
			k.State, k.SignsUntil = Revoked, e.RevokedAt
		case e == signing:
			k.State = Signing
		case e.SignsFrom.After(now):
			k.State = Published
		case !r.published(e, now):
			continue
		}
		found = append(found, k)
	}
	return found
}

// SameKeyError is a rotation to the key of a service that there is already.
type SameKeyError struct{ Name string }

func (e *SameKeyError) Error() string {
	return fmt.Sprintf("The signing key is %s already. Make another one in its service, and have the name of the setting lead to it or change the setting; then rotate again.", e.Name)
}

// Rotate adds a key, which signs when others have had the time to know it. Where
// one waits for that already it adds none. At once has it sign now, and revokes
// all others: tokens that these signed are not taken any more.
func (i *Issuer) Rotate(ctx context.Context, atOnce bool) ([]KeyInfo, error) {
	if _, err := i.read(ctx, 0); err != nil { // there is a first one
		return nil, err
	}
	r, err := i.change(ctx, atOnce)
	if err != nil {
		return nil, err
	}
	return i.infos(r), nil
}

// attempts is how often keys are read again that another process has changed.
const attempts = 10

func (i *Issuer) change(ctx context.Context, atOnce bool) (*ring, error) {
	for n := 1; ; n++ {
		r, err := i.load(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the signing keys: %w", err)
		}
		if !atOnce && r.waiting(i.cfg.Now()) != nil {
			return r, nil
		}
		next, err := i.add(ctx, r, atOnce)
		if err != nil {
			return nil, err
		}
		err = i.cfg.Store.UpdateObject(ctx, next)
		if errors.Is(err, store.ErrConflict) && n < attempts {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("store the signing keys: %w", err)
		}
		return i.open(ctx, next)
	}
}

// add is the row with one key more.
func (i *Issuer) add(ctx context.Context, r *ring, atOnce bool) (store.Object, error) {
	e, err := i.newEntry(ctx, lead)
	if err != nil {
		return store.Object{}, err
	}
	for _, other := range r.Keys {
		if other.ID == e.ID {
			return store.Object{}, &SameKeyError{Name: e.Remote}
		}
	}
	keys := r.needed(e.CreatedAt)
	if atOnce {
		e.SignsFrom = e.CreatedAt
		for n, other := range keys {
			if !other.revoked() {
				over := *other // others may be reading the one that there is
				over.RevokedAt, over.Sealed = e.CreatedAt, nil
				keys[n] = &over
			}
		}
	}
	return i.rowOf(r.row, append(keys, e), e.CreatedAt)
}

func (i *Issuer) rowOf(row store.Object, keys []*entry, at time.Time) (store.Object, error) {
	data, err := json.Marshal(ring{Keys: keys})
	if err != nil {
		return row, fmt.Errorf("encode the signing keys: %w", err)
	}
	row.Version++
	row.UpdatedAt, row.Data = at, data
	return row, nil
}

// newEntry makes a key, or finds that of a service, which signs after the time
// given.
func (i *Issuer) newEntry(ctx context.Context, after time.Duration) (*entry, error) {
	now := i.cfg.Now().UTC().Truncate(time.Microsecond)
	e := &entry{CreatedAt: now, SignsFrom: now.Add(after)}
	s, err := i.newSigner(ctx, e)
	if err != nil {
		return nil, fmt.Errorf("make a signing key: %w", err)
	}
	if e.ID, err = thumbprint(s); err != nil {
		return nil, fmt.Errorf("the signing key %s signs no tokens: %w", e.Remote, err)
	}
	e.Algorithm = s.Algorithm()
	plain, err := encode(s)
	if err != nil {
		return nil, fmt.Errorf("encode a signing key: %w", err)
	}
	e.Sealed, err = i.cfg.Vaults.SealOwn(ctx, sealName, plain, e.ID, e.Algorithm, e.Remote)
	if err != nil {
		return nil, off(fmt.Errorf("encrypt a signing key: %w", err))
	}
	return e, nil
}

func (i *Issuer) newSigner(ctx context.Context, e *entry) (Signer, error) {
	if i.cfg.Remote == "" {
		return newSigner(i.cfg.Algorithm)
	}
	s, name, err := i.cfg.Open(ctx, i.cfg.Remote)
	e.Remote = name
	return s, err
}

// first makes the first key. Nobody can have kept keys from before it, so it signs
// at once.
func (i *Issuer) first(ctx context.Context) (*ring, error) {
	e, err := i.newEntry(ctx, 0)
	if err != nil {
		return nil, err
	}
	row, err := i.rowOf(store.Object{Project: ringProject, Kind: store.KindSigningKeys, ID: ringRow, CreatedAt: e.CreatedAt}, []*entry{e}, e.CreatedAt)
	if err != nil {
		return nil, err
	}
	err = i.cfg.Store.CreateObject(ctx, row)
	if errors.Is(err, store.ErrConflict) {
		return i.load(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("store the first signing key: %w", err)
	}
	return i.open(ctx, row)
}
