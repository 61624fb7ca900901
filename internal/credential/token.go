package credential

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/stayd/stayd/internal/vault"
)

// requestTimeout bounds one request to a server that issues tokens.
const requestTimeout = 15 * time.Second

// endpoint is a token endpoint, and the client that asks it.
type endpoint struct {
	url    string
	id     string // of the client
	auth   string // vault.ClientNone, vault.ClientBasic, vault.ClientPost or vault.ClientKey
	secret vault.Secret
	// audience is for whom vault.ClientKey signs; empty is the endpoint.
	audience string
}

// tokens are what a token endpoint gives.
type tokens struct {
	access  vault.Secret
	refresh vault.Secret // empty where there is none
	expires time.Time    // zero is not known
	scope   string       // empty is what was asked for
}

// answerError is what a server said in place of a token, cut to what may be shown.
type answerError struct {
	where       string // URL
	code        string
	description string
}

func (e *answerError) Error() string {
	if e.description == "" {
		return e.where + " answered " + e.code
	}
	return e.where + " answered " + e.code + ": " + e.description
}

// token sends a request for tokens, of whatever grant the form is.
func (s *Source) token(ctx context.Context, e endpoint, form url.Values) (*tokens, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if e.auth == vault.ClientKey {
		if err := s.assert(ctx, e, form); err != nil {
			return nil, err
		}
	}
	cfg := &clientcredentials.Config{ClientID: e.id, ClientSecret: e.secret.Reveal(), TokenURL: e.url, AuthStyle: oauth2.AuthStyleInParams, EndpointParams: form}
	if e.auth == vault.ClientBasic {
		cfg.AuthStyle = oauth2.AuthStyleInHeader
	}
	t, err := cfg.Token(context.WithValue(ctx, oauth2.HTTPClient, s.cfg.HTTP))
	if err != nil {
		return nil, s.cut(ctx, e, form, err)
	}
	if t.TokenType != "" && !strings.EqualFold(t.TokenType, "Bearer") {
		return nil, &answerError{where: bare(e.url), code: "a token that is not a bearer token", description: clean(t.TokenType, 20)}
	}
	got := &tokens{access: vault.NewSecret(t.AccessToken), refresh: vault.NewSecret(t.RefreshToken)}
	if got.refresh.Reveal() == form.Get("refresh_token") {
		got.refresh = vault.Secret{}
	}
	if life := lifetime(t.Extra("expires_in")); life > 0 {
		got.expires = s.cfg.Now().Add(life)
	}
	if scope, ok := t.Extra("scope").(string); ok {
		got.scope, _ = cleanScope(scope)
	}
	return got, nil
}

// assertionType is that of a client's assertion (RFC 7523 section 2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assert adds to the form that the client is who it says, by the key of the
// runtime.
func (s *Source) assert(ctx context.Context, e endpoint, form url.Values) error {
	signed, err := s.cfg.Issuer.Assertion(ctx, e.id, cmp.Or(e.audience, e.url))
	if err != nil {
		return fmt.Errorf("the client cannot show who it is: %w", err)
	}
	form.Set("client_assertion_type", assertionType)
	form.Set("client_assertion", signed)
	return nil
}

// maxLifetime is the longest that a token is believed to live.
const maxLifetime = 10 * 365 * 24 * time.Hour

// lifetime reads expires_in, which is a number, and with some servers a text.
func lifetime(v any) time.Duration {
	var n float64
	switch v := v.(type) {
	case float64:
		n = v
	case int64:
		n = float64(v)
	case string:
		n, _ = strconv.ParseFloat(v, 64)
	}
	if !(n > 0) {
		return 0
	}
	return time.Duration(min(n, maxLifetime.Seconds()) * float64(time.Second))
}

const (
	maxCode        = 64  // bytes of an error's code
	maxDescription = 200 // bytes of what is said about it
)

// cut is an error of a token endpoint without anything that was sent to it.
func (s *Source) cut(ctx context.Context, e endpoint, form url.Values, err error) error {
	var no *oauth2.RetrieveError
	if errors.As(err, &no) {
		secrets := []string{e.secret.Reveal()}
		for _, name := range []string{"refresh_token", "code", "code_verifier", "client_assertion"} {
			secrets = append(secrets, form.Get(name))
		}
		if no.ErrorCode == "" {
			return &answerError{where: bare(e.url), code: fmt.Sprintf("with status %d", no.Response.StatusCode)}
		}
		return &answerError{where: bare(e.url), code: clean(mask(no.ErrorCode, secrets), maxCode), description: clean(mask(no.ErrorDescription, secrets), maxDescription)}
	}
	return unreached(ctx, e.url, err)
}

// unreached says why a server did not answer, without the query of its URL.
func unreached(ctx context.Context, where string, err error) error {
	var of *url.Error
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s did not answer within %s", bare(where), requestTimeout)
	case errors.As(err, &of):
		return fmt.Errorf("%s was not reached: %w", bare(where), of.Err)
	}
	return fmt.Errorf("%s gave no answer that can be read", bare(where))
}

// mask takes secrets out of a text, as they are and as they stand in a form.
func mask(s string, secrets []string) string {
	for _, one := range secrets {
		if one != "" {
			s = strings.ReplaceAll(s, one, "[secret]")
			s = strings.ReplaceAll(s, url.QueryEscape(one), "[secret]")
		}
	}
	return s
}

// bare is a URL without its query.
func bare(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "the server"
	}
	return clean((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), maxDescription)
}
