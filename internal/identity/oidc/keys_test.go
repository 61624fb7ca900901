package oidc_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/identity/oidc/oidctest"
)

// unavailable checks that the token cannot be verified now, and returns when to ask
// again.
func (s *server) unavailable(token string) time.Duration {
	s.t.Helper()
	_, err := s.Check(context.Background(), token)
	var e *oidc.UnavailableError
	if !errors.As(err, &e) || e.Err == nil {
		s.t.Fatalf("got %v, want that the issuer is unavailable", err)
	}
	return e.After
}

// TestTimes has tokens at the bounds of the skew, a minute on either side.
func TestTimes(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	s.now = time.Unix(s.now.Unix(), 0)
	at := func(d time.Duration) int64 { return s.time().Add(d).Unix() }
	const minute, second = time.Minute, time.Second
	for _, tt := range []struct {
		name, claim   string
		offset        time.Duration
		code, message string // empty where it is taken
	}{
		{"ends in a second", "exp", second, "", ""},
		{"ends now", "exp", 0, "", ""},
		{"ended within the skew", "exp", second - minute, "", ""},
		{"ended at the skew", "exp", -minute, oidc.CodeExpired, "The token expired at "},
		{"ended beyond the skew", "exp", -minute - second, oidc.CodeExpired, "The token expired at "},
		{"ended long ago", "exp", -1000 * time.Hour, oidc.CodeExpired, "Get a new one."},
		{"begins now", "nbf", 0, "", ""},
		{"begins within the skew", "nbf", minute - second, "", ""},
		{"begins at the skew", "nbf", minute, "", ""},
		{"begins beyond the skew", "nbf", minute + second, oidc.CodeNotYet, "The token is not valid before "},
		{"begins in five minutes", "nbf", 5 * minute, oidc.CodeNotYet, "The token is not valid before "},
		{"made at the skew", "iat", minute, "", ""},
		{"made beyond the skew", "iat", minute + second, oidc.CodeNotYet, "The token was made at "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			token := p.Sign(s.claims(p.URL, tt.claim, at(tt.offset)))
			if tt.code == "" {
				s.taken(token, ops(p.URL))
				return
			}
			s.refused(token, tt.code, tt.message)
		})
	}
	s.t = t
	// The operator decides how far clocks may be off.
	strict := serveFile(t, "issuers:\n  - issuer: "+p.URL+"\n    audience: stayd\n    skew: 0s"+rules)
	strict.now = s.now
	strict.taken(p.Sign(s.claims(p.URL, "exp", at(second))), ops(p.URL))
	strict.refused(p.Sign(s.claims(p.URL, "exp", at(0))), oidc.CodeExpired, "expired")
	strict.refused(p.Sign(s.claims(p.URL, "nbf", at(second))), oidc.CodeNotYet, "not valid before")
}

// TestRotation has keys that come and go at the issuer.
func TestRotation(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	before := p.Sign(s.claims(p.URL))
	s.taken(before, ops(p.URL))
	p.Rotate(jose.ES256)
	after := p.Sign(s.claims(p.URL))
	s.taken(after, ops(p.URL))
	s.taken(before, ops(p.URL))
	if p.Reads() != 2 {
		t.Errorf("the keys were read %d times; want once for each set", p.Reads())
	}
	p.Forget()
	s.add(5*time.Minute - time.Second)
	s.taken(before, ops(p.URL)) // nobody has looked yet
	s.add(time.Second)
	s.refused(before, oidc.CodeSignature, `the key "key-1", which `+p.URL+" does not list")
	s.taken(after, ops(p.URL))

	// A key of which the issuer is asked is a look at all of them.
	p.Rotate(jose.EdDSA)
	p.Forget()
	s.taken(p.Sign(s.claims(p.URL)), ops(p.URL))
	s.refused(after, oidc.CodeSignature, `the key "key-2"`)
}

// TestUnknownKeys has tokens that name keys which nobody has, by which the issuer
// is not made to answer for each.
func TestUnknownKeys(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	k := stranger(t, "")
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			k := oidctest.Key{ID: fmt.Sprintf("random-%d", i), Algorithm: k.Algorithm, Private: k.Private}
			s.refused(k.Sign(t, nil, s.claims(p.URL)), oidc.CodeSignature, "does not list")
		})
	}
	all.Wait()
	// Those that came together may have shared a read; these use what is left.
	for i := range 4 {
		k := oidctest.Key{ID: fmt.Sprintf("later-%d", i), Algorithm: k.Algorithm, Private: k.Private}
		s.refused(k.Sign(t, nil, s.claims(p.URL)), oidc.CodeSignature, "does not list")
	}
	if n := p.Reads(); n > 4 {
		t.Errorf("the keys were read %d times for 200 tokens; want 4 at most", n)
	}
	// Tokens by keys that are known are taken all the time, and new ones after a minute.
	s.taken(p.Sign(s.claims(p.URL)), ops(p.URL))
	p.Rotate(jose.RS256)
	s.refused(p.Sign(s.claims(p.URL)), oidc.CodeSignature, `the key "key-2"`)
	s.add(time.Minute)
	s.taken(p.Sign(s.claims(p.URL)), ops(p.URL))
}

// TestTogether has many first tokens at the same time, for which the issuer is asked
// once.
func TestTogether(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	token := p.Sign(s.claims(p.URL))
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { s.taken(token, ops(p.URL)) })
	}
	all.Wait()
	if p.Reads() != 1 || p.Discoveries() != 1 {
		t.Errorf("the keys were read %d times, the document %d times; want once", p.Reads(), p.Discoveries())
	}
}

// TestDown has an issuer that is away at first, and later again.
func TestDown(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	p.SetDown(true)
	s := serve(t, p.URL)
	token := p.Sign(s.claims(p.URL))
	if after := s.unavailable(token); after != 5*time.Second {
		t.Errorf("ask again after %s", after)
	}
	asked := p.Discoveries()
	p.SetDown(false)
	s.add(2 * time.Second)
	if after := s.unavailable(token); after != 3*time.Second {
		t.Errorf("ask again after %s", after)
	}
	if n := p.Discoveries(); n != asked {
		t.Errorf("the issuer was asked %d times in the pause", n-asked)
	}
	s.add(3 * time.Second)
	s.taken(token, ops(p.URL))

	// What is known of it counts for an hour.
	p.SetDown(true)
	s.add(30 * time.Minute)
	s.taken(token, ops(p.URL))
	newKey := p.Rotate(jose.RS256).Sign(t, nil, s.claims(p.URL))
	s.unavailable(newKey)
	long := p.Sign(s.claims(p.URL, "exp", s.time().Add(5*time.Hour).Unix()))
	s.add(30 * time.Minute)
	s.unavailable(long)
	p.SetDown(false)
	s.add(5 * time.Second)
	s.taken(long, ops(p.URL))
}

// TestGone has a caller who is gone before the issuer has answered: the question
// goes on, for others.
func TestGone(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if who, err := s.Check(ctx, p.Sign(s.claims(p.URL))); err != nil || who != ops(p.URL) {
		t.Errorf("got %+v, %v", who, err)
	}
}

// strange is an issuer that says of itself what the test wants.
func strange(t *testing.T, about func(url string) map[string]any, keys any) string {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	answer := func(path string, v func() any) {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v()); err != nil {
				t.Errorf("answer: %v", err)
			}
		})
	}
	answer("/.well-known/openid-configuration", func() any { return about(server.URL) })
	answer("/keys", func() any { return keys })
	return server.URL
}

func plain(url string) map[string]any {
	return map[string]any{"issuer": url, "jwks_uri": url + "/keys"}
}

// TestStrangeIssuers has issuers whose word is not taken.
func TestStrangeIssuers(t *testing.T) {
	good := stranger(t, "good")
	public := jose.JSONWebKey{Key: good.Private.Public(), KeyID: "good", Use: "sig"}
	set := map[string]any{"keys": []any{public}}
	for _, tt := range []struct {
		name  string
		about func(string) map[string]any
		keys  any
	}{
		{"is another one", func(url string) map[string]any {
			return map[string]any{"issuer": "https://login.example.com", "jwks_uri": url + "/keys"}
		}, set},
		{"has its keys elsewhere, by http", func(url string) map[string]any {
			return map[string]any{"issuer": url, "jwks_uri": "http://127.0.0.1:1/keys"}
		}, set},
		{"has its keys nowhere", func(url string) map[string]any { return map[string]any{"issuer": url} }, set},
		{"has its keys in a private network", func(url string) map[string]any {
			return map[string]any{"issuer": url, "jwks_uri": "https://10.0.0.1/keys"}
		}, set},
		{"has no keys", plain, map[string]any{"keys": []any{}}},
		{"has no set of keys", plain, []string{"keys"}},
		{"has too many keys", plain, map[string]any{"keys": make([]any, 101)}},
		{"says too much", plain, map[string]any{"keys": []any{public}, "more": make([]string, 1<<20)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := strange(t, tt.about, tt.keys)
			s := serve(t, url)
			s.unavailable(good.Sign(t, nil, s.claims(url)))
		})
	}
}

// TestSets has keys in a set that are not for signatures of tokens. They are left
// out, and hinder nobody.
func TestSets(t *testing.T) {
	good, other := stranger(t, "good"), stranger(t, "other")
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	url := strange(t, plain, map[string]any{"keys": []any{
		map[string]any{"kty": "oct", "kid": "good", "k": "c2VjcmV0", "alg": "RS256"},
		map[string]any{"kty": "OKP", "crv": "X25519", "kid": "x", "x": "AAAA"},
		map[string]any{"kty": "unheard of"},
		"text",
		jose.JSONWebKey{Key: other.Private.Public(), KeyID: "encrypts", Use: "enc"},
		jose.JSONWebKey{Key: other.Private, KeyID: "private", Use: "sig"},
		jose.JSONWebKey{Key: &weak.PublicKey, KeyID: "weak", Use: "sig"},
		jose.JSONWebKey{Key: good.Private.Public(), KeyID: "good"},
	}})
	s := serve(t, url)
	s.taken(good.Sign(t, nil, s.claims(url)), ops(url))
	for _, k := range []oidctest.Key{
		{ID: "encrypts", Algorithm: jose.RS256, Private: other.Private},
		{ID: "private", Algorithm: jose.RS256, Private: other.Private},
		{ID: "weak", Algorithm: jose.RS256, Private: weak},
	} {
		t.Run(k.ID, func(t *testing.T) {
			s.t = t
			s.refused(k.Sign(t, nil, s.claims(url)), oidc.CodeSignature, "does not list")
		})
	}
}
