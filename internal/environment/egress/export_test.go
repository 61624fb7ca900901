package egress

import (
	"context"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment"
)

// KeepSecrets sets how long secrets are not asked for again.
func (x *Proxy) KeepSecrets(d time.Duration) { x.ring.kept = d }

// ForgetSecrets has them asked for at the next use.
func (x *Proxy) ForgetSecrets() { x.ring.asked = time.Time{} }

// Ring is what knows the secrets.
type Ring struct{ ring *ring }

// NewRing returns one that asks at the first use, and once.
func NewRing(s *environment.Secrets) Ring {
	k := newRing(s)
	k.kept, k.asked = time.Hour, time.Time{}
	return Ring{k}
}

// Current checks what the only secret is.
func (k Ring) Current(t *testing.T, want string) {
	t.Helper()
	if now, err := k.ring.current(t.Context()); err != nil || len(now) != 1 || now[0].Value.Reveal() != want {
		t.Errorf("got %d secrets, %v; want %s", len(now), err, want)
	}
}

// Concerns reports whether a secret may be sent to the host.
func (k Ring) Concerns(ctx context.Context, host string) bool {
	return k.ring.concerns(ctx, target{host: host, port: 443})
}
