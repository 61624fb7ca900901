package outbound_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/outbound"
)

const notAHost = "neither a name nor an address; write an address like 192.0.2.1 or [2001:db8::1]"

var (
	label63 = strings.Repeat("a", 63)
	name254 = strings.Repeat(label63+".", 3) + strings.Repeat("a", 62)
)

// All tests run with proxies in the environment, which nothing may use.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:9"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// reached is the error in place of a connection.
type reached struct{ addr netip.AddrPort }

func (r *reached) Error() string { return "would connect to " + r.addr.String() }

// watched returns a client that connects to nothing but to the addresses given.
func watched(t *testing.T, p outbound.Policy, connect ...string) *http.Client {
	t.Helper()
	return client(t, outbound.Watch(p, func(addr string) error {
		for _, c := range connect {
			if addr == c {
				return nil
			}
		}
		a, err := netip.ParseAddrPort(addr)
		if err != nil {
			return err
		}
		return &reached{netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port())}
	}))
}

// wantRefused checks that the error is a refusal, and says what to do.
func wantRefused(t *testing.T, err error, s *spelling) {
	t.Helper()
	var refused *outbound.RefusedError
	if !errors.As(err, &refused) {
		t.Errorf("%s: got %v, want a refusal", s.url, err)
		return
	}
	if refused.Addr.String() != s.addr || refused.Reason != s.reason {
		t.Errorf("%s: refused as %s, %s; want %s, %s", s.url, refused.Addr, refused.Reason, s.addr, s.reason)
	}
	if text := err.Error(); !strings.Contains(text, s.reason) || !strings.HasSuffix(text, "allow-outbound "+s.addr) {
		t.Errorf("%s: the error does not say what it is and how to allow it: %s", s.url, text)
	}
}

func wantReached(t *testing.T, err error, url, addr string) {
	t.Helper()
	var r *reached
	if !errors.As(err, &r) || r.addr.String() != addr {
		t.Errorf("%s: got %v, want a connection to %s", url, err, addr)
	}
}

// ranges are those of the table, each once.
func ranges() []string {
	var list []string
	seen := map[string]bool{}
	for _, s := range spellings {
		if !seen[s.allow] {
			seen[s.allow] = true
			list = append(list, s.allow)
		}
	}
	return list
}

func without(list []string, s string) []string {
	var rest []string
	for _, l := range list {
		if l != s {
			rest = append(rest, l)
		}
	}
	return rest
}

func TestSpellings(t *testing.T) {
	none := watched(t, outbound.Policy{})
	others, own := map[string]*http.Client{}, map[string]*http.Client{}
	for _, r := range ranges() {
		others[r] = watched(t, outbound.Policy{Allow: without(ranges(), r)})
		own[r] = watched(t, outbound.Policy{Allow: []string{r}})
	}
	for _, s := range spellings {
		_, err := get(t, none, s.url) //nolint:bodyclose // get closes it
		wantRefused(t, err, &s)
		_, err = get(t, others[s.allow], s.url) //nolint:bodyclose // get closes it
		wantRefused(t, err, &s)
		_, err = get(t, own[s.allow], s.url) //nolint:bodyclose // get closes it
		wantReached(t, err, s.url, s.addr)
		// What the error says to allow is enough.
		_, err = get(t, watched(t, outbound.Policy{Allow: []string{s.addr}}), s.url) //nolint:bodyclose // get closes it
		wantReached(t, err, s.url, s.addr)
	}
}

func TestPublicAddressesPass(t *testing.T) {
	c := watched(t, outbound.Policy{})
	for u, addr := range publics {
		_, err := get(t, c, u) //nolint:bodyclose // get closes it
		wantReached(t, err, u, addr)
	}
}

// Nothing makes a host of what is none: not even that all addresses are allowed.
func TestNonHosts(t *testing.T) {
	all := []string{"0.0.0.0/0", "::/0"}
	proxy, asked := proxyServer(t)
	for name, c := range map[string]*http.Client{
		"direct":  watched(t, outbound.Policy{Allow: all}),
		"proxied": client(t, outbound.Policy{Allow: all, Proxy: proxy}),
	} {
		for u, reason := range nonHosts {
			_, err := get(t, c, u) //nolint:bodyclose // get closes it
			var refused *outbound.RefusedError
			if !errors.As(err, &refused) || refused.Reason != reason || refused.Addr.IsValid() {
				t.Errorf("%s: %s: got %v, want %s", name, u, err, reason)
				continue
			}
			if text := refused.Error(); len(text) > 300 || !strings.HasSuffix(text, "is not reached: it is "+reason) {
				t.Errorf("%s: %s: the error is %q", name, u, text)
			}
		}
	}
	if got := asked(); len(got) != 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// redirector redirects to the query's "to", with the status in its path.
func redirector(t *testing.T) *httptest.Server {
	return server(t, func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.URL.Path[1:])
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Location", r.URL.Query().Get("to"))
		w.WriteHeader(code)
	})
}

var redirectCodes = []string{"301", "302", "303", "307", "308"}

func TestRedirectsToSpellings(t *testing.T) {
	front := redirector(t)
	own := front.Listener.Addr().String()
	c := watched(t, outbound.Policy{Allow: []string{own}}, own)
	for _, code := range redirectCodes {
		to := func(u string) error {
			_, err := get(t, c, front.URL+"/"+code+"?to="+url.QueryEscape(u)) //nolint:bodyclose // get closes it
			return err
		}
		for _, s := range spellings {
			wantRefused(t, to(s.url), &s)
		}
		for u, addr := range publics {
			wantReached(t, to(u), u, addr)
		}
		// A scheme may be left out.
		wantRefused(t, to("//169.254.169.254/"), &spelling{"//169.254.169.254/", "169.254.169.254:80", "link-local", ""})
	}
}

// oddities are no URLs of http, or none at all. Each would reach a listener of
// the test if it were understood.
var oddities = []string{
	"file:///etc/passwd", "gopher://HERE/_x", "ftp://HERE/", "dict://HERE/", "ldap://HERE/", "ws://HERE/", "tftp://HERE/",
	"unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "jar:http://HERE!/", "data:text/plain,x",
	"javascript:fetch('http://HERE')", "view-source:http://HERE/", "about:blank", "h2c://HERE/", "socks5://HERE/",
	"http:///HERE/", "http://8.8.8.8\\@HERE/", "http://[HERE]/", "http://HERE%00.example.com/", "http://HERE\t/", "http://%31%32%37.0.0.1/",
	"http://127%2e0%2e0%2e1/", "http://[::1/", "http://HERE:http/", "http://[::ffff:0177.0.0.1]/", "http://[::ffff:127.1]/",
}

func TestOddURLs(t *testing.T) {
	inside := server(t, func(http.ResponseWriter, *http.Request) { t.Error("the server inside was reached") })
	front := redirector(t)
	c := client(t, outbound.Policy{Allow: []string{"127.0.0.0/8"}})
	for _, odd := range oddities {
		u := strings.ReplaceAll(odd, "HERE", inside.Listener.Addr().String())
		if _, err := c.Get(u); err == nil { //nolint:bodyclose // there is none
			t.Errorf("%s was answered", u)
		}
		for _, code := range redirectCodes {
			if _, err := get(t, c, front.URL+"/"+code+"?to="+url.QueryEscape(u)); err == nil { //nolint:bodyclose // get closes it
				t.Errorf("%s: a redirect to %s was answered", code, u)
			}
		}
	}
}

func TestConnectIsRefused(t *testing.T) {
	proxy, asked := proxyServer(t)
	for _, p := range []outbound.Policy{{}, {Proxy: proxy}} {
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodConnect, "http://127.0.0.1:22", nil)
		_, err := client(t, p).Do(req) //nolint:bodyclose // there is none
		var refused *outbound.RefusedError
		if !errors.As(err, &refused) {
			t.Errorf("got %v, want a refusal", err)
		}
	}
	if got := asked(); len(got) != 0 {
		t.Errorf("the proxy was asked for %q", got)
	}
}

// proxyServer returns a proxy, and what it has been asked for since the last call.
func proxyServer(t *testing.T) (at *url.URL, asked func() []string) {
	t.Helper()
	var mu sync.Mutex
	var list []string
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.Method == http.MethodConnect {
			list = append(list, "CONNECT "+r.Host)
			w.WriteHeader(http.StatusForbidden)
			return
		}
		list = append(list, r.URL.String())
		w.Write([]byte("through the proxy"))
	})
	at, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return at, func() []string {
		mu.Lock()
		defer mu.Unlock()
		got := list
		list = nil
		return got
	}
}
