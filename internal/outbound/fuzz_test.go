package outbound_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/outbound"
)

// noNames is a resolver that finds nothing but what the machine's file of hosts
// has.
var noNames = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("there are no names in this test")
}}

// isPublic says by the table of spellings what New says by its own.
func isPublic(a netip.Addr) bool {
	if netip.MustParsePrefix("64:ff9b::/96").Contains(a) {
		b := a.As16()
		return isPublic(netip.AddrFrom4([4]byte(b[12:])))
	}
	for _, r := range ranges() {
		if netip.MustParsePrefix(r).Contains(a) {
			return false
		}
	}
	return a.Is4() || netip.MustParsePrefix("2000::/3").Contains(a)
}

// FuzzHost checks that no text in a URL's place of the host leads to an address
// that is not public, nor has a proxy asked for one.
func FuzzHost(f *testing.F) {
	for _, s := range spellings {
		if u, err := url.Parse(s.url); err == nil {
			f.Add(u.Host)
		}
	}
	for s := range publics {
		f.Add(strings.TrimSuffix(strings.TrimPrefix(s, "http://"), "/"))
	}
	for _, s := range []string{"example.com", "localhost.", "[::1%25lo]:80", "a@b", "127.0.0.1:80:80", "[::]:0", "0x7f.1#", "\u3002", "[" + name254 + "]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, host string) {
		direct := watched(t, outbound.Policy{Resolver: noNames})
		proxy, asked := proxyServer(t)
		proxied := client(t, outbound.Policy{Proxy: proxy})
		urls := []*url.URL{{Scheme: "http", Host: host, Path: "/"}}
		if u, err := url.Parse("http://" + host + "/"); err == nil {
			urls = append(urls, u)
		}
		for _, u := range urls {
			req := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(t.Context())
			_, err := direct.Do(req) //nolint:bodyclose // nothing is connected to
			var r *reached
			if errors.As(err, &r) && !isPublic(r.addr.Addr()) {
				t.Errorf("%q leads to %s", u, r.addr)
			}
			if resp, err := proxied.Do(req); err == nil {
				resp.Body.Close()
			}
		}
		for _, s := range asked() {
			wantHarmless(t, host, s)
		}
	})
}

// wantHarmless checks that what a proxy was asked for is a name, or a public
// address in the one form that nothing reads differently.
func wantHarmless(t *testing.T, host, asked string) {
	t.Helper()
	u, err := url.Parse(asked)
	if err != nil {
		t.Errorf("%q: the proxy was asked for %q: %v", host, asked, err)
		return
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil {
		if !isPublic(a) || a.String() != u.Hostname() {
			t.Errorf("%q: the proxy was asked for %s", host, a)
		}
		return
	}
	name := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
	last := name[strings.LastIndexByte(name, '.')+1:]
	if last == "" || last == "localhost" || strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") && strings.Trim(last[2:], "0123456789abcdef") == "" {
		t.Errorf("%q: the proxy was asked for %q", host, u.Hostname())
	}
}

// FuzzAllow checks that an entry allows nothing but what it says.
func FuzzAllow(f *testing.F) {
	for _, s := range []string{
		"10.0.0.0/8", "10.0.0.1", "10.0.0.1:80", "[::1]:80", "::1", "[::1]", "::/0", "0.0.0.0/0", "localhost", "localhost:80", "::ffff:10.0.0.1",
		"::ffff:10.0.0.0/104", "fe80::1%eth0", "127.1", "0x7f000001:80", "*.internal", "http://10.0.0.1", "10.0.0.1/8", "b\u00fccher.test:443", "",
	} {
		f.Add(s, []byte{10, 0, 0, 1}, uint16(80))
		f.Add(s, []byte{15: 1}, uint16(80))
	}
	f.Fuzz(func(t *testing.T, allow string, raw []byte, port uint16) {
		a, ok := netip.AddrFromSlice(raw)
		if !ok || port == 0 {
			return
		}
		target := netip.AddrPortFrom(a.Unmap(), port)
		p := outbound.Policy{Allow: []string{allow}, Resolver: noNames}
		if _, err := outbound.New(p); err != nil {
			if !strings.HasPrefix(err.Error(), "allowed address ") || strings.HasSuffix(err.Error(), ": ") {
				t.Errorf("%q: the error is %q", allow, err)
			}
			return
		}
		_, err := get(t, watched(t, p), "http://"+target.String()+"/") //nolint:bodyclose // get closes it
		want := isPublic(target.Addr()) || covers(allow, target)
		var r *reached
		if got := errors.As(err, &r); got != want {
			t.Errorf("%q, asked for %s: reached %v (%v), want %v", allow, target, got, err, want)
		}
		if r != nil && r.addr != target {
			t.Errorf("%q, asked for %s: reached %s", allow, target, r.addr)
		}
	})
}

// covers reports whether an entry that was taken names the target.
func covers(allow string, target netip.AddrPort) bool {
	if p, err := netip.ParsePrefix(allow); err == nil {
		return p.Contains(target.Addr())
	}
	if ap, err := netip.ParseAddrPort(allow); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()) == target
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(allow, "["), "]"))
	return err == nil && a.Unmap() == target.Addr()
}
