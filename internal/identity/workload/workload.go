// Package workload gives agents an identity that others can check: it signs
// short-lived tokens that say which agent calls, in which session, and for whom,
// keeps and rotates the keys that they are signed with, and exchanges tokens for
// others that say no more. It knows nothing of HTTP, nor of what sessions do.
package workload

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// How long tokens live.
const (
	DefaultLifetime = 10 * time.Minute
	// MaxLifetime is the longest that a token lives. Those that are to be exchanged
	// live as long, as what they are exchanged for never lives longer.
	MaxLifetime = time.Hour
)

// Config is what an Issuer needs.
type Config struct {
	Store  store.Objects
	Vaults *vault.Vaults // under whose master key the signing keys are kept
	// URL is the issuer of the tokens, under which their keys are found, and
	// TrustDomain what the SPIFFE ids of agents and sessions begin with.
	URL         string
	TrustDomain string
	// Algorithm is that of keys made here, ES256 where it is empty. Remote names a key
	// of a service instead, which Open finds.
	Algorithm string
	Remote    string
	// Open returns a key of a service, and the name that it has there for good. nil
	// has none.
	Open func(ctx context.Context, name string) (Signer, string, error)
	Now  func() time.Time
	Log  *slog.Logger
}

// Issuer signs tokens. It is safe for use by many goroutines, and several
// processes on one store are one issuer.
type Issuer struct {
	cfg Config

	mu      sync.Mutex
	ring    *ring // as it was read last; nil before
	signers map[string]Signer
	shown   map[string]shown // tokens that are shown again, by what they say

	signatures singleflight.Group
}

// New returns an issuer. It makes its first key when one is needed. The error is
// about the configuration.
func New(cfg Config) (*Issuer, error) {
	if err := CheckTrustDomain(cfg.TrustDomain); err != nil {
		return nil, err
	}
	if cfg.Algorithm == "" {
		cfg.Algorithm = ES256
	}
	if !slices.Contains(Algorithms(), cfg.Algorithm) {
		return nil, fmt.Errorf("no tokens are signed by %q, only by %s", cfg.Algorithm, strings.Join(Algorithms(), " and "))
	}
	return &Issuer{cfg: cfg, signers: map[string]Signer{}, shown: map[string]shown{}}, nil
}

// URL is the issuer of the tokens.
func (i *Issuer) URL() string { return i.cfg.URL }

// KeysPath is where the published keys are, below the issuer's URL.
const KeysPath = "/.well-known/jwks.json"

// KeysURL is where others read the published keys.
func (i *Issuer) KeysURL() string { return i.cfg.URL + KeysPath }

// TrustDomain is what all SPIFFE ids begin with.
func (i *Issuer) TrustDomain() string { return i.cfg.TrustDomain }

// OffError is an issuer that cannot keep keys, and so signs nothing.
type OffError struct{ Why string }

func (e *OffError) Error() string {
	return "agents have no identity here, as signing keys are kept under the master key of vaults: " + e.Why
}

// off says what the lack of a master key means here.
func off(err error) error {
	var none *vault.NoKeyError
	if errors.As(err, &none) && none.ID == "" {
		return &OffError{Why: none.Where}
	}
	return err
}

// Subject is who acts, and for whom.
type Subject struct {
	Project      string
	Agent        string // id
	AgentVersion int64
	Session      string
	Actor        string   // the person for whom it acts; empty is nobody
	By           string   // the principal that made the session; may be empty
	Parents      []string // sessions above it, the nearest first
}

// ValueError is something that a token cannot say. Its text is for whoever asked
// for the token.
type ValueError struct{ Message string }

func (e *ValueError) Error() string { return e.Message }

func bad(format string, args ...any) error { return &ValueError{Message: fmt.Sprintf(format, args...)} }

// Token signs a token for one audience, and returns when it ends. It cannot be
// exchanged.
func (i *Issuer) Token(ctx context.Context, s Subject, audience string, scope []string) (token string, expires time.Time, err error) {
	t, err := i.token(ctx, s, audience, scope)
	return t.text, t.expires, err
}

func (i *Issuer) token(ctx context.Context, s Subject, audience string, scope []string) (issued, error) {
	c, err := i.claims(s, scope)
	if err != nil {
		return issued{}, err
	}
	if err := i.checkAudience(audience); err != nil {
		return issued{}, err
	}
	c.Audience = audience
	return i.issue(ctx, c, DefaultLifetime)
}

// Delegation signs a token that is for the issuer alone, which exchanges it for
// tokens for these audiences and no more than this scope.
func (i *Issuer) Delegation(ctx context.Context, s Subject, audiences, scope []string) (token string, expires time.Time, err error) {
	c, err := i.claims(s, scope)
	if err != nil {
		return "", time.Time{}, err
	}
	for _, a := range audiences {
		if err := i.checkAudience(a); err != nil {
			return "", time.Time{}, err
		}
	}
	c.Audience, c.Stayd.Audiences = i.cfg.URL, audiences
	t, err := i.issue(ctx, c, MaxLifetime)
	return t.text, t.expires, err
}

// issued is a token that was signed.
type issued struct {
	text    string
	key     string // id of the one that signed it
	expires time.Time
}

// issue gives the claims their times and signs them. Where they have an end
// already, that is the latest.
func (i *Issuer) issue(ctx context.Context, c *Claims, lifetime time.Duration) (issued, error) {
	now := i.cfg.Now()
	expires := now.Add(lifetime).Unix()
	if c.Expires != 0 {
		expires = min(expires, c.Expires)
	}
	c.Issuer, c.ID = i.cfg.URL, newID()
	c.IssuedAt, c.NotBefore, c.Expires = now.Unix(), now.Unix(), expires
	token, key, err := i.signed(ctx, now, c)
	if err != nil {
		return issued{}, err
	}
	return issued{text: token, key: key, expires: time.Unix(expires, 0).UTC()}, nil
}

// signed is a token with the claims, by the key that signs now, and the id of that.
func (i *Issuer) signed(ctx context.Context, now time.Time, claims any) (token, key string, err error) {
	e, s, err := i.signingKey(ctx, now)
	if err != nil {
		return "", "", err
	}
	token, err = sign(ctx, s, e.ID, claims)
	if err != nil {
		return "", "", fmt.Errorf("sign a token: %w", err)
	}
	return token, e.ID, nil
}

func (i *Issuer) signingKey(ctx context.Context, now time.Time) (*entry, Signer, error) {
	r, err := i.read(ctx, ringAge)
	if err != nil {
		return nil, nil, err
	}
	e := r.signing(now)
	if e == nil {
		return nil, nil, errors.New("no key signs tokens: all were revoked; make one with `stayd identity rotate`")
	}
	return e, r.signers[e.ID], nil
}
