// Package login keeps what a user of the command line got from an issuer to show
// to a server, renews it, and gives it back. It knows no commands.
package login

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/lockedfile"
	"golang.org/x/oauth2"
)

// What of an issuer's answer is shown to the server.
const (
	AccessToken = "access_token"
	IDToken     = "id_token"
)

// Login is a user's place at a server.
type Login struct {
	Server     string   `json:"server"`
	Issuer     string   `json:"issuer"`
	ClientID   string   `json:"client_id"`
	Scopes     []string `json:"scopes"`
	Tokens     string   `json:"token_endpoint"`
	Revocation string   `json:"revocation_endpoint,omitzero"`
	// Shown is which token the server takes, and Token that one.
	Shown   string    `json:"shown"`
	Token   string    `json:"token"`
	Expires time.Time `json:"expires,omitzero"` // of Token; zero is not known
	Refresh string    `json:"refresh_token,omitzero"`
}

// Logins are those of a user, one for each server. Several processes may use them
// at once.
type Logins struct {
	Dir string
	Now func() time.Time
}

// Default are those in the folder of the user's settings.
func Default() (*Logins, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return nil, fmt.Errorf("find the folder of your settings: %w", err)
	}
	return &Logins{Dir: filepath.Join(dir, "stayd", "logins"), Now: time.Now}, nil
}

// ErrNone is that the user is not logged in to the server.
var ErrNone = errors.New("not logged in")

// Normal is a server's URL as logins are kept by it.
func Normal(server string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" {
		return "", fmt.Errorf("server %q is not a URL like https://stayd.example.com", server)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + strings.TrimRight(u.Path, "/"), nil
}

func (l *Logins) file(server string) string {
	return filepath.Join(l.Dir, base64.RawURLEncoding.EncodeToString([]byte(server))+".json")
}

// Get returns the login at a server. ErrNone: there is none.
func (l *Logins) Get(server string) (*Login, error) {
	data, err := os.ReadFile(l.file(server))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("read the login at %s: %w", server, err)
	}
	var in Login
	if err := json.Unmarshal(data, &in); err != nil || in.Server != server {
		return nil, fmt.Errorf("the login at %s cannot be read from %s; run `stayd login --url %s`", server, l.file(server), server)
	}
	return &in, nil
}

// Put keeps a login instead of what was there.
func (l *Logins) Put(in *Login) error {
	unlock, err := l.lock(in.Server)
	if err != nil {
		return err
	}
	defer unlock()
	return l.write(in)
}

// Remove forgets the login at a server, and returns it. ErrNone: there is none.
func (l *Logins) Remove(server string) (*Login, error) {
	unlock, err := l.lock(server)
	if err != nil {
		return nil, err
	}
	defer unlock()
	in, err := l.Get(server)
	if err != nil {
		return nil, err
	}
	if err := os.Remove(l.file(server)); err != nil {
		return nil, fmt.Errorf("remove the login at %s: %w", server, err)
	}
	return in, nil
}

// lock has one process at a time change the login at a server.
func (l *Logins) lock(server string) (func(), error) {
	if err := os.MkdirAll(l.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of logins: %w", err)
	}
	unlock, err := lockedfile.MutexAt(l.file(server) + ".lock").Lock()
	if err != nil {
		return nil, fmt.Errorf("lock the login at %s: %w", server, err)
	}
	return unlock, nil
}

// write replaces the file at once, so that nobody reads half of it.
func (l *Logins) write(in *Login) error {
	data, err := json.MarshalIndent(in, "", "  ") //nolint:gosec // this is where the secrets are kept
	if err != nil {
		return fmt.Errorf("encode the login: %w", err)
	}
	f, err := os.CreateTemp(l.Dir, ".login-*") // readable to its owner alone
	if err != nil {
		return fmt.Errorf("write the login: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), l.file(in.Server))
	}
	if err != nil {
		return fmt.Errorf("write the login: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// Source hands out the token of a login, renewed where that is due. It is safe for
// use by many goroutines.
type Source struct {
	logins *Logins

	mu sync.Mutex
	in *Login
}

// Source returns that of the login at the server. ErrNone: there is none.
func (l *Logins) Source(server string) (*Source, error) {
	in, err := l.Get(server)
	if err != nil {
		return nil, err
	}
	return &Source{logins: l, in: in}, nil
}

// early is how long before its end a token is renewed.
const early = time.Minute

func (l *Logins) lasts(in *Login) bool {
	return in.Expires.IsZero() || l.Now().Before(in.Expires.Add(-early))
}

// Bearer returns the token to show.
func (s *Source) Bearer(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins.lasts(s.in) {
		return s.in.Token, nil
	}
	in, err := s.logins.renewed(ctx, s.in.Server)
	if err == nil {
		s.in = in
		return in.Token, nil
	}
	if e := new(Error); errors.As(err, &e) && !e.Over && s.logins.Now().Before(s.in.Expires) {
		return s.in.Token, nil // the issuer may be back when it is over
	}
	return "", err
}

// Error is a token that cannot be renewed.
type Error struct {
	Server string
	Why    string
	Over   bool // nothing but another login helps
}

func (e *Error) Error() string {
	if e.Over {
		return fmt.Sprintf("the login at %s is over: %s; run `stayd login --url %s`", e.Server, e.Why, e.Server)
	}
	return fmt.Sprintf("the token for %s expired, and cannot be renewed now: %s; try again, or run `stayd login --url %s`", e.Server, e.Why, e.Server)
}

// renewed returns the login with a token that lasts, which another process may have
// got in the meantime: a refresh token is often good for one use.
func (l *Logins) renewed(ctx context.Context, server string) (*Login, error) {
	unlock, err := l.lock(server)
	if err != nil {
		return nil, err
	}
	defer unlock()
	in, err := l.Get(server)
	if errors.Is(err, ErrNone) {
		return nil, &Error{Server: server, Why: "it was removed", Over: true}
	}
	if err != nil || l.lasts(in) {
		return in, err
	}
	if in.Refresh == "" {
		return nil, &Error{Server: server, Why: "its token expired, and the issuer gave none to renew it with", Over: true}
	}
	if err := in.renew(ctx); err != nil {
		return nil, err
	}
	return in, l.write(in)
}

// renew asks the issuer for another token.
func (in *Login) renew(ctx context.Context) error {
	ctx, err := withClient(ctx, in.Issuer, in.Tokens)
	if err != nil {
		return err
	}
	c := oauth2.Config{ClientID: in.ClientID, Scopes: in.Scopes, Endpoint: oauth2.Endpoint{TokenURL: in.Tokens, AuthStyle: oauth2.AuthStyleInParams}}
	got, err := c.TokenSource(ctx, &oauth2.Token{RefreshToken: in.Refresh}).Token()
	var refused *oauth2.RetrieveError
	if errors.As(err, &refused) && refused.Response.StatusCode < 500 {
		return &Error{Server: in.Server, Why: "the issuer " + in.Issuer + " does not renew it" + reason(refused), Over: true}
	}
	if err != nil {
		return &Error{Server: in.Server, Why: said(err).Error()}
	}
	if !in.take(got) {
		return &Error{Server: in.Server, Why: "the issuer gave no other " + in.Shown, Over: true}
	}
	return nil
}

// take keeps of an issuer's answer what is shown. It reports whether that is there.
func (in *Login) take(got *oauth2.Token) bool {
	token := got.AccessToken
	if in.Shown == IDToken {
		token, _ = got.Extra(IDToken).(string)
	}
	if token == "" {
		return false
	}
	in.Token, in.Expires = token, endOf(token)
	if in.Expires.IsZero() && in.Shown == AccessToken {
		in.Expires = got.Expiry
	}
	if got.RefreshToken != "" {
		in.Refresh = got.RefreshToken
	}
	return true
}

// endOf is when a token that can be read expires, or zero.
func endOf(token string) time.Time {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return time.Time{}
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return time.Time{}
	}
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if json.Unmarshal(data, &claims) != nil || claims.Exp <= 0 {
		return time.Time{}
	}
	return time.Unix(int64(claims.Exp), 0)
}

// reason is what an issuer said.
func reason(e *oauth2.RetrieveError) string {
	text := e.ErrorDescription
	if text == "" {
		text = e.ErrorCode
	}
	if text == "" {
		return ""
	}
	return " (" + Plain(text) + ")"
}
