// Package consent has the pages on which people let the runtime use a server in
// their name, or not. Who has the link may answer, so it needs no API key. A page
// has no script and nothing from elsewhere; what is done is done by forms that
// belong to the browser they were shown to.
package consent

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// Config is what the pages need. All of it is required.
type Config struct {
	Journal     *journal.Journal
	Credentials *credential.Source
	// PublicURL is where browsers find the runtime.
	PublicURL string
	Log       *slog.Logger
}

type pages struct {
	Config
	origin *http.CrossOriginProtection
}

// maxForm bounds a form, in bytes.
const maxForm = 8 << 10

// form is what the consent page posts.
type form struct {
	Token    string `json:"token" doc:"That it was posted from the page."`
	Decision string `json:"decision" enum:"allow,deny"`
}

// Mount registers the pages.
func Mount(s *httpapi.Server, cfg Config) {
	p := &pages{Config: cfg, origin: http.NewCrossOriginProtection()}
	// Behind a proxy that says another Host, the origin of the page is this one's.
	if err := p.origin.AddTrustedOrigin(origin(cfg.PublicURL)); err != nil {
		p.Log.Error("forms of consent pages are taken by their Host alone", "public_url", cfg.PublicURL, "error", err)
	}
	s.Register(httpapi.Operation{
		Method: http.MethodGet, Path: "/oauth/consent/{link}", ID: "showConsent", Open: true, Do: p.show,
		Summary: "The page (HTML) on which a person is asked to let an agent use a server in their name. An addition of Stayd's",
	})
	s.Register(httpapi.Operation{
		Method: http.MethodPost, Path: "/oauth/consent/{link}", ID: "answerConsent", Open: true, Do: p.answer, Status: http.StatusSeeOther,
		Body: form{}, Upload: "application/x-www-form-urlencoded",
		Summary: "What the form of that page posts. Answers with a redirect to the authorization server, or a page (HTML)",
	})
	s.Register(httpapi.Operation{
		Method: http.MethodGet, Path: credential.CallbackPath, ID: "finishConsent", Open: true, Do: p.finish, Query: callbackParams(), AnyQuery: true,
		Summary: "Where the browser comes back to from an authorization server. Answers with a page (HTML)",
	})
	s.Register(httpapi.Operation{
		Method: http.MethodGet, Path: credential.DocumentsPath + "{project}/{auth}", ID: "getClientDocument", Open: true, Do: p.document, Result: credential.Document{},
		Summary: "What the runtime says of the OAuth client that it is for a project (client ID metadata document)",
	})
}

// origin is that of a URL as browsers spell it: in lower case, and without the port
// that the scheme has anyway.
func origin(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s // which is no origin that can be trusted
	}
	host := strings.ToLower(u.Host)
	if port := u.Port(); port == "" || (u.Scheme == "https" && port == "443") || (u.Scheme == "http" && port == "80") {
		host = strings.TrimSuffix(host, ":"+port)
	}
	return u.Scheme + "://" + host
}

// callbackParams are what is looked at of what an authorization server answers;
// the rest of it is not (RFC 6749 section 4.1.2).
func callbackParams() []httpapi.Param {
	var out []httpapi.Param
	for _, name := range []string{
		"state", "code", "iss", "error", "error_description",
	} {
		out = append(out, httpapi.Param{Name: name})
	}
	return out
}

// documentRetry is how many seconds who reads a document is asked to wait for a key.
const documentRetry = 10

func (p *pages) document(c *httpapi.Call) (any, error) {
	project, auth := c.Path("project"), c.Path("auth")
	if httpapi.ValidName(project) {
		d, err := p.Credentials.Document(c.Context(), project, auth)
		if err != nil {
			return nil, &httpapi.Error{
				Status: http.StatusServiceUnavailable, Code: httpapi.CodeUnavailable, RetryAfter: documentRetry, Err: err,
				Message: "The key by which this client signs cannot be had now. The log of the server says why.",
			}
		}
		if d != nil {
			return d, nil
		}
	}
	return nil, httpapi.NotFound("client", project+"/"+auth)
}

// asked is a question that waits for an answer.
type asked struct {
	nonce              string // of the question
	agent              string // its name, or else its id
	label, server, url string // of the server; server is its host
	metadata, scope    string
	actor              string
	vaults             []string
}

// errGone is a link to what nobody waits for.
var errGone = errors.New("nothing waits for this consent")

// waiting returns the question of a link.
func (p *pages) waiting(ctx context.Context, link credential.Link) (*asked, error) {
	if !httpapi.ValidName(link.Project) {
		return nil, errGone
	}
	var a *asked
	err := p.Journal.View(ctx, link.Project, link.Session, func(s *session.State) error {
		e := s.Effect(link.EffectID)
		if e == nil || e.Consent == nil || s.AwaitsConsent(e.ID, e.Consent.Nonce) == nil {
			return errGone
		}
		c := e.Consent
		a = &asked{
			nonce: c.Nonce, agent: s.Agent.ID, label: c.ServerLabel, url: c.ServerURL, server: host(c.ServerURL),
			scope: c.Scope, actor: c.Actor, metadata: c.Metadata, vaults: s.VaultIDs,
		}
		if s.Agent.Name != nil && *s.Agent.Name != "" {
			a.agent = *s.Agent.Name
		}
		if len(a.vaults) == 0 {
			return errGone
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, errGone
	}
	if err != nil {
		return nil, err
	}
	ok, err := p.Credentials.Proves(ctx, link, a.nonce)
	if err == nil && !ok {
		err = errGone
	}
	return a, err
}

func host(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	return u.Host
}

func (p *pages) show(c *httpapi.Call) (any, error) {
	link, ok := credential.ParseLink(c.Path("link"))
	if !ok {
		return p.gone(), nil
	}
	a, err := p.waiting(c.Context(), link)
	if err != nil {
		return p.failed(c, err)
	}
	browser, _ := p.browser(c.Request)
	return httpapi.Raw(func(w http.ResponseWriter) {
		p.remember(w, browser)
		p.write(w, http.StatusOK, "ask", askPage{
			Agent: a.agent, Session: link.Session, Project: link.Project, Label: a.label, Host: a.server, Scopes: strings.Fields(a.scope), Actor: a.actor,
			Token: formToken(browser, link), Action: link.Path(),
		})
	}), nil
}

func (p *pages) answer(c *httpapi.Call) (any, error) {
	link, ok := credential.ParseLink(c.Path("link"))
	if !ok {
		return p.gone(), nil
	}
	browser, fresh := p.browser(c.Request)
	if fresh || !p.posted(c.Request, browser, link) {
		return p.note(http.StatusForbidden, "This form was not posted from the consent page",
			"It is taken only from the browser that the page was shown in, which has to accept its cookie. Follow the link again."), nil
	}
	a, err := p.waiting(c.Context(), link)
	if err != nil {
		return p.failed(c, err)
	}
	switch c.PostForm.Get("decision") {
	case "deny":
		return p.deny(c.Context(), c, link, a.nonce, "They chose Deny on the consent page.")
	case "allow":
	default:
		return p.note(http.StatusBadRequest, "This form has no answer", "Choose Allow or Deny."), nil
	}
	to, err := p.Credentials.Begin(c.Context(), credential.Asked{
		Link: link, Server: a.url, Metadata: a.metadata, Scope: a.scope, Actor: a.actor, Vault: a.vaults[0], Vaults: a.vaults,
	}, browser)
	if err != nil {
		return p.failed(c, err)
	}
	return httpapi.Raw(func(w http.ResponseWriter) {
		guard(w)
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusSeeOther)
	}), nil
}

// posted reports whether the form was posted from the page of the link, in the
// browser that the page was shown in.
func (p *pages) posted(r *http.Request, browser string, link credential.Link) bool {
	r.Body = http.MaxBytesReader(nil, r.Body, maxForm)
	return p.origin.Check(r) == nil && r.ParseForm() == nil && sameToken(r.PostForm.Get("token"), formToken(browser, link))
}

// deny tells the session that the person did not agree.
func (p *pages) deny(ctx context.Context, c *httpapi.Call, link credential.Link, nonce, reason string) (any, error) {
	if err := p.resolve(ctx, link, nonce, event.ConsentResolved{EffectID: link.EffectID, Reason: reason}); err != nil {
		return p.failed(c, err)
	}
	return p.note(http.StatusOK, "Denied", "The agent goes on without it. You can close this page."), nil
}

// resolve appends the person's answer. A yes is one to all that waits for the same,
// so that nobody signs in for each.
func (p *pages) resolve(ctx context.Context, link credential.Link, nonce string, said event.ConsentResolved) error {
	err := p.Journal.Update(ctx, link.Project, link.Session, func(tx *journal.Tx) error {
		payloads, err := tx.State.ResolveConsent(said, nonce)
		if err != nil {
			return err
		}
		if said.Granted {
			more, err := resolveAlike(tx.State, said)
			if err != nil {
				return err
			}
			payloads = append(payloads, more...)
		}
		return tx.Append(payloads...)
	})
	var not *session.Refusal
	if errors.As(err, &not) || errors.Is(err, store.ErrNotFound) {
		return errGone
	}
	return err
}

// resolveAlike gives a yes to what else waits for the use of the same server in the
// same person's name.
func resolveAlike(s *session.State, said event.ConsentResolved) ([]event.Payload, error) {
	asked := *s.Effect(said.EffectID).Consent
	var out []event.Payload
	for _, e := range s.OpenEffects() {
		if e.ID == said.EffectID || e.Status != session.EffectConsent || e.Consent.ServerURL != asked.ServerURL || e.Consent.Actor != asked.Actor {
			continue
		}
		also := said
		also.EffectID = e.ID
		payloads, err := s.ResolveConsent(also, e.Consent.Nonce)
		if err != nil {
			return nil, err
		}
		out = append(out, payloads...)
	}
	return out, nil
}

// finishTime bounds the last step of a consent. It is longer than the token endpoint
// may take, and the taking back of the tokens before.
const finishTime = 45 * time.Second

// finish goes on where the browser goes away meanwhile: a code is good once.
func (p *pages) finish(c *httpapi.Call) (any, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context()), finishTime)
	defer cancel()
	q := c.URL.Query()
	browser, _ := p.browser(c.Request)
	flow, err := p.Credentials.Take(ctx, q.Get("state"), browser)
	if err != nil {
		return p.failed(c, err)
	}
	a, err := p.waiting(ctx, flow.Link)
	if err != nil {
		return p.failed(c, err)
	}
	made, err := p.Credentials.Redeem(ctx, flow, credential.Answer{Code: q.Get("code"), Issuer: q.Get("iss"), Error: q.Get("error")})
	if errors.Is(err, credential.ErrDenied) {
		return p.deny(ctx, c, flow.Link, a.nonce, "They denied access at "+flow.Where()+".")
	}
	if err != nil {
		return p.failed(c, err)
	}
	err = p.resolve(ctx, flow.Link, a.nonce, event.ConsentResolved{EffectID: flow.Link.EffectID, Granted: true, VaultID: made.VaultID, CredentialID: made.ID})
	if errors.Is(err, errGone) {
		return p.note(http.StatusOK, "Allowed", "The access is kept for later: what asked for it has ended meanwhile. You can close this page."), nil
	}
	if err != nil {
		return p.failed(c, err)
	}
	return p.note(http.StatusOK, "Allowed", "The agent goes on. You can close this page."), nil
}

// failed is the page about an error. What may not be shown goes to the log.
func (p *pages) failed(c *httpapi.Call, err error) (any, error) {
	var no *credential.Refusal
	switch {
	case errors.Is(err, errGone):
		return p.gone(), nil
	case errors.As(err, &no):
		return p.note(http.StatusBadRequest, "That did not work", no.Message), nil
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFull), errors.Is(err, store.ErrConflict):
		return p.note(http.StatusServiceUnavailable, "Not now", "The runtime cannot store an answer at the moment. Follow the link again in a while."), nil
	}
	p.Log.Error("a consent page failed", "request_id", c.ID(), "error", err)
	return p.note(http.StatusInternalServerError, "That did not work", "The log of the server says why, under the request id "+c.ID()+"."), nil
}

func (p *pages) gone() httpapi.Raw {
	return p.note(http.StatusGone, "Nothing waits for this", "This link was answered before, what asked has ended, or the link is not whole.")
}
