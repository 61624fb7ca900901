package workload

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/identity"
)

// Codes of errors of an exchange, as OAuth has them (RFC 6749, section 5.2; RFC
// 8693, section 2.2.2).
const (
	InvalidRequest = "invalid_request"
	InvalidScope   = "invalid_scope"
	InvalidTarget  = "invalid_target"
)

// ExchangeError is an exchange that is refused.
type ExchangeError struct {
	Code string
	Why  string
}

func (e *ExchangeError) Error() string { return e.Why }

func notExchanged(code, format string, args ...any) error {
	return &ExchangeError{Code: code, Why: fmt.Sprintf(format, args...)}
}

// Wanted is what a token is to be exchanged for.
type Wanted struct {
	// Audience is the one that the new token is for. The issuer's own URL asks for a
	// token that can be exchanged again.
	Audience string
	// Scope is all that the new token is good for; nil is what the token has that is
	// exchanged.
	Scope []string
	// Audiences are those that a token for the issuer may be exchanged for; nil is
	// those of the token that is exchanged.
	Audiences []string
}

// Granted is a new token.
type Granted struct {
	Token   string
	Expires time.Time
	Scope   string
}

// Caller is what an exchange begins with for a caller of the server: claims that
// no token has. Expires is zero where what they showed has no end.
func Caller(p identity.Principal, expires time.Time, audiences []string) (*Claims, error) {
	switch {
	case p.ID == "":
		return nil, notExchanged(InvalidRequest, "The subject_token is a key of the operator's file, which names nobody. Make a key by `stayd keys create`.")
	case p.Actor != "":
		// A server would take the token for the caller's right to all of the project.
		return nil, notExchanged(InvalidRequest, "The subject_token is of a caller who may act for '%s' alone, which no exchanged token says. Exchange that of a caller who is bound to nobody, or have an administrator sign one for a session.", p.Actor)
	case checkName("caller", p.ID) != nil:
		return nil, notExchanged(InvalidRequest, "The caller is named %q, which a token cannot say.", p.ID)
	}
	var scope []string
	for _, s := range identity.Scopes() {
		if p.Scope.Includes(s) {
			scope = append(scope, string(s))
		}
	}
	c := &Claims{Subject: p.ID, Client: p.ID, Scope: strings.Join(scope, " "), Stayd: Own{Project: p.Project, Audiences: audiences}}
	if !expires.IsZero() {
		c.Expires = expires.Unix()
	}
	return c, nil
}

// Exchange signs a token that says no more than subject does, which Open or
// Caller returned. Where actor is not nil it is what Open returned for the agent
// that acts from now on. The error is an *ExchangeError where it is refused.
func (i *Issuer) Exchange(ctx context.Context, subject, actor *Claims, w Wanted) (*Granted, error) {
	c := &Claims{Subject: subject.Subject, Audience: w.Audience, Expires: subject.Expires, Client: subject.Client, Act: subject.Act, Stayd: subject.Stayd}
	var err error
	if c.Scope, err = narrowScope(subject.Scope, w.Scope); err != nil {
		return nil, err
	}
	lifetime := DefaultLifetime
	if w.Audience == i.cfg.URL {
		lifetime = MaxLifetime
		c.Stayd.Audiences, err = narrowAudiences(subject.Stayd.Audiences, w.Audiences)
	} else {
		c.Stayd.Audiences = nil
		err = i.checkTarget(subject, w)
	}
	if err != nil {
		return nil, err
	}
	if actor != nil {
		if err := c.addActor(actor); err != nil {
			return nil, err
		}
	}
	t, err := i.issue(ctx, c, lifetime)
	if err != nil {
		return nil, err
	}
	return &Granted{Token: t.text, Expires: t.expires, Scope: c.Scope}, nil
}

func (i *Issuer) checkTarget(subject *Claims, w Wanted) error {
	switch {
	case w.Audiences != nil:
		return notExchanged(InvalidRequest, "Only a token for this issuer, %s, has 'audiences'.", i.cfg.URL)
	case i.checkAudience(w.Audience) != nil || !slices.Contains(subject.Stayd.Audiences, w.Audience):
		return notExchanged(InvalidTarget, "The subject_token may not be exchanged for a token for '%s'.", w.Audience)
	}
	return nil
}

func narrowAudiences(have, want []string) ([]string, error) {
	if want == nil {
		want = have
	}
	for _, a := range want {
		if !slices.Contains(have, a) {
			return nil, notExchanged(InvalidTarget, "The subject_token may not be exchanged for tokens for '%s'.", a)
		}
	}
	want = once(want)
	if len(want) == 0 {
		return nil, notExchanged(InvalidTarget, "The subject_token may not be exchanged for tokens for anybody.")
	}
	return want, nil
}

func narrowScope(have string, want []string) (string, error) {
	if want == nil {
		return have, nil
	}
	all := strings.Fields(have)
	for _, s := range want {
		if !slices.Contains(all, s) {
			return "", notExchanged(InvalidScope, "The subject_token does not have the scope '%s'.", s)
		}
	}
	return strings.Join(once(want), " "), nil
}

// once is a list without what it has twice.
func once(list []string) []string {
	var out []string
	for _, s := range list {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// addActor has the agent of another token act from now on, for those who acted
// until now.
func (c *Claims) addActor(actor *Claims) error {
	who := actor.Subject
	if actor.Act != nil {
		who = actor.Act.Subject
	}
	switch {
	case actor.Stayd.Session == "" || !looksSPIFFE(who):
		return notExchanged(InvalidRequest, "The actor_token is not an agent's.")
	case actor.Stayd.Project != c.Stayd.Project:
		return notExchanged(InvalidRequest, "The actor_token is of another project than the subject_token.")
	case who == c.actsNow():
		return nil
	}
	c.Act = &Act{Subject: who, Act: c.Act}
	if c.Act.depth() > MaxChain {
		return notExchanged(InvalidRequest, "%d act for one another already, and no more can.", MaxChain)
	}
	audiences := c.Stayd.Audiences
	c.Client, c.Stayd = actor.Client, actor.Stayd
	c.Stayd.Audiences = audiences
	c.Expires = earlier(c.Expires, actor.Expires)
	return nil
}

// actsNow is who acts: the outermost actor, or else the subject itself.
func (c *Claims) actsNow() string {
	if c.Act != nil {
		return c.Act.Subject
	}
	return c.Subject
}

// earlier is the first of two times in Unix seconds, where 0 is never.
func earlier(a, b int64) int64 {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
