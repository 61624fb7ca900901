package egress_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/egress"
	"github.com/stayd/stayd/internal/outbound"
)

// names is a name server. Of the addresses of a name, it answers each question
// with the next, and the last from then on.
type names struct {
	mu    sync.Mutex
	addrs map[string][]string
	asked map[string]int
}

func (n *names) answer(q dnsmessage.Question) (netip.Addr, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := strings.ToLower(q.Name.String())
	all := n.addrs[name]
	if len(all) == 0 {
		return netip.Addr{}, false
	}
	a := netip.MustParseAddr(all[0])
	if (q.Type == dnsmessage.TypeA) != a.Is4() {
		return netip.Addr{}, false
	}
	n.asked[name]++
	if len(all) > 1 {
		n.addrs[name] = all[1:]
	}
	return a, true
}

// resolver starts the name server.
func (n *names) resolver(t *testing.T) *net.Resolver {
	t.Helper()
	n.asked = map[string]int{}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-done })
	go func() {
		defer close(done)
		for b := make([]byte, 4096); ; {
			k, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			if reply := n.reply(b[:k]); reply != nil {
				c.WriteTo(reply, from)
			}
		}
	}()
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", c.LocalAddr().String())
	}}
}

func (n *names) reply(b []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(b) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	m = dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionAvailable: true}, Questions: m.Questions}
	if a, ok := n.answer(q); ok {
		h := dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET}
		if a.Is4() {
			m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AResource{A: a.As4()}}}
		} else {
			m.Answers = []dnsmessage.Resource{{Header: h, Body: &dnsmessage.AAAAResource{AAAA: a.As16()}}}
		}
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// proxy is one that runs, and what it recorded.
type proxy struct {
	*egress.Proxy
	addr    string
	records chan egress.Request
}

func start(t *testing.T, p egress.Policy, o outbound.Policy) *proxy {
	t.Helper()
	if o.DialTimeout == 0 {
		o.DialTimeout = time.Second
	}
	dial, err := outbound.NewDialer(o)
	if err != nil {
		t.Fatal(err)
	}
	return startDial(t, p, dial)
}

func startDial(t *testing.T, p egress.Policy, dial egress.Dial) *proxy {
	t.Helper()
	return startSecrets(t, p, nil, dial)
}

func startSecrets(t *testing.T, p egress.Policy, secrets *environment.Secrets, dial egress.Dial) *proxy {
	t.Helper()
	x := &proxy{records: make(chan egress.Request, 1000)}
	var err error
	if x.Proxy, err = egress.New(p, secrets, dial, func(r egress.Request) { x.records <- r }); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x.addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- x.Serve(l) }()
	t.Cleanup(func() {
		if err := x.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return x
}

func (x *proxy) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", x.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// send sends a request as it is written, and returns the status line and all
// that comes after it until the end.
func (x *proxy) send(t *testing.T, raw string) (status, rest string) {
	t.Helper()
	c := x.dial(t)
	go io.WriteString(c, raw) // the proxy may answer before it has read all of it
	b, err := io.ReadAll(c)
	if err != nil && len(b) == 0 {
		return "", err.Error()
	}
	status, rest, _ = strings.Cut(string(b), "\r\n")
	return status, rest
}

func (x *proxy) client(t *testing.T, trust *x509.Certificate) *http.Client {
	t.Helper()
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: x.addr})}
	if trust != nil {
		pool := x509.NewCertPool()
		pool.AddCert(trust)
		tr.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func server(t *testing.T, h http.HandlerFunc) (s *httptest.Server, port string) {
	t.Helper()
	s = httptest.NewServer(h)
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return s, port
}

// Hosts that no policy lets through to a private address, in all the spellings.
var spellings = []string{
	"127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "2130706433", "0x7f000001", "0x7F000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "127.0x1", "00000177.0.0.1", "127.0.0.1.", "127.000.000.001",
	"0", "0.0.0.0", "00", "0x0", "0x", "10.0.0.1", "10.1", "167772161", "172.16.0.1", "192.168.0.1", "192.168.257", "3232235521",
	"169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518", "169.16689662", "425.510.425.510", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "198.18.0.1",
	"[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::FFFF:169.254.169.254]", "[::ffff:8.8.8.8]", "[fe80::1]", "[fe80::1%25eth0]", "[::1%25lo]", "[fd00:ec2::254]", "[fc00::1]", "[fec0::1]", "[ff02::1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::8.8.8.8]", "[64:ff9b:1::1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:7f00:1::]", "[2001:db8::1]",
	"localhost", "LOCALHOST", "LocalHost.", "private.test", "PRIVATE.test.", "127.0.0.1.nip.test", "metadata.test", "six.test", "mapped.test", "cgnat.test",
	"１２７.０.０.１", "127。0。0。1", "①②⑦.⓪.⓪.①", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "169｡254｡169｡254", "١٢٧.0.0.1", "𝟏𝟐𝟕.𝟎.𝟎.𝟏",
	"%31%32%37.0.0.1", "127%2e0.0.1", "%6cocalhost", "127.0.0.1%00.public.test", "127.0.0.1%2f.public.test", "public.test%40127.0.0.1",
	"user@127.0.0.1", "public.test@127.0.0.1", "user:pass@public.test", "127.0.0.1:80@public.test",
	"1.2.3.4.5", "1.2.3", "256.256.256.256", "public..test", ".public.test", "-public.test", "public.test-", "pub lic.test", "public.test:0", "public.test:99999", "public.test:-1", "public.test:+80", "public.test\\@127.0.0.1", "public.test#@127.0.0.1", "[public.test]", "[127.0.0.1]", "::1", strings.Repeat("a", 64) + ".test", strings.Repeat("a.", 127) + "test",
}

func TestRefusedSpellings(t *testing.T) {
	reached := make(chan string, 100)
	_, port := server(t, func(_ http.ResponseWriter, r *http.Request) { reached <- r.Host })
	n := &names{addrs: map[string][]string{
		"private.test.": {"10.0.0.1"}, "127.0.0.1.nip.test.": {"127.0.0.1"}, "metadata.test.": {"169.254.169.254"}, "six.test.": {"::1"}, "mapped.test.": {"::ffff:127.0.0.1"}, "cgnat.test.": {"100.64.1.1"},
	}}
	x := start(t, egress.Policy{Access: egress.Enabled}, outbound.Policy{Resolver: n.resolver(t)})
	ask := func(raw, name string) {
		t.Helper()
		status, rest := x.send(t, raw)
		if !strings.HasPrefix(status, "HTTP/1.1 4") && !strings.HasPrefix(status, "HTTP/1.1 502 ") {
			t.Errorf("%s: %q %q", name, status, rest)
		}
		// What was found not to exist is no refusal; it was not dialled.
		if strings.HasPrefix(status, "HTTP/1.1 502 ") && !strings.Contains(rest, "could not be reached") {
			t.Errorf("%s: %q %q", name, status, rest)
		}
	}
	for _, h := range spellings {
		with := h
		if !strings.Contains(strings.TrimPrefix(h, "public.test"), ":") || strings.HasSuffix(h, "]") {
			with = h + ":" + port
		}
		ask("GET http://"+with+"/ HTTP/1.1\r\nHost: public.test\r\nConnection: close\r\n\r\n", "GET "+h)
		ask("CONNECT "+with+" HTTP/1.1\r\nHost: public.test\r\n\r\n", "CONNECT "+h)
	}
	select {
	case h := <-reached:
		t.Errorf("a server of this machine was reached as %q", h)
	default:
	}
	for len(x.records) > 0 {
		if r := <-x.records; r.Allowed && !strings.HasPrefix(r.Reason, "unreachable: ") {
			t.Errorf("recorded as allowed: %+v", r)
		}
	}
	if len(spellings) < 100 {
		t.Errorf("%d spellings", len(spellings))
	}
}

// Requests that are not what a proxy takes.
func TestRefusedRequests(t *testing.T) {
	x := start(t, egress.Policy{Access: egress.Restricted, Allowed: []string{"public.test"}}, outbound.Policy{Resolver: (&names{}).resolver(t)})
	for name, c := range map[string]struct{ raw, status, text string }{
		"origin form":     {"GET /x HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "whole URL"},
		"https by GET":    {"GET https://public.test/ HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "CONNECT host:443"},
		"ftp":             {"GET ftp://public.test/ HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "scheme"},
		"file":            {"GET file:///etc/passwd HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "whole URL"},
		"asterisk":        {"OPTIONS * HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "whole URL"},
		"CONNECT bare":    {"CONNECT public.test HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "port is missing"},
		"CONNECT a path":  {"CONNECT public.test:443/x HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "nothing else"},
		"CONNECT slash":   {"CONNECT /x HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "nothing else"},
		"not allowed":     {"GET http://other.test/ HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", `ask_the_operator_to":"add \"other.test\" to the allowed domains`},
		"another port":    {"GET http://public.test:8080/ HTTP/1.1\r\nHost: public.test\r\n\r\n", "403", "not on port 8080"},
		"HTTP/0.9":        {"GET http://public.test/\r\n\r\n", "400", ""},
		"HTTP/2":          {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "", ""},
		"long header":     {"GET http://public.test/ HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", "431", ""},
		"two lengths":     {"POST http://public.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400", ""},
		"odd encoding":    {"POST http://public.test/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n", "501", ""},
		"space in header": {"GET http://public.test/ HTTP/1.1\r\nHost : x\r\n\r\n", "400", ""},
		"two hosts":       {"GET http://public.test/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400", ""},
		"no host":         {"GET http://public.test/ HTTP/1.1\r\n\r\n", "400", ""},
		"TLS to proxy":    {"\x16\x03\x01\x00\x05hello\r\n\r\n", "400", ""},
	} {
		status, rest := x.send(t, strings.Replace(c.raw, "\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))
		if c.status == "" {
			if strings.HasPrefix(status, "HTTP/1.1 2") {
				t.Errorf("%s: %q", name, status)
			}
		} else if !strings.HasPrefix(status, "HTTP/1.1 "+c.status) || !strings.Contains(rest, c.text) {
			t.Errorf("%s: %q %q, want %s and %q", name, status, rest, c.status, c.text)
		}
	}
	// It still answers.
	if status, rest := x.send(t, "CONNECT other.test:443 HTTP/1.1\r\nHost: x\r\n\r\n"); status != "HTTP/1.1 403 Refused by the network policy of the environment: other.test is not among the domains that this environment may reach" {
		t.Errorf("%q %q", status, rest)
	}
}

func TestDomains(t *testing.T) {
	x := start(t, egress.Policy{
		Access:  egress.Restricted,
		Allowed: []string{"Example.TEST.", "*.wild.test", "bücher.test", "ported.test:8443", "93.184.216.34", "[2606:2800::1]:443"},
		Blocked: []string{"bad.wild.test"},
	}, outbound.Policy{Resolver: (&names{}).resolver(t)})
	for target, code := range map[string]string{
		"example.test:443": "", "EXAMPLE.test.:443": "", "example.test:80": "", "a.wild.test:443": "", "a.b.wild.test:443": "", "bücher.test:443": "", "BÜCHER.test:443": "", "xn--bcher-kva.test:443": "", "XN--BCHER-KVA.test:443": "", "ported.test:8443": "",
		"www.example.test:443": "host_not_allowed", "example.test.evil.test:443": "host_not_allowed", "notexample.test:443": "host_not_allowed",
		"wild.test:443": "host_not_allowed", "evilwild.test:443": "host_not_allowed", "bad.wild.test:443": "host_blocked", "BAD.wild.test.:443": "host_blocked",
		"ported.test:443": "port_refused", "example.test:22": "port_refused", "93.184.216.35:443": "host_not_allowed", "[2606:2800::1]:80": "port_refused", "127.0.0.1:443": "host_not_allowed",
	} {
		status, rest := x.send(t, "CONNECT "+target+" HTTP/1.1\r\nHost: x\r\n\r\n")
		switch {
		case code == "" && !strings.HasPrefix(status, "HTTP/1.1 502 "): // allowed, and not found
			t.Errorf("%s: %q", target, status)
		case code != "" && (!strings.HasPrefix(status, "HTTP/1.1 403 ") || !strings.Contains(rest, `"code":"`+code+`"`)):
			t.Errorf("%s: %q %q, want %s", target, status, rest, code)
		}
	}
	open := start(t, egress.Policy{Access: egress.Enabled, Blocked: []string{"bad.test", "*.worse.test", "9.9.9.9"}}, outbound.Policy{Resolver: (&names{}).resolver(t)})
	for target, want := range map[string]string{"good.test:9999": "502", "bad.test:443": "403", "bad.test:8443": "403", "a.worse.test:80": "403", "9.9.9.9:53": "403", "mail.test:25": "403", "mail.test:465": "403", "mail.test:587": "403"} {
		if status, _ := open.send(t, "CONNECT "+target+" HTTP/1.1\r\nHost: x\r\n\r\n"); !strings.HasPrefix(status, "HTTP/1.1 "+want) {
			t.Errorf("%s: %q, want %s", target, status, want)
		}
	}
}

func TestBadPolicy(t *testing.T) {
	for _, p := range []egress.Policy{{}, {Access: "none"}, {Access: egress.Restricted, Allowed: []string{"*"}}, {Access: egress.Restricted, Allowed: []string{"https://a.test"}}, {Access: egress.Restricted, Allowed: []string{"a.*.test"}}, {Access: egress.Restricted, Allowed: []string{"a.test:http"}}, {Access: egress.Restricted, Allowed: []string{"10.0.0.0/8"}}, {Access: egress.Restricted, Allowed: []string{"*.127.0.0.1"}}, {Access: egress.Enabled, Blocked: []string{""}}} {
		if _, err := egress.New(p, nil, nil, nil); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
}

// A name that has another address the second time: the address that was checked
// is the one that is dialled, and each request is checked again.
func TestRebinding(t *testing.T) {
	reached := make(chan struct{}, 10)
	_, port := server(t, func(http.ResponseWriter, *http.Request) { reached <- struct{}{} })
	n := &names{addrs: map[string][]string{"rebind.test.": {"192.0.2.1", "127.0.0.1"}}}
	x := start(t, egress.Policy{Access: egress.Enabled}, outbound.Policy{Resolver: n.resolver(t), DialTimeout: 300 * time.Millisecond})
	for range 3 {
		if status, _ := x.send(t, "GET http://rebind.test:"+port+"/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(status, "HTTP/1.1 403 ") {
			t.Errorf("%q", status)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if times := n.asked["rebind.test."]; times != 3 || len(reached) != 0 {
		t.Errorf("resolved %d times for 3 requests, reached %d times", times, len(reached))
	}
}

func TestForward(t *testing.T) {
	got := make(chan *http.Request, 10)
	bodies := make(chan string, 10)
	s, port := server(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r
		bodies <- string(b)
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.WriteHeader(http.StatusTeapot)
		io.WriteString(w, "an answer")
	})
	x := start(t, egress.Policy{Access: egress.Restricted, Allowed: []string{"127.0.0.1:" + port}}, outbound.Policy{Allow: []string{s.Listener.Addr().String()}})
	raw := "POST http://127.0.0.1:" + port + "/a%2Fb?q=secret;x HTTP/1.1\r\nHost: other.test\r\nProxy-Authorization: Basic c2VjcmV0\r\nProxy-Connection: keep-alive\r\nConnection: close, X-Drop\r\nX-Drop: 1\r\nX-Keep: 1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\nGET http://127.0.0.1:" + port + "/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	status, rest := x.send(t, raw)
	if status != "HTTP/1.1 418 I'm a teapot" || !strings.Contains(rest, "an answer") || strings.Contains(rest, "X-Hop") {
		t.Errorf("%q %q", status, rest)
	}
	r := <-got
	if body := <-bodies; body != "body" || r.Host != "127.0.0.1:"+port || r.RequestURI != "/a%2Fb?q=secret;x" {
		t.Errorf("body %q, host %q, URI %q", body, r.Host, r.RequestURI)
	}
	for _, h := range []string{"Proxy-Authorization", "Proxy-Connection", "X-Drop", "Upgrade", "Http2-Settings", "X-Forwarded-For", "Via", "Content-Length"} {
		if v, ok := r.Header[h]; ok {
			t.Errorf("%s: %q was sent on", h, v)
		}
	}
	if r.Header.Get("X-Keep") != "1" {
		t.Error("a header is gone")
	}
	if len(got) != 0 {
		t.Error("a second request was smuggled in")
	}
	rec := <-x.records
	want := egress.Request{At: rec.At, Method: "POST", Host: "127.0.0.1", Port: rec.Port, Path: "/a%2Fb", Allowed: true, Status: 418, BytesUp: 4, BytesDown: 9, DurationMS: rec.DurationMS}
	if rec != want || strconv.Itoa(int(rec.Port)) != port || time.Since(rec.At) > time.Minute {
		t.Errorf("recorded %+v, want %+v", rec, want)
	}
}

// A redirect is the program's to follow, and what it follows is checked.
func TestRedirect(t *testing.T) {
	s, port := server(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
	})
	x := start(t, egress.Policy{Access: egress.Enabled}, outbound.Policy{Allow: []string{"127.0.0.1:" + port}})
	c := x.client(t, nil)
	c.CheckRedirect = nil
	resp, err := x.get(c, s.URL)
	if err != nil || resp.StatusCode != http.StatusForbidden || !strings.Contains(resp.body, "link-local") {
		t.Errorf("%v, %+v", err, resp)
	}
}

type response struct {
	*http.Response
	body string
}

func (x *proxy) get(c *http.Client, u string) (response, error) {
	resp, err := c.Get(u)
	if err != nil {
		return response{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return response{resp, string(b)}, err
}

// tlsProxy dials a TLS server of this machine for every host.
func tlsProxy(t *testing.T, p egress.Policy) (*proxy, *httptest.Server) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "for "+r.Host) }))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshakes that are refused
	s.StartTLS()
	t.Cleanup(s.Close)
	return startDial(t, p, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}), s
}

func TestTLSTunnel(t *testing.T) {
	x, s := tlsProxy(t, egress.Policy{Access: egress.Restricted, Allowed: []string{"example.com", "*.example.com", "8.8.8.8"}})
	c := x.client(t, s.Certificate()) // it is for example.com
	resp, err := x.get(c, "https://EXAMPLE.com/path")
	if err != nil || resp.body != "for EXAMPLE.com" {
		t.Fatalf("%v, %q", err, resp.body)
	}
	c.CloseIdleConnections()
	rec := <-x.records
	if !rec.Allowed || rec.Method != http.MethodConnect || rec.Host != "example.com" || rec.Port != 443 || rec.Path != "" || rec.Status != 200 || rec.BytesUp < 200 || rec.BytesDown < 500 {
		t.Errorf("recorded %+v", rec)
	}
	for name, sni := range map[string]string{"another host": "evil.test", "a neighbour": "www.example.com", "none": ""} {
		err := x.handshake(t, "example.com:443", sni)
		if err == nil || !strings.Contains(err.Error(), "access denied") {
			t.Errorf("%s: %v", name, err)
		}
		if rec := <-x.records; rec.Allowed || rec.Status != 403 || !strings.HasPrefix(rec.Reason, "sni_mismatch: ") || rec.BytesUp != 0 {
			t.Errorf("%s: recorded %+v", name, rec)
		}
	}
	if err := x.handshake(t, "8.8.8.8:443", ""); err != nil {
		t.Errorf("an address, of which TLS has no name: %v", err)
	}
	<-x.records
	for name, raw := range map[string]string{
		"SSH":  "SSH-2.0-OpenSSH_9.2\r\n",
		"HTTP": "GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n",
		"zero": strings.Repeat("\x00", 64),
		"part": "\x16\x03\x01\x00\x04\x01\x00\x00\x00",
	} {
		for _, port := range []string{"443", "80"} {
			_, rest := x.send(t, "CONNECT example.com:"+port+" HTTP/1.1\r\nHost: x\r\n\r\n"+raw)
			if !strings.Contains(rest, `"code":"not_tls"`) {
				t.Errorf("%s: %q", name, rest)
			}
			if rec := <-x.records; rec.Allowed || rec.Status != 403 || !strings.HasPrefix(rec.Reason, "not_tls: ") {
				t.Errorf("%s: recorded %+v", name, rec)
			}
		}
	}
	// It still works.
	if resp, err := x.get(c, "https://example.com/"); err != nil || resp.body != "for example.com" {
		t.Errorf("%v, %q", err, resp.body)
	}
}

// handshake does TLS with a name through a tunnel.
func (x *proxy) handshake(t *testing.T, to, sni string) error {
	t.Helper()
	c := x.dial(t)
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", to)
	r := bufio.NewReader(c)
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 200 Connection established\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	tc := tls.Client(c, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
	defer tc.Close()
	return tc.Handshake()
}

// On a port that is allowed by its number, a tunnel may be anything, and each way
// ends by itself.
func TestRawTunnel(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		b, _ := io.ReadAll(c)
		fmt.Fprintf(c, "got %s", b)
	}()
	x := start(t, egress.Policy{Access: egress.Restricted, Allowed: []string{l.Addr().String()}}, outbound.Policy{Allow: []string{"127.0.0.0/8"}})
	c := x.dial(t)
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\nearly ", l.Addr())
	io.WriteString(c, "and late")
	c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil || string(b) != "HTTP/1.1 200 Connection established\r\n\r\ngot early and late" {
		t.Errorf("%v, %q", err, b)
	}
	if rec := <-x.records; rec.BytesUp != 14 || rec.BytesDown != 18 || !rec.Allowed {
		t.Errorf("recorded %+v", rec)
	}
}

// Of many connections, 64 are served at once; the rest come after.
func TestConnections(t *testing.T) {
	arrived, release := make(chan struct{}, 200), make(chan struct{})
	_, port := server(t, func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release })
	x := start(t, egress.Policy{Access: egress.Enabled}, outbound.Policy{Allow: []string{"127.0.0.1"}})
	var wg sync.WaitGroup
	for range 80 {
		wg.Go(func() {
			if status, _ := x.send(t, "GET http://127.0.0.1:"+port+"/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); status != "HTTP/1.1 200 OK" {
				t.Errorf("%q", status)
			}
		})
	}
	for range 64 {
		<-arrived
	}
	if n := len(arrived); n != 0 {
		t.Errorf("%d more than 64 are served", n)
	}
	close(release)
	wg.Wait()
	if n := len(x.records); n != 80 {
		t.Errorf("%d were recorded", n)
	}
}

// Close ends what is under way, and all of it is recorded.
func TestClose(t *testing.T) {
	arrived := make(chan struct{}, 2)
	_, port := server(t, func(_ http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-r.Context().Done() })
	x := start(t, egress.Policy{Access: egress.Enabled}, outbound.Policy{Allow: []string{"127.0.0.1"}})
	a, b := x.dial(t), x.dial(t)
	fmt.Fprintf(a, "GET http://127.0.0.1:%s/ HTTP/1.1\r\nHost: x\r\n\r\n", port)
	fmt.Fprintf(b, "CONNECT 127.0.0.1:%s HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", port)
	<-arrived
	<-arrived
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	if n := len(x.records); n != 2 {
		t.Errorf("%d were recorded", n)
	}
	for _, c := range []net.Conn{a, b} {
		if _, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Error(err)
		}
	}
}
