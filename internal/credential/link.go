package credential

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/store"
)

// consentRoot is the path below which consent pages are.
const consentRoot = "/oauth/consent/"

// Link is what a consent page is about. Who has it can answer: the proof is the
// secret in it, which only the runtime can make of what the log has.
type Link struct {
	Project, Session, EffectID, Proof string
}

// Path is that of the page.
func (l Link) Path() string {
	return consentRoot + base64.RawURLEncoding.EncodeToString([]byte(l.Project+"/"+l.Session+"/"+l.EffectID)) + "." + l.Proof
}

// ParseLink reads the last part of such a path. It reports false where that is
// none.
func ParseLink(s string) (Link, bool) {
	place, proof, ok := strings.Cut(s, ".")
	if !ok || proof == "" || strings.ContainsAny(place, "\r\n") { // which base64 passes over
		return Link{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(place)
	if err != nil {
		return Link{}, false
	}
	parts := strings.Split(string(b), "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return Link{}, false
	}
	return Link{Project: parts[0], Session: parts[1], EffectID: parts[2], Proof: proof}, true
}

// Link returns the link to the page about an effect that waits for consent. The
// nonce is that of the log, which others may read than those who may answer. Errors:
// a *vault.NoKeyError where there is no master key to keep the key of links under.
func (s *Source) Link(ctx context.Context, project, session, effectID, nonce string) (Link, error) {
	l := Link{Project: project, Session: session, EffectID: effectID}
	key, err := s.linkKey(ctx)
	if err != nil {
		return l, err
	}
	l.Proof = prove(key, l, nonce)
	return l, nil
}

// Proves reports whether the link is the one that was made with the nonce.
func (s *Source) Proves(ctx context.Context, l Link, nonce string) (bool, error) {
	key, err := s.linkKey(ctx)
	if err != nil {
		return false, unopened(err)
	}
	return hmac.Equal([]byte(l.Proof), []byte(prove(key, l, nonce))), nil
}

func prove(key []byte, l Link, nonce string) string {
	mac := hmac.New(sha256.New, key)
	for _, part := range []string{l.Project, l.Session, l.EffectID, nonce} {
		mac.Write([]byte(part + "\x00"))
	}
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// Of the row of the key of links, which is one for all processes of a store.
const (
	ownProject  = "stayd:runtime" // that no caller has
	linksRow    = "links"
	sealedLinks = "consent links"
)

// savedLinks is what the store has of the key.
type savedLinks struct {
	Sealed []byte `json:"sealed"`
}

// linkKey returns the key that makes proofs, which is made when it is first needed.
func (s *Source) linkKey(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	key := s.links
	s.mu.Unlock()
	if key != nil {
		return key, nil
	}
	key, err := s.readLinkKey(ctx)
	if errors.Is(err, store.ErrNotFound) {
		if err = s.makeLinkKey(ctx); err == nil {
			key, err = s.readLinkKey(ctx)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the key of consent links: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.links = key
	return key, nil
}

func (s *Source) readLinkKey(ctx context.Context) ([]byte, error) {
	row, err := s.cfg.Store.Object(ctx, ownProject, store.KindConsent, linksRow)
	if err != nil {
		return nil, err
	}
	var saved savedLinks
	if err := json.Unmarshal(row.Data, &saved); err != nil {
		return nil, fmt.Errorf("it cannot be read: %w", store.ErrCorrupt)
	}
	return s.cfg.Vaults.OpenOwn(ctx, sealedLinks, saved.Sealed, linksRow)
}

func (s *Source) makeLinkKey(ctx context.Context) error {
	key := make([]byte, sha256.Size)
	rand.Read(key)
	sealed, err := s.cfg.Vaults.SealOwn(ctx, sealedLinks, key, linksRow)
	if err != nil {
		return err
	}
	data, err := json.Marshal(savedLinks{Sealed: sealed})
	if err != nil {
		return fmt.Errorf("encode it: %w", err)
	}
	now := s.cfg.Now().UTC()
	err = s.cfg.Store.CreateObject(ctx, store.Object{Project: ownProject, Kind: store.KindConsent, ID: linksRow, Version: 1, CreatedAt: now, UpdatedAt: now, Data: data})
	if errors.Is(err, store.ErrConflict) { // another process was first
		return nil
	}
	return err
}
