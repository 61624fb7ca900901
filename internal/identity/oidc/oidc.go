// Package oidc turns tokens of other issuers into principals: it reads which
// issuers the operator trusts and for what, finds their keys, verifies what a
// caller shows and says in which project they are. It keeps nothing, and knows
// nothing of sessions nor of how requests arrive.
package oidc

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/outbound"
)

// Issuer is who makes tokens, and what they are good for here.
type Issuer struct {
	// URL is the issuer as its tokens spell it: https, or http on loopback.
	URL string
	// Audience has whom a token has to be for: one of these.
	Audience []string
	// ClientID and Scopes are what `stayd login` presents itself with. Without a
	// client there is no such login.
	ClientID string
	Scopes   []string
	// Skew is how far the issuer's clock may be from ours, both ways.
	Skew time.Duration
	// Algorithms are those that a token may be signed by.
	Algorithms []string
	// Rules say who its subjects are here. The first that matches is taken.
	Rules []Rule
}

// Rule gives a place to those whose tokens have the claims.
type Rule struct {
	// Claims has for the name of a claim what it may be. All have to match. A dot in a
	// name goes into an object. A claim that is a list matches by any of its members.
	Claims  map[string][]string
	Project string
	Scope   identity.Scope
	// Actor is the claim that says whom the caller acts for; empty is anybody.
	Actor string
}

// Config is what the tokens of all issuers need.
type Config struct {
	Issuers []Issuer
	// Outbound says by what issuers are reached, which may be anywhere themselves.
	Outbound outbound.Policy
	Now      func() time.Time
}

// Tokens verifies the tokens of the issuers. It is safe for use by many
// goroutines, and starts none.
type Tokens struct {
	issuers map[string]*trusted
	now     func() time.Time
}

// trusted is an issuer with its keys.
type trusted struct {
	Issuer
	keys *keys
	name string // URL without its scheme
}

// New makes it. No issuer is asked before the first of its tokens is seen.
func New(cfg Config) (*Tokens, error) {
	t := &Tokens{issuers: make(map[string]*trusted, len(cfg.Issuers)), now: cfg.Now}
	for _, is := range cfg.Issuers {
		u, err := url.Parse(is.URL)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", is.URL, err)
		}
		client, err := client(u, cfg.Outbound)
		if err != nil {
			return nil, fmt.Errorf("issuer %s: %w", is.URL, err)
		}
		algorithms := make([]jose.SignatureAlgorithm, len(is.Algorithms))
		for i, a := range is.Algorithms {
			algorithms[i] = jose.SignatureAlgorithm(a)
		}
		_, name, _ := strings.Cut(is.URL, "://")
		t.issuers[is.URL] = &trusted{Issuer: is, name: name, keys: newKeys(is.URL, algorithms, client, cfg.Now)}
	}
	return t, nil
}

const (
	// askTimeout bounds one question to an issuer.
	askTimeout = 10 * time.Second
	// maxDocument bounds what an issuer says of itself and of its keys, in bytes.
	maxDocument = 1 << 20
)

// client asks the issuer, which is allowed by being named.
func client(u *url.URL, policy outbound.Policy) (*http.Client, error) {
	port := u.Port()
	if port == "" {
		port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
	}
	policy.Allow = append(slices.Clone(policy.Allow), net.JoinHostPort(u.Hostname(), port))
	policy.DialTimeout, policy.Timeout, policy.MaxBody = askTimeout/2, askTimeout, maxDocument
	return outbound.New(policy)
}

// Check returns who the bearer of the token is. The error is a *RefusedError, a
// *NoProjectError or an *UnavailableError.
func (t *Tokens) Check(ctx context.Context, shown string) (identity.Principal, error) {
	tok, err := parse(shown)
	if err != nil {
		return identity.Principal{}, err
	}
	is := t.issuers[tok.issuer]
	if is == nil {
		return identity.Principal{}, refused(CodeUnknownIssuer, "The token is of the issuer '%.200s', which this server does not know.", tok.issuer)
	}
	if !slices.Contains(is.Algorithms, tok.algorithm) {
		return identity.Principal{}, refused(CodeInvalid, "The token is signed by %.20q; of this issuer %s are taken.", tok.algorithm, strings.Join(is.Algorithms, ", "))
	}
	signed := &signature{keys: is.keys}
	verifier := oidc.NewVerifier(is.URL, signed, &oidc.Config{
		SupportedSigningAlgs: is.Algorithms,
		SkipClientIDCheck:    true, // there may be several audiences; they are looked at below
		SkipExpiryCheck:      true, // it knows no skew; the times are looked at below
	})
	if _, err := verifier.Verify(ctx, shown); err != nil {
		if signed.err != nil {
			return identity.Principal{}, signed.err
		}
		return identity.Principal{}, refused(CodeInvalid, "The claims of the token are not those of one of %s.", is.URL)
	}
	if err := is.checkAudience(tok); err != nil {
		return identity.Principal{}, err
	}
	if err := is.checkTimes(tok, t.now()); err != nil {
		return identity.Principal{}, err
	}
	return is.principal(tok)
}

// signature is the oidc.KeySet of one token. It keeps the error, of which the
// verifier hands on no more than the text.
type signature struct {
	keys *keys
	err  error
}

// VerifySignature returns what the token says, where its issuer signed it.
func (s *signature) VerifySignature(ctx context.Context, shown string) ([]byte, error) {
	var payload []byte
	payload, s.err = s.keys.verify(ctx, shown)
	return payload, s.err
}

// checkAudience refuses a token that is for somebody else.
func (is *trusted) checkAudience(tok *token) error {
	if slices.ContainsFunc(tok.audience, func(a string) bool { return slices.Contains(is.Audience, a) }) {
		return nil
	}
	if len(tok.audience) == 0 {
		return refused(CodeAudience, "The token does not say whom it is for; this server takes tokens with the audience '%s'.", strings.Join(is.Audience, "' or '"))
	}
	return refused(CodeAudience, "The token is for the audience '%.200s', and this server takes those for '%s'.", strings.Join(tok.audience, "', '"), strings.Join(is.Audience, "' or '"))
}

// checkTimes refuses a token that is not for now, with the skew on either side.
func (is *trusted) checkTimes(tok *token, now time.Time) error {
	switch {
	case tok.expires.IsZero():
		return refused(CodeInvalid, "The token has no end (the claim 'exp'), and so is not taken.")
	case !now.Before(tok.expires.Add(is.Skew)):
		return refused(CodeExpired, "The token expired at %s. Get a new one.", clock(tok.expires))
	case now.Add(is.Skew).Before(tok.notBefore):
		return refused(CodeNotYet, "The token is not valid before %s, and it is %s here.", clock(tok.notBefore), clock(now))
	case now.Add(is.Skew).Before(tok.issuedAt):
		return refused(CodeNotYet, "The token was made at %s, and it is only %s here.", clock(tok.issuedAt), clock(now))
	}
	return nil
}

func clock(t time.Time) string { return t.UTC().Format(time.RFC3339) }
