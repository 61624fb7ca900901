package client

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"net/url"
)

const keysPath = "/v1/keys"

// Key is an API key. Text is set where it is told.
type Key struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Project   string `json:"project"`
	Scope     string `json:"scope"`
	Hint      string `json:"hint"`       // how its text ends
	CreatedAt int64  `json:"created_at"` // Unix seconds, as are the others
	ExpiresAt *int64 `json:"expires_at"`
	RevokedAt *int64 `json:"revoked_at"`
	Text      string `json:"key,omitempty"`
}

// RawJSON is the key as JSON.
func (k *Key) RawJSON() string {
	b, err := json.Marshal(k)
	if err != nil {
		return "" // what was decoded can be encoded
	}
	return string(b)
}

// NewKey says what a key is to be.
type NewKey struct {
	Name      string `json:"name"`
	Scope     string `json:"scope,omitzero"` // read, write, admin, owner
	ExpiresAt int64  `json:"expires_at,omitzero"`
	Project   string `json:"project,omitzero"` // another than the caller's
}

// CreateKey makes a key, and tells its text.
func (c *Client) CreateKey(ctx context.Context, n NewKey) (*Key, error) {
	var k Key
	return &k, c.Do(ctx, http.MethodPost, keysPath, n, &k)
}

// Keys lists the keys of the project, the newest first. An error is the last of
// what it returns.
func (c *Client) Keys(ctx context.Context) iter.Seq2[Key, error] {
	return pages(ctx, c, keysPath, url.Values{}, func(k *Key) string { return k.ID })
}

// RotateKey gives a key another secret, and tells its new text. The one before is
// taken for the overlap, in seconds.
func (c *Client) RotateKey(ctx context.Context, id string, overlap int64) (*Key, error) {
	var k Key
	in := map[string]int64{"overlap_seconds": overlap}
	return &k, c.Do(ctx, http.MethodPost, keysPath+"/"+url.PathEscape(id)+"/rotate", in, &k)
}

// RevokeKey ends a key for good.
func (c *Client) RevokeKey(ctx context.Context, id string) (*Key, error) {
	var k Key
	return &k, c.Do(ctx, http.MethodDelete, keysPath+"/"+url.PathEscape(id), nil, &k)
}
