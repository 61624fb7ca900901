package workload

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/store"
)

// The algorithms of signatures, as JWS names them.
const (
	ES256 = string(jose.ES256)
	EdDSA = string(jose.EdDSA)
)

// Algorithms lists them.
func Algorithms() []string { return []string{ES256, EdDSA} }

// Signer is a key that signs. It is safe for use by many goroutines.
type Signer interface {
	// Public is an *ecdsa.PublicKey on P-256 or an ed25519.PublicKey.
	Public() crypto.PublicKey
	// Algorithm is the one that fits the key.
	Algorithm() string
	// Sign returns the signature of a message as JWS has it.
	Sign(ctx context.Context, message []byte) ([]byte, error)
}

// Bytes of the numbers of a signature by ES256.
const ecdsaBytes = 32

// made is a key whose private part is in this process.
type made struct{ private crypto.Signer }

func newSigner(algorithm string) (*made, error) {
	if algorithm == EdDSA {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return &made{private}, err
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return &made{private}, err
}

func (m *made) Public() crypto.PublicKey { return m.private.Public() }

func (m *made) Algorithm() string {
	if _, ok := m.private.(ed25519.PrivateKey); ok {
		return EdDSA
	}
	return ES256
}

func (m *made) Sign(_ context.Context, message []byte) ([]byte, error) {
	key, ok := m.private.(*ecdsa.PrivateKey)
	if !ok {
		return m.private.Sign(rand.Reader, message, crypto.Hash(0))
	}
	digest := sha256.Sum256(message)
	r, s, err := ecdsa.Sign(rand.Reader, key, digest[:])
	if err != nil {
		return nil, err
	}
	return append(r.FillBytes(make([]byte, ecdsaBytes)), s.FillBytes(make([]byte, ecdsaBytes))...), nil
}

// encode is what is sealed of a key: its private part, or, where that is in a
// service, the public one, which shows that a runtime put it there.
func encode(s Signer) ([]byte, error) {
	if m, ok := s.(*made); ok {
		return x509.MarshalPKCS8PrivateKey(m.private)
	}
	return x509.MarshalPKIXPublicKey(s.Public())
}

// decodeMade reads a private key.
func decodeMade(b []byte) (*made, error) {
	key, err := x509.ParsePKCS8PrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("a signing key cannot be read: %w", store.ErrCorrupt)
	}
	private, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a signing key does not sign: %w", store.ErrCorrupt)
	}
	return &made{private}, nil
}

// webKey is the public part of a key as JWKS has it.
func webKey(kid string, s Signer) jose.JSONWebKey {
	return jose.JSONWebKey{Key: s.Public(), KeyID: kid, Algorithm: s.Algorithm(), Use: "sig"}
}

// thumbprint is the id of a key, a function of its public part (RFC 7638).
func thumbprint(s Signer) (string, error) {
	switch key := s.Public().(type) {
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return "", errors.New("it is not on the curve P-256")
		}
	case ed25519.PublicKey:
	default:
		return "", fmt.Errorf("a %T signs no tokens", key)
	}
	key := webKey("", s)
	sum, err := key.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(sum), err
}
