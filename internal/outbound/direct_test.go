package outbound_test

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stayd/stayd/internal/outbound"
)

// What the operator says is reached without the proxy is connected to from here,
// by the rules for what is.
func TestDirect(t *testing.T) {
	proxy, asked := proxyServer(t)
	direct := []string{"10.0.0.0/8", "192.168.1.1", "8.8.8.8:443", "[fd00::1]", "internal.test.", "*.corp.test", "port.test:81"}
	allow := []string{"10.1.0.0/16", "fd00::/8"}
	for _, tt := range []struct {
		url  string
		addr string // which is connected to; empty: the proxy is asked
	}{
		{"http://10.1.2.3/", "10.1.2.3:80"},
		{"http://0xa010203/", "10.1.2.3:80"},
		{"https://8.8.8.8/", "8.8.8.8:443"},
		{"http://8.8.8.8/", ""},
		{"http://[fd00::1]/", "[fd00::1]:80"},
		{"http://[fd00::2]/", ""},
		{"http://9.9.9.9/", ""},
		{"http://example.test/", ""},
		{"http://corp.test/", ""},
		{"http://port.test/", ""},
	} {
		asked()
		p := outbound.Policy{Proxy: proxy, Direct: direct, Allow: allow, Resolver: noNames}
		if tt.addr != "" {
			_, err := get(t, watched(t, p), tt.url) //nolint:bodyclose // get closes it
			wantReached(t, err, tt.url, tt.addr)
		} else if _, err := get(t, client(t, p), tt.url); err != nil { //nolint:bodyclose // get closes it
			t.Errorf("%s: %v", tt.url, err)
		}
		if got := len(asked()); (got == 0) != (tt.addr != "") {
			t.Errorf("%s: the proxy was asked %d times", tt.url, got)
		}
	}
	// Direct opens nothing: 10.2.0.1 is in it, and not allowed.
	for u, addr := range map[string]string{"http://10.2.0.1/": "10.2.0.1:80", "http://192.168.1.1/": "192.168.1.1:80"} {
		_, err := get(t, client(t, outbound.Policy{Proxy: proxy, Direct: direct, Allow: allow}), u) //nolint:bodyclose // get closes it
		wantRefused(t, err, &spelling{url: u, addr: addr, reason: "private"})
	}
	// A name is looked up here, by which it is seen that the proxy is not.
	for _, u := range []string{"http://internal.test/", "http://INTERNAL.test./", "http://a.internal.test/", "http://a.corp.test/", "http://port.test:81/"} {
		if _, err := get(t, client(t, outbound.Policy{Proxy: proxy, Direct: direct, Resolver: noNames}), u); err == nil { //nolint:bodyclose // get closes it
			t.Errorf("%s was answered", u)
		}
	}
	if got := asked(); len(got) != 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

func TestBadDirect(t *testing.T) {
	proxy, _ := proxyServer(t)
	for direct, says := range map[string]string{
		"":            "it is " + notAHost,
		"10.0.0.0/33": "it is neither a prefix nor a host; leave out the scheme and the path",
		"10.1.2.3/8":  "it is an address within a prefix; write 10.0.0.0/8, if all of that is meant",
		"a b":         "it is " + notAHost,
		"a.test:0":    `the port "0" is not a number from 1 to 65535`,
		"http://a":    "it is neither a prefix nor a host; leave out the scheme and the path",
		"*.":          "it is " + notAHost,
		"*internal":   "a pattern is *.domain, or .domain",
		"a.*.test":    "a pattern is *.domain, or .domain",
		".10.0.0.1":   "an address has no domains below it",
		"10.1":        "it is an old spelling; write 10.0.0.1, if that is meant",
		"0x7f000001":  "it is an old spelling; write 127.0.0.1, if that is meant",
	} {
		_, err := outbound.New(outbound.Policy{Proxy: proxy, Direct: []string{"*", direct}})
		want := `what is reached without the proxy, "` + direct + `": ` + says
		if err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// What is put around the client sees each request that it makes, and what became
// of it.
func TestAround(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			http.Redirect(w, r, "/there", http.StatusFound)
		}
	})
	var seen []string
	around := func(next http.RoundTripper) http.RoundTripper {
		return tripper(func(r *http.Request) (*http.Response, error) {
			resp, err := next.RoundTrip(r)
			var refused *outbound.RefusedError
			switch {
			case errors.As(err, &refused):
				seen = append(seen, r.URL.Path+" refused")
			case err != nil:
				seen = append(seen, r.URL.Path+" failed")
			default:
				seen = append(seen, r.URL.Path+" "+resp.Status)
			}
			return resp, err
		})
	}
	c := client(t, outbound.Policy{Allow: []string{s.Listener.Addr().String()}, Around: around})
	if _, err := get(t, c, s.URL+"/"); err != nil { //nolint:bodyclose // get closes it
		t.Fatal(err)
	}
	get(t, c, "http://127.0.0.2/other") //nolint:bodyclose // it is refused, as is seen below
	if want := []string{"/ 302 Found", "/there 200 OK", "/other refused"}; len(seen) != 3 || seen[0] != want[0] || seen[1] != want[1] || seen[2] != want[2] {
		t.Errorf("seen %q, want %q", seen, want)
	}
}

type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
