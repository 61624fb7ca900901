package oidc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/identity/oidc/oidctest"
)

// FuzzParse reads files of issuers. What is taken is complete.
func FuzzParse(f *testing.F) {
	f.Add("issuers:\n  - issuer: https://a.example.com\n    audience: x\n    skew: 1m\n    principals:\n      - {claims: {sub: [a, b]}, project: p, scope: read, actor: sub}\n")
	f.Add("issuers: [{issuer: http://[::1]:1, audience: [x], client_id: c, principals: [{claims: {}, project: p, scope: owner}]}]")
	f.Add("a: &a [x]\nissuers: [*a, {<<: *a}]")
	f.Add("issuers: &i [{issuer: https://a, audience: x, principals: *i}]")
	f.Fuzz(func(t *testing.T, file string) {
		issuers, err := oidc.Parse("f.yaml", []byte(file))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f.yaml") {
				t.Errorf("%q does not begin with the file", err)
			}
			return
		}
		for _, is := range issuers {
			if is.URL == "" || len(is.Audience) == 0 || len(is.Algorithms) == 0 || len(is.Rules) == 0 || is.Skew < 0 || is.Skew > 5*time.Minute {
				t.Errorf("taken: %+v", is)
			}
			for _, r := range is.Rules {
				if r.Project == "" || !r.Scope.Valid() || r.Claims == nil {
					t.Errorf("taken: %+v", r)
				}
			}
			for _, a := range is.Algorithms {
				if a == "none" || strings.HasPrefix(a, "HS") {
					t.Errorf("taken: the algorithm %s", a)
				}
			}
		}
	})
}

// FuzzCheck shows texts to a server with one issuer. But for the token that the
// issuer signed, none is taken, and each is answered.
func FuzzCheck(f *testing.F) {
	p := oidctest.Start(f, oidctest.Options{})
	issuers, err := oidc.Parse("f.yaml", []byte("issuers:\n  - issuer: "+p.URL+"\n    audience: stayd"+rules))
	if err != nil {
		f.Fatal(err)
	}
	now := time.Now()
	tokens, err := oidc.New(oidc.Config{Issuers: issuers, Now: func() time.Time { return now }})
	if err != nil {
		f.Fatal(err)
	}
	good := p.Sign(map[string]any{"iss": p.URL, "sub": "ann", "aud": "stayd", "groups": "ops", "exp": now.Add(time.Hour).Unix()})
	f.Add(good)
	f.Add(good + ".")
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Add(b64(`{"alg":"none"}`) + "." + strings.Split(good, ".")[1] + ".")
	f.Add(b64(`{"alg":"RS256","kid":"key-2"}`) + "." + strings.Split(good, ".")[1] + ".AAAA")
	f.Add("stayd_eA.y")
	f.Fuzz(func(t *testing.T, shown string) {
		who, err := tokens.Check(context.Background(), shown)
		if shown == good {
			if err != nil {
				t.Errorf("the issuer's token: %v", err)
			}
			return
		}
		var refused *oidc.RefusedError
		var unavailable *oidc.UnavailableError
		if !errors.As(err, &refused) && !errors.As(err, &unavailable) || who != (identity.Principal{}) {
			t.Errorf("got %+v, %v", who, err)
		}
	})
}
