package app

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/vault"
)

const (
	// issuerTimeout bounds one request to a server that issues tokens.
	issuerTimeout = 20 * time.Second
	// issuerBody bounds what one answers, in bytes.
	issuerBody = 2 << 20
)

// openCredentials returns what gives calls of servers their credentials. What it
// sends has secrets in it, and follows nobody elsewhere.
func openCredentials(cfg *Config, vaults *vault.Vaults, st store.Objects, issuer *workload.Issuer, log *slog.Logger) (*credential.Source, error) {
	policy := cfg.outside(toCredentials)
	policy.Timeout, policy.MaxBody, policy.MaxRedirects = issuerTimeout, issuerBody, -1
	client, err := outbound.New(policy)
	if err != nil {
		return nil, fmt.Errorf("allow-outbound: %w", err)
	}
	policy.Allow, policy.Direct = nil, nil // which others do not have
	outside, err := outbound.New(policy)
	if err != nil {
		return nil, fmt.Errorf("outbound-proxy: %w", err)
	}
	return credential.New(credential.Config{
		Vaults: vaults, Store: st, HTTP: client, Outside: outside, PublicURL: cfg.pagesURL(), Issuer: issuer, Now: time.Now, Log: log,
	}), nil
}

// linkTime bounds the finding of the key of links, once a process.
const linkTime = 5 * time.Second

// consentURL is where a person answers for an effect; empty where the key of links
// cannot be had now.
func (a *App) consentURL(project, session, effectID, nonce string) string {
	ctx, cancel := context.WithTimeout(context.Background(), linkTime)
	defer cancel()
	link, err := a.credentials.Link(ctx, project, session, effectID, nonce)
	if err != nil {
		a.log.Warn("who has to consent cannot be told where", "session", session, "effect", effectID, "error", err)
		return ""
	}
	return a.cfg.pagesURL() + link.Path()
}

// keyClient reports whether a client that signs by the key of the runtime is that of
// the project, as its document has it.
func (a *App) keyClient(project, client string) (bool, error) {
	return client == credential.ClientID(a.cfg.pagesURL(), project, vault.ClientKey), a.issuer.CheckClient(client)
}

// authorize is what a call of an MCP server shows it.
func (t *tools) authorize(ctx context.Context, c tool.Caller, cfg *event.Tool, ch *tool.Challenge) (string, error) {
	if cfg.Identity != nil {
		return t.identify(ctx, c, cfg, ch)
	}
	return t.credentials.Authorize(ctx, c, cfg, ch)
}
