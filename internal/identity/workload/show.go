package workload

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"time"
)

const (
	// reuse is for how long a token is shown again: half of its life, so that whoever it
	// is shown to has the other half.
	reuse = DefaultLifetime / 2
	// maxShown is how many tokens are kept to be shown again. With as many, others are
	// signed each time.
	maxShown = 4096
	// signTime bounds a signature, for which several may wait.
	signTime = 30 * time.Second
)

// shown is a token that may be shown again.
type shown struct {
	token string
	key   string    // id
	until time.Time // from when on it is not
	again bool      // it was
}

// Show is as Token, and returns a token again that it returned before for the same
// subject, audience and scope, for half of its life and while the key that signed it
// is the one that signs. It returns another than refused, unless that was shown for
// the first time: then another is as good.
func (i *Issuer) Show(ctx context.Context, s Subject, audience string, scope []string, refused string) (string, error) {
	name, err := json.Marshal([]any{s, audience, scope})
	if err != nil {
		return "", fmt.Errorf("name a token: %w", err)
	}
	now := i.cfg.Now()
	e, _, err := i.signingKey(ctx, now)
	if err != nil {
		return "", err
	}
	if token := i.reused(string(name), e.ID, refused, now); token != "" {
		return token, nil
	}
	// One asks the key for all who want the same. Who goes away does not end it for others.
	signed := i.signatures.DoChan(e.ID+" "+refused+" "+string(name), func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signTime)
		defer cancel()
		t, err := i.token(ctx, s, audience, scope)
		if err == nil {
			i.keep(string(name), shown{token: t.text, key: t.key, until: now.Add(reuse)}, now)
		}
		return t, err
	})
	select {
	case got := <-signed:
		t, _ := got.Val.(issued)
		if got.Shared {
			i.reused(string(name), t.key, "", now)
		}
		return t.text, got.Err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// reused is the token that is shown again; empty is none.
func (i *Issuer) reused(name, key, refused string, now time.Time) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	have, ok := i.shown[name]
	switch {
	case !ok || have.key != key || !now.Before(have.until):
		return ""
	case have.token != refused:
		have.again = true
		i.shown[name] = have
		return have.token
	}
	delete(i.shown, name)
	if have.again {
		return ""
	}
	return refused
}

func (i *Issuer) keep(name string, t shown, now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.shown) >= maxShown {
		maps.DeleteFunc(i.shown, func(_ string, t shown) bool { return !now.Before(t.until) })
	}
	if len(i.shown) < maxShown {
		i.shown[name] = t
	}
}
