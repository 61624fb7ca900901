package consent

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"html/template"
	"net/http"
	"strings"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/httpapi"
)

//go:embed pages
var files embed.FS

var templates = template.Must(template.ParseFS(files, "pages/*.html"))

// askPage is what a person is asked.
type askPage struct {
	Agent, Session, Project string
	Label, Host             string // of the server
	Scopes                  []string
	Actor                   string
	Token, Action           string
}

// notePage says something that there is nothing to answer to.
type notePage struct{ Title, Text string }

// style is the one style sheet of the pages, which their policy names by its hash.
const style = `body{font:16px/1.5 system-ui,sans-serif;max-width:36rem;margin:3rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}` +
	`h1{font-size:1.4rem}dt{font-weight:600;margin-top:.6rem}dd{margin:0;overflow-wrap:anywhere}` +
	`button{font:inherit;padding:.5rem 1.5rem;margin:1rem .5rem 0 0;border:1px solid #1a1a1a;border-radius:.3rem;background:#fff;cursor:pointer}` +
	`button.allow{background:#1a1a1a;color:#fff}small{color:#555}`

func styleHash() string {
	sum := sha256.Sum256([]byte(style))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

// policy allows a page its style and its form. Browsers hold the redirect after a
// form to it too, and that leads to an authorization server: any that is reached
// by https, or on the person's own machine.
var policy = "default-src 'none'; style-src " + styleHash() + "; form-action 'self' https: http://127.0.0.1:* http://localhost:*; frame-ancestors 'none'; base-uri 'none'"

// guard sets the headers of every answer. Another origin is told nothing of the
// link. The own one is, as a browser that is to say nothing at all says of a form
// that it came from "null", which is not taken for its page.
func guard(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

func (p *pages) note(status int, title, text string) httpapi.Raw {
	return func(w http.ResponseWriter) { p.write(w, status, "note", notePage{Title: title, Text: text}) }
}

func (p *pages) write(w http.ResponseWriter, status int, name string, page any) {
	var b bytes.Buffer
	err := templates.ExecuteTemplate(&b, name+".html", struct {
		Style template.CSS
		Page  any
	}{template.CSS(style), page}) //nolint:gosec // it is a constant of this package
	if err != nil {
		p.Log.Error("a consent page could not be written", "page", name, "error", err)
		status = http.StatusInternalServerError
	}
	guard(w)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // if it fails, the person is gone
}

// cookieTime is how long a browser is known after a page was shown in it, in
// seconds.
const cookieTime = 3600

// cookie is the name of the cookie by which a browser is known. Over https it is
// one that neither another host nor a page without https can set.
func (p *pages) cookie() string {
	if p.secure() {
		return "__Host-stayd_consent"
	}
	return "stayd_consent"
}

func (p *pages) secure() bool { return strings.HasPrefix(p.PublicURL, "https://") }

// browser is the secret by which the browser is known; fresh is one that has none
// yet.
func (p *pages) browser(r *http.Request) (secret string, fresh bool) {
	if c, err := r.Cookie(p.cookie()); err == nil && len(c.Value) == browserLength {
		return c.Value, false
	}
	return rand.Text(), true
}

// browserLength is the length of a text of crypto/rand.
const browserLength = 26

// remember gives the browser its secret. It comes along when an authorization
// server sends the browser back, and with nothing that another site posts.
func (p *pages) remember(w http.ResponseWriter, browser string) {
	http.SetCookie(w, &http.Cookie{ //nolint:gosec // without https, as on this machine, a secure cookie would not be kept
		Name: p.cookie(), Value: browser, Path: "/", MaxAge: cookieTime, HttpOnly: true, Secure: p.secure(), SameSite: http.SameSiteLaxMode,
	})
}

// formToken binds a form to the browser that it was shown in, and to its link.
func formToken(browser string, link credential.Link) string {
	sum := sha256.Sum256([]byte("stayd consent form\n" + browser + "\n" + link.Path()))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func sameToken(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
