package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/store"
)

// Key is an API key without its secret.
type Key struct {
	ID        string
	Project   string
	Name      string
	Scope     Scope
	CreatedAt time.Time
	ExpiresAt time.Time // zero is never
	RevokedAt time.Time // zero is not
	// Hint is the end of the newest secret, by which its holder knows it.
	Hint    string
	secrets []secret
	version int64
}

// secret is what is known of one secret of a key. A key that was rotated has an
// older one, which is taken for a while.
type secret struct {
	Hash  string    `json:"hash"` // SHA-256, in hexadecimal
	Hint  string    `json:"hint"`
	Until time.Time `json:"until,omitzero"` // zero is as long as the key
}

// stored is a key as the store has it.
type stored struct {
	Name      string    `json:"name"`
	Scope     Scope     `json:"scope"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	RevokedAt time.Time `json:"revoked_at,omitzero"`
	Secrets   []secret  `json:"secrets"`
}

// Keys keeps API keys. It is safe for use by many goroutines and processes.
type Keys struct {
	Store store.Objects
	Now   func() time.Time
}

// NewKey says what a key is to be.
type NewKey struct {
	Project   string
	Name      string
	Scope     Scope
	ExpiresAt time.Time // zero is never
}

// Prefix is what every key's text begins with, so that one is known where it was
// left lying about.
const Prefix = "stayd_"

const (
	idBytes     = 12
	secretBytes = 32
	hintLength  = 4
)

// text is the key as its holder has it: what finds it, and the secret.
func text(project, id, secret string) string {
	return Prefix + base64.RawURLEncoding.EncodeToString([]byte(project+"/"+id)) + "." + secret
}

// maxProject is how long the name of a project may be, in bytes.
const maxProject = 64

// isProject reports whether projects are named like that.
func isProject(s string) bool {
	return s != "" && len(s) <= maxProject && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '_' && r != '-'
	})
}

// isID reports whether keys may have the id: printable ASCII without spaces.
func isID(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// parse takes a key's text apart. What no key has is refused here: not every store
// takes any text.
func parse(s string) (project, id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(s, Prefix)
	if !ok {
		return "", "", "", false
	}
	name, secret, ok := strings.Cut(rest, ".")
	if !ok || secret == "" {
		return "", "", "", false
	}
	b, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil {
		return "", "", "", false
	}
	project, id, ok = strings.Cut(string(b), "/")
	return project, id, secret, ok && isProject(project) && isID(id)
}

// newSecret makes a secret, of 256 random bits, and what is kept of it.
func newSecret() (string, secret) {
	b := make([]byte, secretBytes)
	rand.Read(b)
	s := base64.RawURLEncoding.EncodeToString(b)
	sum := sha256.Sum256([]byte(s))
	return s, secret{Hash: hex.EncodeToString(sum[:]), Hint: s[len(s)-hintLength:]}
}

// Create makes a key and returns it with its text, which nobody is told again.
// id makes the same key when it is asked for twice; empty makes a new one.
// store.ErrConflict: there is one with the id.
func (k *Keys) Create(ctx context.Context, id string, n NewKey) (Key, string, error) {
	if id == "" {
		b := make([]byte, idBytes)
		rand.Read(b)
		id = "key_" + hex.EncodeToString(b)
	}
	plain, kept := newSecret()
	key := Key{
		ID: id, Project: n.Project, Name: n.Name, Scope: n.Scope, CreatedAt: k.now(), ExpiresAt: n.ExpiresAt, Hint: kept.Hint,
		secrets: []secret{kept}, version: 1,
	}
	row, err := key.row(key.CreatedAt)
	if err != nil {
		return key, "", err
	}
	if err := k.Store.CreateObject(ctx, row); err != nil {
		return key, "", fmt.Errorf("store the API key %s: %w", id, err)
	}
	return key, text(n.Project, id, plain), nil
}

func (k *Keys) now() time.Time { return k.Now().UTC().Truncate(time.Microsecond) }

func (key *Key) row(at time.Time) (store.Object, error) {
	data, err := json.Marshal(stored{Name: key.Name, Scope: key.Scope, ExpiresAt: key.ExpiresAt, RevokedAt: key.RevokedAt, Secrets: key.secrets})
	if err != nil {
		return store.Object{}, fmt.Errorf("encode the API key %s: %w", key.ID, err)
	}
	return store.Object{
		Project: key.Project, Kind: store.KindKey, ID: key.ID, Version: key.version, CreatedAt: key.CreatedAt, UpdatedAt: at, Data: data,
	}, nil
}

func keyOf(o *store.Object) (Key, error) {
	var s stored
	if err := json.Unmarshal(o.Data, &s); err != nil || len(s.Secrets) == 0 {
		return Key{}, fmt.Errorf("the API key %s cannot be read: %w", o.ID, store.ErrCorrupt)
	}
	return Key{
		ID: o.ID, Project: o.Project, Name: s.Name, Scope: s.Scope, CreatedAt: o.CreatedAt, ExpiresAt: s.ExpiresAt, RevokedAt: s.RevokedAt,
		Hint: s.Secrets[len(s.Secrets)-1].Hint, secrets: s.Secrets, version: o.Version,
	}, nil
}

// Get returns a key. store.ErrNotFound: there is none.
func (k *Keys) Get(ctx context.Context, project, id string) (Key, error) {
	o, err := k.Store.Object(ctx, project, store.KindKey, id)
	if err != nil {
		return Key{}, err
	}
	return keyOf(&o)
}

// List lists the keys of a project.
func (k *Keys) List(ctx context.Context, q store.ObjectQuery) ([]Key, error) {
	q.Kind = store.KindKey
	rows, err := k.Store.ListObjects(ctx, q)
	if err != nil {
		return nil, err
	}
	keys := make([]Key, len(rows))
	for i := range rows {
		if keys[i], err = keyOf(&rows[i]); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// changes is how often a key is read again that somebody else has changed.
const changes = 10

// change stores what fn makes of the key.
func (k *Keys) change(ctx context.Context, project, id string, fn func(*Key)) (Key, error) {
	for i := 1; ; i++ {
		key, err := k.Get(ctx, project, id)
		if err != nil {
			return key, err
		}
		fn(&key)
		key.version++
		row, err := key.row(k.now())
		if err != nil {
			return key, err
		}
		err = k.Store.UpdateObject(ctx, row)
		if errors.Is(err, store.ErrConflict) && i < changes {
			continue
		}
		if err != nil {
			return key, fmt.Errorf("change the API key %s: %w", id, err)
		}
		return key, nil
	}
}

// RevokedError is a key that was revoked, and so cannot be changed.
type RevokedError struct{ ID string }

func (e *RevokedError) Error() string {
	return fmt.Sprintf("The API key '%s' was revoked. Make a new one.", e.ID)
}

// Rotate gives a key another secret and returns its new text. What it had before
// is taken for the overlap; 0 ends it at once.
func (k *Keys) Rotate(ctx context.Context, project, id string, overlap time.Duration) (Key, string, error) {
	plain, kept := newSecret()
	revoked := false
	key, err := k.change(ctx, project, id, func(key *Key) {
		if revoked = !key.RevokedAt.IsZero(); revoked {
			return
		}
		until := k.now().Add(overlap)
		all := slices.DeleteFunc(slices.Clone(key.secrets), func(s secret) bool { return !s.Until.IsZero() && !s.Until.After(k.now()) })
		for i := range all {
			if all[i].Until.IsZero() || all[i].Until.After(until) {
				all[i].Until = until
			}
		}
		all = append(all, kept)
		key.secrets, key.Hint = all, kept.Hint
	})
	if err == nil && revoked {
		err = &RevokedError{ID: id}
	}
	if err != nil {
		return key, "", err
	}
	return key, text(project, id, plain), nil
}

// Revoke ends a key for good. It stays listed.
func (k *Keys) Revoke(ctx context.Context, project, id string) (Key, error) {
	return k.change(ctx, project, id, func(key *Key) {
		if key.RevokedAt.IsZero() {
			key.RevokedAt = k.now()
		}
	})
}

// ErrRefused is what a key is answered that is not taken, whatever is wrong with
// it.
var ErrRefused = errors.New("the API key is not one, or is not taken any more")

// Check returns who holds the key. ErrRefused: nobody does.
func (k *Keys) Check(ctx context.Context, shown string) (Principal, error) {
	project, id, plain, ok := parse(shown)
	if !ok {
		return Principal{}, ErrRefused
	}
	key, err := k.Get(ctx, project, id)
	if errors.Is(err, store.ErrNotFound) {
		return Principal{}, ErrRefused
	}
	if err != nil {
		return Principal{}, fmt.Errorf("check an API key: %w", err)
	}
	sum := sha256.Sum256([]byte(plain))
	now, hash, taken := k.now(), []byte(hex.EncodeToString(sum[:])), 0
	for i := range key.secrets {
		s := &key.secrets[i]
		same := subtle.ConstantTimeCompare(hash, []byte(s.Hash))
		if s.Until.IsZero() || s.Until.After(now) {
			taken |= same
		}
	}
	over := !key.RevokedAt.IsZero() || (!key.ExpiresAt.IsZero() && !key.ExpiresAt.After(now))
	if taken == 0 || over {
		return Principal{}, ErrRefused
	}
	return Principal{ID: key.ID, Project: key.Project, Scope: key.Scope, Until: key.ExpiresAt}, nil
}
