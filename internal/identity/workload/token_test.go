package workload_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/vault"
)

// TestToken has tokens written out: of an agent that acts for nobody, which is a
// JWT-SVID, of one that acts for a person, and of one below others.
func TestToken(t *testing.T) {
	w := newWorld(t)
	i := w.node()
	below := ann
	below.Session, below.Agent, below.AgentVersion, below.Parents = "sess_3", "agent_2", 1, []string{"sess_2", "sess_1"}
	nobody := ann
	nobody.By = ""
	for name, tt := range map[string]struct {
		subject workload.Subject
		scope   []string
		want    string
	}{
		"for nobody": {alone, nil, `{
			"iss":"https://stayd.example.com","sub":"spiffe://stayd.example.com/project/p/session/sess_1","aud":"https://mcp.example.com/mcp",
			"exp":1777799400,"iat":1777798800,"nbf":1777798800,"jti":"*","client_id":"spiffe://stayd.example.com/project/p/agent/agent_1/version/3",
			"stayd":{"project":"p","session":"sess_1","agent":"agent_1","agent_version":3}}`},
		"for a person": {ann, []string{"mail.read", "mail.send"}, `{
			"iss":"https://stayd.example.com","sub":"ann","aud":"https://mcp.example.com/mcp","scope":"mail.read mail.send",
			"exp":1777799400,"iat":1777798800,"nbf":1777798800,"jti":"*","client_id":"spiffe://stayd.example.com/project/p/agent/agent_1/version/3",
			"act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_1","act":{"sub":"key_1"}},
			"stayd":{"project":"p","session":"sess_1","agent":"agent_1","agent_version":3}}`},
		"by nobody": {nobody, nil, `{
			"iss":"https://stayd.example.com","sub":"ann","aud":"https://mcp.example.com/mcp",
			"exp":1777799400,"iat":1777798800,"nbf":1777798800,"jti":"*","client_id":"spiffe://stayd.example.com/project/p/agent/agent_1/version/3",
			"act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_1"},
			"stayd":{"project":"p","session":"sess_1","agent":"agent_1","agent_version":3}}`},
		"below others": {below, nil, `{
			"iss":"https://stayd.example.com","sub":"ann","aud":"https://mcp.example.com/mcp",
			"exp":1777799400,"iat":1777798800,"nbf":1777798800,"jti":"*","client_id":"spiffe://stayd.example.com/project/p/agent/agent_2/version/1",
			"act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_3","act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_2",
				"act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_1","act":{"sub":"key_1"}}}},
			"stayd":{"project":"p","session":"sess_3","agent":"agent_2","agent_version":1}}`},
	} {
		t.Run(name, func(t *testing.T) {
			token, expires, err := i.Token(t.Context(), tt.subject, server, tt.scope)
			if err != nil || !expires.Equal(begin.Add(10*time.Minute)) {
				t.Fatalf("until %s: %v", expires, err)
			}
			same(t, part(t, token, 1), tt.want)
			set := w.published(i)
			same(t, part(t, token, 0), `{"alg":"ES256","kid":"`+set.Keys[0].KeyID+`","typ":"JWT"}`)
			if err := verify(set, token); err != nil || !set.Keys[0].IsPublic() || len(set.Keys) != 1 {
				t.Errorf("verified by %d keys: %v", len(set.Keys), err)
			}
		})
	}
}

// TestDelegation has a token for exchange written out.
func TestDelegation(t *testing.T) {
	w := newWorld(t)
	same(t, part(t, w.delegation(w.node(), ann, []string{server, other}, "mail.read"), 1), `{
		"iss":"https://stayd.example.com","sub":"ann","aud":"https://stayd.example.com","scope":"mail.read",
		"exp":1777802400,"iat":1777798800,"nbf":1777798800,"jti":"*","client_id":"spiffe://stayd.example.com/project/p/agent/agent_1/version/3",
		"act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_1","act":{"sub":"key_1"}},
		"stayd":{"project":"p","session":"sess_1","agent":"agent_1","agent_version":3,"audiences":["https://mcp.example.com/mcp","https://other.example.com"]}}`)
}

// TestEdDSA signs by the other algorithm.
func TestEdDSA(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Algorithm = workload.EdDSA
	i := w.nodeOf(cfg)
	token := w.token(i, alone)
	set := w.published(i)
	same(t, part(t, token, 0), `{"alg":"EdDSA","kid":"`+set.Keys[0].KeyID+`","typ":"JWT"}`)
	if err := verify(set, token); err != nil {
		t.Error(err)
	}
}

// TestNotSaid has what a token cannot say.
func TestNotSaid(t *testing.T) {
	w := newWorld(t)
	i := w.node()
	with := func(change func(*workload.Subject)) workload.Subject {
		s := ann
		change(&s)
		return s
	}
	for name, tt := range map[string]struct {
		subject  workload.Subject
		audience string
		scope    []string
		want     string
	}{
		"no session":                   {with(func(s *workload.Subject) { s.Session = "" }), server, nil, `"" cannot be part of a SPIFFE id`},
		"a path in the session":        {with(func(s *workload.Subject) { s.Session = "a/b" }), server, nil, `"a/b" cannot be part of a SPIFFE id`},
		"a parent above all":           {with(func(s *workload.Subject) { s.Parents = []string{".."} }), server, nil, `".." cannot be part of a SPIFFE id`},
		"a project that is a letter":   {with(func(s *workload.Subject) { s.Project = "ä" }), server, nil, `"ä" cannot be part of a SPIFFE id`},
		"no version":                   {with(func(s *workload.Subject) { s.AgentVersion = 0 }), server, nil, "An agent has no version 0"},
		"a very long session":          {with(func(s *workload.Subject) { s.Session = strings.Repeat("x", 2048) }), server, nil, "at most 2048 bytes"},
		"a person that is a session":   {with(func(s *workload.Subject) { s.Actor = "spiffe://stayd.example.com/project/q/session/s" }), server, nil, "looks like a SPIFFE id"},
		"one that nearly is":           {with(func(s *workload.Subject) { s.Actor = " SPIFFE:x" }), server, nil, "looks like a SPIFFE id"},
		"a caller that is a session":   {with(func(s *workload.Subject) { s.By = "spiffe://x/y" }), server, nil, "looks like a SPIFFE id"},
		"a person of two lines":        {with(func(s *workload.Subject) { s.Actor = "a\nb" }), server, nil, "without control characters"},
		"a person with a long name":    {with(func(s *workload.Subject) { s.Actor = strings.Repeat("a", 257) }), server, nil, "at most 256 bytes"},
		"a long chain":                 {with(func(s *workload.Subject) { s.Parents = strings.Fields("a b c d e f g") }), server, nil, "9 act for one another here, and a token says at most 8"},
		"no audience":                  {ann, "", nil, "An audience is named by 1 to 2048 visible ASCII characters"},
		"two audiences":                {ann, server + " " + other, nil, "An audience is named by"},
		"the issuer":                   {ann, issuer, nil, "The issuer is no audience"},
		"a scope with a space":         {ann, server, []string{"a b"}, `"a b" is not a scope`},
		"a scope that is not":          {ann, server, []string{""}, `"" is not a scope`},
		"a scope with a quote":         {ann, server, []string{`a"`}, "is not a scope"},
		"more scopes than anybody has": {ann, server, strings.Fields(strings.Repeat("s ", 65)), "at most 64 scopes"},
	} {
		t.Run(name, func(t *testing.T) {
			var value *workload.ValueError
			if token, _, err := i.Token(t.Context(), tt.subject, tt.audience, tt.scope); !errors.As(err, &value) || !strings.Contains(err.Error(), tt.want) || token != "" {
				t.Errorf("%q, %v, want %q", token, err, tt.want)
			}
		})
	}
	if _, _, err := i.Delegation(t.Context(), ann, []string{server, issuer}, nil); err == nil {
		t.Error("a delegation names the issuer as an audience")
	}
}

// TestOff shows what is said where there is no master key.
func TestOff(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	cfg.Vaults = vault.New(w.store, vault.Unset("set --vault-key"), w.clock.Now)
	i := w.nodeOf(cfg)
	var off *workload.OffError
	_, _, err := i.Token(t.Context(), ann, server, nil)
	if want := "agents have no identity here, as signing keys are kept under the master key of vaults: set --vault-key"; !errors.As(err, &off) || off.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if _, err := i.Keys(t.Context()); !errors.As(err, &off) {
		t.Errorf("keys: %v", err)
	}
}

// TestTrustDomain has the rules of the SPIFFE ID specification for names of trust
// domains.
func TestTrustDomain(t *testing.T) {
	for name, ok := range map[string]bool{
		"example.com": true, "127.0.0.1": true, "my_domain-1": true, "a": true, strings.Repeat("a", 255): true, "-.-": true,
		"": false, "Example.com": false, "example.com:8080": false, "user@example.com": false, "a/b": false, "[::1]": false, "ä": false, "a%20b": false,
		strings.Repeat("a", 256): false,
	} {
		if err := workload.CheckTrustDomain(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}
