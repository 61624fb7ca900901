package credential

import (
	"context"
	"errors"
	"net/url"
	"strconv"
	"time"

	"github.com/stayd/stayd/internal/vault"
)

// issued is a token that a client of a credential was given for itself. It is in
// memory alone: another one is got as easily.
type issued struct {
	token       vault.Secret
	at, expires time.Time
}

// maxIssued is how many of them are kept before those that are over are dropped.
const maxIssued = 1024

// client is the header for the token of a client that uses a server in its own
// name (RFC 6749 section 4.4).
func (s *Source) client(ctx context.Context, q *request, o *vault.Opened) (string, error) {
	// A credential that was changed gets another token.
	key := q.caller.Project + " " + o.ID + " " + strconv.FormatInt(o.UpdatedAt.UnixMicro(), 10)
	s.mu.Lock()
	have, ok := s.issued[key]
	s.mu.Unlock()
	var soon, over bool
	if ok {
		header := bearer(have.token)
		soon, over = ends(have.at, have.expires, s.cfg.Now())
		if !q.refused(header) && (!soon || (!over && s.restsFrom(o))) {
			return header, nil
		}
		over = over || q.refused(header)
	}
	got, err := s.once(ctx, "client "+key+" "+have.token.Reveal(), func(ctx context.Context) (*vault.Opened, error) {
		return s.issue(ctx, key, o, have.token)
	})
	if err == nil {
		return bearer(got.Secrets.Token), nil
	}
	if ok && !over {
		s.cfg.Log.Warn("a client's token could not be got anew, and is used until it ends", "credential", o.ID, "error", err)
		return bearer(have.token), nil
	}
	var no *answerError
	if errors.As(err, &no) && no.code == "invalid_client" {
		return "", q.failed(err, "the client of the credential %s is not known with this secret (%v): put another secret there", o.ID, err)
	}
	return "", q.failed(err, "the client of the credential %s got no token: %v", o.ID, err)
}

func (s *Source) issue(ctx context.Context, key string, o *vault.Opened, before vault.Secret) (*vault.Opened, error) {
	with := func(t vault.Secret) *vault.Opened { return &vault.Opened{Secrets: vault.Secrets{Token: t}} }
	s.mu.Lock()
	have, ok := s.issued[key]
	s.mu.Unlock()
	if ok && have.token != before {
		return with(have.token), nil
	}
	c := o.Auth.Client
	form := url.Values{"grant_type": {vault.GrantClient}}
	if c.Scope != nil {
		form.Set("scope", *c.Scope)
	}
	if c.Resource != nil {
		form.Set("resource", *c.Resource)
	}
	got, err := s.token(ctx, endpoint{url: c.TokenEndpoint, id: c.ClientID, auth: c.TokenEndpointAuth, audience: c.Audience, secret: o.Secrets.ClientSecret}, form)
	s.noteFailure(o.ID, err)
	if err != nil {
		return nil, err
	}
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.issued) >= maxIssued {
		for k, t := range s.issued {
			if _, over := ends(t.at, t.expires, now); over || t.expires.IsZero() {
				delete(s.issued, k)
			}
		}
	}
	s.issued[key] = issued{token: got.access, at: now, expires: got.expires}
	return with(got.access), nil
}
