package credential

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"time"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

const (
	// claimed is how long one process may take to renew a token before another tries.
	// It is longer than the token endpoint and the store may take.
	claimed = 30 * time.Second
	// looks is how often a process looks whether another has renewed a token.
	looks = 50 * time.Millisecond
	// rest is for how long a token that still is good is not tried to be renewed after
	// that failed.
	rest = 10 * time.Second
)

// flight is something that many callers wait for and that is done once.
type flight struct {
	done chan struct{}
	o    *vault.Opened
	err  error
}

// once does what several callers ask for at the same time for all of them. A
// caller who goes away does not end it for the others.
func (s *Source) once(ctx context.Context, key string, do func(context.Context) (*vault.Opened, error)) (*vault.Opened, error) {
	s.mu.Lock()
	f := s.flights[key]
	if f == nil {
		f = &flight{done: make(chan struct{})}
		s.flights[key] = f
		s.running.Go(func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimed+requestTimeout)
			defer cancel()
			f.o, f.err = do(ctx)
			s.mu.Lock()
			delete(s.flights, key)
			s.mu.Unlock()
			close(f.done)
		})
	}
	s.mu.Unlock()
	select {
	case <-f.done:
		return f.o, f.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// renewed returns the credential with a token in place of the one that it is
// opened with. Unless there is need of it, nobody waits for another process.
func (s *Source) renewed(ctx context.Context, project string, o *vault.Opened, need bool) (*vault.Opened, error) {
	// Who was refused the token that this brings has to begin another, and so has who
	// cannot do without a new one, of one that does not wait.
	key := fmt.Sprintf("renew %s %s %t %s", project, o.ID, need, o.Secrets.Token.Reveal())
	return s.once(ctx, key, func(ctx context.Context) (*vault.Opened, error) {
		now, err := s.renew(ctx, project, o, need)
		s.noteFailure(o.ID, err)
		return now, err
	})
}

// noteFailure remembers that a token could not be renewed, or forgets that.
func (s *Source) noteFailure(credential string, err error) {
	now := s.cfg.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.failed, credential)
		return
	}
	maps.DeleteFunc(s.failed, func(_ string, at time.Time) bool { return now.Sub(at) >= rest })
	s.failed[credential] = now
}

// restsFrom reports whether the renewing of a token failed just now.
func (s *Source) restsFrom(o *vault.Opened) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, ok := s.failed[o.ID]
	return ok && s.cfg.Now().Sub(at) < rest
}

var errOther = errors.New("another process has been renewing it for too long")

func (s *Source) renew(ctx context.Context, project string, o *vault.Opened, need bool) (*vault.Opened, error) {
	owner := rand.Text()
	tick := time.NewTicker(looks)
	defer tick.Stop()
	for {
		now, held, err := s.cfg.Vaults.Claim(ctx, project, o.VaultID, o.ID, owner, claimed)
		if err != nil {
			return nil, err
		}
		if now.Secrets.Token != o.Secrets.Token {
			return now, s.release(ctx, project, o, owner, held)
		}
		if held {
			return s.refresh(ctx, project, now, owner)
		}
		if !need {
			return now, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errOther
		}
	}
}

func (s *Source) release(ctx context.Context, project string, o *vault.Opened, owner string, held bool) error {
	if !held {
		return nil
	}
	return s.cfg.Vaults.Release(ctx, project, o.VaultID, o.ID, owner)
}

// refresh gets new tokens (RFC 6749 section 6) and stores them.
func (s *Source) refresh(ctx context.Context, project string, o *vault.Opened, owner string) (*vault.Opened, error) {
	r := o.Auth.Refresh
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {o.Secrets.RefreshToken.Reveal()}}
	if r.Resource != nil {
		form.Set("resource", *r.Resource)
	}
	if r.Scope != nil {
		form.Set("scope", *r.Scope)
	}
	got, err := s.token(ctx, endpoint{url: r.TokenEndpoint, id: r.ClientID, auth: r.TokenEndpointAuth, audience: r.Audience, secret: o.Secrets.ClientSecret}, form)
	if err != nil {
		return nil, errors.Join(err, s.release(ctx, project, o, owner, true))
	}
	now, err := s.keepTokens(ctx, project, o, owner, got)
	if err != nil {
		return nil, errors.Join(err, s.release(ctx, project, o, owner, true))
	}
	return now, nil
}

const (
	// keeps is how often it is tried to store tokens that were got, as the ones before
	// may be of no use any more.
	keeps = 10
	// keepPause is what lies between.
	keepPause = 500 * time.Millisecond
	// keepTime is how long that may take in all. With the request for the tokens it
	// ends before another process tries to renew them.
	keepTime = 10 * time.Second
)

// keepTokens stores tokens. However little time was left for getting them, it has
// its own.
func (s *Source) keepTokens(ctx context.Context, project string, o *vault.Opened, owner string, got *tokens) (*vault.Opened, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
	defer cancel()
	tick := time.NewTicker(keepPause)
	defer tick.Stop()
	for n := 1; ; n++ {
		now, err := s.cfg.Vaults.Renew(ctx, project, o.VaultID, o.ID, owner, vault.Renewal{
			From: o.Secrets.RefreshToken, Token: got.access, RefreshToken: got.refresh, ExpiresAt: got.expires,
		})
		passes := errors.Is(err, store.ErrUnavailable) || errors.Is(err, store.ErrFull) || errors.Is(err, store.ErrConflict)
		if n == keeps || !passes {
			return now, err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}
