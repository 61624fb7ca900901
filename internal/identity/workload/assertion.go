package workload

import (
	"context"
	"strings"
	"time"
)

// assertionLife is how long an assertion is good: it is shown at once.
const assertionLife = 2 * time.Minute

// assertion are the claims of a client that says who it is (RFC 7523 section 3).
type assertion struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	Audience string `json:"aud"`
	Expires  int64  `json:"exp"`
	IssuedAt int64  `json:"iat"`
	ID       string `json:"jti"`
}

// Assertion signs what an OAuth client shows to the server that issues it tokens,
// to say who it is (RFC 7523 section 2.2). The client is none of those that tokens of
// agents speak of, so that nobody takes an assertion for such a token. Errors: a
// *ValueError, or an *OffError.
func (i *Issuer) Assertion(ctx context.Context, client, audience string) (string, error) {
	if err := i.CheckClient(client); err != nil {
		return "", err
	}
	if err := i.checkAudience(audience); err != nil {
		return "", err
	}
	now := i.cfg.Now()
	signed, _, err := i.signed(ctx, now, &assertion{
		Issuer: client, Subject: client, Audience: audience, Expires: now.Add(assertionLife).Unix(), IssuedAt: now.Unix(), ID: newID(),
	})
	return signed, err
}

// CheckClient reports why no assertion says that it is of the client.
func (i *Issuer) CheckClient(client string) error {
	switch {
	case client == "":
		return bad("A client has an id.")
	case strings.TrimRight(client, "/") == i.cfg.URL:
		return bad("The client %q is the issuer of the tokens of agents, and nobody else is.", client)
	case looksSPIFFE(client):
		return bad("The client %q looks like a SPIFFE id, and only agents and sessions have one.", client)
	}
	return nil
}

// SigningAlgorithm is that of the key that signs now.
func (i *Issuer) SigningAlgorithm(ctx context.Context) (string, error) {
	e, _, err := i.signingKey(ctx, i.cfg.Now())
	if err != nil {
		return "", err
	}
	return e.Algorithm, nil
}
