// Package vault keeps the credentials of projects: tokens for MCP servers, and
// secrets that programs in environments send without ever seeing them. At rest
// each is sealed under the data key of its vault, which a master key wraps; where
// the master key comes from is a Master's business. What is sealed is bound to
// its project, vault, credential and destination, so that whoever can write the
// store can neither swap secrets nor send them elsewhere. It decides what a
// credential may be and which one is meant, and does not know who uses it.
package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// A Master has the keys that data keys are wrapped with. All methods may be
// called at once from many goroutines.
type Master interface {
	// Current returns the id of the key that new data keys are wrapped with.
	Current(ctx context.Context) (id string, err error)
	// Wrap encrypts a data key of at most 1 KiB with the current key, whose id it
	// returns. What it is associated with has to be given again to unwrap it.
	Wrap(ctx context.Context, dataKey, associated []byte) (id string, wrapped []byte, err error)
	// Unwrap decrypts what Wrap returned with that id. Errors: *NoKeyError where
	// there is no such key, store.ErrCorrupt where these bytes were not wrapped with
	// it and with what they are associated with.
	Unwrap(ctx context.Context, id string, wrapped, associated []byte) ([]byte, error)
}

// NoKeyError is a master key that is not there.
type NoKeyError struct {
	ID    string // of the key; empty where none is configured
	Where string // where it was looked for, or what the operator has to do
}

func (e *NoKeyError) Error() string {
	if e.ID == "" {
		return "vaults need a master key: " + e.Where
	}
	return fmt.Sprintf("what is stored was encrypted under the master key %s, which is not in %s: give the server the keys that it had before", e.ID, e.Where)
}

// Unset is the Master of an operator who configured none. The text says what to
// do about it.
type Unset string

// Current fails.
func (u Unset) Current(context.Context) (string, error) { return "", &NoKeyError{Where: string(u)} }

// Wrap fails.
func (u Unset) Wrap(context.Context, []byte, []byte) (string, []byte, error) {
	return "", nil, &NoKeyError{Where: string(u)}
}

// Unwrap fails.
func (u Unset) Unwrap(context.Context, string, []byte, []byte) ([]byte, error) {
	return nil, &NoKeyError{Where: string(u)}
}

// ValueError is a value that a vault or credential cannot have. Its text has no
// secret in it.
type ValueError struct {
	Param   string // in the words of the API
	Message string
}

func (e *ValueError) Error() string { return e.Message }

// NotFoundError is an id that the project does not have.
type NotFoundError struct {
	What string // "vault" or "credential"
	ID   string
}

func (e *NotFoundError) Error() string { return "no " + e.What + " found with id '" + e.ID + "'" }

// ErrKeyReused is an idempotency key that comes again with another request.
var ErrKeyReused = errors.New("the idempotency key was used for another request")

// Vaults keeps the vaults of all projects in a store.
type Vaults struct {
	store  store.Objects
	master Master
	now    func() time.Time

	// wrapping is held for reading by who wraps a data key and stores it, so that
	// Rewrap knows when all wrap with the newest master key.
	wrapping   sync.RWMutex
	rewrapping sync.Mutex
}

// New keeps vaults in the store, under the keys of the master.
func New(st store.Objects, master Master, now func() time.Time) *Vaults {
	return &Vaults{store: st, master: master, now: now}
}

// Vault is a collection of credentials.
type Vault struct {
	ID        string
	Name      *string
	Metadata  map[string]string
	CreatedAt time.Time
}

// Page is which part of a list is asked for. Where there is more, one more than
// Limit is returned.
type Page struct {
	After    string
	Asc      bool
	Limit    int
	Metadata map[string]string // all pairs must match
	Actor    string            // whose credentials; empty is all
}

// savedVault is what the store has of a vault.
type savedVault struct {
	Name     *string           `json:"name,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// Deleted is set before anything of the vault is deleted: from then on it is not
	// found, also where the process ended before all of it was gone.
	Deleted bool          `json:"deleted,omitempty"`
	Created event.Input   `json:"created"`
	Updated []event.Input `json:"updated,omitempty"`
}

// Change is what a vault is made of, or gets instead. What is not set stays
// as it is.
type Change struct {
	SetName     bool
	Name        *string // nil is no name
	SetMetadata bool
	Metadata    map[string]string
}

func (ch *Change) apply(v *savedVault) error {
	if ch.SetName {
		v.Name = nil
		if ch.Name != nil {
			name, err := checkName(*ch.Name)
			if err != nil {
				return err
			}
			v.Name = &name
		}
	}
	if ch.SetMetadata {
		if err := checkMetadata(ch.Metadata); err != nil {
			return err
		}
		v.Metadata = ch.Metadata
	}
	return nil
}

// Create makes a vault. A request with an idempotency key that was taken before
// returns what it made then.
func (v *Vaults) Create(ctx context.Context, project string, ch Change, in event.Input) (Vault, error) {
	saved := savedVault{Created: in}
	if err := ch.apply(&saved); err != nil {
		return Vault{}, err
	}
	id := idFor("vault", in, project)
	row, err := v.insert(ctx, project, store.KindVault, id, &saved)
	if errors.Is(err, store.ErrConflict) && in.Key != "" {
		var before *savedVault
		if row, before, err = v.vault(ctx, project, id); err != nil {
			return Vault{}, err
		}
		if before.Created != in {
			return Vault{}, ErrKeyReused
		}
		saved = *before
	}
	if err != nil {
		return Vault{}, fmt.Errorf("create a vault: %w", err)
	}
	return vaultOf(row, &saved), nil
}

// Get returns a vault. A *NotFoundError is one that is not there.
func (v *Vaults) Get(ctx context.Context, project, id string) (Vault, error) {
	row, saved, err := v.vault(ctx, project, id)
	if err != nil {
		return Vault{}, err
	}
	return vaultOf(row, saved), nil
}

// Update changes name and metadata of a vault.
func (v *Vaults) Update(ctx context.Context, project, id string, ch Change, in event.Input) (Vault, error) {
	var row *store.Object
	var saved *savedVault
	err := again(func() (err error) {
		if row, saved, err = v.vault(ctx, project, id); err != nil {
			return err
		}
		if repeated, err := remember(&saved.Updated, in); repeated || err != nil {
			return err
		}
		if err := ch.apply(saved); err != nil {
			return err
		}
		return v.replace(ctx, row, saved)
	})
	if err != nil {
		return Vault{}, missing(err, "vault", id, "change")
	}
	return vaultOf(row, saved), nil
}

// List returns a page of the project's vaults by time of creation.
func (v *Vaults) List(ctx context.Context, project string, p Page) ([]Vault, error) {
	return list(ctx, v.store, project, store.KindVault, "vault", p, func(row *store.Object) (Vault, bool, error) {
		saved, err := decode[savedVault](row)
		if err != nil || saved.Deleted || !matches(saved.Metadata, p.Metadata) {
			return Vault{}, false, err
		}
		return vaultOf(row, saved), true, nil
	})
}

// vault reads one that is not deleted.
func (v *Vaults) vault(ctx context.Context, project, id string) (*store.Object, *savedVault, error) {
	row, err := v.store.Object(ctx, project, store.KindVault, id)
	if err != nil {
		return nil, nil, missing(err, "vault", id, "read")
	}
	saved, err := decode[savedVault](&row)
	if err != nil {
		return nil, nil, err
	}
	if saved.Deleted {
		return nil, nil, &NotFoundError{What: "vault", ID: id}
	}
	return &row, saved, nil
}

func vaultOf(row *store.Object, saved *savedVault) Vault {
	return Vault{ID: row.ID, Name: saved.Name, Metadata: saved.Metadata, CreatedAt: row.CreatedAt}
}

// matches reports whether all pairs that are asked for are there.
func matches(have, want map[string]string) bool {
	for k, v := range want {
		if got, ok := have[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// remembered is how many changes of a vault or credential are known by their
// idempotency keys.
const remembered = 16

// remember reports whether the request was taken before, and remembers it.
func remember(updates *[]event.Input, in event.Input) (bool, error) {
	if in.Key == "" {
		return false, nil
	}
	i := slices.IndexFunc(*updates, func(u event.Input) bool { return u.Key == in.Key })
	switch {
	case i >= 0 && (*updates)[i] == in:
		return true, nil
	case i >= 0:
		return false, ErrKeyReused
	}
	*updates = append(*updates, in)
	*updates = (*updates)[max(0, len(*updates)-remembered):]
	return false, nil
}

func decode[T any](row *store.Object) (*T, error) {
	data := new(T)
	if err := json.Unmarshal(row.Data, data); err != nil {
		return nil, fmt.Errorf("decode %s %s: %w: %w", row.Kind, row.ID, err, store.ErrCorrupt)
	}
	return data, nil
}
