package app_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

// named stops the runtime and starts it again at the same address, as one that
// others find by the URL.
func (c *consents) named(publicURL string) {
	c.t.Helper()
	at := c.cfg.PublicURL
	c.stop()
	l, err := net.Listen("tcp", strings.TrimPrefix(at, "http://"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.cfg.PublicURL = publicURL
	c.serve(l)
	c.url = at
}

// TestConsentOutside shows that the runtime looks for what it publishes as issuers
// do: not at an address that the operator lets it reach.
func TestConsentOutside(t *testing.T) {
	c := newConsents(t)
	link := c.asked(c.begin("ana"))
	var found atomic.Int32
	inside := httptest.NewUnstartedServer(http.NotFoundHandler())
	inside.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			found.Add(1)
		}
	}
	inside.StartTLS()
	defer inside.Close()
	c.issuer.ReadDocuments(http.DefaultClient)
	c.named(inside.URL)

	b := c.browser().stop()
	asked := b.get(link)
	cookie, _, _ := strings.Cut(asked.header.Get("Set-Cookie"), ";") // by https alone, else
	allow := url.Values{"token": {hidden.FindStringSubmatch(asked.body)[1]}, "decision": {"allow"}}
	if p := b.post(link, allow, "Cookie", cookie); p.status != http.StatusSeeOther || c.issuer.Count("register") != 1 {
		t.Errorf("registered %d times: %s", c.issuer.Count("register"), p)
	}
	if n := found.Load(); n != 0 {
		t.Errorf("it was looked for %d times where nobody else comes", n)
	}
}

// TestConsentOrigin shows that a form is taken from the page of the runtime however
// its operator spells where that is: browsers spell it in one way.
func TestConsentOrigin(t *testing.T) {
	c := newConsents(t)
	link := c.asked(c.begin("ana"))
	c.cfg.Keys = map[string]string{"operator-key-0123456789": "default"} // without one only loopback names are answered
	for _, tt := range []struct{ named, origin, other string }{
		{"http://Stayd.Example.com", "http://stayd.example.com", "https://stayd.example.com"},
		{"HTTP://stayd.example.com:80/", "http://stayd.example.com", "http://stayd.example.com:443"},
		{"https://STAYD.example.com:443", "https://stayd.example.com", "http://stayd.example.com"},
		{"https://[2001:DB8::443]:443", "https://[2001:db8::443]", "https://[2001:db8::]"},
		{"https://stayd.example.com:80", "https://stayd.example.com:80", "https://stayd.example.com"},
		{"http://stayd.example.com:8443", "http://stayd.example.com:8443", "http://stayd.example.com"},
	} {
		at := c.url
		c.named(tt.named)
		b := c.browser().stop()
		asked := b.get(link)
		cookie, _, _ := strings.Cut(asked.header.Get("Set-Cookie"), ";")
		form := url.Values{"token": {hidden.FindStringSubmatch(asked.body)[1]}, "decision": {"perhaps"}}
		for origin, want := range map[string]int{tt.origin: http.StatusBadRequest, tt.other: http.StatusForbidden} {
			if p := b.post(link, form, "Origin", origin, "Host", "stayd.internal:8080", "Cookie", cookie); p.status != want {
				t.Errorf("at %s, of the origin %s: %s, want %d", tt.named, origin, p, want)
			}
		}
		c.cfg.PublicURL = at
	}
}
