package client

import (
	"context"
	"net/http"
	"net/url"
)

// Token is what a machine needs to connect with a self-hosted environment.
type Token struct {
	EnvironmentID string `json:"environment_id"`
	RemoteURL     string `json:"remote_url"`
	Token         string `json:"token"`
}

// RenewToken gives a self-hosted environment a new token. The one before does not
// work any more, and a machine that is connected with it is disconnected.
func (c *Client) RenewToken(ctx context.Context, environment string) (*Token, error) {
	t := &Token{}
	if err := c.Do(ctx, http.MethodPost, "/v1/agents/environments/"+url.PathEscape(environment)+"/token", struct{}{}, t); err != nil {
		return nil, err
	}
	return t, nil
}
