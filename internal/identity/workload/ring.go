package workload

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/store"
)

// The times of keys.
const (
	// CacheFor is how long others may keep the published keys.
	CacheFor = 5 * time.Minute
	// ringAge is how long a process goes by the keys that it read, and staleAge how
	// long it does where the store does not answer.
	ringAge  = 10 * time.Second
	staleAge = CacheFor
	// slack is how far apart the clocks of processes may be.
	slack = time.Minute - ringAge
	// lead is how long a key is published before it signs: whoever kept the keys
	// from before has read them again.
	lead = CacheFor + ringAge + slack
	// overlap is how long a key stays published when it signs no more: as long as the
	// tokens that it signed, also by a process that did not hear that it does not.
	overlap = MaxLifetime + staleAge + slack
	// RotateAfter is how long a key signs before it is replaced.
	RotateAfter = 90 * 24 * time.Hour
	// revokedFor is how long a revoked key stays listed, and maxRing how many keys
	// there are at most.
	revokedFor = 7 * 24 * time.Hour
	maxRing    = 32
)

// Of the row of all keys.
const (
	ringProject = ""
	ringRow     = "keys"
	sealName    = "identity" // of what is sealed
)

// entry is a key as the store has it.
type entry struct {
	ID        string    `json:"id"` // thumbprint
	Algorithm string    `json:"algorithm"`
	Remote    string    `json:"remote,omitempty"` // name in a service; empty: it was made here
	Sealed    []byte    `json:"sealed,omitempty"` // as encode has it; none where it was revoked
	CreatedAt time.Time `json:"created_at"`
	SignsFrom time.Time `json:"signs_from"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
}

func (e *entry) revoked() bool { return !e.RevokedAt.IsZero() }

// ring are the keys, by the time from which they sign.
type ring struct {
	Keys []*entry `json:"keys"`

	row     store.Object
	readAt  time.Time
	signers map[string]Signer // of those that are published
}

// signing is the key that signs now: the newest whose time has come. Where the
// clock of this process is behind it may be that none has; then it is the first.
func (r *ring) signing(now time.Time) *entry {
	var found *entry
	for _, e := range r.Keys {
		if !e.revoked() && (found == nil || !e.SignsFrom.After(now)) {
			found = e
		}
	}
	return found
}

// until is when another key takes the place of this one; zero is not yet known.
func (r *ring) until(e *entry) time.Time {
	later := false
	for _, other := range r.Keys {
		if later && !other.revoked() {
			return other.SignsFrom
		}
		later = later || other == e
	}
	return time.Time{}
}

// published reports whether signatures of the key are taken.
func (r *ring) published(e *entry, now time.Time) bool {
	until := r.until(e)
	return !e.revoked() && (until.IsZero() || now.Before(until.Add(overlap)))
}

// waiting is the key that is published and does not sign yet.
func (r *ring) waiting(now time.Time) *entry {
	if n := len(r.Keys); n > 0 && !r.Keys[n-1].revoked() && r.Keys[n-1].SignsFrom.After(now) {
		return r.Keys[n-1]
	}
	return nil
}

// needed are the keys without those that nothing needs any more.
func (r *ring) needed(now time.Time) []*entry {
	kept := slices.DeleteFunc(slices.Clone(r.Keys), func(e *entry) bool {
		if e.revoked() {
			return !now.Before(e.RevokedAt.Add(revokedFor))
		}
		return !r.published(e, now)
	})
	for len(kept) >= maxRing {
		oldest := slices.IndexFunc(kept, (*entry).revoked)
		if oldest < 0 {
			break
		}
		kept = slices.Delete(kept, oldest, oldest+1)
	}
	return kept
}

// read returns the keys as they were at most age ago. It makes the first one, and
// the next one where its time has come.
func (i *Issuer) read(ctx context.Context, age time.Duration) (*ring, error) {
	i.mu.Lock()
	had := i.ring
	i.mu.Unlock()
	now := i.cfg.Now()
	if had != nil && now.Sub(had.readAt) < age {
		return had, nil
	}
	r, err := i.load(ctx)
	if errors.Is(err, store.ErrNotFound) {
		r, err = i.first(ctx)
	}
	if err != nil {
		if had != nil && age > 0 && now.Sub(had.readAt) < staleAge {
			return had, nil
		}
		return nil, fmt.Errorf("read the signing keys: %w", err)
	}
	if i.old(r, now) {
		next, err := i.change(ctx, false)
		if err != nil {
			i.cfg.Log.Warn("the signing key is old and could not be replaced", "key", r.signing(now).ID, "error", err)
			return r, nil
		}
		return next, nil
	}
	return r, nil
}

// old reports whether it is time for another key. One of a service is replaced
// there, by whoever runs it.
func (i *Issuer) old(r *ring, now time.Time) bool {
	e := r.signing(now)
	return i.cfg.Remote == "" && e != nil && r.waiting(now) == nil && !now.Before(e.SignsFrom.Add(RotateAfter))
}

// load reads the keys and opens those that are published. store.ErrNotFound:
// there are none yet.
func (i *Issuer) load(ctx context.Context) (*ring, error) {
	row, err := i.cfg.Store.Object(ctx, ringProject, store.KindSigningKeys, ringRow)
	if err != nil {
		return nil, err
	}
	return i.open(ctx, row)
}

func (i *Issuer) open(ctx context.Context, row store.Object) (*ring, error) {
	now := i.cfg.Now()
	r := &ring{row: row, readAt: now, signers: map[string]Signer{}}
	if err := json.Unmarshal(row.Data, r); err != nil {
		return nil, fmt.Errorf("the row of signing keys cannot be read: %w", store.ErrCorrupt)
	}
	for _, e := range r.Keys {
		if !r.published(e, now) {
			continue
		}
		s, err := i.signer(ctx, e)
		if err != nil {
			return nil, err
		}
		r.signers[e.ID] = s
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.ring == nil || i.ring.row.Version <= row.Version {
		i.ring = r
	}
	return r, nil
}

// signer opens a key, once. One that was not sealed by a runtime with the master
// key is refused, so that whoever writes the store cannot have theirs published.
func (i *Issuer) signer(ctx context.Context, e *entry) (Signer, error) {
	i.mu.Lock()
	s := i.signers[e.ID]
	i.mu.Unlock()
	if s != nil {
		return s, nil
	}
	plain, err := i.cfg.Vaults.OpenOwn(ctx, sealName, e.Sealed, e.ID, e.Algorithm, e.Remote)
	if err != nil {
		return nil, off(fmt.Errorf("decrypt the signing key %s: %w", e.ID, err))
	}
	if e.Remote == "" {
		s, err = decodeMade(plain)
	} else {
		s, err = i.remote(e, plain)
	}
	if err != nil {
		return nil, err
	}
	if id, err := thumbprint(s); err != nil || id != e.ID {
		return nil, fmt.Errorf("the signing key %s is not what its id says: %w", e.ID, store.ErrCorrupt)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signers[e.ID] = s
	return s, nil
}

// remote is a key of a service. The service is asked when it has to sign.
func (i *Issuer) remote(e *entry, public []byte) (Signer, error) {
	key, err := x509.ParsePKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("the signing key %s cannot be read: %w", e.ID, store.ErrCorrupt)
	}
	return &kept{public: key, algorithm: e.Algorithm, name: e.Remote, open: i.cfg.Open}, nil
}

// kept is a key of a service whose public part is known.
type kept struct {
	public    crypto.PublicKey
	algorithm string
	name      string
	open      func(ctx context.Context, name string) (Signer, string, error)
}

func (k *kept) Public() crypto.PublicKey { return k.public }

func (k *kept) Algorithm() string { return k.algorithm }

func (k *kept) Sign(ctx context.Context, message []byte) ([]byte, error) {
	if k.open == nil {
		return nil, fmt.Errorf("the signing key %s is in a service that this server does not know", k.name)
	}
	s, _, err := k.open(ctx, k.name)
	if err != nil {
		return nil, err
	}
	return s.Sign(ctx, message)
}

// Keys returns the published keys, as others verify by them.
func (i *Issuer) Keys(ctx context.Context) (jose.JSONWebKeySet, error) {
	r, err := i.read(ctx, ringAge)
	if err != nil {
		return jose.JSONWebKeySet{}, err
	}
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, e := range r.Keys {
		if s := r.signers[e.ID]; s != nil && r.published(e, i.cfg.Now()) {
			set.Keys = append(set.Keys, webKey(e.ID, s))
		}
	}
	return set, nil
}
