package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/httpapi/tokens"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/identity/workload/awskms"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/vault"
)

// checkIdentity reports what is wrong with the settings of tokens of agents.
func (c *Config) checkIdentity() []error {
	var errs []error
	if c.TrustDomain != "" {
		errs = append(errs, workload.CheckTrustDomain(c.TrustDomain))
	}
	if _, err := parseSigningKey(c.SigningKey); err != nil {
		errs = append(errs, err)
	}
	for i := range c.Issuers {
		if c.Issuers[i].URL == c.publicURL() {
			errs = append(errs, fmt.Errorf("issuers: %s is this server, whose tokens are for others; it takes them for exchange alone", c.publicURL()))
		}
	}
	for _, a := range c.TokenAudiences {
		if err := workload.CheckAudience(a); err != nil || a == c.publicURL() {
			errs = append(errs, fmt.Errorf("token-audiences: %q is not whom a token may be for: give another URL than public-url, or a name without spaces", a))
		}
	}
	return errs
}

// trustDomain is the one that was set, or else the host of the public URL with
// hyphens for what a trust domain does not have, as the colons of IPv6.
func (c *Config) trustDomain() string {
	if c.TrustDomain != "" {
		return c.TrustDomain
	}
	u, err := url.Parse(c.publicURL())
	if err != nil || u.Hostname() == "" {
		return "localhost"
	}
	return strings.Map(func(r rune) rune {
		if workload.CheckTrustDomain(string(r)) != nil {
			return '-'
		}
		return r
	}, strings.ToLower(u.Hostname()))
}

// signingKey says by what tokens are signed.
type signingKey struct {
	algorithm string // of keys that are made here
	remote    string // name of a key in AWS KMS; empty where they are made here
	region    string
	endpoint  string
}

const signingInKMS = "aws-kms://"

func parseSigningKey(s string) (signingKey, error) {
	switch s {
	case "", "es256":
		return signingKey{algorithm: workload.ES256}, nil
	case "eddsa":
		return signingKey{algorithm: workload.EdDSA}, nil
	}
	rest, ok := strings.CutPrefix(s, signingInKMS)
	name, query, _ := strings.Cut(rest, "?")
	if !ok || name == "" {
		return signingKey{}, fmt.Errorf("signing-key %q is none of es256, eddsa and %sKEY?region=R, where KEY is an ARN, an id or alias/NAME", s, signingInKMS)
	}
	q, err := url.ParseQuery(query)
	if err != nil {
		return signingKey{}, fmt.Errorf("signing-key %q: its settings cannot be read: %w", s, err)
	}
	for setting := range q {
		if !slices.Contains([]string{"region", "endpoint"}, setting) {
			return signingKey{}, fmt.Errorf("signing-key %q: there is no setting %q, only region and endpoint", s, setting)
		}
	}
	k := signingKey{remote: name, region: q.Get("region"), endpoint: q.Get("endpoint")}
	if parts := strings.Split(name, ":"); k.region == "" && len(parts) == 6 { // arn:aws:kms:REGION:ACCOUNT:key/ID
		k.region = parts[3]
	}
	return k, nil
}

func openIssuer(ctx context.Context, cfg *Config, st store.Store, vaults *vault.Vaults, log *slog.Logger) (*workload.Issuer, error) {
	key, err := parseSigningKey(cfg.SigningKey)
	if err != nil {
		return nil, err
	}
	c := workload.Config{
		Store: st, Vaults: vaults, URL: cfg.publicURL(), TrustDomain: cfg.trustDomain(), Algorithm: key.algorithm, Remote: key.remote, Now: time.Now, Log: log,
	}
	// Where no key of the service is to be made, one from before may sign for a while.
	service := sync.OnceValues(func() (*awskms.Service, error) {
		return awskms.New(context.WithoutCancel(ctx), awskms.Config{Region: key.region, Endpoint: key.endpoint, Outbound: cfg.outside(toKeys)})
	})
	if key.remote != "" {
		if _, err := service(); err != nil {
			return nil, fmt.Errorf("signing-key: %w", err)
		}
	}
	c.Open = func(ctx context.Context, name string) (workload.Signer, string, error) {
		s, err := service()
		if err != nil {
			return nil, "", err
		}
		return s.Open(ctx, name)
	}
	return workload.New(c)
}

// mountTokens serves what others verify tokens of agents by, and their exchange.
func (a *App) mountTokens(j *journal.Journal, others *httpapi.Tokens) {
	tokens.Mount(a.server, tokens.Config{
		Issuer: a.issuer, Audiences: a.cfg.TokenAudiences, Now: time.Now,
		Caller: func(ctx context.Context, shown string) (identity.Principal, time.Time, error) {
			return a.bearerOf(ctx, shown, others)
		},
		Subject: func(ctx context.Context, project, id string) (workload.Subject, error) {
			return subjectOf(ctx, j, project, id)
		},
	})
}

// subjectOf is who acts in a session.
func subjectOf(ctx context.Context, j *journal.Journal, project, id string) (found workload.Subject, err error) {
	err = j.View(ctx, project, id, func(s *session.State) error {
		if s.Deleted {
			return store.ErrNotFound
		}
		found = workload.Subject{
			Project: project, Agent: s.Agent.ID, AgentVersion: max(s.Agent.Version, 1), Session: s.ID, Actor: s.Speaker(), By: s.Created.By,
		}
		return nil
	})
	return found, err
}

// identify is the header with a token of the agent's for an MCP server. It is for
// the server that is called, so that nobody has tokens for one server sent to
// another, and goes where nobody on the way can read it.
func (t *tools) identify(ctx context.Context, c tool.Caller, cfg *event.Tool, ch *tool.Challenge) (string, error) {
	server := cfg.Transport.ServerURL
	if a := cfg.Identity.Audience; a != "" && a != server {
		return "", notIdentified(cfg, nil, "a token for %q is shown to that server alone; have the tool's identity.audience be the exact URL %q of the server that is called, or leave it out", a, server)
	}
	if err := vault.CheckURL(server); err != nil {
		return "", notIdentified(cfg, err, "a token of the agent is not shown to %q: %v", server, err)
	}
	s := workload.Subject{Project: c.Project, Agent: c.Agent, AgentVersion: max(c.Version, 1), Session: c.Session, Actor: c.Actor, By: c.By}
	var refused string
	if ch != nil {
		refused = strings.TrimPrefix(ch.Refused, "Bearer ")
	}
	token, err := t.issuer.Show(ctx, s, server, cfg.Identity.Scope, refused)
	if err != nil {
		return "", notIdentified(cfg, err, "no token of the agent can be signed: %v", err)
	}
	if token == refused {
		return "", notIdentified(cfg, nil, "it does not take the token of the agent: %s", cmp.Or(strings.Join(ch.Authenticate, ", "), "it does not say why"))
	}
	return "Bearer " + token, nil
}

func notIdentified(cfg *event.Tool, err error, format string, args ...any) error {
	return &tool.Error{Message: "The MCP server '" + cfg.ServerLabel + "' is not called: " + strings.TrimSuffix(fmt.Sprintf(format, args...), ".") + ".", Err: err}
}

// bearerOf is who shows a key or a token of another issuer, and when that ends.
func (a *App) bearerOf(ctx context.Context, shown string, others *httpapi.Tokens) (who identity.Principal, expires time.Time, err error) {
	who, err = a.keys.Check(ctx, shown)
	switch {
	case errors.Is(err, identity.ErrRefused) && others != nil && oidc.IsToken(shown):
		return bearerOfOther(ctx, shown, others)
	case err != nil:
		return who, expires, err
	}
	key, err := a.keys.Get(ctx, who.Project, who.ID)
	if errors.Is(err, store.ErrNotFound) {
		return who, expires, identity.ErrRefused
	}
	return who, key.ExpiresAt, err
}

func bearerOfOther(ctx context.Context, shown string, others *httpapi.Tokens) (who identity.Principal, expires time.Time, err error) {
	who, err = others.Check(ctx, shown)
	var refused *oidc.RefusedError
	var nowhere *oidc.NoProjectError
	var away *oidc.UnavailableError
	switch {
	case errors.As(err, &refused), errors.As(err, &nowhere):
		return who, expires, &tokens.RefusedError{Why: err.Error()}
	case errors.As(err, &away):
		return who, expires, &httpapi.Error{
			Status: http.StatusServiceUnavailable, Code: "issuer_unavailable", Message: away.Error(), Err: away.Err, RetryAfter: max(1, int(math.Ceil(away.After.Seconds()))),
		}
	case err != nil:
		return who, expires, err
	}
	expires, err = workload.ExpiryOf(shown)
	return who, expires, err
}
