package client

import (
	"context"
	"net/http"
)

// RewrappedKeys says what became of the keys of vaults.
type RewrappedKeys struct {
	MasterKey string         `json:"master_key"` // id of the current one
	Keys      int            `json:"keys"`       // of vaults
	Moved     int            `json:"moved"`      // of them, from another master key
	Left      map[string]int `json:"left"`       // by the master key that the server does not have
}

// RewrapVaultKeys has the keys of all vaults encrypted under the current master
// key. Vaults and credentials themselves are the SDK's.
func (c *Client) RewrapVaultKeys(ctx context.Context) (*RewrappedKeys, error) {
	r := &RewrappedKeys{}
	return r, c.Do(ctx, http.MethodPost, "/v1/vaults/rewrap", struct{}{}, r)
}
