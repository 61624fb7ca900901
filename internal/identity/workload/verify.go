package workload

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// maxToken is the longest token that is read, in bytes.
const maxToken = 16 << 10

// RefusedError is a token that is not taken. Why is for whoever showed it.
type RefusedError struct{ Why string }

func (e *RefusedError) Error() string { return e.Why }

func refuse(format string, args ...any) error {
	return &RefusedError{Why: fmt.Sprintf(format, args...)}
}

// Own reports whether a text claims to be a token of this issuer. It is not
// verified.
func (i *Issuer) Own(token string) bool {
	sig, err := parse(token)
	if err != nil {
		return false
	}
	var c struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(sig.UnsafePayloadWithoutVerification(), &c) == nil && c.Issuer == i.cfg.URL
}

// farthest is the last time that is taken for one, in Unix seconds.
const farthest = 1 << 40

// ExpiryOf is when a token ends that somebody else has verified.
func ExpiryOf(token string) (time.Time, error) {
	var c struct {
		Expires float64 `json:"exp"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}, refuse("It is not a signed token.")
	}
	body, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(body, &c) != nil || c.Expires <= 0 || c.Expires > farthest {
		return time.Time{}, refuse("The token does not say when it ends.")
	}
	return time.Unix(int64(c.Expires), 0).UTC(), nil
}

func parse(token string) (*jose.JSONWebSignature, error) {
	if len(token) > maxToken {
		return nil, refuse("A token has at most %d bytes.", maxToken)
	}
	sig, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		return nil, refuse("It is not a signed token with the algorithm ES256 or EdDSA.")
	}
	return sig, nil
}

// Open verifies a token that is for the issuer itself. The error is a
// *RefusedError where it is not taken.
func (i *Issuer) Open(ctx context.Context, token string) (*Claims, error) {
	sig, err := parse(token)
	if err != nil {
		return nil, err
	}
	header := sig.Signatures[0].Header
	if t, ok := header.ExtraHeaders[jose.HeaderType].(string); !ok || t != typ {
		return nil, refuse("The type of the token is not %s.", typ)
	}
	// A key that was revoked a moment ago has to be known.
	r, err := i.read(ctx, 0)
	if err != nil {
		return nil, err
	}
	now := i.cfg.Now()
	n := slices.IndexFunc(r.Keys, func(e *entry) bool { return e.ID == header.KeyID })
	switch {
	case n < 0:
		return nil, refuse("The token was signed by a key that this issuer does not have.")
	case r.Keys[n].revoked():
		return nil, refuse("The key of the token was revoked.")
	case !r.published(r.Keys[n], now) || r.signers[header.KeyID] == nil:
		return nil, refuse("The token has expired.") // those of the key have, all
	case header.Algorithm != r.Keys[n].Algorithm:
		return nil, refuse("The algorithm of the token is not that of its key.")
	}
	body, err := sig.Verify(webKey(header.KeyID, r.signers[header.KeyID]))
	if err != nil {
		return nil, refuse("The signature of the token is wrong.")
	}
	c := &Claims{}
	if err := json.Unmarshal(body, c); err != nil {
		return nil, refuse("The claims of the token cannot be read.")
	}
	return c, i.taken(c, now)
}

// taken reports why claims are not taken although their signature is right.
func (i *Issuer) taken(c *Claims, now time.Time) error {
	switch {
	case c.Issuer != i.cfg.URL:
		return refuse("The token is of another issuer.")
	case c.Audience != i.cfg.URL:
		return refuse("The token is for '%s', and tokens that are exchanged are for this issuer.", c.Audience)
	case now.Unix() >= c.Expires:
		return refuse("The token has expired.")
	case now.Add(slack).Unix() < c.NotBefore:
		return refuse("The token is not valid yet.")
	}
	return nil
}
