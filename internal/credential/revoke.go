package credential

import (
	"context"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/vault"
)

// revokeTimeout bounds the taking back of tokens, for which somebody waits.
const revokeTimeout = 5 * time.Second

// Revoke tells the servers that issued tokens by a person's consent that these are
// not used any more (RFC 7009), where they take that. It is a courtesy: what fails
// is in the log, and the tokens then end by themselves.
func (s *Source) Revoke(ctx context.Context, credentials []vault.Opened) {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	var all sync.WaitGroup
	for i := range credentials {
		if o := &credentials[i]; o.Auth.Consent != nil && o.Auth.Consent.RevocationEndpoint != "" {
			all.Go(func() {
				if err := s.revoke(ctx, o); err != nil {
					s.cfg.Log.Warn("tokens that are not used any more could not be taken back", "credential", o.ID, "error", err)
				}
			})
		}
	}
	all.Wait()
}

func (s *Source) revoke(ctx context.Context, o *vault.Opened) error {
	c := o.Auth.Consent
	form := url.Values{"token": {o.Secrets.RefreshToken.Reveal()}, "token_type_hint": {"refresh_token"}}
	if o.Secrets.RefreshToken.Reveal() == "" {
		form = url.Values{"token": {o.Secrets.Token.Reveal()}, "token_type_hint": {"access_token"}}
	}
	secret := o.Secrets.ClientSecret.Reveal()
	if c.TokenEndpointAuth == vault.ClientKey {
		e := endpoint{url: c.RevocationEndpoint, id: c.ClientID}
		// What is signed for one server is not shown to another, which could use it there.
		if sameOrigin(c.Audience, c.RevocationEndpoint) {
			e.audience = c.Audience
		}
		if err := s.assert(ctx, e, form); err != nil {
			return err
		}
	}
	if c.TokenEndpointAuth != vault.ClientBasic {
		form.Set("client_id", c.ClientID)
		if secret != "" {
			form.Set("client_secret", secret)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.RevocationEndpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return unreached(ctx, c.RevocationEndpoint, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.TokenEndpointAuth == vault.ClientBasic {
		both := url.QueryEscape(c.ClientID) + ":" + url.QueryEscape(secret) // RFC 6749 section 2.3.1
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(both)))
	}
	resp, err := s.cfg.HTTP.Do(req)
	if err != nil {
		return unreached(ctx, c.RevocationEndpoint, err)
	}
	defer resp.Body.Close()                                       //nolint:errcheck // nothing is lost by it
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection is of use again
	if resp.StatusCode/100 != 2 {
		return &answerError{where: bare(c.RevocationEndpoint), code: "with status " + resp.Status}
	}
	return nil
}
