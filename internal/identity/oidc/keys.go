package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
)

const (
	// freshFor is how long keys are taken without a look at whether they still are
	// the issuer's, and staleFor how long where the issuer does not answer.
	freshFor = 5 * time.Minute
	staleFor = time.Hour
	// aboutFor is how long is believed where the issuer has its keys.
	aboutFor = time.Hour
	// retryAfter is the pause after an issuer did not answer.
	retryAfter = 5 * time.Second
	// firstTimeout is how long a caller waits for an issuer of which nothing is known,
	// and againTimeout for one whose keys are.
	firstTimeout = 20 * time.Second
	againTimeout = 4 * time.Second
	// Tokens that name a key which is not known have the keys read again at most
	// unknownReads times in unknownWithin: anybody can make such tokens.
	unknownReads  = 3
	unknownWithin = time.Minute
	// maxKeys is how many keys of an issuer are looked at.
	maxKeys = 100
)

// keys are those that an issuer signs with, read when they are first needed and
// then now and then.
type keys struct {
	issuer     string
	algorithms []jose.SignatureAlgorithm
	client     *http.Client
	now        func() time.Time

	turn chan struct{} // holds a value while somebody reads

	mu       sync.Mutex
	have     *keySet // nil before the first
	failed   error   // of the last reading, nil where that went well
	failedAt time.Time
	unknown  [unknownReads]time.Time // when keys were last read for an unknown one
}

// keySet is what was read at a time. It is not changed.
type keySet struct {
	keys      []jose.JSONWebKey
	readAt    time.Time
	url       string // where the keys are
	foundAt   time.Time
	outOfDate bool // the keys were not where they were said to be
}

func newKeys(issuer string, algorithms []jose.SignatureAlgorithm, client *http.Client, now func() time.Time) *keys {
	return &keys{issuer: issuer, algorithms: algorithms, client: client, now: now, turn: make(chan struct{}, 1)}
}

// verify returns what the token says, where one of the issuer's keys signed it. The
// error is a *RefusedError or an *UnavailableError.
func (k *keys) verify(ctx context.Context, shown string) ([]byte, error) {
	jws, err := jose.ParseSignedCompact(shown, k.algorithms)
	if err != nil {
		return nil, refused(CodeInvalid, "The token cannot be read as one that is signed.")
	}
	header := jws.Signatures[0].Protected
	set, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	found, err := set.find(header.KeyID, header.Algorithm)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		if set, err = k.again(ctx, set); err != nil {
			return nil, err
		}
		if found, err = set.find(header.KeyID, header.Algorithm); err != nil {
			return nil, err
		}
	}
	if len(found) == 0 {
		return nil, refused(CodeSignature, "The token names the key %.60q, which %s does not list, or not for this.", header.KeyID, k.issuer)
	}
	for i := range found {
		if payload, err := jws.Verify(&found[i]); err == nil {
			return payload, nil
		}
	}
	return nil, refused(CodeSignature, "The token is not signed by %s, or was changed after it was.", k.issuer)
}

// find returns the keys that a token may be signed with. One that names none may
// be signed only where there is no choice.
func (s *keySet) find(id, algorithm string) ([]jose.JSONWebKey, error) {
	var found []jose.JSONWebKey
	for i := range s.keys {
		key := &s.keys[i]
		if (id == "" || key.KeyID == id) && (key.Algorithm == "" || key.Algorithm == algorithm) && suits(key.Key, algorithm) {
			found = append(found, *key)
		}
	}
	if id == "" && len(found) > 1 {
		return nil, refused(CodeSignature, "The token does not name the key that it is signed with, and its issuer has several.")
	}
	return found, nil
}

// suits reports whether keys of the type sign by the algorithm.
func suits(key any, algorithm string) bool {
	switch key.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return strings.HasPrefix(algorithm, "ES")
	case ed25519.PublicKey:
		return algorithm == string(jose.EdDSA)
	}
	return false
}

// current returns the keys as they are known, which are read where that is too
// long ago.
func (k *keys) current(ctx context.Context) (*keySet, error) {
	have, age := k.known()
	switch {
	case have != nil && age < freshFor:
		return have, nil
	case have != nil && age < staleFor:
		// One caller reads them; the others do not wait for an issuer that may be slow.
		select {
		case k.turn <- struct{}{}:
		default:
			return have, nil
		}
	default:
		if err := k.wait(ctx); err != nil {
			return nil, err
		}
	}
	defer func() { <-k.turn }()
	if have, age = k.known(); have != nil && age < freshFor {
		return have, nil
	}
	if have == nil || age >= staleFor {
		return k.read(ctx, firstTimeout)
	}
	if read, err := k.read(ctx, againTimeout); err == nil {
		return read, nil
	}
	return have, nil
}

// wait takes the turn, at once where nobody has it.
func (k *keys) wait(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
		return nil
	default:
	}
	select {
	case k.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return &UnavailableError{Issuer: k.issuer, After: retryAfter, Err: ctx.Err()}
	}
}

// known is what is known, and how long ago it was read.
func (k *keys) known() (*keySet, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.have == nil {
		return nil, 0
	}
	return k.have, k.now().Sub(k.have.readAt)
}

// again returns the keys as they are after the ones that were looked at, or those
// where they may not be read again yet.
func (k *keys) again(ctx context.Context, seen *keySet) (*keySet, error) {
	if err := k.wait(ctx); err != nil {
		return nil, err
	}
	defer func() { <-k.turn }()
	if have, _ := k.known(); have != seen || !k.mayReadUnknown() {
		return have, nil
	}
	return k.read(ctx, againTimeout)
}

// mayReadUnknown counts a reading for a key that is not known.
func (k *keys) mayReadUnknown() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.now()
	if oldest := k.unknown[0]; !oldest.IsZero() && now.Sub(oldest) < unknownWithin {
		return false
	}
	copy(k.unknown[:], k.unknown[1:])
	k.unknown[unknownReads-1] = now
	return true
}

// read asks the issuer, unless it did not answer just now. It goes on when the
// caller is gone: others wait for the same.
func (k *keys) read(ctx context.Context, limit time.Duration) (*keySet, error) {
	k.mu.Lock()
	have, failed, left := k.have, k.failed, retryAfter-k.now().Sub(k.failedAt)
	k.mu.Unlock()
	if failed != nil && left > 0 {
		return nil, &UnavailableError{Issuer: k.issuer, After: left, Err: failed}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	set, err := k.ask(ctx, have)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err
	if err != nil {
		k.failedAt = k.now()
		if have != nil {
			stale := *have
			stale.outOfDate = true
			k.have = &stale
		}
		return nil, &UnavailableError{Issuer: k.issuer, After: retryAfter, Err: err}
	}
	k.have = set
	return set, nil
}

// ask asks the issuer where its keys are, unless that is known, and for them.
func (k *keys) ask(ctx context.Context, have *keySet) (*keySet, error) {
	now := k.now()
	set := &keySet{readAt: now}
	if have != nil && !have.outOfDate && now.Sub(have.foundAt) < aboutFor {
		set.url, set.foundAt = have.url, have.foundAt
	} else {
		p, err := oidc.NewProvider(oidc.ClientContext(ctx, k.client), k.issuer)
		if err != nil {
			return nil, fmt.Errorf("ask the issuer %s about itself: %.400s", k.issuer, err.Error()) // which may have a whole page in it
		}
		var about struct {
			Keys string `json:"jwks_uri"`
		}
		if err := p.Claims(&about); err != nil {
			return nil, fmt.Errorf("read what the issuer %s says of itself: %w", k.issuer, err)
		}
		if err := checkKeysURL(k.issuer, about.Keys); err != nil {
			return nil, err
		}
		set.url, set.foundAt = about.Keys, now
	}
	var err error
	set.keys, err = fetchKeys(ctx, k.client, set.url)
	return set, err
}

// checkKeysURL takes keys over https, and over http of an issuer that is itself.
func checkKeysURL(issuer, keys string) error {
	own, err := url.Parse(issuer)
	if err != nil {
		return fmt.Errorf("the issuer %q: %w", issuer, err)
	}
	u, err := url.Parse(keys)
	if err != nil || u.Host == "" || (u.Scheme != "https" && (u.Scheme != "http" || own.Scheme != "http" || u.Host != own.Host)) {
		return fmt.Errorf("the issuer %s has its keys at %.200q, which is not an https URL", issuer, keys)
	}
	return nil
}

func fetchKeys(ctx context.Context, client *http.Client, at string) ([]jose.JSONWebKey, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, fmt.Errorf("ask for keys: %w", err)
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask for keys: %w", err)
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("read the keys at %s: %w", at, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask for the keys at %s: status %s", at, resp.Status)
	}
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("read the keys at %s: %w", at, err)
	}
	return keys, nil
}

// parseKeys reads the public keys for signatures of a set. Others are left out, as
// are those of kinds that are not known: sets have keys for all sorts of readers.
func parseKeys(data []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("it is not a set of keys: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("it has %d keys, and %d are the most", len(set.Keys), maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); err != nil || !key.Valid() || !key.IsPublic() || key.Use == "enc" || !strong(key.Key) {
			continue
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no public key for signatures")
	}
	return keys, nil
}

// strong refuses keys of sizes that nobody signs with.
func strong(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return bits >= 2048 && bits <= 8192
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}
