package outbound_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
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

// server counts what reaches it.
func server(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func TestRefusedAddresses(t *testing.T) {
	c := client(t, outbound.Policy{DialTimeout: time.Second})
	for host, reason := range map[string]string{
		"127.0.0.1":                    "loopback",
		"127.255.1.9":                  "loopback",
		"[::1]":                        "loopback",
		"[::ffff:127.0.0.1]":           "loopback",
		"[::ffff:7f00:1]":              "loopback",
		"localhost":                    "loopback",
		"LOCALHOST":                    "loopback",
		"0.0.0.0":                      "unspecified",
		"0.1.2.3":                      "unspecified",
		"[::]":                         "unspecified",
		"10.0.0.1":                     "private",
		"172.16.5.4":                   "private",
		"192.168.1.1":                  "private",
		"[fd00:ec2::254]":              "private",
		"[::ffff:10.0.0.1]":            "private",
		"169.254.169.254":              "link-local",
		"[fe80::1]":                    "link-local",
		"[::ffff:169.254.169.254]":     "link-local",
		"100.64.0.1":                   "shared (carrier-grade NAT)",
		"100.100.100.200":              "shared (carrier-grade NAT)",
		"168.63.129.16":                "a metadata service",
		"192.0.0.192":                  "reserved",
		"224.0.0.1":                    "multicast",
		"[ff02::1]":                    "multicast",
		"255.255.255.255":              "reserved",
		"198.18.0.1":                   "for benchmarks",
		"[64:ff9b::7f00:1]":            "loopback, behind a translator (NAT64)",
		"[64:ff9b::a9fe:a9fe]":         "link-local, behind a translator (NAT64)",
		"[2002:7f00:1::]":              "a 6to4 tunnel",
		"[::127.0.0.1]":                "not a public unicast address",
		"[fec0::1]":                    "not a public unicast address",
		"[64:ff9b:1::7f00:1]":          "not a public unicast address",
		"[2001:0:7f00:1::]":            "reserved (Teredo, ORCHID)",
		"[2001:db8::1]":                "for documentation",
		"user:password@127.0.0.1":      "loopback",
		"127.0.0.1:80@169.254.169.254": "link-local",
	} {
		t.Run(host, func(t *testing.T) {
			_, err := get(t, c, "http://"+host+"/") //nolint:bodyclose // get closes it
			var refused *outbound.RefusedError
			if !errors.As(err, &refused) {
				t.Fatalf("got %v, want a refusal", err)
			}
			if refused.Reason != reason {
				t.Errorf("reason %q, want %q", refused.Reason, reason)
			}
		})
	}
}

// Old spellings are names to Go. A resolver may know them as addresses; then
// they are refused, else they are not found. They never connect.
func TestOldSpellingsNeverConnect(t *testing.T) {
	reached := make(chan string, 16)
	s := server(t, func(_ http.ResponseWriter, r *http.Request) { reached <- r.Host })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	c := client(t, outbound.Policy{DialTimeout: time.Second})
	for _, host := range []string{"2130706433", "0x7f000001", "017700000001", "0x7f.1", "127.1", "0177.0.0.1", "127.0.0.1.", "localhost."} {
		if _, err := get(t, c, "http://"+host+":"+port+"/"); err == nil { //nolint:bodyclose // get closes it
			t.Errorf("%s was reached", host)
		}
	}
	select {
	case h := <-reached:
		t.Errorf("the server was reached as %s", h)
	default:
	}
}

// Behind a proxy the client does not resolve names, and refuses what a URL
// spells out, in every spelling.
func TestProxy(t *testing.T) {
	var asked []string
	proxy := server(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.String())
		io.WriteString(w, "through the proxy")
	})
	u, _ := url.Parse(proxy.URL)
	c := client(t, outbound.Policy{Proxy: u})
	for _, host := range []string{"127.0.0.1", "2130706433", "0x7f000001", "017700000001", "0x7f.1", "127.1", "0177.0.0.1", "localhost", "a.localhost.", "[::1]", "10.1", "0xa9fea9fe", "2852039166"} {
		var refused *outbound.RefusedError
		if _, err := get(t, c, "http://"+host+"/"); !errors.As(err, &refused) { //nolint:bodyclose // get closes it
			t.Errorf("%s: got %v, want a refusal", host, err)
		}
	}
	resp, err := get(t, c, "http://example.com/x") //nolint:bodyclose // get closes it
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	if string(body) != "through the proxy" || strings.Join(asked, " ") != "http://example.com/x" {
		t.Errorf("body %q, the proxy was asked for %q", body, asked)
	}
}

func TestEnvironmentProxyIsIgnored(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	s := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "direct") })
	c := client(t, outbound.Policy{Allow: []string{s.Listener.Addr().String()}})
	resp, err := get(t, c, s.URL) //nolint:bodyclose // get closes it
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(resp.Body); string(b) != "direct" {
		t.Errorf("body %q", b)
	}
}

func TestAllow(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	tests := []struct {
		allow, host string
		ok          bool
	}{
		{"127.0.0.0/8", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "[::ffff:127.0.0.1]", true},
		{"127.0.0.1:" + port, "127.0.0.1", true},
		{"127.0.0.1:1", "127.0.0.1", false},
		{"localhost", "localhost", true},
		{"LocalHost.", "localhost", true},
		{"localhost:" + port, "localhost", true},
		{"localhost:1", "localhost", false},
		// A name is allowed by its name; the address it has is not.
		{"localhost", "127.0.0.1", false},
		{"10.0.0.0/8", "127.0.0.1", false},
	}
	for _, tt := range tests {
		t.Run(tt.allow+" "+tt.host, func(t *testing.T) {
			c := client(t, outbound.Policy{Allow: []string{tt.allow}})
			_, err := get(t, c, "http://"+tt.host+":"+port) //nolint:bodyclose // get closes it
			if ok := err == nil; ok != tt.ok {
				t.Errorf("reached: %v (%v), want %v", ok, err, tt.ok)
			}
		})
	}
}

func TestBadAllow(t *testing.T) {
	for _, s := range []string{"", "http://localhost", "localhost:0", "localhost:http", "::ffff:10.0.0.0/104", "*.internal", "a b"} {
		if _, err := outbound.New(outbound.Policy{Allow: []string{s}}); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestRedirectToPrivate(t *testing.T) {
	secret := server(t, func(http.ResponseWriter, *http.Request) { t.Error("the private server was reached") })
	front := server(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, secret.URL, http.StatusFound) })
	c := client(t, outbound.Policy{Allow: []string{front.Listener.Addr().String()}})
	var refused *outbound.RefusedError
	if _, err := get(t, c, front.URL); !errors.As(err, &refused) { //nolint:bodyclose // get closes it
		t.Errorf("got %v, want a refusal", err)
	}
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

func TestLimitBody(t *testing.T) {
	for body, tooLarge := range map[string]bool{"1234": false, "12345": false, "123456": true} {
		resp := &http.Response{Body: io.NopCloser(strings.NewReader(body))}
		outbound.LimitBody(resp, 5)
		b, err := io.ReadAll(resp.Body)
		if errors.Is(err, outbound.ErrTooLarge) != tooLarge {
			t.Errorf("%q: error %v", body, err)
		}
		if want := body[:min(len(body), 5)]; string(b) != want {
			t.Errorf("%q: read %q, want %q", body, b, want)
		}
	}
}
