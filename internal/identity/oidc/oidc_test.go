package oidc_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/identity/oidc/oidctest"
)

// clock is the time as a test has it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// server is what takes tokens: one issuer for the audience "stayd", and rules.
type server struct {
	t *testing.T
	*clock
	*oidc.Tokens
}

const rules = `
    principals:
      - {claims: {groups: ops}, project: infra, scope: admin}
      - {claims: {email: [ann@example.com, bob@example.com]}, project: people, scope: write, actor: sub}
`

// serve takes tokens of the issuers for the audience "stayd".
func serve(t *testing.T, issuers ...string) *server {
	t.Helper()
	var file strings.Builder
	file.WriteString("issuers:\n")
	for _, url := range issuers {
		file.WriteString("  - issuer: " + url + "\n    audience: stayd" + rules)
	}
	return serveFile(t, file.String())
}

func serveFile(t *testing.T, file string) *server {
	t.Helper()
	issuers, err := oidc.Parse("issuers.yaml", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, clock: &clock{now: time.Now()}}
	s.Tokens, err = oidc.New(oidc.Config{Issuers: issuers, Now: s.time})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// claims are those of a good token of the issuer. Further ones are names and values
// in turn; nil takes one away.
func (s *server) claims(issuer string, more ...any) map[string]any {
	c := map[string]any{
		"iss": issuer, "sub": "ann", "aud": "stayd", "groups": []string{"staff", "ops"},
		"iat": s.time().Unix(), "exp": s.time().Add(time.Hour).Unix(),
	}
	for i := 0; i < len(more); i += 2 {
		if more[i+1] == nil {
			delete(c, more[i].(string))
			continue
		}
		c[more[i].(string)] = more[i+1]
	}
	return c
}

// taken checks that the token is taken, and as whose.
func (s *server) taken(token string, want identity.Principal) {
	s.t.Helper()
	got, err := s.Check(context.Background(), token)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		s.t.Errorf("%v, %s", err, diff)
	}
}

// refused checks that the token is not taken, with which code, and what it says.
func (s *server) refused(token, code, message string) {
	s.t.Helper()
	who, err := s.Check(context.Background(), token)
	var refused *oidc.RefusedError
	if !errors.As(err, &refused) || refused.Code != code || !strings.Contains(refused.Message, message) || who != (identity.Principal{}) {
		s.t.Errorf("got %+v, %#v; want %s, %q", who, err, code, message)
	}
}

// ops is who has a token of the issuer for the group.
func ops(issuer string) identity.Principal {
	return identity.Principal{ID: strings.TrimPrefix(issuer, "http://") + "#ann", Issuer: issuer, Project: "infra", Scope: identity.Admin}
}

// TestTaken has tokens that are taken, and as whose.
func TestTaken(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	person := identity.Principal{ID: strings.TrimPrefix(p.URL, "http://") + "#ann", Issuer: p.URL, Project: "people", Scope: identity.Write, Actor: "ann"}
	for _, tt := range []struct {
		name string
		more []any
		want identity.Principal
	}{
		{"by a member of a list", nil, ops(p.URL)},
		{"by a claim that is one", []any{"groups", "ops"}, ops(p.URL)},
		{"for several audiences", []any{"aud", []string{"other", "stayd"}}, ops(p.URL)},
		{"by the next rule", []any{"groups", nil, "email", "ann@example.com", "email_verified", true}, person},
		{"by another value of it", []any{"groups", []string{}, "email", "bob@example.com", "email_verified", "true"}, person},
		{"without a time of its making", []any{"iat", nil}, ops(p.URL)},
		{"with a time that has a fraction", []any{"iat", float64(s.time().UnixMilli()) / 1000}, ops(p.URL)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			s.taken(p.Sign(s.claims(p.URL, tt.more...)), tt.want)
		})
	}
	s.t = t
	// Access tokens say that they are, and ID tokens may have no type.
	for _, typ := range []string{"at+jwt", "application/at+jwt", "AT+JWT", "jwt"} {
		s.taken(p.Key().Sign(t, map[string]any{"typ": typ}, s.claims(p.URL)), ops(p.URL))
	}
	s.taken(p.Key().Sign(t, nil, s.claims(p.URL)), ops(p.URL))
	if p.Reads() != 1 || p.Discoveries() != 1 {
		t.Errorf("the keys were read %d times, the document %d times; want once", p.Reads(), p.Discoveries())
	}
}
