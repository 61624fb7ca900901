package outbound_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/outbound"
)

// plainURL returns the URL as a proxy is to be asked for it.
func plainURL(t *testing.T, spelled, addr string) string {
	t.Helper()
	u, err := url.Parse(spelled)
	if err != nil {
		t.Fatal(err)
	}
	u.User, u.Fragment, u.Host = nil, "", addr
	if u.Path == "" {
		u.Path = "/"
	}
	if u.Port() == "80" {
		host, _, _ := net.SplitHostPort(addr)
		if u.Host = host; net.ParseIP(host).To4() == nil {
			u.Host = "[" + host + "]"
		}
	}
	return u.String()
}

// Behind a proxy the client does not resolve names. It refuses what a URL spells
// out, and what it lets pass it writes so that the proxy cannot read another
// address out of it. Loopback is this machine's, and not the proxy's.
func TestSpellingsBehindProxy(t *testing.T) {
	proxy, asked := proxyServer(t)
	none := client(t, outbound.Policy{Proxy: proxy})
	for _, s := range spellings {
		_, err := get(t, none, s.url) //nolint:bodyclose // get closes it
		wantRefused(t, err, &s)
		_, err = get(t, client(t, outbound.Policy{Proxy: proxy, Allow: without(ranges(), s.allow)}), s.url) //nolint:bodyclose // get closes it
		wantRefused(t, err, &s)
	}
	if got := asked(); len(got) != 0 {
		t.Fatalf("the proxy was asked for %q", got)
	}
	passes := func(c *http.Client, u, addr string) {
		resp, err := get(t, c, u) //nolint:bodyclose // get closes it
		want := plainURL(t, u, addr)
		if want[:6] == "https:" {
			want = "CONNECT " + addr
		} else if err != nil {
			t.Errorf("%s: %v", u, err)
		} else if b, _ := io.ReadAll(resp.Body); string(b) != "through the proxy" {
			t.Errorf("%s: the body is %q", u, b)
		}
		got := asked()
		for i := range got {
			got[i] = withoutPort80(t, got[i])
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: the proxy was asked for %q, want %s", u, got, want)
		}
	}
	for _, s := range spellings {
		p := outbound.Policy{Proxy: proxy, Allow: []string{s.allow}}
		if netip.MustParseAddrPort(s.addr).Addr().IsLoopback() {
			_, err := get(t, watched(t, p), s.url) //nolint:bodyclose // get closes it
			wantReached(t, err, s.url, s.addr)
			continue
		}
		passes(client(t, p), s.url, s.addr)
	}
	if got := asked(); len(got) != 0 {
		t.Errorf("the proxy was asked for loopback addresses: %q", got)
	}
	for u, addr := range publics {
		passes(none, u, addr)
	}
	passes(none, "http://example.com/x?y=z", "example.com")
	passes(none, "https://example.com/", "example.com:443")
}

func withoutPort80(t *testing.T, s string) string {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Port() == "" {
		return s
	}
	if p := u.Port(); p == "80" || p == "00080" {
		u.Host = u.Host[:len(u.Host)-len(p)-1]
	}
	return u.String()
}

func TestLocalNamesBehindProxy(t *testing.T) {
	proxy, asked := proxyServer(t)
	for _, host := range []string{"localhost", "LOCALHOST", "localhost.", "a.localhost", "\u24db\u24de\u24d2\u24d0\u24db\u24d7\u24de\u24e2\u24e3", "loc\u00adalhost"} {
		_, err := get(t, client(t, outbound.Policy{Proxy: proxy}), "http://"+host+"/") //nolint:bodyclose // get closes it
		wantRefused(t, err, &spelling{url: host, addr: "127.0.0.1:80", reason: "loopback"})
	}
	_, err := get(t, watched(t, outbound.Policy{Proxy: proxy, Allow: []string{"localhost:80"}}), "http://LocalHost/") //nolint:bodyclose // get closes it
	wantReached(t, err, "http://LocalHost/", "127.0.0.1:80")
	if got := asked(); len(got) != 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// A proxy is asked for what the Host header and the request's target say. They
// cannot be made to say another host than the one that was checked.
func TestNothingHidesTheHostFromTheProxy(t *testing.T) {
	proxy, asked := proxyServer(t)
	c := client(t, outbound.Policy{Proxy: proxy})
	for name, change := range map[string]func(*http.Request){
		"Host header":  func(r *http.Request) { r.Host = "169.254.169.254" },
		"opaque URL":   func(r *http.Request) { r.URL.Opaque = "http://169.254.169.254/" },
		"opaque path":  func(r *http.Request) { r.URL.Opaque = "//169.254.169.254/" },
		"method":       func(r *http.Request) { r.Method = http.MethodConnect },
		"Host in path": func(r *http.Request) { r.Host, r.URL.Path = "169.254.169.254:80", "//8.8.8.8/" },
	} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://example.com/", nil)
		change(req)
		_, err := c.Do(req) //nolint:bodyclose // there is none
		var refused *outbound.RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	if got := asked(); len(got) != 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// That the proxy may be anywhere does not open its address to requests.
func TestProxyIsNoTarget(t *testing.T) {
	proxy, asked := proxyServer(t)
	_, err := get(t, client(t, outbound.Policy{Proxy: proxy}), proxy.String()) //nolint:bodyclose // get closes it
	wantRefused(t, err, &spelling{url: proxy.String(), addr: proxy.Host, reason: "loopback"})
	if got := asked(); len(got) != 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

func TestProxySchemes(t *testing.T) {
	for proxy, addr := range map[string]string{
		"http://10.0.0.9":       "10.0.0.9:80",
		"http://10.0.0.9:3128":  "10.0.0.9:3128",
		"https://10.0.0.9":      "10.0.0.9:443",
		"socks5://10.0.0.9":     "10.0.0.9:1080",
		"socks5h://[fd00::9]":   "[fd00::9]:1080",
		"socks5://u:p@10.0.0.9": "10.0.0.9:1080",
	} {
		u, err := url.Parse(proxy)
		if err != nil {
			t.Fatal(err)
		}
		_, err = get(t, watched(t, outbound.Policy{Proxy: u}), "http://example.com/") //nolint:bodyclose // get closes it
		wantReached(t, err, proxy, addr)
	}
	for proxy, says := range map[string]string{
		"ftp://proxy.test":      `proxy ftp://proxy.test: the scheme is "ftp"; it may be http, https, socks5 or socks5h`,
		"//proxy.test":          `proxy //proxy.test: the scheme is ""; it may be http, https, socks5 or socks5h`,
		"http://":               `proxy http:: allowed address ":80": it is ` + notAHost,
		"http://u:secret@127.1": `proxy http://127.1: allowed address "127.1:80": it is an old spelling; write 127.0.0.1, if that is meant`,
	} {
		u, err := url.Parse(proxy)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := outbound.New(outbound.Policy{Proxy: u}); err == nil || err.Error() != says {
			t.Errorf("%s: got %v, want %s", proxy, err, says)
		}
		if _, err := outbound.NewDialer(outbound.Policy{Proxy: u}); err == nil || err.Error() != says {
			t.Errorf("%s: the dialer says %v, want %s", proxy, err, says)
		}
	}
}

// See TestMain.
func TestEnvironmentProxyIsIgnored(t *testing.T) {
	for u, addr := range map[string]string{"http://8.8.8.8/": "8.8.8.8:80", "https://8.8.8.8/": "8.8.8.8:443"} {
		_, err := get(t, watched(t, outbound.Policy{}), u) //nolint:bodyclose // get closes it
		wantReached(t, err, u, addr)
	}
}

// Of a text that is far too long for a name, what it comes to is not computed.
func TestLongHostBehindProxy(t *testing.T) {
	proxy, asked := proxyServer(t)
	_, err := get(t, client(t, outbound.Policy{Proxy: proxy}), "http://"+strings.Repeat("\u00ad", 600)+"8.8.8.8/") //nolint:bodyclose // get closes it
	var refused *outbound.RefusedError
	if !errors.As(err, &refused) || refused.Reason != "longer than a name may be" {
		t.Errorf("got %v, want a refusal", err)
	}
	if got := asked(); len(got) != 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}
