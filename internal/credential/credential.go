// Package credential gives calls of MCP servers the credentials that they may
// show: it opens the vaults of the session, renews tokens before they end, gets
// tokens for clients, and asks people to let the runtime use a server in their
// name. It speaks OAuth 2.1 with the servers that issue tokens. It knows nothing of
// the log; who asks it appends what a person said.
package credential

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/vault"
)

// Config is what a Source needs. All of it is required.
type Config struct {
	Vaults *vault.Vaults
	Store  store.Objects // for what lies between two steps of a consent
	// HTTP is for servers that issue tokens, and for what servers say of themselves.
	// It must not follow redirects, which would take secrets along.
	HTTP *http.Client
	// Outside finds the runtime as others do: it reaches public addresses alone,
	// whatever else HTTP may reach.
	Outside *http.Client
	// PublicURL is where the browsers of people find the runtime, without a slash at
	// its end.
	PublicURL string
	Issuer    *workload.Issuer // whose key signs that clients are who they say
	Now       func() time.Time
	Log       *slog.Logger
}

// Source gives calls their credentials. It is safe for use by many goroutines,
// and by many processes on one store. Close it when nobody uses it any more.
type Source struct {
	cfg     Config
	running sync.WaitGroup

	mu      sync.Mutex
	flights map[string]*flight
	issued  map[string]issued    // to clients of credentials
	failed  map[string]time.Time // when a token could not be renewed, by its credential
	links   []byte               // key of consent links; nil before it was needed
}

// New returns a Source.
func New(cfg Config) *Source {
	return &Source{cfg: cfg, flights: map[string]*flight{}, issued: map[string]issued{}, failed: map[string]time.Time{}}
}

// Close waits for what is being renewed, which would be lost else.
func (s *Source) Close() { s.running.Wait() }

// Authorize returns the value of the header Authorization for a request to the MCP
// server of t: empty where there is no credential for it. ch is nil at first, and
// else what the server answered to the value that was shown: then the token is
// renewed whatever its expiry says, or the one is taken that somebody else has
// got meanwhile. Errors: a *tool.ConsentError where a person has to agree first,
// or else a *tool.Error of a call that was not sent. Neither has a secret in it.
func (s *Source) Authorize(ctx context.Context, c tool.Caller, t *event.Tool, ch *tool.Challenge) (string, error) {
	if t.Transport == nil || t.Transport.Type != "http" || (len(c.Vaults) == 0 && ch == nil) {
		return "", nil
	}
	q := &request{caller: c, label: t.ServerLabel, server: t.Transport.ServerURL, named: t.CredentialID, challenge: ch}
	if ch != nil {
		q.asked = parseChallenge(ch.Authenticate)
	}
	o, err := s.cfg.Vaults.OpenServer(ctx, c.Project, c.Vaults, c.Actor, q.server, q.named)
	switch {
	case err != nil:
		return "", q.failed(err, "the credential for it cannot be opened: %v", err)
	case o == nil && ch == nil:
		return "", nil
	case o == nil:
		return "", q.consent("")
	}
	header, err := s.header(ctx, q, o)
	if err != nil || ch == nil || header != ch.Refused {
		return header, err
	}
	return "", q.failed(nil, "it does not take what was got anew by the credential %s", o.ID)
}

// request is one question for a header.
type request struct {
	caller    tool.Caller
	label     string
	server    string          // URL
	named     string          // id of the credential that the agent names; may be empty
	challenge *tool.Challenge // nil at first
	asked     challenge
}

// header is what is shown by a credential.
func (s *Source) header(ctx context.Context, q *request, o *vault.Opened) (string, error) {
	switch o.Auth.Type {
	case vault.TypeOAuth:
		return s.oauth(ctx, q, o)
	case vault.TypeClient:
		return s.client(ctx, q, o)
	}
	header := bearer(o.Secrets.Token)
	if q.refused(header) {
		return "", q.failed(nil, "it refused the token of the credential %s: put another one there, or delete it", o.ID)
	}
	return header, nil
}

func bearer(token vault.Secret) string { return "Bearer " + token.Reveal() }

// refused reports whether the header is what the server did not take.
func (q *request) refused(header string) bool {
	return q.challenge != nil && q.challenge.Refused == header
}

// failed is a call that was not made for want of a credential.
func (q *request) failed(err error, format string, args ...any) error {
	return &tool.Error{Message: "The MCP server '" + q.label + "' is not called: " + fmt.Sprintf(format, args...) + ".", Err: err}
}

// consent says that a person has to agree, to the scopes beside those that the
// server asks for.
func (q *request) consent(scope string) error {
	switch {
	case len(q.caller.Vaults) == 0:
		return q.failed(nil, "it asks for a credential, and the session has no vault. Attach one with vault_ids, and put a credential for %s there or leave that to the person who is asked to consent", q.server)
	case vault.CheckURL(q.server) != nil:
		return q.failed(nil, "it asks for a credential, which is sent by https only")
	case q.asked.scheme != "":
		return q.failed(nil, "it asks for a credential of the kind '%s', of which there are none in vaults", q.asked.scheme)
	}
	e := &tool.ConsentError{Server: q.server, Metadata: q.asked.metadata, Scope: union(scope, q.asked.scope)}
	if e.Metadata == "" {
		e.Metadata = wellKnown(q.server, resourceMetadata)
	}
	return e
}

// consentable reports whether a person is asked where a credential is of no use
// any more: it is theirs, or is there because somebody was asked before. Where the
// agent names it, what the person brings has to take its place, or the dead one
// would be opened again.
func (q *request) consentable(o *vault.Opened) bool {
	if q.named != "" {
		return o.Auth.Consent != nil && o.VaultID == q.caller.Vaults[0] && o.Auth.Actor == q.caller.Actor
	}
	return o.Auth.Actor != "" || o.Auth.Consent != nil
}

// remedy is what to do about a credential that is of no use any more, and about
// which nobody is asked.
func (q *request) remedy(o *vault.Opened) string {
	if q.named != "" && o.Auth.Consent != nil {
		return "put new tokens there, or leave credential_id out of the agent's tool, so that a person is asked to consent"
	}
	return "put new tokens there, or delete it"
}

// margin is how long before its end a token is renewed.
const margin = time.Minute

// ends says whether a token is to be renewed, and whether it is of no use any
// more. One that lives shortly is used for half of its life.
func ends(issued, expires, now time.Time) (soon, over bool) {
	if expires.IsZero() {
		return false, false
	}
	before := min(margin, max(0, expires.Sub(issued)/2))
	return !now.Before(expires.Add(-before)), !now.Before(expires)
}

func expiryOf(o *vault.Opened) time.Time {
	if o.Auth.ExpiresAt == nil {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339, *o.Auth.ExpiresAt)
	if err != nil {
		return time.Time{} // it was checked when it was stored
	}
	return t
}

// oauth is the header for an access token, which is renewed where that is due.
func (s *Source) oauth(ctx context.Context, q *request, o *vault.Opened) (string, error) {
	header := bearer(o.Secrets.Token)
	soon, over := ends(o.UpdatedAt, expiryOf(o), s.cfg.Now())
	refused := q.refused(header)
	if !refused && !soon {
		return header, nil
	}
	if refused && q.asked.insufficient && q.consentable(o) {
		return "", q.consent(scopeOf(o)) // a token for more needs a person
	}
	if o.Auth.Refresh == nil {
		switch {
		case !refused:
			return header, nil // the server says whether it is over
		case q.consentable(o):
			return "", q.consent(scopeOf(o))
		}
		return "", q.failed(nil, "it refused the access token of the credential %s, which has no refresh token: %s", o.ID, q.remedy(o))
	}
	if !refused && !over && s.restsFrom(o) {
		return header, nil
	}
	renewed, err := s.renewed(ctx, q.caller.Project, o, refused || over)
	if err == nil {
		return bearer(renewed.Secrets.Token), nil
	}
	if !refused && !over {
		s.cfg.Log.Warn("an access token could not be renewed, and is used until it ends", "credential", o.ID, "expires_at", *o.Auth.ExpiresAt, "error", err)
		return header, nil
	}
	var no *answerError
	if errors.As(err, &no) && no.code == "invalid_grant" {
		if q.consentable(o) {
			return "", q.consent(scopeOf(o))
		}
		return "", q.failed(err, "the refresh token of the credential %s is not valid any more (%v): %s", o.ID, err, q.remedy(o))
	}
	return "", q.failed(err, "the access token of the credential %s could not be renewed: %v", o.ID, err)
}

// scopeOf is what a person consented to before.
func scopeOf(o *vault.Opened) string {
	switch {
	case o.Auth.Consent != nil:
		return o.Auth.Consent.Scope
	case o.Auth.Refresh != nil && o.Auth.Refresh.Scope != nil:
		return *o.Auth.Refresh.Scope
	}
	return ""
}
