package workload

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

// Bounds of what a token says.
const (
	maxName     = 256 // bytes of a person or principal
	maxAudience = 2048
	maxList     = 64 // scopes, audiences
	// MaxChain is how many may act for one another.
	MaxChain = 8
)

// Claims are what a token says. Times are in Unix seconds.
type Claims struct {
	Issuer    string `json:"iss"`
	Subject   string `json:"sub"`
	Audience  string `json:"aud"`
	Expires   int64  `json:"exp"`
	IssuedAt  int64  `json:"iat"`
	NotBefore int64  `json:"nbf"`
	ID        string `json:"jti"`
	Scope     string `json:"scope,omitempty"` // separated by spaces
	Client    string `json:"client_id"`       // who was given the token: the SPIFFE id of an agent's version, or a principal
	Act       *Act   `json:"act,omitempty"`
	Stayd     Own    `json:"stayd"`
}

// Act is who acts for the subject, and for whom they do in turn (RFC 8693,
// section 4.1): the outermost acts now.
type Act struct {
	Subject string `json:"sub"`
	Act     *Act   `json:"act,omitempty"`
}

func (a *Act) depth() int {
	n := 0
	for ; a != nil; a = a.Act {
		n++
	}
	return n
}

// Own are the claims that no standard has.
type Own struct {
	Project      string `json:"project"`
	Session      string `json:"session,omitempty"`
	Agent        string `json:"agent,omitempty"`
	AgentVersion int64  `json:"agent_version,omitempty"`
	// Audiences are those for which a token may be exchanged. A token for anybody
	// but the issuer has none.
	Audiences []string `json:"audiences,omitempty"`
}

// claims says who acts and for whom, but neither to whom it is said nor when.
func (i *Issuer) claims(s Subject, scope []string) (*Claims, error) {
	session, err := i.sessionID(s.Project, s.Session)
	if err != nil {
		return nil, err
	}
	agent, err := i.agentID(s.Project, s.Agent, s.AgentVersion)
	if err != nil {
		return nil, err
	}
	scopes, err := joinScope(scope)
	if err != nil {
		return nil, err
	}
	c := &Claims{
		Subject: session, Scope: scopes, Client: agent,
		Stayd: Own{Project: s.Project, Session: s.Session, Agent: s.Agent, AgentVersion: s.AgentVersion},
	}
	if s.Actor == "" {
		return c, nil
	}
	if err := checkName("actor", s.Actor); err != nil {
		return nil, err
	}
	c.Subject = s.Actor
	c.Act, err = i.chain(s, session)
	return c, err
}

// chain is the session as the one that acts now, within it those above it, and
// innermost who made the first.
func (i *Issuer) chain(s Subject, session string) (*Act, error) {
	act := &Act{Subject: session}
	last := act
	for _, p := range s.Parents {
		id, err := i.sessionID(s.Project, p)
		if err != nil {
			return nil, err
		}
		last.Act = &Act{Subject: id}
		last = last.Act
	}
	if s.By != "" {
		if err := checkName("principal", s.By); err != nil {
			return nil, err
		}
		last.Act = &Act{Subject: s.By}
	}
	if n := act.depth(); n > MaxChain {
		return nil, bad("%d act for one another here, and a token says at most %d.", n, MaxChain)
	}
	return act, nil
}

// checkName refuses the name of a person or a principal that a reader of the
// token could take for something else.
func checkName(what, name string) error {
	switch {
	case len(name) > maxName || strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) >= 0:
		return bad("The %s is not named by at most %d bytes without control characters.", what, maxName)
	case looksSPIFFE(name):
		return bad("The %s %q looks like a SPIFFE id, and only agents and sessions have one.", what, name)
	}
	return nil
}

// CheckAudience reports what is wrong with the name of whom tokens are for: a URL,
// or another name.
func CheckAudience(a string) error {
	if a == "" || len(a) > maxAudience || strings.IndexFunc(a, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return bad("An audience is named by 1 to %d visible ASCII characters, as by a URL.", maxAudience)
	}
	return nil
}

// checkAudience is CheckAudience for tokens that others get. The issuer is none of
// these, as tokens for it are for exchange.
func (i *Issuer) checkAudience(a string) error {
	if a == i.cfg.URL {
		return bad("The issuer is no audience for whom a token is signed.")
	}
	return CheckAudience(a)
}

// joinScope is a list of scopes as a token has them.
func joinScope(scope []string) (string, error) {
	if len(scope) > maxList {
		return "", bad("A token has at most %d scopes.", maxList)
	}
	for _, s := range scope {
		if s == "" || strings.IndexFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) >= 0 {
			return "", bad("%q is not a scope: it has visible ASCII characters other than '\"' and '\\'.", s)
		}
	}
	return strings.Join(scope, " "), nil
}

func newID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// typ is the type of all tokens, as JWT-SVID has it.
const typ = "JWT"

func sign(ctx context.Context, s Signer, kid string, claims any) (string, error) {
	header, err := json.Marshal(map[string]string{"alg": s.Algorithm(), "kid": kid, "typ": typ})
	if err != nil {
		return "", fmt.Errorf("encode the header: %w", err)
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode the claims: %w", err)
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(body)
	signature, err := s.Sign(ctx, []byte(text))
	if err != nil {
		return "", err
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
