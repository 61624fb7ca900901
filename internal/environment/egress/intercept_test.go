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
	"net/url"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/egress"
	"github.com/stayd/stayd/internal/outbound"
)

// A host to which no secret may be sent is seen by the program itself, and its
// tunnel is recorded as one.
func TestOtherTunnelsAreLeftAlone(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Restricted, Allowed: []string{"example.com", "other.test"}}, secret("TOKEN", canary, "other.test"))
	tr := g.transport(t)
	tr.TLSClientConfig.RootCAs, tr.TLSClientConfig.InsecureSkipVerify = nil, true
	c := &http.Client{Transport: tr}
	p := g.Variables()["TOKEN"]
	resp := g.do(t, c, http.MethodGet, "https://example.com/", "", "X-Key", p)
	if issuer := resp.TLS.PeerCertificates[0].Issuer.String(); strings.Contains(issuer, "Stayd") || resp.body != "answered" {
		t.Errorf("the certificate is of %s, the answer %s", issuer, resp.body)
	}
	if s := <-g.seen; s.Header.Get("X-Key") != p {
		t.Errorf("the server got %q", s.Header.Get("X-Key"))
	}
	c.CloseIdleConnections()
	if rec := <-g.records; rec.Method != http.MethodConnect || rec.Path != "" || rec.BytesDown == 0 {
		t.Errorf("recorded %+v", rec)
	}
	// Without secrets there is nothing to trust, and no variable.
	plain := startDial(t, egress.Policy{Access: egress.Enabled}, nil)
	if plain.Variables() != nil || plain.Certificates() != nil {
		t.Error("an environment without secrets has variables or certificates of its own")
	}
}

// HTTP/2 is spoken with both sides.
func TestHTTP2(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", canary))
	tr := g.transport(t)
	tr.ForceAttemptHTTP2 = true
	c := &http.Client{Transport: tr}
	for range 3 {
		resp := g.do(t, c, http.MethodPost, "https://example.com/x", `{"a":"`+g.Variables()["TOKEN"]+`"}`, "X-Key", g.Variables()["TOKEN"])
		if s := <-g.seen; resp.ProtoMajor != 2 || s.ProtoMajor != 2 || s.Header.Get("X-Key") != canary || s.ContentLength != int64(len(s.body)) || !strings.Contains(s.body, canary) {
			t.Errorf("%s to the proxy, %s to the server, which got %q and %q", resp.Proto, s.Proto, s.Header.Get("X-Key"), s.body)
		}
		if rec := <-g.records; rec.Path != "/x" || rec.Status != 200 {
			t.Errorf("recorded %+v", rec)
		}
	}
}

// After the change to another protocol all is passed on as it is.
func TestWebSocket(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", canary))
	p := g.Variables()["TOKEN"]
	g.answer = func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Echo: %s\r\n\r\n", r.Header.Get("X-Key"))
		rw.Flush()
		line, _ := rw.ReadString('\n')
		io.WriteString(conn, "got "+line)
	}
	c := g.handshaken(t, "example.com:443", "example.com")
	fmt.Fprintf(c, "GET /socket HTTP/1.1\r\nHost: example.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Key: %s\r\n\r\n", p)
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("X-Echo") != p {
		t.Fatalf("%+v, %v", resp, err)
	}
	defer resp.Body.Close()
	fmt.Fprintf(c, "a frame with %s\n", p)
	if line, err := in.ReadString('\n'); err != nil || line != "got a frame with "+p+"\n" {
		t.Errorf("%q, %v", line, err)
	}
	c.Close()
	if s := <-g.seen; s.Header.Get("X-Key") != canary {
		t.Errorf("the server got %q", s.Header.Get("X-Key"))
	}
	if rec := <-g.records; rec.Path != "/socket" || rec.Status != 101 || rec.BytesUp == 0 || rec.BytesDown == 0 {
		t.Errorf("recorded %+v", rec)
	}
}

// Where a tunnel may be anything it is opened where the program begins with TLS
// for the host, and else left alone.
func TestTunnelsThatMayBeAnything(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	first, second := "hello, who are you?\n", "I am TOKEN\n"
	go func() { // speaks first, and then says what it heard
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				in := bufio.NewReader(c)
				if b, err := in.Peek(1); err == nil && b[0] == 'I' {
					io.WriteString(c, "it began\n")
				}
				line, _ := in.ReadString('\n')
				io.WriteString(c, line)
			}()
		}
	}()
	greeting, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer greeting.Close()
	go func() {
		c, err := greeting.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		io.WriteString(c, first)
		line, _ := bufio.NewReader(c).ReadString('\n')
		io.WriteString(c, line)
	}()
	secrets := []environment.Secret{secret("TOKEN", canary)}
	k := &keeper{all: secrets}
	x := startSecrets(t, egress.Policy{Access: egress.Enabled}, &environment.Secrets{Given: secrets, Now: k.now}, func(ctx context.Context, network, addr string) (net.Conn, error) {
		to := l.Addr().String()
		if strings.HasPrefix(addr, "greets") {
			to = greeting.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	})
	said := strings.ReplaceAll(second, "TOKEN", x.Variables()["TOKEN"])
	for host, want := range map[string]string{"greets.test:21": first + said, "waits.test:22": "it began\n" + said, "waits.test:443": "it began\n" + said} {
		c := x.dial(t)
		fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", host)
		in := bufio.NewReader(c)
		in.ReadString('\n')
		in.ReadString('\n')
		got := ""
		if strings.HasPrefix(host, "greets") {
			got, _ = in.ReadString('\n')
		}
		io.WriteString(c, said)
		rest, err := io.ReadAll(in)
		if got += string(rest); err != nil || got != want {
			t.Errorf("%s: %q, %v, want %q", host, got, err, want)
		}
		if rec := <-x.records; rec.Method != http.MethodConnect || !rec.Allowed || rec.BytesUp != int64(len(said)) || rec.BytesDown != int64(len(want)) {
			t.Errorf("%s: recorded %+v", host, rec)
		}
	}
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secrets...)
	c := g.handshaken(t, "example.com:9443", "example.com")
	fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: example.com\r\nX-Key: %s\r\nConnection: close\r\n\r\n", g.Variables()["TOKEN"])
	if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "answered") {
		t.Errorf("%q, %v", b, err)
	}
	if s := <-g.seen; s.Header.Get("X-Key") != canary || s.Host != "example.com:9443" {
		t.Errorf("the server of %s got %q", s.Host, s.Header.Get("X-Key"))
	}
}

// What no program may reach is not reached by a tunnel that is opened, whether
// there is TLS in it or not.
func TestOpenedTunnelsReachNoPrivateAddress(t *testing.T) {
	dial, err := outbound.NewDialer(outbound.Policy{})
	if err != nil {
		t.Fatal(err)
	}
	secrets := []environment.Secret{secret("TOKEN", canary)}
	k := &keeper{all: secrets}
	g := &guarded{keeper: k}
	g.proxy = startSecrets(t, egress.Policy{Access: egress.Enabled}, &environment.Secrets{Given: secrets, Now: k.now}, dial)
	resp := g.do(t, g.program(t), http.MethodGet, "https://127.0.0.1/", "", "X-Key", g.Variables()["TOKEN"])
	if resp.StatusCode != http.StatusForbidden || !strings.Contains(resp.body, "loopback") {
		t.Errorf("%d %s", resp.StatusCode, resp.body)
	}
	if _, rest := g.send(t, "CONNECT 127.0.0.1:443 HTTP/1.1\r\nHost: x\r\n\r\nSSH-2.0-x\r\n"); rest != "\r\n" {
		t.Errorf("without TLS: %q", rest)
	}
	for range 2 {
		if rec := <-g.records; rec.Allowed || rec.Status != 403 || !strings.HasPrefix(rec.Reason, "address_refused: ") {
			t.Errorf("recorded %+v", rec)
		}
	}
}

// A server that is not who it says gets nothing, and a program that does not trust
// the environment's certificates is recorded.
func TestCertificates(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Restricted, Allowed: []string{"example.com", "8.8.8.8", "wrong.test"}}, secret("TOKEN", canary))
	resp := g.do(t, g.program(t), http.MethodGet, "https://wrong.test/", "", "X-Key", g.Variables()["TOKEN"])
	if resp.StatusCode != http.StatusBadGateway || !strings.Contains(resp.body, "its certificate could not be verified: x509: certificate is valid for example.com") {
		t.Errorf("%d %s", resp.StatusCode, resp.body)
	}
	if rec := <-g.records; !strings.HasPrefix(rec.Reason, "unreachable: ") || rec.Status != 502 || len(g.seen) > 0 {
		t.Errorf("recorded %+v", rec)
	}
	if err := g.distrust(t); err == nil {
		t.Error("a program trusts a certificate that it knows nothing of")
	}
	if rec := <-g.records; rec.Method != http.MethodConnect || !strings.Contains(rec.Reason, "does the program trust the certificates in SSL_CERT_FILE?") {
		t.Errorf("recorded %+v", rec)
	}
	c := g.handshaken(t, "8.8.8.8:443", "8.8.8.8")
	leaf := c.ConnectionState().PeerCertificates[0]
	if err := leaf.VerifyHostname("8.8.8.8"); err != nil || leaf.IsCA {
		t.Errorf("the certificate of an address: %v", err)
	}
	if err := leaf.VerifyHostname("example.com"); err == nil {
		t.Error("the certificate is for another host, too")
	}
}

func (g *guarded) distrust(t *testing.T) error {
	t.Helper()
	c := g.dial(t)
	io.WriteString(c, "CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n")
	io.ReadFull(c, make([]byte, len("HTTP/1.1 200 Connection established\r\n\r\n")))
	secure := tls.Client(c, &tls.Config{ServerName: "example.com", RootCAs: x509.NewCertPool()})
	defer secure.Close()
	return secure.HandshakeContext(t.Context())
}

// Close ends what goes on in a tunnel that is opened.
func TestCloseOfAnOpenedTunnel(t *testing.T) {
	arrived := make(chan struct{}, 1)
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", canary))
	g.answer = func(_ http.ResponseWriter, r *http.Request) { arrived <- struct{}{}; <-r.Context().Done() }
	idle, busy := g.handshaken(t, "example.com:443", "example.com"), g.handshaken(t, "example.com:443", "example.com")
	io.WriteString(busy, "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
	<-arrived
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{idle, busy} {
		if b, err := io.ReadAll(c); strings.Contains(string(b), "200 OK") {
			t.Errorf("%q, %v", b, err)
		}
	}
	if len(g.records) != 2 {
		t.Errorf("%d are recorded", len(g.records))
	}
}

func BenchmarkProxy(b *testing.B) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		w.Write(make([]byte, max(n, 1000)))
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	b.Cleanup(s.Close)
	b.Setenv("SSL_CERT_FILE", certificateFile(b, s))
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, s.Listener.Addr().String())
	}
	for _, how := range []struct {
		name  string
		hosts string // to which the secret may be sent
	}{{"untouched", "other.test"}, {"opened", "example.com"}} {
		for _, body := range []int{0, 1 << 20} {
			b.Run(fmt.Sprintf("%s/body=%d", how.name, body), func(b *testing.B) {
				secrets := []environment.Secret{secret("TOKEN", strings.Repeat("s", 40), how.hosts)}
				k := &keeper{all: secrets}
				x, err := egress.New(egress.Policy{Access: egress.Enabled}, &environment.Secrets{Given: secrets, Now: k.now}, dial, func(egress.Request) {})
				if err != nil {
					b.Fatal(err)
				}
				defer x.Close()
				c := &http.Client{Transport: through(b, x, s)}
				payload := strings.Repeat("x", body)
				b.SetBytes(int64(2 * body))
				for b.Loop() {
					r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://example.com/", strings.NewReader(payload))
					if err != nil {
						b.Fatal(err)
					}
					r.Header.Set("Authorization", "Bearer "+x.Variables()["TOKEN"])
					resp, err := c.Do(r)
					if err != nil {
						b.Fatal(err)
					}
					io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		}
	}
}

// through returns a transport by way of the proxy, which trusts what programs do.
func through(b *testing.B, x *egress.Proxy, s *httptest.Server) *http.Transport {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- x.Serve(l) }()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(x.Certificates())
	pool.AddCert(s.Certificate())
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: l.Addr().String()}), TLSClientConfig: &tls.Config{RootCAs: pool}}
	b.Cleanup(func() {
		tr.CloseIdleConnections()
		if err := <-served; err != nil {
			b.Error(err)
		}
	})
	return tr
}
