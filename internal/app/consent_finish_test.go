package app_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
)

// TestConsentLeft shows that a consent is finished though the browser goes away
// while the provider gives the tokens.
func TestConsentLeft(t *testing.T) {
	c := newConsents(t)
	id := c.begin("ana")
	s := &steps{browser: c.browser().stop(), link: c.asked(id)}
	back := s.callback()
	ctx, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	c.issuer.Before(func(string) {
		cancel()
		if err := <-left; !errors.Is(err, context.Canceled) {
			t.Errorf("the browser is told %v", err)
		}
		c.browser().get(s.link).want(t, "the page meanwhile", http.StatusOK, "Let an agent use")
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, back, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.http.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	left <- err
	if got := c.last(id); !strings.Contains(got, "You are known here.") {
		t.Errorf("the agent says %q", got)
	}
}

// TestConsentCookie shows that a browser stays known for an hour after the last
// page with a form, and as the same.
func TestConsentCookie(t *testing.T) {
	c := newConsents(t)
	link := c.asked(c.begin("ana"))
	b := c.browser()
	first := b.get(link).header.Get("Set-Cookie")
	if !strings.HasPrefix(first, "stayd_consent=") || !strings.Contains(first, "; Max-Age=3600;") {
		t.Errorf("the cookie is %q", first)
	}
	if second := b.get(link).header.Get("Set-Cookie"); second != first {
		t.Errorf("at the next page it is %q, want %q", second, first)
	}
}
