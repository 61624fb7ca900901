// Package oidctest is an issuer of tokens for tests: a whole OpenID Connect
// provider on loopback, whose keys, clients and users the test decides about.
package oidctest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/pkg/op"
	"golang.org/x/text/language"
)

// ClientID is the public client that the provider knows.
const ClientID = "stayd-cli"

// Provider is an issuer that runs until the test ends.
type Provider struct {
	t   testing.TB
	URL string

	mu      sync.Mutex
	down    bool
	reads   map[string]int // by path
	keys    []Key          // the last one signs
	signs   int            // how many keys there were
	options Options
	devices map[string]*op.DeviceAuthorizationState // by device code
	codes   map[string]string                       // device codes by user code
	refresh map[string]*grant
	revoked []string
	issued  int
}

// Options say what tokens are like. The zero value makes JWTs that last an hour.
type Options struct {
	Audience []string // of access tokens, beside the client
	Opaque   bool     // access tokens say nothing
	Lifetime time.Duration
	// Claims are those of a subject, in access and ID tokens.
	Claims map[string]map[string]any
}

// Key signs tokens. Its public half is in the set that the provider shows.
type Key struct {
	ID        string
	Algorithm jose.SignatureAlgorithm
	Private   crypto.Signer
}

// Start returns a provider with one key, of RS256.
func Start(t testing.TB, o Options) *Provider {
	t.Helper()
	p := &Provider{
		t: t, options: o, reads: map[string]int{}, devices: map[string]*op.DeviceAuthorizationState{},
		codes: map[string]string{}, refresh: map[string]*grant{},
	}
	p.Rotate(jose.RS256)
	server := httptest.NewUnstartedServer(nil)
	p.URL = "http://" + server.Listener.Addr().String()
	config := &op.Config{
		CryptoKey: [32]byte{1}, GrantTypeRefreshToken: true, SupportedUILocales: []language.Tag{language.English},
		DeviceAuthorization: op.DeviceAuthorizationConfig{Lifetime: time.Hour, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20},
	}
	handler, err := op.NewProvider(config, &storage{p: p}, op.StaticIssuer(p.URL), op.WithAllowInsecure(),
		op.WithLogger(slog.New(slog.NewTextHandler(io.Discard, nil))))
	if err != nil {
		t.Fatalf("make the provider: %v", err)
	}
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.answers(r.URL.Path) {
			panic(http.ErrAbortHandler)
		}
		handler.ServeHTTP(w, r)
	})
	server.Start()
	t.Cleanup(server.Close)
	return p
}

func (p *Provider) answers(path string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reads[path]++
	return !p.down
}

// SetDown has the provider end connections without an answer, or not.
func (p *Provider) SetDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
}

// Reads is how often the keys were asked for, and Discoveries how often the
// document about the provider was.
func (p *Provider) Reads() int { return p.asked("/keys") }

// Discoveries is as Reads says.
func (p *Provider) Discoveries() int { return p.asked("/.well-known/openid-configuration") }

func (p *Provider) asked(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.reads[path]
}

// Set changes what tokens are like from now on.
func (p *Provider) Set(change func(*Options)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change(&p.options)
}

// Rotate makes a new key, which signs from now on. Those before stay in the set.
func (p *Provider) Rotate(algorithm jose.SignatureAlgorithm) Key {
	p.t.Helper()
	private, err := newKey(algorithm)
	if err != nil {
		p.t.Fatalf("make a key: %v", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signs++
	k := Key{ID: fmt.Sprintf("key-%d", p.signs), Algorithm: algorithm, Private: private}
	p.keys = append(p.keys, k)
	return k
}

func newKey(algorithm jose.SignatureAlgorithm) (crypto.Signer, error) {
	switch algorithm { //nolint:exhaustive // the others are of RSA
	case jose.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}

// Forget takes all keys out of the set but the one that signs.
func (p *Provider) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys = p.keys[len(p.keys)-1:]
}

// Key is the one that signs.
func (p *Provider) Key() Key {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys[len(p.keys)-1]
}

// Sign makes a token with the claims, by the key that signs.
func (p *Provider) Sign(claims map[string]any) string {
	p.t.Helper()
	k := p.Key()
	return k.Sign(p.t, map[string]any{"typ": "JWT"}, claims)
}

// Sign makes a token with the claims. Headers are beside, or instead of, the key's
// own.
func (k Key) Sign(t testing.TB, headers, claims map[string]any) string {
	t.Helper()
	data, err := json.Marshal(claims)
	if err != nil {
		t.Fatalf("encode claims: %v", err)
	}
	return k.SignText(t, headers, data)
}

// SignText is Sign of claims that are written out.
func (k Key) SignText(t testing.TB, headers map[string]any, claims []byte) string {
	t.Helper()
	o := (&jose.SignerOptions{}).WithHeader("kid", k.ID)
	for name, v := range headers {
		o.WithHeader(jose.HeaderKey(name), v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: k.Algorithm, Key: k.Private}, o)
	if err != nil {
		t.Fatalf("make a signer: %v", err)
	}
	signed, err := signer.Sign(claims)
	if err != nil {
		t.Fatalf("sign: %v", err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatalf("write the token: %v", err)
	}
	return text
}

// Approve has the user consent to the device that shows the code.
func (p *Provider) Approve(userCode, subject string) {
	p.t.Helper()
	p.decide(userCode, func(s *op.DeviceAuthorizationState) { s.Subject, s.Done, s.AuthTime = subject, true, time.Now() })
}

// Deny has the user refuse the device that shows the code.
func (p *Provider) Deny(userCode string) {
	p.t.Helper()
	p.decide(userCode, func(s *op.DeviceAuthorizationState) { s.Denied = true })
}

func (p *Provider) decide(userCode string, fn func(*op.DeviceAuthorizationState)) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.devices[p.codes[userCode]]
	if s == nil {
		p.t.Fatalf("there is no device with the code %q", userCode)
	}
	fn(s)
}

// Revoked are the refresh tokens that were revoked.
func (p *Provider) Revoked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.revoked...)
}

// RevokeAll ends all refresh tokens, as an administrator would.
func (p *Provider) RevokeAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh = map[string]*grant{}
}
