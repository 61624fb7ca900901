package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/store"
)

// requiresKey reports whether every caller has to show an API key, or a token: where
// one was set, was asked for, tokens of issuers are taken, or other machines reach the
// server.
func (c *Config) requiresKey() bool {
	host, _, err := net.SplitHostPort(c.Listen)
	return c.RequireKey || len(c.Keys) > 0 || len(c.Issuers) > 0 || err != nil || !isLoopback(host)
}

// FirstKey makes the first API key, for whoever starts a server that requires one
// while nobody could make any, and returns its text. Empty: there is no need.
func (a *App) FirstKey(ctx context.Context) (string, error) {
	if !a.cfg.requiresKey() || len(a.cfg.Keys) > 0 {
		return "", nil
	}
	made := 0
	q := store.ObjectQuery{Project: httpapi.DefaultProject, Limit: firstKeyPage, Asc: true}
	for {
		list, err := a.keys.List(ctx, q)
		if err != nil {
			return "", fmt.Errorf("look for API keys: %w", err)
		}
		for i := range list {
			k := &list[i]
			if k.Scope == identity.Owner && k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || k.ExpiresAt.After(a.keys.Now())) {
				return "", nil
			}
		}
		if made += len(list); len(list) < q.Limit {
			break
		}
		q.After = list[len(list)-1].ID
	}
	// Several processes that start at once make one key.
	id := event.DeriveID("key", "first", strconv.Itoa(made))
	_, text, err := a.keys.Create(ctx, id, identity.NewKey{Project: httpapi.DefaultProject, Name: "first key", Scope: identity.Owner})
	if errors.Is(err, store.ErrConflict) {
		return "", nil
	}
	return text, err
}

const firstKeyPage = 100
