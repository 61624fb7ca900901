package outbound_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/outbound"
)

func client(t *testing.T, p outbound.Policy) *http.Client {
	t.Helper()
	c, err := outbound.New(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(t *testing.T, c *http.Client, url string) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err == nil {
		t.Cleanup(func() { resp.Body.Close() })
	}
	return resp, err
}

// server runs until the test ends.
func server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestRedirectCredentials(t *testing.T) {
	got := make(chan http.Header, 4)
	other := server(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Clone() })
	front := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
		case "/near":
			http.Redirect(w, r, "/here", http.StatusTemporaryRedirect)
		default:
			got <- r.Header.Clone()
		}
	})
	c := client(t, outbound.Policy{Allow: []string{"127.0.0.1"}})
	send := func(method, path string) error {
		req, _ := http.NewRequestWithContext(t.Context(), method, front.URL+path, strings.NewReader("secret"))
		req.Header.Set("X-Api-Key", "secret")
		req.Header.Set("Authorization", "Bearer secret")
		req.Header.Set("Accept", "text/plain")
		resp, err := c.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := send(http.MethodGet, "/near"); err != nil {
		t.Fatal(err)
	}
	if h := <-got; h.Get("X-Api-Key") != "secret" || h.Get("Authorization") != "Bearer secret" {
		t.Errorf("on the same host the credentials are gone: %v", h)
	}
	if err := send(http.MethodGet, "/away"); err != nil {
		t.Fatal(err)
	}
	if h := <-got; h.Get("X-Api-Key") != "" || h.Get("Authorization") != "" || h.Get("Accept") != "text/plain" {
		t.Errorf("the other host got %v", h)
	}
	if err := send(http.MethodPost, "/away"); err == nil {
		t.Error("a POST was sent on to another host")
	}
}

func TestRedirectLimit(t *testing.T) {
	hops := 0
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		hops++
		http.Redirect(w, r, "/again", http.StatusFound)
	})
	c := client(t, outbound.Policy{Allow: []string{"127.0.0.1"}, MaxRedirects: 3})
	if _, err := get(t, c, s.URL); err == nil || hops != 4 { //nolint:bodyclose // get closes it
		t.Errorf("%d requests, error %v; want 4 and an error", hops, err)
	}
	none := client(t, outbound.Policy{Allow: []string{"127.0.0.1"}, MaxRedirects: -1})
	if resp, err := get(t, none, s.URL); err != nil || resp.StatusCode != http.StatusFound { //nolint:bodyclose // get closes it
		t.Errorf("with no redirects: %v, %v", resp, err)
	}
}

func TestRedirectFromHTTPS(t *testing.T) {
	c := client(t, outbound.Policy{})
	for _, tt := range []struct {
		urls string // from the first to the one that is redirected to
		says string
	}{
		{"https://a.test/ http://a.test/", "the redirect from https to http is refused"},
		{"https://a.test/ http://b.test/", "the redirect from https to http is refused"},
		{"https://a.test/ https://b.test/ http://b.test/", "the redirect from https to http is refused"},
		{"https://a.test/ https://a.test/x", ""},
		{"https://a.test/ https://b.test/", ""},
		{"http://a.test/ https://a.test/", ""},
		{"https://a.test/ gopher://a.test/", `the redirect to the scheme "gopher" is refused`},
	} {
		var list []*http.Request
		for _, u := range strings.Fields(tt.urls) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u, nil)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, req)
		}
		err := c.CheckRedirect(list[len(list)-1], list[:len(list)-1])
		if err == nil && tt.says != "" || err != nil && err.Error() != tt.says {
			t.Errorf("%s: got %v, want %q", tt.urls, err, tt.says)
		}
	}
}
