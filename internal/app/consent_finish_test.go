package app_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
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

var labelled = regexp.MustCompile(`\((\w+)\)</dd>`)

// TestConsentForAll shows that one sign-in is enough for all that waits for the same
// server in the same person's name, and that a no is for one alone.
func TestConsentForAll(t *testing.T) {
	c := newConsents(t)
	other := c.issuer.Guard(t)
	tool := func(label, url string) string {
		return `{"type":"mcp","server_label":"` + label + `","transport":{"type":"http","server_url":"` + url + `"}}`
	}
	var made struct{ ID string }
	c.must(&made, "POST", sessions, `{"environment":{"type":"none"},"input":"Who am I?","vault_ids":["`+c.vault+`"],"actor":"ana","agent":{"model":"script/guarded","tools":[`+
		strings.Join([]string{tool("mail", c.guard.URL), tool("post", c.guard.URL), tool("third", c.guard.URL), tool("elsewhere", other.URL)}, ",")+`]}}`)
	// asked are the links, by the label of their server.
	asked := func(n int) map[string]string {
		t.Helper()
		var s struct {
			RequiredActions []struct{ URL string } `json:"required_actions"`
		}
		wait(t, fmt.Sprintf("%d links", n), func() bool {
			c.must(&s, "GET", sessions+"/"+made.ID, "")
			return len(s.RequiredActions) == n
		})
		out := map[string]string{}
		for _, a := range s.RequiredActions {
			m := labelled.FindStringSubmatch(c.browser().get(a.URL).body)
			if m == nil {
				t.Fatal("the page does not say the label of the server")
			}
			out[m[1]] = a.URL
		}
		return out
	}
	links := asked(4)
	c.browser().decide(links["mail"], "deny").want(t, "a no", http.StatusOK, "Denied")
	if left := asked(3); left["post"] != links["post"] || left["third"] != links["third"] || left["elsewhere"] != links["elsewhere"] {
		t.Errorf("after a no to one %v are left of %v", left, links)
	}
	c.browser().decide(links["post"], "allow").want(t, "a yes", http.StatusOK, "Allowed")
	if p := c.browser().get(links["third"]); p.status != http.StatusGone {
		t.Fatalf("the other of that server waits still: %s", p)
	}
	if left := asked(1); left["elsewhere"] != links["elsewhere"] {
		t.Errorf("after a yes to one %v are left of %v", left, links)
	}
	if n := c.issuer.Count("authorization_code"); n != 1 {
		t.Errorf("%d sign-ins for one server", n)
	}
	c.verify(made.ID)
}
