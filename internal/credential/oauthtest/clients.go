package oauthtest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/go-jose/go-jose/v4"
	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// clients are those that the provider knows, and those that describe themselves.
type clients struct {
	*storage.Storage
	mu   sync.Mutex
	http *http.Client
}

// ReadDocuments has the provider take URLs as clients, whose documents it reads by
// the HTTP client (draft-ietf-oauth-client-id-metadata-document).
func (s *Server) ReadDocuments(by *http.Client) {
	s.storage.mu.Lock()
	defer s.storage.mu.Unlock()
	s.storage.http = by
}

func (c *clients) documents() *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.http
}

// described is a client that a document describes.
type described struct {
	op.Client
	auth oidc.AuthMethod
}

func (d described) AuthMethod() oidc.AuthMethod { return d.auth }

func (c *clients) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	if !strings.HasPrefix(id, "https://") || c.documents() == nil {
		return c.Storage.GetClientByClientID(ctx, id)
	}
	doc, err := c.read(ctx, id)
	if err != nil {
		return nil, err
	}
	return described{storage.NativeClient(id, doc.RedirectURIs...), oidc.AuthMethod(doc.Auth)}, nil
}

type document struct {
	ID           string   `json:"client_id"`
	Name         string   `json:"client_name"`
	Secret       *string  `json:"client_secret"`
	RedirectURIs []string `json:"redirect_uris"`
	Auth         string   `json:"token_endpoint_auth_method"`
	KeySet       string   `json:"jwks_uri"`
}

// read checks a document as the draft wants it, in its section 4.
func (c *clients) read(ctx context.Context, id string) (*document, error) {
	doc := &document{}
	if err := c.get(ctx, id, doc); err != nil {
		return nil, err
	}
	keyed := doc.Auth == string(oidc.AuthMethodPrivateKeyJWT)
	switch {
	case doc.ID != id || doc.Name == "" || len(doc.RedirectURIs) == 0 || doc.Secret != nil:
		return nil, fmt.Errorf("the document at %s is of no client: %+v", id, doc)
	case !keyed && doc.Auth != string(oidc.AuthMethodNone), keyed && doc.KeySet == "":
		return nil, fmt.Errorf("the client at %s shows who it is by %q with the keys %q", id, doc.Auth, doc.KeySet)
	}
	return doc, nil
}

func (c *clients) get(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.documents().Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if media := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(media, "application/json") {
		return fmt.Errorf("%s answers with %d and %s", url, resp.StatusCode, media)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}

// GetKeyByIDAndClientID is for signatures of clients.
func (c *clients) GetKeyByIDAndClientID(ctx context.Context, key, client string) (*jose.JSONWebKey, error) {
	doc, err := c.read(ctx, client)
	if err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
	if err := c.get(ctx, doc.KeySet, &set); err != nil {
		return nil, err
	}
	if found := set.Key(key); len(found) == 1 {
		return &found[0], nil
	}
	return nil, fmt.Errorf("%s has no key %s", doc.KeySet, key)
}
