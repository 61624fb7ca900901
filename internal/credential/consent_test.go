package credential_test

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/credential/oauthtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

var link = credential.Link{Project: project, Session: "sess_1", EffectID: "eff_1", Proof: "pr00f"}

// asks is what ana is asked for a server.
func (w *world) asks(r *oauthtest.Resource) credential.Asked {
	return credential.Asked{
		Link: link, Server: r.URL, Metadata: r.Origin + "/.well-known/oauth-protected-resource/mcp", Scope: "openid", Actor: "ana",
		Vault: w.vault, Vaults: []string{w.vault},
	}
}

// begin is the first step, in a browser with the secret "browser".
func (w *world) begin(a credential.Asked) *url.URL {
	w.t.Helper()
	to, err := w.Begin(w.t.Context(), a, "browser")
	if err != nil {
		w.t.Fatal(err)
	}
	u, err := url.Parse(to)
	if err != nil {
		w.t.Fatal(err)
	}
	return u
}

// away has the browser be at the provider, and returns what it brings back.
func (w *world) away(to *url.URL) url.Values {
	w.t.Helper()
	browser := &http.Client{CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Path == credential.CallbackPath {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := browser.Get(to.String())
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		w.t.Fatalf("%d: %v", resp.StatusCode, err)
	}
	return back.Query()
}

// finish is the last step.
func (w *world) finish(s *credential.Source, back url.Values) (vault.Credential, error) {
	w.t.Helper()
	f, err := s.Take(w.t.Context(), back.Get("state"), "browser")
	if err != nil {
		return vault.Credential{}, err
	}
	return s.Redeem(w.t.Context(), f, credential.Answer{Code: back.Get("code"), Issuer: back.Get("iss"), Error: back.Get("error")})
}

// wantRefusal wants an error that may be shown.
func wantRefusal(t testing.TB, what string, err error, texts ...string) {
	t.Helper()
	var no *credential.Refusal
	if !errors.As(err, &no) {
		t.Errorf("%s: %v, want a refusal", what, err)
		return
	}
	for _, s := range texts {
		if !strings.Contains(no.Message, s) {
			t.Errorf("%s: %q, want %q in it", what, no.Message, s)
		}
	}
}

// consented is a world in which ana consented at a provider.
func consented(t *testing.T) (*world, *oauthtest.Server, *oauthtest.Resource, vault.Credential) {
	t.Helper()
	w, p := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath)
	r := p.Guard(t)
	made, err := w.finish(w.Source, w.away(w.begin(w.asks(r))))
	if err != nil {
		t.Fatal(err)
	}
	return w, p, r, made
}

// TestAuthorizationRequest shows where a browser is sent.
func TestAuthorizationRequest(t *testing.T) {
	w, p := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath)
	r := p.Guard(t)
	to := w.begin(w.asks(r))
	q := to.Query()
	for name, want := range map[string]string{
		"response_type": "code", "client_id": oauthtest.Registered, "redirect_uri": public + "/oauth/callback", "scope": "openid offline_access",
		"resource": r.URL, "code_challenge_method": "S256",
	} {
		if got := q.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if to.Scheme+"://"+to.Host+to.Path != p.URL+"/authorize" || len(q.Get("state")) < 40 || len(q.Get("code_challenge")) != 43 {
		t.Errorf("the browser is sent to %s", to)
	}
	if again := w.begin(w.asks(r)).Query(); again.Get("state") == q.Get("state") || again.Get("code_challenge") == q.Get("code_challenge") || p.Count("register") != 1 {
		t.Errorf("the next one has %v, after %d registrations", again, p.Count("register"))
	}
}

// TestConsented shows what a person's consent brings, how that is renewed with a
// provider that changes refresh tokens, and that it is asked for again when the
// provider does not know it any more.
func TestConsented(t *testing.T) {
	w, p, r, made := consented(t)
	if made.Auth.Actor != "ana" || made.Auth.Consent.Issuer != p.URL || made.Auth.Consent.Scope != "openid offline_access" || made.Auth.Refresh == nil || made.Auth.ExpiresAt == nil {
		t.Fatalf("stored is %+v", made.Auth)
	}
	guarded := mail()
	guarded.Transport.ServerURL = r.URL
	seen := map[string]bool{}
	for range 4 {
		header, err := w.Authorize(t.Context(), w.caller("ana"), guarded, nil)
		if err != nil || seen[header] {
			t.Fatalf("shown is %q: %v", header, err)
		}
		seen[header] = true
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.URL+"/userinfo", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("the provider takes it with %d", resp.StatusCode)
		}
		w.clock.pass(4*time.Minute + 1*time.Second) // of five
	}
	if p.Count("refresh_token") != 3 {
		t.Errorf("renewed %d times, want 3", p.Count("refresh_token"))
	}
	p.Forget(t, oauthtest.Registered)
	w.clock.pass(time.Hour)
	if _, err := w.Authorize(t.Context(), w.caller("ana"), guarded, nil); err == nil || !strings.Contains(err.Error(), "consent") {
		t.Errorf("after the provider forgot her: %v", err)
	}
	// What she consents to next takes its place.
	again, err := w.finish(w.Source, w.away(w.begin(w.asks(r))))
	if err != nil || again.ID != made.ID {
		t.Errorf("stored anew as %s: %v, want %s", again.ID, err, made.ID)
	}
	if header, err := w.Authorize(t.Context(), w.caller("ana"), guarded, nil); err != nil || seen[header] {
		t.Errorf("shown is %q: %v", header, err)
	}
	w.secret(p.Secrets()...)
}

// TestBetweenSteps shows that another process finishes what one began, and that a
// step is done once.
func TestBetweenSteps(t *testing.T) {
	w, p := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath)
	r := p.Guard(t)
	back := w.away(w.begin(w.asks(r)))
	other, _ := w.process()
	if _, err := w.finish(other, back); err != nil {
		t.Fatal(err)
	}
	_, err := w.finish(w.Source, back)
	wantRefusal(t, "the same state", err, "used already")
	// The same code under another state is refused by the provider.
	second := w.begin(w.asks(r)).Query()
	back.Set("state", second.Get("state"))
	_, err = w.finish(w.Source, back)
	wantRefusal(t, "the same code", err, "No token was given")
	if p.Count("authorization_code") != 2 {
		t.Errorf("%d codes were shown to the provider, want 2", p.Count("authorization_code"))
	}
	// Of many who come with one state one has it.
	state := w.begin(w.asks(r)).Query().Get("state")
	had := make(chan struct{}, 50)
	atOnce(50, func(int) {
		if _, err := w.Take(t.Context(), state, "browser"); err == nil {
			had <- struct{}{}
		}
	})
	if len(had) != 1 {
		t.Errorf("%d have the flow of one state", len(had))
	}
}

// TestTaken shows who is refused what a state stands for.
func TestTaken(t *testing.T) {
	w, p := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath)
	r := p.Guard(t)
	state := w.begin(w.asks(r)).Query().Get("state")
	for what, c := range map[string]struct{ state, browser string }{
		"another browser":  {state, "another"},
		"no cookie":        {state, ""},
		"no state":         {"", "browser"},
		"a guessed state":  {strings.Repeat("A", len(state)), "browser"},
		"part of a state":  {state[:len(state)-1], "browser"},
		"state and a byte": {state + "A", "browser"},
	} {
		_, err := w.Take(t.Context(), c.state, c.browser)
		wantRefusal(t, what, err)
	}
	if f, err := w.Take(t.Context(), state, "browser"); err != nil || f.Link != link || f.Actor != "ana" {
		t.Errorf("the right one has %+v: %v", f, err)
	}
	state = w.begin(w.asks(r)).Query().Get("state")
	w.clock.pass(10 * time.Minute)
	_, err := w.Take(t.Context(), state, "browser")
	wantRefusal(t, "too late", err, "longer than 10 minutes")

	// What nobody comes back for is removed.
	for range 5 {
		w.begin(w.asks(r))
	}
	w.clock.pass(10 * time.Minute)
	w.begin(w.asks(r))
	rows, err := w.store.ListObjects(t.Context(), store.ObjectQuery{Kind: store.KindConsent, Limit: 100})
	if err != nil || len(rows) != 1 {
		t.Errorf("%d flows are kept: %v", len(rows), err)
	}
}

// TestStolenRow shows that what the store has of a flow is of no use to who reads
// or writes it.
func TestStolenRow(t *testing.T) {
	w, p := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath)
	r := p.Guard(t)
	first, second := w.begin(w.asks(r)).Query().Get("state"), w.begin(w.asks(r)).Query().Get("state")
	rows, err := w.store.ListObjects(t.Context(), store.ObjectQuery{Kind: store.KindConsent, Limit: 100, Asc: true})
	if err != nil || len(rows) != 2 {
		t.Fatalf("%d flows: %v", len(rows), err)
	}
	for _, row := range rows {
		if strings.Contains(row.ID+string(row.Data), first) || strings.Contains(string(row.Data), "browser") {
			t.Errorf("the store has %s %s", row.ID, row.Data)
		}
	}
	rows[0].Data, rows[0].Version = rows[1].Data, 2
	if err := w.store.UpdateObject(t.Context(), rows[0]); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for _, state := range []string{first, second} {
		if _, err := w.Take(t.Context(), state, "browser"); errors.Is(err, store.ErrCorrupt) {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%d flows are found to be another's, want the one that is", failed)
	}
}

// TestAnswers shows what of a provider's answer is taken.
func TestAnswers(t *testing.T) {
	w, p := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath)
	r := p.Guard(t)
	flow := func() *credential.Flow {
		f, err := w.Take(t.Context(), w.begin(w.asks(r)).Query().Get("state"), "browser")
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	for what, c := range map[string]struct {
		answer credential.Answer
		want   string
	}{
		"another issuer":            {credential.Answer{Code: "c", Issuer: "https://evil.example.com"}, "not of " + p.URL},
		"another issuer's error":    {credential.Answer{Error: "access_denied", Issuer: "https://evil.example.com"}, "not of " + p.URL},
		"no issuer":                 {credential.Answer{Code: "c"}, "not of " + p.URL},
		"issuer with a slash":       {credential.Answer{Code: "c", Issuer: p.URL + "/"}, "not of " + p.URL},
		"no code":                   {credential.Answer{Issuer: p.URL}, "without a code"},
		"an error":                  {credential.Answer{Issuer: p.URL, Error: "server_error"}, "server_error"},
		"an error that is a script": {credential.Answer{Issuer: p.URL, Error: "<script>\x00" + strings.Repeat("x", 500)}, "<script>?xxx"},
		"a code of nobody":          {credential.Answer{Issuer: p.URL, Code: "nobody's"}, "No token was given"},
	} {
		before := p.Count("authorization_code")
		_, err := w.Redeem(t.Context(), flow(), c.answer)
		wantRefusal(t, what, err, c.want)
		if asked := p.Count("authorization_code") - before; (asked == 1) != (what == "a code of nobody") {
			t.Errorf("%s: the provider was shown %d codes", what, asked)
		}
	}
	if _, err := w.Redeem(t.Context(), flow(), credential.Answer{Issuer: p.URL, Error: "access_denied"}); !errors.Is(err, credential.ErrDenied) {
		t.Errorf("denied: %v", err)
	}
	if listed, err := w.vaults.ListCredentials(t.Context(), project, w.vault, vault.Page{Limit: 10}); err != nil || len(listed) != 0 {
		t.Errorf("stored are %d: %v", len(listed), err)
	}
}

// TestVaultGone shows that a consent for a vault that was deleted meanwhile is not
// kept anywhere.
func TestVaultGone(t *testing.T) {
	w, p := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath)
	back := w.away(w.begin(w.asks(p.Guard(t))))
	if err := w.vaults.Delete(t.Context(), project, w.vault); err != nil {
		t.Fatal(err)
	}
	_, err := w.finish(w.Source, back)
	wantRefusal(t, "a vault that is gone", err, w.vault)
}

// TestOwnClient shows that a client of the vault is taken before one is registered,
// and that its secret goes to its own token endpoint alone.
func TestOwnClient(t *testing.T) {
	w, p := newWorld(t), oauthtest.Start(t, public+credential.CallbackPath)
	r := p.Guard(t)
	n := client(p.URL+"/oauth/token", vault.GrantCode)
	n.Auth.ServerURL, n.Auth.Client.ClientID, n.Auth.Client.TokenEndpointAuth = r.URL, oauthtest.Web, vault.ClientBasic
	n.Auth.Client.Scope, n.Auth.Client.Resource, n.Secrets.ClientSecret = nil, nil, vault.NewSecret(oauthtest.WebSecret)
	w.add(n)
	made, err := w.finish(w.Source, w.away(w.begin(w.asks(r))))
	if err != nil || made.Auth.Consent.ClientID != oauthtest.Web || p.Count("register") != 0 {
		t.Fatalf("stored is %+v after %d registrations: %v", made.Auth.Consent, p.Count("register"), err)
	}
	guarded := mail()
	guarded.Transport.ServerURL = r.URL
	w.clock.pass(10 * time.Minute)
	if got, err := w.Authorize(t.Context(), w.caller("ana"), guarded, nil); err != nil || got == "" || p.Count("refresh_token") != 1 {
		t.Errorf("renewed it is %q: %v", got, err)
	}
	evil := newEndpoint(t)
	p.Describe(func(doc map[string]any) { doc["token_endpoint"] = evil.url })
	_, err = w.Begin(t.Context(), w.asks(r), "browser")
	wantRefusal(t, "another token endpoint", err, "is for another")

	// With both endpoints nobody is asked who issues tokens.
	where := p.URL + "/authorize"
	n.Auth.Client.AuthorizationEndpoint, n.Auth.Actor = &where, "ana"
	w.add(n)
	described := p.Count("describe")
	if _, err := w.finish(w.Source, w.away(w.begin(w.asks(r)))); err != nil || p.Count("describe") != described || evil.count() != 0 {
		t.Errorf("with both endpoints: %v", err)
	}
}

// TestReplaced shows that the tokens of another client which a consent takes the
// place of are taken back, and the same client's, whose grant is the new one too, not.
func TestReplaced(t *testing.T) {
	w, p, r, made := consented(t)
	again := func(revoked int) {
		t.Helper()
		c, err := w.finish(w.Source, w.away(w.begin(w.asks(r))))
		if err != nil || c.ID != made.ID || p.Count("revoke") != revoked {
			t.Errorf("stored as %s: %v, %d tokens are taken back, want %d", c.ID, err, p.Count("revoke"), revoked)
		}
	}
	again(0)
	n := client(p.URL+"/oauth/token", vault.GrantCode)
	n.Auth.ServerURL, n.Auth.Client.ClientID, n.Auth.Client.TokenEndpointAuth = r.URL, oauthtest.Web, vault.ClientBasic
	n.Auth.Client.Scope, n.Auth.Client.Resource, n.Secrets.ClientSecret = nil, nil, vault.NewSecret(oauthtest.WebSecret)
	w.add(n)
	again(1)
}

// TestForgottenClient shows that a client which its server does not know any more
// is registered anew the next time.
func TestForgottenClient(t *testing.T) {
	w, e := newWorld(t), newEndpoint(t)
	p := oauthtest.Start(t, public+credential.CallbackPath)
	r := p.Guard(t)
	p.Describe(func(doc map[string]any) { doc["token_endpoint"] = e.url })
	e.set(fails("invalid_client", "who?"))
	_, err := w.finish(w.Source, w.away(w.begin(w.asks(r))))
	wantRefusal(t, "a client that is not known", err, "invalid_client")
	w.begin(w.asks(r))
	if p.Count("register") != 2 {
		t.Errorf("registered %d times, want 2", p.Count("register"))
	}
}

// TestLinks shows that a link is the same for all processes of a store, proves what
// it is about and nothing else, and is not made without a master key.
func TestLinks(t *testing.T) {
	w := newWorld(t)
	made, err := w.Link(t.Context(), project, "sess_1", "eff_1", "n0nce")
	if err != nil || strings.Contains(made.Path(), "n0nce") {
		t.Fatalf("the link is %s: %v", made.Path(), err)
	}
	other, _ := w.process()
	atOnce(20, func(int) {
		if again, err := other.Link(t.Context(), project, "sess_1", "eff_1", "n0nce"); err != nil || again != made {
			t.Errorf("another process makes %+v: %v", again, err)
		}
	})
	change := func(f func(*credential.Link)) credential.Link {
		l := made
		f(&l)
		return l
	}
	for what, c := range map[string]struct {
		link  credential.Link
		nonce string
		want  bool
	}{
		"itself":          {made, "n0nce", true},
		"another nonce":   {made, "n0nces", false},
		"another project": {change(func(l *credential.Link) { l.Project = "b" }), "n0nce", false},
		"another session": {change(func(l *credential.Link) { l.Session = "sess_2" }), "n0nce", false},
		"another effect":  {change(func(l *credential.Link) { l.EffectID = "eff_2" }), "n0nce", false},
		"other borders":   {change(func(l *credential.Link) { l.Session, l.EffectID = "sess_1e", "ff_1" }), "n0nce", false},
		"the nonce":       {change(func(l *credential.Link) { l.Proof = "n0nce" }), "n0nce", false},
		"nothing":         {change(func(l *credential.Link) { l.Proof = "" }), "n0nce", false},
	} {
		if ok, err := other.Proves(t.Context(), c.link, c.nonce); err != nil || ok != c.want {
			t.Errorf("%s: %t, %v", what, ok, err)
		}
	}
	row, err := w.store.Object(t.Context(), "stayd:runtime", store.KindConsent, "links")
	if err != nil || !strings.HasPrefix(string(row.Data), `{"sealed":`) {
		t.Errorf("stored is %s: %v", row.Data, err)
	}
	// It outlives what nobody came back for.
	w.clock.pass(time.Hour)
	w.begin(w.asks(oauthtest.Start(t, public+credential.CallbackPath).Guard(t)))
	third, _ := w.process()
	if again, err := third.Link(t.Context(), project, "sess_1", "eff_1", "n0nce"); err != nil || again != made {
		t.Errorf("an hour later it is %+v: %v", again, err)
	}
	without := w.source(vault.New(w.store, vault.Unset("name one"), w.clock.now), http.DefaultClient, public)
	var none *vault.NoKeyError
	if l, err := without.Link(t.Context(), project, "sess_1", "eff_1", "n0nce"); !errors.As(err, &none) || l.Proof != "" {
		t.Errorf("without the master key: %+v, %v", l, err)
	}
}
