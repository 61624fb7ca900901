package credential

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// CallbackPath is where browsers come back to from the page of an authorization
// server.
const CallbackPath = "/oauth/callback"

func (s *Source) redirectURI() string { return s.cfg.PublicURL + CallbackPath }

// flowTime is how long a person may be at the page of an authorization server.
const flowTime = 10 * time.Minute

// sealedFlows is the name under which flows are sealed.
const sealedFlows = "consents"

// Asked is what a person allows.
type Asked struct {
	Link
	Server   string // URL
	Metadata string // of the server's protection; may be empty
	Scope    string // may be empty
	Actor    string // whose consent it is; empty is nobody's in particular
	Vault    string // where the credential is to be stored
	Vaults   []string
}

// Flow is a consent between its two steps: the browser is at the page of an
// authorization server. It is in the store, sealed; a browser finds it by its
// state, once.
type Flow struct {
	Link        Link      `json:"link"`
	Server      string    `json:"server"`
	Actor       string    `json:"actor,omitempty"`
	Vault       string    `json:"vault"`
	Issuer      string    `json:"issuer,omitempty"`
	NamesIssuer bool      `json:"names_issuer,omitempty"`
	Token       string    `json:"token_endpoint"`
	Revocation  string    `json:"revocation_endpoint,omitempty"`
	ClientID    string    `json:"client_id"`
	Secret      string    `json:"client_secret,omitempty"`
	Auth        string    `json:"token_endpoint_auth"`
	Audience    string    `json:"audience,omitempty"`   // for whom vault.ClientKey signs
	Registered  bool      `json:"registered,omitempty"` // by the runtime itself
	Resource    string    `json:"resource"`
	Scope       string    `json:"scope,omitempty"`
	Verifier    string    `json:"verifier"`
	Redirect    string    `json:"redirect_uri"`
	Browser     string    `json:"browser"` // SHA-256 of what its cookie has
	Until       time.Time `json:"until"`
}

// savedFlow is what the store has of one.
type savedFlow struct {
	Until  time.Time `json:"until"`
	Sealed []byte    `json:"sealed"`
}

// Refusal is a step of a consent that is not done. Its text may be shown.
type Refusal struct{ Message string }

func (e *Refusal) Error() string { return e.Message }

func refuse(format string, args ...any) error {
	return &Refusal{Message: fmt.Sprintf(format, args...)}
}

// Begin returns where the browser, by the secret of its cookie, is sent to consent.
// A *Refusal says why it cannot be.
func (s *Source) Begin(ctx context.Context, a Asked, browser string) (string, error) {
	s.dropOld(ctx)
	f, authorization, err := s.flow(ctx, a)
	if err != nil {
		return "", err
	}
	state := rand.Text() + rand.Text()
	f.Link, f.Server, f.Actor, f.Vault, f.Redirect = a.Link, a.Server, a.Actor, a.Vault, s.redirectURI()
	f.Verifier, f.Browser, f.Until = oauth2.GenerateVerifier(), hash(browser), s.cfg.Now().Add(flowTime).UTC()
	if err := s.keep(ctx, state, f); err != nil {
		return "", err
	}
	cfg := oauth2.Config{ClientID: f.ClientID, RedirectURL: f.Redirect, Endpoint: oauth2.Endpoint{AuthURL: authorization}}
	if f.Scope != "" {
		cfg.Scopes = strings.Fields(f.Scope)
	}
	return cfg.AuthCodeURL(state, oauth2.S256ChallengeOption(f.Verifier), oauth2.SetAuthURLParam("resource", f.Resource)), nil
}

// flow finds out who issues tokens for the server, and as whom they know the
// runtime. It returns the authorization endpoint.
func (s *Source) flow(ctx context.Context, a Asked) (*Flow, string, error) {
	o, err := s.cfg.Vaults.OpenClient(ctx, a.Project, a.Vaults, a.Actor, a.Server)
	if err != nil {
		return nil, "", unopened(err)
	}
	if o != nil && o.Auth.Client.AuthorizationEndpoint != nil {
		c := o.Auth.Client
		f := &Flow{Token: c.TokenEndpoint, Resource: a.Server}
		f.by(o)
		f.ask(a.Scope, c)
		return f, *c.AuthorizationEndpoint, nil
	}
	d, err := s.discover(ctx, a.Server, a.Metadata)
	if err != nil {
		return nil, "", refuse("It cannot be found out where to consent for %s: %v.", bare(a.Server), err)
	}
	f := &Flow{Issuer: d.Issuer, NamesIssuer: d.NamesIssuer, Token: d.Token, Revocation: d.Revocation, Resource: d.resource}
	if o != nil {
		c := o.Auth.Client
		if c.TokenEndpoint != d.Token {
			return nil, "", refuse("The server names %s as its token endpoint, and the client of the credential %s is for another, which is not told a secret or a code.", bare(d.Token), o.ID)
		}
		// Whoever runs the MCP server chooses what says this, and tokens, the secret and
		// what the runtime signs are shown there.
		if !sameOrigin(f.Revocation, f.Token) {
			f.Revocation = ""
		}
		f.by(o)
		f.ask(union(a.Scope, offline(d, a.Scope)), c)
		return f, d.Authorization, nil
	}
	c, err := s.ownClient(ctx, a.Project, d)
	if err != nil {
		return nil, "", unregistered(err)
	}
	f.ClientID, f.Secret, f.Auth, f.Registered = c.ID, c.Secret, c.Auth, !c.documented
	if f.Auth == vault.ClientKey {
		f.Audience = d.Issuer
	}
	scope := a.Scope
	if scope == "" {
		scope, _ = cleanScope(strings.Join(d.scopes, " "))
	}
	f.Scope = union(scope, offline(d, scope))
	return f, d.Authorization, nil
}

// by has the flow be by the client of a credential.
func (f *Flow) by(o *vault.Opened) {
	c := o.Auth.Client
	f.ClientID, f.Secret, f.Auth, f.Audience = c.ClientID, o.Secrets.ClientSecret.Reveal(), c.TokenEndpointAuth, c.Audience
}

// ask is what the flow asks for by a client of a credential.
func (f *Flow) ask(scope string, c *vault.Client) {
	f.Scope = scope
	if f.Scope == "" && c.Scope != nil {
		f.Scope = *c.Scope
	}
	if c.Resource != nil {
		f.Resource = *c.Resource
	}
}

// offline is the scope by which servers of OpenID Connect give refresh tokens,
// where it is one of theirs.
func offline(d *discovered, asked string) string {
	const scope = "offline_access"
	if asked == "" || !slices.Contains(d.Scopes, scope) {
		return ""
	}
	return scope
}

func unopened(err error) error {
	var key *vault.NoKeyError
	var gone *vault.NotFoundError
	var many *vault.AmbiguousError
	if errors.As(err, &key) || errors.As(err, &gone) || errors.As(err, &many) {
		return refuse("The session's vaults cannot be opened: %v.", err)
	}
	return fmt.Errorf("find the client for a consent: %w", err)
}

// unregistered tells what a server answered from what went wrong here.
func unregistered(err error) error {
	var key *vault.NoKeyError
	switch {
	case errors.As(err, &key):
		return refuse("The session's vaults cannot be opened: %v.", err)
	case errors.Is(err, errNoKey), errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrCorrupt):
		return err
	}
	return refuse("The runtime could not be registered: %v.", err)
}

// keep stores a flow under its state, of which the store has a hash.
func (s *Source) keep(ctx context.Context, state string, f *Flow) error {
	id := hash(state)
	plain, err := json.Marshal(f) //nolint:gosec // it is encrypted in the next step
	if err != nil {
		return fmt.Errorf("encode a consent: %w", err)
	}
	sealed, err := s.cfg.Vaults.SealOwn(ctx, sealedFlows, plain, id)
	if err != nil {
		return unopened(err)
	}
	data, err := json.Marshal(savedFlow{Until: f.Until, Sealed: sealed})
	if err != nil {
		return fmt.Errorf("encode a consent: %w", err)
	}
	now := s.cfg.Now().UTC()
	err = s.cfg.Store.CreateObject(ctx, store.Object{Kind: store.KindConsent, ID: id, Version: 1, CreatedAt: now, UpdatedAt: now, Data: data})
	if err != nil {
		return fmt.Errorf("store a consent: %w", err)
	}
	return nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

const usedState = "This sign-in is not known, or it was used already. Follow the link to the consent page again."

// Take returns the flow of a state, to the browser that began it, and to nobody
// again. A *Refusal says why there is none.
func (s *Source) Take(ctx context.Context, state, browser string) (*Flow, error) {
	id := hash(state)
	row, err := s.cfg.Store.Object(ctx, "", store.KindConsent, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, refuse(usedState)
	}
	if err != nil {
		return nil, fmt.Errorf("read a consent: %w", err)
	}
	var saved savedFlow
	if err := json.Unmarshal(row.Data, &saved); err != nil {
		return nil, fmt.Errorf("decode a consent: %w: %w", err, store.ErrCorrupt)
	}
	plain, err := s.cfg.Vaults.OpenOwn(ctx, sealedFlows, saved.Sealed, id)
	if err != nil {
		return nil, unopened(err)
	}
	f := &Flow{}
	if err := json.Unmarshal(plain, f); err != nil {
		return nil, fmt.Errorf("decode a consent: %w", store.ErrCorrupt)
	}
	if browser == "" || subtle.ConstantTimeCompare([]byte(f.Browser), []byte(hash(browser))) != 1 {
		return nil, refuse("This sign-in was begun in another browser. Follow the link to the consent page in this one.")
	}
	// Who deletes it has it.
	if err := s.cfg.Store.DeleteObject(ctx, "", store.KindConsent, id); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil, refuse(usedState)
		}
		return nil, fmt.Errorf("take a consent: %w", err)
	}
	if !s.cfg.Now().Before(f.Until) {
		return nil, refuse("This sign-in took longer than %d minutes. Follow the link to the consent page again.", int(flowTime.Minutes()))
	}
	return f, nil
}

// dropOld removes flows that nobody came back from.
func (s *Source) dropOld(ctx context.Context) {
	rows, err := s.cfg.Store.ListObjects(ctx, store.ObjectQuery{Kind: store.KindConsent, Asc: true, Limit: 100})
	for i := range rows {
		if s.cfg.Now().Sub(rows[i].CreatedAt) < flowTime {
			break
		}
		if gone := s.cfg.Store.DeleteObject(ctx, "", store.KindConsent, rows[i].ID); gone != nil && !errors.Is(gone, store.ErrNotFound) {
			err = gone
		}
	}
	if err != nil {
		s.cfg.Log.Warn("consents that were not finished could not be removed", "error", err)
	}
}

// Answer is what an authorization server has a browser bring.
type Answer struct {
	Code   string
	Issuer string // RFC 9207; may be empty
	Error  string // in place of a code
}

// ErrDenied is a person who did not consent at the authorization server.
var ErrDenied = errors.New("access was denied")

// Redeem gets tokens for the code and stores them in the vault of the flow. Errors:
// ErrDenied, or a *Refusal, of which nothing comes.
func (s *Source) Redeem(ctx context.Context, f *Flow, a Answer) (vault.Credential, error) {
	// An answer of another server is none to this flow, whatever it says.
	if f.Issuer != "" && (a.Issuer != "" || f.NamesIssuer) && a.Issuer != f.Issuer {
		return vault.Credential{}, refuse("The answer is not of %s, where the sign-in was begun, but of %q. Nothing was sent there.", f.Issuer, clean(a.Issuer, maxDescription))
	}
	switch {
	case a.Error == "access_denied":
		return vault.Credential{}, ErrDenied
	case a.Error != "":
		return vault.Credential{}, refuse("%s answered %s. Follow the link to the consent page to try it again.", f.Where(), clean(a.Error, maxCode))
	case a.Code == "":
		return vault.Credential{}, refuse("%s answered without a code. Follow the link to the consent page to try it again.", f.Where())
	}
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {a.Code}, "redirect_uri": {f.Redirect}, "code_verifier": {f.Verifier}, "resource": {f.Resource},
	}
	got, err := s.token(ctx, endpoint{url: f.Token, id: f.ClientID, auth: f.Auth, audience: f.Audience, secret: vault.NewSecret(f.Secret)}, form)
	if err != nil {
		var no *answerError
		if f.Registered && errors.As(err, &no) && (no.code == "invalid_client" || no.code == "unauthorized_client") {
			s.forgetClient(ctx, f.Link.Project, f.Issuer)
		}
		return vault.Credential{}, refuse("No token was given: %v. Follow the link to the consent page to try it again.", err)
	}
	before, err := s.cfg.Vaults.Open(ctx, f.Link.Project, f.Vault, vault.ConsentedID(f.Link.Project, f.Vault, f.Actor, f.Server))
	var none *vault.NotFoundError
	if err != nil && !errors.As(err, &none) {
		s.cfg.Log.Warn("what a person consented to before cannot be read, and its tokens are not taken back", "vault", f.Vault, "error", err)
	}
	c, err := s.cfg.Vaults.PutConsented(ctx, f.Link.Project, f.Vault, f.credential(got))
	var value *vault.ValueError
	if errors.As(err, &value) {
		return vault.Credential{}, refuse("What was given is no token that can be kept: %v", value)
	}
	if err != nil {
		return vault.Credential{}, unopened(err)
	}
	if before != nil && f.otherGrant(before.Auth.Consent) {
		s.Revoke(ctx, []vault.Opened{*before})
	}
	return c, nil
}

// otherGrant reports whether the tokens of a consent are not of the grant that the
// flow's are of. Servers may take back a grant with any token of it, and with it
// what the same client was given just now.
func (f *Flow) otherGrant(c *vault.Consent) bool {
	return c != nil && (c.Issuer != f.Issuer || c.ClientID != f.ClientID)
}

// Where is the host at which a person consents.
func (f *Flow) Where() string {
	where := f.Issuer
	if where == "" {
		where = f.Token
	}
	u, err := url.Parse(where)
	if err != nil {
		return "the server"
	}
	return u.Host
}

// credential is what is stored of tokens.
func (f *Flow) credential(t *tokens) vault.NewCredential {
	granted := t.scope
	if granted == "" {
		granted = f.Scope
	}
	n := vault.NewCredential{
		Name: "Consent for " + bare(f.Server),
		Auth: vault.Auth{
			Type: vault.TypeOAuth, Actor: f.Actor, ServerURL: f.Server,
			Consent: &vault.Consent{Issuer: f.Issuer, Scope: granted, RevocationEndpoint: f.Revocation, ClientID: f.ClientID, TokenEndpointAuth: f.Auth, Audience: f.Audience},
		},
		Secrets: vault.Secrets{Token: t.access, RefreshToken: t.refresh, ClientSecret: vault.NewSecret(f.Secret)},
	}
	if !t.expires.IsZero() {
		expires := t.expires.UTC().Format(time.RFC3339)
		n.Auth.ExpiresAt = &expires
	}
	if t.refresh.Reveal() != "" {
		n.Auth.Refresh = &vault.Refresh{ClientID: f.ClientID, TokenEndpoint: f.Token, TokenEndpointAuth: f.Auth, Audience: f.Audience, Resource: &f.Resource}
	}
	return n
}
