package login

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/stayd/stayd/internal/outbound"
)

// Offer is how a server has its users log in.
type Offer struct {
	Issuer   string   `json:"issuer"`
	ClientID string   `json:"client_id"`
	Scopes   []string `json:"scopes"`
	Audience []string `json:"audience"`
}

// Flow is a login that waits for the user to consent at the issuer.
type Flow struct {
	// Where the user goes, and Code what is entered there. Direct has both; it may be
	// empty.
	Where, Code, Direct string

	login  Login
	config oauth2.Config
	device *oauth2.DeviceAuthResponse
}

// Begin asks the issuer for a code.
func Begin(ctx context.Context, server string, o Offer) (*Flow, error) {
	if err := checkURL(o.Issuer, ""); err != nil {
		return nil, fmt.Errorf("the issuer that %s names: %w", server, err)
	}
	asking, err := withClient(ctx, o.Issuer)
	if err != nil {
		return nil, err
	}
	p, err := oidc.NewProvider(asking, o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("ask the issuer %s about itself: %w", o.Issuer, said(err))
	}
	var about struct {
		Revocation string `json:"revocation_endpoint"`
	}
	if err := p.Claims(&about); err != nil {
		return nil, fmt.Errorf("read what the issuer %s says of itself: %w", o.Issuer, err)
	}
	at := p.Endpoint()
	at.AuthStyle = oauth2.AuthStyleInParams
	if at.DeviceAuthURL == "" {
		return nil, fmt.Errorf("the issuer %s has no logins of devices (RFC 8628); ask for an API key instead", o.Issuer)
	}
	for _, u := range []string{at.DeviceAuthURL, at.TokenURL, about.Revocation} {
		if err := checkURL(u, o.Issuer); u != "" && err != nil {
			return nil, fmt.Errorf("the issuer %s: %w", o.Issuer, err)
		}
	}
	f := &Flow{
		config: oauth2.Config{ClientID: o.ClientID, Scopes: o.Scopes, Endpoint: at},
		login:  Login{Server: server, Issuer: o.Issuer, ClientID: o.ClientID, Scopes: o.Scopes, Tokens: at.TokenURL, Revocation: about.Revocation},
	}
	if asking, err = withClient(ctx, o.Issuer, at.DeviceAuthURL); err != nil {
		return nil, err
	}
	var options []oauth2.AuthCodeOption
	if len(o.Audience) > 0 && !slices.Contains(o.Audience, o.ClientID) {
		options = append(options, oauth2.SetAuthURLParam("audience", o.Audience[0]))
	}
	if f.device, err = f.config.DeviceAuth(asking, options...); err != nil {
		return nil, fmt.Errorf("begin the login at %s: %w", o.Issuer, said(err))
	}
	f.Where, f.Code, f.Direct = Plain(f.device.VerificationURI), Plain(f.device.UserCode), Plain(f.device.VerificationURIComplete)
	return f, nil
}

// Wait returns the logins that the user may have once they consented: with the
// access token, and with the ID token where there is one.
func (f *Flow) Wait(ctx context.Context) ([]Login, error) {
	asking, err := withClient(ctx, f.login.Issuer, f.config.Endpoint.TokenURL)
	if err != nil {
		return nil, err
	}
	got, err := f.config.DeviceAccessToken(asking, f.device)
	if end := f.device.Expiry; errors.Is(err, context.DeadlineExceeded) && !end.IsZero() && !time.Now().Before(end) {
		return nil, fmt.Errorf("the login at %s: nobody entered the code in time", f.login.Issuer)
	}
	if err != nil {
		return nil, fmt.Errorf("the login at %s: %w", f.login.Issuer, said(err))
	}
	var all []Login
	for _, shown := range []string{AccessToken, IDToken} {
		in := f.login
		if in.Shown = shown; in.take(got) {
			all = append(all, in)
		}
	}
	return all, nil
}

// said puts what came of a question to an issuer into words for a terminal. An
// answer may have a whole page in it.
func said(err error) error {
	var refused *oauth2.RetrieveError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case !errors.As(err, &refused):
		return fmt.Errorf("%.300s", Plain(err.Error()))
	case refused.ErrorCode == "access_denied":
		return errors.New("it was refused there")
	case refused.ErrorCode == "expired_token":
		return errors.New("nobody entered the code in time")
	}
	return fmt.Errorf("the issuer refuses it, with status %d%s", refused.Response.StatusCode, reason(refused))
}

// Revoke tells the issuer that the login is over. One without a place to tell is
// left to expire.
func (in *Login) Revoke(ctx context.Context) error {
	if in.Revocation == "" || in.Refresh == "" {
		return nil
	}
	client, err := clientFor(in.Issuer, in.Revocation)
	if err != nil {
		return err
	}
	form := url.Values{"token": {in.Refresh}, "token_type_hint": {"refresh_token"}, "client_id": {in.ClientID}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, in.Revocation, strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("revoke the login: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("revoke the login: %w", said(err))
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return fmt.Errorf("revoke the login: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("revoke the login: the issuer %s answered with status %d", in.Issuer, resp.StatusCode)
	}
	return nil
}

// checkURL takes https, and http on this machine: of an issuer, or of a place of
// the issuer.
func checkURL(s, issuer string) error {
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.User != nil {
		return fmt.Errorf("%.200q is not a URL", s)
	}
	if u.Scheme != "https" && (u.Scheme != "http" || !Loopback(u.Hostname()) || issuer != "" && !strings.HasPrefix(issuer, "http://")) {
		return fmt.Errorf("%.200q is not reached by https", s)
	}
	return nil
}

// Loopback reports whether only this machine reaches the host.
func Loopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

const (
	// askTimeout bounds one question to an issuer, and maxAnswer what is read of its
	// answer, in bytes.
	askTimeout = 30 * time.Second
	maxAnswer  = 1 << 20
)

// clientFor reaches the hosts of the URLs, wherever they are, and else public
// addresses.
func clientFor(urls ...string) (*http.Client, error) {
	policy := outbound.Policy{Timeout: askTimeout, MaxBody: maxAnswer}
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			return nil, fmt.Errorf("%.200q is not a URL: %w", s, err)
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"https": "443", "http": "80"}[u.Scheme]
		}
		policy.Allow = append(policy.Allow, net.JoinHostPort(u.Hostname(), port))
	}
	return outbound.New(policy)
}

// withClient has the libraries of OAuth ask by a client for the URLs.
func withClient(ctx context.Context, urls ...string) (context.Context, error) {
	client, err := clientFor(urls...)
	if err != nil {
		return nil, err
	}
	return oidc.ClientContext(ctx, client), nil // the key of both libraries is one
}

// Plain is a text of an issuer's without what would move a terminal's cursor.
func Plain(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, s)
}
