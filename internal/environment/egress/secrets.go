package egress

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
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
	secretsKept = 2 * time.Second  // how long they are not asked for again, also where they could not be had
	secretsWait = 10 * time.Second // how long they may take
)

// given is what stands for a secret in one environment.
type given struct {
	name        string // of the variable
	credential  string // id of that which the secret is of: of another one it is another secret
	placeholder string
}

// ring knows which secrets stand behind the placeholders of an environment.
type ring struct {
	given []given // by their names
	ask   func(context.Context) ([]environment.Secret, error)
	kept  time.Duration

	mu     sync.Mutex
	asked  time.Time     // when the last answer was there
	failed error         // that answer, where it was none
	asking chan struct{} // closed at the end of the asking that is under way; nil where none is
	now    []environment.Secret
	hosts  map[string][]string // where each may be sent, by its credential, as it was known last
}

func newRing(s *environment.Secrets) *ring {
	k := &ring{ask: s.Now, kept: secretsKept, hosts: map[string][]string{}}
	k.note(s.Given)
	for i := range s.Given {
		b := make([]byte, markRandom)
		rand.Read(b) // it never fails
		k.given = append(k.given, given{name: s.Given[i].Name, credential: s.Given[i].ID, placeholder: mark + hex.EncodeToString(b)})
	}
	slices.SortFunc(k.given, func(a, b given) int { return strings.Compare(a.name, b.name) })
	return k
}

// variables are the placeholders by the names of their variables.
func (k *ring) variables() map[string]string {
	all := map[string]string{}
	for _, g := range k.given {
		all[g.name] = g.placeholder
	}
	return all
}

// current returns the secrets as they are, or were a moment ago, and with an error
// as they were known last. One goroutine asks, and those that come meanwhile wait
// for its answer.
func (k *ring) current(ctx context.Context) ([]environment.Secret, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for time.Since(k.asked) >= k.kept {
		if k.asking == nil {
			k.askNow(ctx)
			break
		}
		asking := k.asking
		k.mu.Unlock()
		select {
		case <-asking:
		case <-ctx.Done():
		}
		k.mu.Lock()
		if err := ctx.Err(); err != nil {
			return k.now, err
		}
	}
	return k.now, k.failed
}

// askNow asks without holding mu, which the caller holds.
func (k *ring) askNow(ctx context.Context) {
	done := make(chan struct{})
	k.asking = done
	k.mu.Unlock()
	wait, cancel := context.WithTimeout(ctx, secretsWait)
	now, err := k.ask(wait)
	cancel()
	k.mu.Lock()
	k.asking = nil
	close(done)
	if err == nil {
		k.note(now)
		return
	}
	k.failed = err
	// What was broken off by one program says nothing for another.
	if ctx.Err() == nil {
		k.asked = time.Now()
	}
}

// note keeps what the secrets are now. The caller holds mu, or is alone.
func (k *ring) note(now []environment.Secret) {
	k.now, k.asked, k.failed = now, time.Now(), nil
	for i := range now {
		k.hosts[now[i].ID] = now[i].Hosts
	}
}

// concerns reports whether a secret may be sent to the target, or might until it
// was deleted: its program is to be told. Only where none might as far as is known
// it asks: before one is sent it is asked anyway.
func (k *ring) concerns(ctx context.Context, t target) bool {
	if k.isFor(t) {
		return true
	}
	k.current(ctx) //nolint:errcheck,gosec // what was known last counts then
	return k.isFor(t)
}

func (k *ring) isFor(t target) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.ContainsFunc(k.given, func(g given) bool { return isFor(k.hosts[g.credential], t) })
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
	head    int    // bytes of secrets that are in the head of the request
	answer  []pair // what was put in that is no plain secret, and what it stood for
}

type allowed struct{ placeholder, secret string }

// passFor says what may be put into a request to the target.
func (k *ring) passFor(ctx context.Context, t target, encrypted bool) *pass {
	now, err := k.current(ctx)
	var away *refusal
	if err != nil {
		away = &refusal{code: "secrets_unavailable", message: "the secrets of this environment could not be read, so nothing was sent; try again later", detail: err.Error()}
	}
	p := &pass{known: map[string]bool{}}
	for _, g := range k.given {
		name, placeholder := g.name, g.placeholder
		p.known[placeholder] = true
		i := slices.IndexFunc(now, func(s environment.Secret) bool { return s.Name == name && s.ID == g.credential })
		var s *environment.Secret
		if i >= 0 {
			s = &now[i]
		}
		r := refuseSecret(name, s, t, encrypted)
		if r == nil {
			a := allowed{placeholder: placeholder, secret: s.Value.Reveal()}
			p.masked = append(p.masked, a)
			if r = away; r == nil {
				p.allowed = append(p.allowed, a)
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
		return &refusal{code: "secret_gone", message: fmt.Sprintf("the credential behind the variable %s is not in the session's vaults any more, so nothing was sent; another one has its placeholder when the environment is opened the next time", name), ask: "create a credential for " + name}
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
