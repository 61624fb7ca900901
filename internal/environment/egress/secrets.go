package egress

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/environment"
)

// mark begins every placeholder, markLength is how long one is.
const (
	mark       = "stayd_secret_"
	markRandom = 20 // bytes, written in hexadecimal
	markLength = len(mark) + 2*markRandom
)

// Bounds on asking for the secrets.
const (
	secretsKept = 2 * time.Second  // how long they are not asked for again
	secretsWait = 10 * time.Second // how long they may take
)

// ring knows which secrets stand behind the placeholders of an environment.
type ring struct {
	placeholders map[string]string // by the name of the variable
	ask          func(context.Context) ([]environment.Secret, error)
	kept         time.Duration

	mu    sync.Mutex
	asked time.Time
	now   []environment.Secret
	hosts map[string][]string // where each may be sent, by its name, as it was known last
}

func newRing(s *environment.Secrets) *ring {
	k := &ring{placeholders: map[string]string{}, ask: s.Now, kept: secretsKept, hosts: map[string][]string{}}
	k.note(s.Given)
	for i := range s.Given {
		b := make([]byte, markRandom)
		rand.Read(b) // it never fails
		k.placeholders[s.Given[i].Name] = mark + hex.EncodeToString(b)
	}
	return k
}

// current returns the secrets as they are, or were a moment ago.
func (k *ring) current(ctx context.Context) ([]environment.Secret, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if time.Since(k.asked) < k.kept {
		return k.now, nil
	}
	ctx, cancel := context.WithTimeout(ctx, secretsWait)
	defer cancel()
	now, err := k.ask(ctx)
	if err != nil {
		return nil, err
	}
	k.note(now)
	return now, nil
}

// note keeps what the secrets are now. The caller holds mu, or is alone.
func (k *ring) note(now []environment.Secret) {
	k.now, k.asked = now, time.Now()
	for i := range now {
		k.hosts[now[i].Name] = now[i].Hosts
	}
}

// concerns reports whether a secret may be sent to the target, or might until it
// was deleted: its program is to be told.
func (k *ring) concerns(ctx context.Context, t target) bool {
	k.current(ctx) //nolint:errcheck,gosec // it is asked again before one is sent
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.placeholders {
		if isFor(k.hosts[name], t) {
			return true
		}
	}
	return false
}

func isFor(hosts []string, t target) bool {
	return len(hosts) == 0 || slices.Contains(hosts, t.host)
}

// pass is what of the secrets concerns one request.
type pass struct {
	known   map[string]bool // all placeholders of the environment
	allowed []allowed
	masked  []allowed // what answers may have, although it is not put in
	refused []pair
	longest int    // an allowed secret, in bytes
	answer  []pair // what was put in that is no plain secret, and what it stood for
}

type allowed struct{ placeholder, secret string }

// passFor says what may be put into a request to the target.
func (k *ring) passFor(ctx context.Context, t target, encrypted bool) *pass {
	now, err := k.current(ctx)
	var away *refusal
	if err != nil {
		away = &refusal{code: "secrets_unavailable", message: "the secrets of this environment could not be read, so nothing was sent; try again later", detail: err.Error()}
		k.mu.Lock()
		now = k.now
		k.mu.Unlock()
	}
	p := &pass{known: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(k.placeholders)) {
		placeholder := k.placeholders[name]
		p.known[placeholder] = true
		i := slices.IndexFunc(now, func(s environment.Secret) bool { return s.Name == name })
		var s *environment.Secret
		if i >= 0 {
			s = &now[i]
		}
		r := refuseSecret(name, s, t, encrypted)
		if r == nil {
			a := allowed{placeholder: placeholder, secret: s.Value.Reveal()}
			p.masked = append(p.masked, a)
			if r = away; r == nil {
				p.allowed, p.longest = append(p.allowed, a), max(p.longest, len(a.secret))
			}
		}
		if r != nil {
			p.refused = append(p.refused, pair{old: placeholder, refused: r})
		}
	}
	return p
}

// refuseSecret says why the secret of a variable may not be sent, or nil. There
// is no secret any more where s is nil.
func refuseSecret(name string, s *environment.Secret, t target, encrypted bool) *refusal {
	switch {
	case s == nil:
		return &refusal{code: "secret_gone", message: fmt.Sprintf("the credential behind the variable %s is not in the session's vaults any more, so nothing was sent", name), ask: "create a credential for " + name}
	case !isFor(s.Hosts, t):
		return &refusal{
			code:    "secret_not_for_host",
			message: fmt.Sprintf("the request has the placeholder of the variable %s, whose secret may be sent to %s and not to %s, so nothing was sent", name, strings.Join(s.Hosts, ", "), t.host),
			ask:     fmt.Sprintf("allow %s in the credential of %s", t.host, name),
		}
	case !encrypted && !t.addr.IsLoopback() && t.host != "localhost":
		return &refusal{code: "secret_needs_https", message: fmt.Sprintf("the secret of the variable %s is sent over https only; use https://%s", name, t.host)}
	}
	return nil
}
