package app

import (
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity/oidc"
)

// openTokens makes what verifies tokens of other issuers; nil where there are none.
func openTokens(cfg *Config) (*httpapi.Tokens, error) {
	if len(cfg.Issuers) == 0 {
		return nil, nil
	}
	tokens, err := oidc.New(oidc.Config{Issuers: cfg.Issuers, Outbound: cfg.outside(toIssuer), Now: time.Now})
	if err != nil {
		return nil, fmt.Errorf("issuers: %w", err)
	}
	t := &httpapi.Tokens{Check: tokens.Check, Resource: cfg.publicURL(), Logins: []httpapi.Login{}}
	for i := range cfg.Issuers {
		is := &cfg.Issuers[i]
		t.Issuers = append(t.Issuers, is.URL)
		if is.ClientID != "" {
			t.Logins = append(t.Logins, httpapi.Login{Issuer: is.URL, ClientID: is.ClientID, Scopes: is.Scopes, Audience: is.Audience})
		}
	}
	return t, nil
}
