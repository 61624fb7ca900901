package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stayd/stayd/internal/event"
)

// attempt is what is known of one sending of a call, or of a listing.
type attempt struct {
	written atomic.Bool
	status  atomic.Int32           // of the HTTP response, once there is one
	denied  atomic.Pointer[denied] // why there is no credential for it

	mu    sync.Mutex
	shown []string // the secrets of credentials that the server was shown
}

// show notes a credential, as the value of the header Authorization.
func (a *attempt) show(authorization string) {
	if a == nil {
		return
	}
	_, secret, ok := strings.Cut(authorization, " ")
	if !ok {
		secret = authorization
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !slices.Contains(a.shown, secret) {
		a.shown = append(a.shown, secret)
	}
}

// unsaid is an error without credentials.
func (a *attempt) unsaid(err error) error {
	if err == nil {
		return nil
	}
	if said, text := err.Error(), a.mask(err.Error()); text != said {
		return errors.New(text)
	}
	return err
}

// masked stands where a server said a credential that it was shown.
const masked = "[credential]"

// shortSecret is below what a secret is not looked for: it would be found in
// words.
const shortSecret = 8

// mask takes the credentials that the server was shown out of what it said, which
// is for the model and the log.
func (a *attempt) mask(s string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, secret := range a.shown {
		if len(secret) < shortSecret {
			continue
		}
		quoted, _ := json.Marshal(secret) //nolint:errchkjson // strings can always be encoded
		plain := event.TextOutput(secret)
		for _, form := range []string{secret, string(quoted[1 : len(quoted)-1]), string(plain[1 : len(plain)-1])} {
			s = strings.ReplaceAll(s, form, masked)
		}
	}
	return s
}

// denied is an error that keeps its place when the library makes a text of it.
type denied struct{ err error }

// unauthorized notes that nothing was sent for want of a credential.
func (a *attempt) unauthorized(err error) error {
	if a != nil {
		a.denied.Store(&denied{err: err})
	}
	return err
}

// reason is err, or why there was no credential, where that is why nothing was
// sent. What was sent may have been done, whatever came after it.
func (a *attempt) reason(err error) error {
	if d := a.denied.Load(); d != nil && err != nil && !a.mayHaveArrived() {
		return d.err
	}
	return err
}

type attemptKey struct{}

func withAttempt(ctx context.Context, a *attempt) context.Context {
	return context.WithValue(ctx, attemptKey{}, a)
}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// mayHaveArrived reports whether the tool may have been called. A server that
// answered that it does not know the client, the session or the path has not
// called one.
func (a *attempt) mayHaveArrived() bool {
	switch a.status.Load() {
	case 401, 403, 404, 405, 411, 413, 415, 429, 431:
		return false
	}
	return a.written.Load()
}

// sessionGone reports whether the server said that it does not know the session
// any more, as it does after a restart.
func (a *attempt) sessionGone() bool { return a.status.Load() == 404 }
