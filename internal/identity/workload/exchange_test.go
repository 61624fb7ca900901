package workload_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/identity/workload"
)

const session = "spiffe://stayd.example.com/project/p/session/"

// agent is a session below no other.
func agent(name string) workload.Subject {
	return workload.Subject{Project: "p", Agent: "agent_" + name, AgentVersion: 1, Session: "sess_" + name}
}

// hop exchanges one token for another, and has to succeed.
func (w *world) hop(i *workload.Issuer, subject, actor string, want workload.Wanted) string {
	w.t.Helper()
	granted, err := w.exchange(i, subject, actor, want)
	if err != nil {
		w.t.Fatal(err)
	}
	return granted.Token
}

func (w *world) exchange(i *workload.Issuer, subject, actor string, want workload.Wanted) (*workload.Granted, error) {
	w.t.Helper()
	s, err := i.Open(w.t.Context(), subject)
	if err != nil {
		return nil, err
	}
	var a *workload.Claims
	if actor != "" {
		if a, err = i.Open(w.t.Context(), actor); err != nil {
			return nil, err
		}
	}
	return i.Exchange(w.t.Context(), s, a, want)
}

// TestChain hands a right on from a caller to an agent, its subagent and a tool,
// less of it each time, and has every token on the way written out.
func TestChain(t *testing.T) {
	w := newWorld(t)
	i := w.node()
	caller, err := workload.Caller(identity.Principal{ID: "key_1", Project: "p", Scope: identity.Write}, time.Time{}, []string{server, other})
	if err != nil {
		t.Fatal(err)
	}
	granted, err := i.Exchange(t.Context(), caller, nil, workload.Wanted{Audience: issuer})
	if err != nil {
		t.Fatal(err)
	}
	same(t, part(t, granted.Token, 1), `{
		"iss":"https://stayd.example.com","sub":"key_1","aud":"https://stayd.example.com","scope":"read write","client_id":"key_1",
		"iat":1777798800,"nbf":1777798800,"exp":1777802400,"jti":"*",
		"stayd":{"project":"p","audiences":["https://mcp.example.com/mcp","https://other.example.com"]}}`)

	w.clock.pass(time.Minute)
	first := w.hop(i, granted.Token, w.delegation(i, agent("a"), nil), workload.Wanted{Audience: issuer, Scope: []string{"read"}})
	same(t, part(t, first, 1), `{
		"iss":"https://stayd.example.com","sub":"key_1","aud":"https://stayd.example.com","scope":"read",
		"client_id":"spiffe://stayd.example.com/project/p/agent/agent_a/version/1",
		"iat":1777798860,"nbf":1777798860,"exp":1777802400,"jti":"*",
		"act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_a"},
		"stayd":{"project":"p","session":"sess_a","agent":"agent_a","agent_version":1,"audiences":["https://mcp.example.com/mcp","https://other.example.com"]}}`)

	second := w.hop(i, first, w.delegation(i, agent("b"), nil), workload.Wanted{Audience: issuer, Audiences: []string{server}})
	same(t, part(t, second, 1), `{
		"iss":"https://stayd.example.com","sub":"key_1","aud":"https://stayd.example.com","scope":"read",
		"client_id":"spiffe://stayd.example.com/project/p/agent/agent_b/version/1",
		"iat":1777798860,"nbf":1777798860,"exp":1777802400,"jti":"*",
		"act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_b","act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_a"}},
		"stayd":{"project":"p","session":"sess_b","agent":"agent_b","agent_version":1,"audiences":["https://mcp.example.com/mcp"]}}`)

	tool := w.hop(i, second, "", workload.Wanted{Audience: server})
	same(t, part(t, tool, 1), `{
		"iss":"https://stayd.example.com","sub":"key_1","aud":"https://mcp.example.com/mcp","scope":"read",
		"client_id":"spiffe://stayd.example.com/project/p/agent/agent_b/version/1",
		"iat":1777798860,"nbf":1777798860,"exp":1777799460,"jti":"*",
		"act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_b","act":{"sub":"spiffe://stayd.example.com/project/p/session/sess_a"}},
		"stayd":{"project":"p","session":"sess_b","agent":"agent_b","agent_version":1}}`)

	// What was taken away does not come back.
	for name, tt := range map[string]struct {
		token string
		want  workload.Wanted
		code  string
	}{
		"the scope of two hops before":     {second, workload.Wanted{Audience: server, Scope: []string{"write"}}, workload.InvalidScope},
		"the scope again for an exchange":  {second, workload.Wanted{Audience: issuer, Scope: []string{"read", "write"}}, workload.InvalidScope},
		"a scope that nobody had":          {granted.Token, workload.Wanted{Audience: server, Scope: []string{"admin"}}, workload.InvalidScope},
		"the audience of the hop before":   {second, workload.Wanted{Audience: other}, workload.InvalidTarget},
		"the audiences again":              {second, workload.Wanted{Audience: issuer, Audiences: []string{server, other}}, workload.InvalidTarget},
		"no audiences":                     {second, workload.Wanted{Audience: issuer, Audiences: []string{}}, workload.InvalidTarget},
		"audiences that nobody had":        {granted.Token, workload.Wanted{Audience: issuer, Audiences: []string{"https://evil.example.com"}}, workload.InvalidTarget},
		"an audience that begins the same": {second, workload.Wanted{Audience: server + "/x"}, workload.InvalidTarget},
		"no audience":                      {second, workload.Wanted{}, workload.InvalidTarget},
		"audiences of a token for a tool":  {second, workload.Wanted{Audience: server, Audiences: []string{server}}, workload.InvalidRequest},
	} {
		var refused *workload.ExchangeError
		if _, err := w.exchange(i, tt.token, "", tt.want); !errors.As(err, &refused) || refused.Code != tt.code {
			t.Errorf("%s: %v, want %s", name, err, tt.code)
		}
	}
	// A token for a tool is for the tool, and for nothing else.
	var refused *workload.RefusedError
	for name, token := range map[string]string{"exchanged": tool, "signed": w.token(i, agent("a"))} {
		if _, err := i.Open(t.Context(), token); !errors.As(err, &refused) || !strings.Contains(refused.Why, "is for 'https://mcp.example.com/mcp'") {
			t.Errorf("a token that was %s for a tool: %v", name, err)
		}
	}
	// Nothing lives longer than what it was made of.
	w.clock.pass(54*time.Minute + time.Second)
	same(t, `{"exp":`+string(claim(t, w.hop(i, second, "", workload.Wanted{Audience: server}), "exp"))+`}`, `{"exp":1777802400}`)
	w.clock.pass(5 * time.Minute)
	if _, err := i.Open(t.Context(), second); !errors.As(err, &refused) || refused.Why != "The token has expired." {
		t.Errorf("after its end: %v", err)
	}
}

// claim is one claim of a token, as JSON.
func claim(tb testing.TB, token, name string) json.RawMessage {
	tb.Helper()
	var c map[string]json.RawMessage
	if err := json.Unmarshal([]byte(part(tb, token, 1)), &c); err != nil {
		tb.Fatal(err)
	}
	return c[name]
}

// TestActor has who may act for whom.
func TestActor(t *testing.T) {
	w := newWorld(t)
	i := w.node()
	subject := w.delegation(i, ann, []string{server}, "mail.read")

	// One that acts already is not named twice, and its own chain is not the one.
	again := w.hop(i, subject, w.delegation(i, ann, nil), workload.Wanted{Audience: server})
	same(t, string(claim(t, again, "act")), `{"sub":"`+session+`sess_1","act":{"sub":"key_1"}}`)
	bob := agent("b")
	bob.Actor, bob.By = "bob", "key_2"
	handed := w.hop(i, subject, w.delegation(i, bob, nil), workload.Wanted{Audience: server})
	same(t, string(claim(t, handed, "act")), `{"sub":"`+session+`sess_b","act":{"sub":"`+session+`sess_1","act":{"sub":"key_1"}}}`)
	if got := string(claim(t, handed, "sub")); got != `"ann"` {
		t.Errorf("it acts for %s", got)
	}

	// Where the actor's own token ends sooner, so does the new one.
	short := w.delegation(i, bob, nil)
	w.clock.pass(55 * time.Minute)
	late := w.hop(i, w.delegation(i, ann, []string{server}), short, workload.Wanted{Audience: server})
	if got := string(claim(t, late, "exp")); got != "1777802400" {
		t.Errorf("it ends at %s", got)
	}

	stranger := agent("s")
	stranger.Project = "q"
	caller, err := workload.Caller(identity.Principal{ID: "key_1", Project: "p", Scope: identity.Read}, time.Time{}, []string{server})
	if err != nil {
		t.Fatal(err)
	}
	key, err := i.Exchange(t.Context(), caller, nil, workload.Wanted{Audience: issuer})
	if err != nil {
		t.Fatal(err)
	}
	long := agent("x")
	long.Actor, long.Parents, long.By = "ann", strings.Fields("a b c d e f"), "key_1"
	for name, tt := range map[string]struct{ subject, actor, want string }{
		"an agent of another project": {subject, w.delegation(i, stranger, nil), "of another project"},
		"a caller":                    {subject, key.Token, "not an agent's"},
		"one too many":                {w.delegation(i, long, []string{server}), w.delegation(i, agent("y"), nil), "8 act for one another"},
	} {
		var refused *workload.ExchangeError
		if _, err := w.exchange(i, tt.subject, tt.actor, workload.Wanted{Audience: server}); !errors.As(err, &refused) || refused.Code != workload.InvalidRequest || !strings.Contains(refused.Why, tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := workload.Caller(identity.Principal{Project: "p"}, time.Time{}, nil); err == nil {
		t.Error("nobody is a caller")
	}
	if _, err := workload.Caller(identity.Principal{ID: session + "x", Project: "p"}, time.Time{}, nil); err == nil {
		t.Error("a caller is named like a session")
	}
	var refused *workload.ExchangeError
	bound := identity.Principal{ID: "login.example.com#ann", Issuer: "https://login.example.com", Project: "p", Scope: identity.Write, Actor: "ann"}
	if _, err := workload.Caller(bound, time.Time{}, []string{server}); !errors.As(err, &refused) || refused.Code != workload.InvalidRequest || !strings.Contains(refused.Why, "may act for 'ann' alone") {
		t.Errorf("a caller who is bound to an actor: %v", err)
	}
}

// TestForged has tokens that were not signed as they say, or not here.
func TestForged(t *testing.T) {
	w := newWorld(t)
	i := w.node()
	good := w.delegation(i, ann, []string{server}, "mail.read")
	if _, err := i.Open(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(good, ".")
	enc := base64.RawURLEncoding.EncodeToString
	id := kid(t, good)
	header := func(s string) string { return enc([]byte(s)) }
	body := part(t, good, 1)
	public, err := json.Marshal(w.published(i).Keys[0])
	if err != nil {
		t.Fatal(err)
	}
	// A public key is no secret: a verifier that takes it for one is fooled by this.
	mac := func(key []byte) string {
		s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: key}, (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", id))
		if err != nil {
			t.Fatal(err)
		}
		signed, err := s.Sign([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		token, err := signed.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	elsewhere := newWorld(t)
	theirs := elsewhere.delegation(elsewhere.node(), ann, []string{server})
	another := w.config()
	another.URL = "https://another.example.com"
	otherIssuer := w.nodeOf(another)
	untyped := header(`{"alg":"ES256","kid":"` + id + `"}`)
	for name, tt := range map[string]struct{ token, want string }{
		"nothing":                      {"", "not a signed token"},
		"words":                        {"not a token", "not a signed token"},
		"two parts":                    {parts[0] + "." + parts[1], "not a signed token"},
		"a very long one":              {strings.Repeat("a", 20_000), "at most 16384 bytes"},
		"alg none":                     {header(`{"alg":"none","kid":"`+id+`","typ":"JWT"}`) + "." + parts[1] + ".", "not a signed token"},
		"alg NONE with a signature":    {header(`{"alg":"NONE","kid":"`+id+`","typ":"JWT"}`) + "." + parts[1] + "." + parts[2], "not a signed token"},
		"HS256 by the public key":      {mac(public), "not a signed token"},
		"HS256 by the id of the key":   {mac([]byte(id)), "not a signed token"},
		"EdDSA by a key of ES256":      {header(`{"alg":"EdDSA","kid":"`+id+`","typ":"JWT"}`) + "." + parts[1] + "." + parts[2], "algorithm of the token is not that of its key"},
		"no type":                      {untyped + "." + parts[1] + "." + parts[2], "type of the token is not JWT"},
		"no key":                       {header(`{"alg":"ES256","typ":"JWT"}`) + "." + parts[1] + "." + parts[2], "a key that this issuer does not have"},
		"an unknown key":               {theirs, "a key that this issuer does not have"},
		"an unknown key, as ours":      {header(`{"alg":"ES256","kid":"`+id+`","typ":"JWT"}`) + strings.TrimPrefix(theirs, strings.Split(theirs, ".")[0]), "signature of the token is wrong"},
		"a key of its own in it":       {header(`{"alg":"ES256","kid":"`+id+`","typ":"JWT","jwk":`+string(public)+`}`) + "." + parts[1] + "." + parts[2], "signature of the token is wrong"},
		"a crit that nobody knows":     {header(`{"alg":"ES256","kid":"`+id+`","typ":"JWT","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2], "signature of the token is wrong"},
		"another act":                  {parts[0] + "." + enc([]byte(strings.Replace(body, "sess_1", "sess_2", 1))) + "." + parts[2], "signature of the token is wrong"},
		"another scope":                {parts[0] + "." + enc([]byte(strings.Replace(body, "mail.read", "mail.send", 1))) + "." + parts[2], "signature of the token is wrong"},
		"another project":              {parts[0] + "." + enc([]byte(strings.Replace(body, `"project":"p"`, `"project":"q"`, 1))) + "." + parts[2], "signature of the token is wrong"},
		"no signature":                 {parts[0] + "." + parts[1] + ".", "signature of the token is wrong"},
		"a signature cut short":        {good[:len(good)-2], "signature of the token is wrong"},
		"the same keys, other issuer":  {w.delegation(otherIssuer, ann, []string{server}), "of another issuer"},
		"two of them, one after other": {good + "." + good, "not a signed token"},
	} {
		t.Run(name, func(t *testing.T) {
			var refused *workload.RefusedError
			if c, err := i.Open(t.Context(), tt.token); !errors.As(err, &refused) || !strings.Contains(refused.Why, tt.want) {
				t.Errorf("%+v %v, want %q", c, err, tt.want)
			}
		})
	}
	// A clock that is far behind takes nothing that was signed since.
	w.clock.pass(-time.Hour)
	var refused *workload.RefusedError
	if _, err := i.Open(t.Context(), good); !errors.As(err, &refused) || refused.Why != "The token is not valid yet." {
		t.Errorf("before its time: %v", err)
	}
}

// FuzzOpen has what is no token of ours taken for none, whatever it is.
func FuzzOpen(f *testing.F) {
	w := newWorld(f)
	i := w.node()
	good := w.delegation(i, ann, []string{server}, "mail.read")
	want := part(f, good, 1)
	f.Add(good)
	f.Add(w.token(i, ann))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("a.b.c")
	f.Add(strings.Replace(good, ".", "..", 1))
	f.Fuzz(func(t *testing.T, token string) {
		c, err := i.Open(t.Context(), token)
		if err != nil {
			var refused *workload.RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("%q: %v", token, err)
			}
			return
		}
		if got, err := json.Marshal(c); err != nil || string(got) != want {
			t.Fatalf("%q says %s: %v", token, got, err)
		}
	})
}
