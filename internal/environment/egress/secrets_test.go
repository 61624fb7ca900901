package egress_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/egress"
	"github.com/stayd/stayd/internal/vault"
)

// canary has what is written in another way in JSON, in a query and in a path.
const canary = `cnry/"7\ &+=é?`

// keeper has the secrets of a test.
type keeper struct {
	mu  sync.Mutex
	all []environment.Secret
	err error
	n   int // how often it was asked
}

func (k *keeper) set(all []environment.Secret, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all, k.err = all, err
}

func (k *keeper) now(context.Context) ([]environment.Secret, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.n++
	return k.all, k.err
}

func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.n
}

func secret(name, value string, hosts ...string) environment.Secret {
	return environment.Secret{ID: "cred_" + name, Name: name, Value: vault.NewSecret(value), Hosts: hosts}
}

// seen is a request as the server got it.
type seen struct {
	*http.Request
	body string
}

// guarded is a proxy with secrets, before a server of TLS that is all hosts.
type guarded struct {
	*proxy
	*keeper
	seen   chan seen
	answer http.HandlerFunc // what the server does
	plain  *httptest.Server // the same without TLS
}

func newGuarded(t *testing.T, p egress.Policy, secrets ...environment.Secret) *guarded {
	t.Helper()
	g := &guarded{keeper: &keeper{all: secrets}, seen: make(chan seen, 100), answer: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "answered") }}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		g.seen <- seen{r, string(b)}
		r.Body = io.NopCloser(strings.NewReader(string(b)))
		g.answer(w, r)
	})
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	g.plain = httptest.NewServer(handler)
	t.Cleanup(g.plain.Close)
	t.Setenv("SSL_CERT_FILE", certificateFile(t, s))
	g.proxy = startSecrets(t, p, &environment.Secrets{Given: secrets, Now: g.now}, func(ctx context.Context, network, addr string) (net.Conn, error) {
		to := s.Listener.Addr().String()
		if strings.HasSuffix(addr, ":80") {
			to = g.plain.Listener.Addr().String()
		}
		return new(net.Dialer).DialContext(ctx, network, to)
	})
	return g
}

// certificateFile is a file with the server's certificate.
func certificateFile(tb testing.TB, s *httptest.Server) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "roots.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return name
}

// program is a client that trusts what programs of the environment do.
func (g *guarded) program(t *testing.T) *http.Client {
	t.Helper()
	return &http.Client{Timeout: 30 * time.Second, Transport: g.transport(t)}
}

func (g *guarded) transport(t *testing.T) *http.Transport {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(g.Certificates()) {
		t.Fatal("programs are given no certificates")
	}
	tr := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: g.addr}), TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

func (g *guarded) do(t *testing.T, c *http.Client, method, u, body string, header ...string) response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, u, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response{resp, string(b)}
}

// What a program sends to an allowed host has the secret where it had the
// placeholder, written as it has to be there.
func TestSecretsArePutIn(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Restricted, Allowed: []string{"example.com"}}, secret("TOKEN", canary, "example.com"), secret("OTHER", "another-secret"))
	c := g.program(t)
	p, other := g.Variables()["TOKEN"], g.Variables()["OTHER"]
	if !regexp.MustCompile(`^stayd_secret_[0-9a-f]{40}$`).MatchString(p) || other == p || len(g.Variables()) != 2 {
		t.Fatalf("the variables are %v", g.Variables())
	}
	long := strings.Repeat("x", 3<<20)
	for _, tt := range []struct{ name, path, header, value, kind, body, wantURI, wantValue, wantBody string }{
		{"a header", "/", "X-Api-Key", "a " + p + " and " + other, "", "", "/", "a " + canary + " and another-secret", ""},
		{"the path and the query", "/bot" + p + "/x?key=" + p + "&a=b+c", "", "", "", "", "/bot" + url.PathEscape(canary) + "/x?key=" + strings.ReplaceAll(url.QueryEscape(canary), "+", "%20") + "&a=b+c", "", ""},
		{"a text", "/", "", "", "text/plain", "<" + p + p + ">", "/", "", "<" + canary + canary + ">"},
		{"JSON", "/", "", "", "application/json; charset=utf-8", `{"key":"` + p + `"}`, "/", "", `{"key":"cnry/\"7\\ &+=é?"}`},
		{"a form", "/", "", "", "application/x-www-form-urlencoded", "key=" + p + "&x=1", "/", "", "key=" + strings.ReplaceAll(url.QueryEscape(canary), "+", "%20") + "&x=1"},
		{"no placeholder", "/a%2Fb?q=1;2", "", "", "text/plain", "stayd_secret_", "/a%2Fb?q=1;2", "", "stayd_secret_"},
		{"a long body", "/", "", "", "text/plain", long, "/", "", long},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var header []string
			if tt.header != "" {
				header = append(header, tt.header, tt.value)
			}
			if tt.kind != "" {
				header = append(header, "Content-Type", tt.kind)
			}
			resp := g.do(t, c, http.MethodPost, "https://example.com"+tt.path, tt.body, header...)
			if resp.StatusCode != http.StatusOK || resp.body != "answered" {
				t.Fatalf("%d %s", resp.StatusCode, resp.body)
			}
			s := <-g.seen
			if s.RequestURI != tt.wantURI || s.body != tt.wantBody || s.ContentLength != int64(len(tt.wantBody)) || s.Host != "example.com" {
				t.Errorf("got %s of %s, %d bytes, %.200q", s.RequestURI, s.Host, s.ContentLength, s.body)
			}
			if got := s.Header.Get(tt.header); tt.header != "" && got != tt.wantValue {
				t.Errorf("the header is %q", got)
			}
			rec := <-g.records
			if path, _, _ := strings.Cut(tt.path, "?"); rec.Path != path || rec.Method != http.MethodPost || rec.Port != 443 || !rec.Allowed || rec.Status != 200 || rec.Reason != "" {
				t.Errorf("recorded %+v", rec)
			}
		})
	}
}

// Of user and password the secret is put in, too, which are in base64.
func TestSecretOfBasicAuthentication(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", canary))
	g.answer = func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("Authorization")) }
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://example.com/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("me", g.Variables()["TOKEN"])
	sent := r.Header.Get("Authorization")
	resp, err := g.program(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	echoed, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if user, password, ok := (<-g.seen).BasicAuth(); !ok || user != "me" || password != canary {
		t.Errorf("got %q and %q", user, password)
	}
	if string(echoed) != sent {
		t.Errorf("the program is told %s, and had sent %s", echoed, sent)
	}
}

// What has a placeholder and may not have the secret is not sent.
func TestSecretsAreKeptBack(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Restricted, Allowed: []string{"example.com", "*.example.com"}},
		secret("TOKEN", canary, "example.com"), secret("OTHER", "another-secret", "other.example.com", "third.example.com"))
	c := g.program(t)
	p, other := g.Variables()["TOKEN"], g.Variables()["OTHER"]
	stale := "stayd_secret_" + strings.Repeat("0a", 20)
	for _, tt := range []struct{ name, url, header, body, code, text string }{
		{"another's host", "https://example.com/", "a " + other, "", "secret_not_for_host", "the placeholder of the variable OTHER, whose secret may be sent to other.example.com, third.example.com and not to example.com"},
		{"in the query", "https://example.com/?a=" + other, "", "", "secret_not_for_host", "OTHER"},
		{"in the path", "https://example.com/a" + other, "", "", "secret_not_for_host", "OTHER"},
		{"in a body", "https://example.com/", "", "{" + other + "}", "secret_not_for_host", "OTHER"},
		{"without TLS, another host", "http://www.example.com/", p, "", "secret_not_for_host", "TOKEN"},
		{"without TLS", "http://example.com/", p, "", "secret_needs_https", "the secret of the variable TOKEN is sent over https only; use https://example.com"},
		{"of an earlier opening", "https://example.com/", stale, "", "placeholder_unknown", "take it from the environment variable again"},
		{"a body that is long", "https://example.com/", "", p + strings.Repeat("x", 2<<20), "body_too_long", "up to 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			resp := g.do(t, c, http.MethodPost, tt.url, tt.body, "X-Key", tt.header)
			if resp.StatusCode != http.StatusForbidden || !strings.Contains(resp.body, `"code":"`+tt.code+`"`) || !strings.Contains(resp.body, tt.text) {
				t.Errorf("%d %s", resp.StatusCode, resp.body)
			}
			if rec := <-g.records; rec.Allowed || !strings.HasPrefix(rec.Reason, tt.code+": ") || rec.Status != 403 {
				t.Errorf("recorded %+v", rec)
			}
			// Of what is too long to be looked through first, the beginning may be sent.
			if len(g.seen) > 0 && tt.code != "body_too_long" {
				t.Errorf("the server got %+v", <-g.seen)
			}
		})
	}
	// A body that is filled on its way ends where the placeholder is.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com/", io.MultiReader(strings.NewReader("x"+other+"x")))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if rec := <-g.records; rec.Allowed || !strings.HasPrefix(rec.Reason, "secret_not_for_host: ") || resp.StatusCode != http.StatusForbidden {
		t.Errorf("%d, recorded %+v", resp.StatusCode, rec)
	}
	for len(g.seen) > 0 {
		if s := <-g.seen; strings.Contains(s.body, "another") || strings.Contains(s.body, other) || strings.Contains(s.body, p) {
			t.Errorf("the server got %q", s.body)
		}
	}
}

// What would take much memory with the secrets in it is not made.
func TestManySecretsInOneRequest(t *testing.T) {
	long := strings.Repeat("k", 60<<10)
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", long))
	c := g.program(t)
	many, few := strings.Repeat(g.Variables()["TOKEN"], 1000), strings.Repeat(g.Variables()["TOKEN"], 5)
	for name, resp := range map[string]response{
		"a header":        g.do(t, c, http.MethodPost, "https://example.com/", "", "X-Key", many),
		"a body":          g.do(t, c, http.MethodPost, "https://example.com/", many),
		"several headers": g.do(t, c, http.MethodPost, "https://example.com/?a="+few, "", "X-A", few, "X-B", few, "X-C", few),
	} {
		if resp.StatusCode != http.StatusForbidden || !strings.Contains(resp.body, "too_many_secrets") || len(g.seen) > 0 {
			t.Errorf("%s: %d %.200s", name, resp.StatusCode, resp.body)
		}
	}
	if resp := g.do(t, c, http.MethodPost, "https://example.com/", few, "X-A", few); resp.StatusCode != http.StatusOK {
		t.Errorf("a few: %d %.200s", resp.StatusCode, resp.body)
	}
	if s := <-g.seen; s.Header.Get("X-A") != strings.Repeat(long, 5) || s.body != strings.Repeat(long, 5) {
		t.Errorf("the server got %d and %d bytes", len(s.Header.Get("X-A")), len(s.body))
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com/", io.MultiReader(strings.NewReader(many)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if s := <-g.seen; s.body != strings.Repeat(long, 1000) {
		t.Errorf("the server got %d bytes", len(s.body))
	}
}

// Without a length a body is filled on its way, however it is cut.
func TestSecretsInAStream(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", canary))
	p := g.Variables()["TOKEN"]
	r, w := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://example.com/", r)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for _, b := range []byte("a" + p + "b" + p[:20] + "c") {
			w.Write([]byte{b})
		}
		w.Close()
	}()
	resp, err := g.program(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if s := <-g.seen; s.body != "a"+canary+"b"+p[:20]+"c" {
		t.Errorf("got %q", s.body)
	}
}

// A server that repeats the secret is not heard with it.
func TestAnswersAreMasked(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", canary))
	p := g.Variables()["TOKEN"]
	inJSON, err := json.Marshal(canary)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"with a length", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "it is "+canary) }, "it is " + p},
		{"in JSON", func(w http.ResponseWriter, _ *http.Request) { w.Write(inJSON) }, `"` + p + `"`},
		{"in pieces", func(w http.ResponseWriter, _ *http.Request) {
			for i := range len(canary) {
				w.Write([]byte(canary[i : i+1]))
				w.(http.Flusher).Flush()
			}
		}, p},
		{"long", func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Repeat("a", 2<<20)+canary)
		}, strings.Repeat("a", 2<<20) + p},
		{"in a header", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Echo", r.Header.Get("X-Key"))
			w.Header().Set("Location", "/?"+url.QueryEscape(canary))
			w.WriteHeader(http.StatusFound)
		}, ""},
		{"in a trailer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-After")
			io.WriteString(w, "body")
			w.(http.Flusher).Flush()
			w.Header().Set("X-After", canary)
		}, "body"},
		{"compressed", func(w http.ResponseWriter, r *http.Request) { zip(w, r, canary) }, p},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g.answer = tt.answer
			c := g.program(t)
			c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
			resp := g.do(t, c, http.MethodGet, "https://example.com/", "", "X-Key", p)
			<-g.seen
			if resp.body != tt.want {
				t.Errorf("the program reads %.200q", resp.body)
			}
			said := fmt.Sprint(resp.Header, resp.Trailer)
			if strings.Contains(said, "cnry") {
				t.Errorf("the program reads %s", said)
			}
			if echo := resp.Header.Get("X-Echo"); tt.name == "in a header" && echo != p {
				t.Errorf("the program reads %s", echo)
			}
			if rec := <-g.records; !rec.Allowed || rec.Reason != "" {
				t.Errorf("recorded %+v", rec)
			}
		})
	}
}

// A secret that was replaced or deleted is another one for the next request, and
// one that cannot be had is sent to nobody.
func TestSecretsChange(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", "before-it", "example.com"))
	g.KeepSecrets(0)
	c := g.program(t)
	p := g.Variables()["TOKEN"]
	for _, step := range []struct {
		all        []environment.Secret
		err        error
		want, code string
	}{
		{[]environment.Secret{secret("TOKEN", "before-it", "example.com")}, nil, "before-it", ""},
		{[]environment.Secret{secret("TOKEN", "after-it", "example.com")}, nil, "after-it", ""},
		{nil, errors.New("the store is away"), "", "secrets_unavailable"},
		{[]environment.Secret{{ID: "cred_of_bob", Name: "TOKEN", Value: vault.NewSecret("bobs-own"), Hosts: []string{"example.com"}}}, nil, "", "secret_gone"},
		{[]environment.Secret{secret("TOKEN", "after-it", "example.com")}, nil, "after-it", ""},
		{[]environment.Secret{secret("NEW", "after-it")}, nil, "", "secret_gone"},
	} {
		g.set(step.all, step.err)
		c.CloseIdleConnections()
		resp := g.do(t, c, http.MethodGet, "https://example.com/", "", "X-Key", p)
		rec := <-g.records
		if step.code != "" {
			if !strings.Contains(resp.body, `"code":"`+step.code+`"`) || len(g.seen) > 0 || rec.Allowed || strings.Contains(resp.body, "away") {
				t.Errorf("%s: %s, recorded %+v", step.code, resp.body, rec)
			}
			continue
		}
		if s := <-g.seen; s.Header.Get("X-Key") != step.want {
			t.Errorf("the server got %q, want %q", s.Header.Get("X-Key"), step.want)
		}
	}
}

// Secrets that cannot be had are not asked for with each request, and nobody waits
// for them who asks for nothing that has one.
func TestSecretsThatCannotBeHad(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Enabled}, secret("TOKEN", canary, "example.com"))
	g.KeepSecrets(time.Hour)
	g.ForgetSecrets()
	g.set(nil, errors.New("the store is away"))
	for range 3 {
		c := g.program(t)
		if resp := g.do(t, c, http.MethodGet, "https://example.com/", "", "X-Key", g.Variables()["TOKEN"]); !strings.Contains(resp.body, `"code":"secrets_unavailable"`) {
			t.Errorf("%d %s", resp.StatusCode, resp.body)
		}
	}
	if n := g.count(); n != 1 {
		t.Errorf("the secrets were asked for %d times, want 1", n)
	}
}

// While somebody asks for the secrets, a tunnel to where they may be sent is
// opened, and all who want one wait for the one answer.
func TestSecretsAreAskedForOnce(t *testing.T) {
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	k := egress.NewRing(&environment.Secrets{Given: []environment.Secret{secret("TOKEN", canary, "example.com")}, Now: func(context.Context) ([]environment.Secret, error) {
		asked <- struct{}{}
		<-answer
		return []environment.Secret{secret("TOKEN", "after-it", "example.com")}, nil
	}})
	var all sync.WaitGroup
	all.Go(func() { k.Current(t, "after-it") })
	<-asked
	if !k.Concerns(t.Context(), "example.com") {
		t.Error("a secret may be sent there")
	}
	for range 4 {
		all.Go(func() { k.Current(t, "after-it") })
	}
	close(answer)
	all.Wait()
	if len(asked) != 0 {
		t.Errorf("the secrets were asked for %d times more", len(asked))
	}
}

// Nothing is asked of a host but the one of the tunnel, whatever a request in it
// says.
func TestRequestsInATunnelGoToItsHost(t *testing.T) {
	g := newGuarded(t, egress.Policy{Access: egress.Restricted, Allowed: []string{"example.com"}}, secret("TOKEN", canary, "example.com"))
	c := g.handshaken(t, "example.com:443", "example.com")
	fmt.Fprintf(c, "GET https://evil.test/x HTTP/1.1\r\nHost: evil.test\r\nX-Key: %s\r\nConnection: close\r\n\r\n", g.Variables()["TOKEN"])
	if b, err := io.ReadAll(c); err != nil || !strings.HasSuffix(string(b), "answered") {
		t.Errorf("%q, %v", b, err)
	}
	if s := <-g.seen; s.Host != "example.com" || s.RequestURI != "/x" || s.Header.Get("X-Key") != canary {
		t.Errorf("the server got %s of %s", s.RequestURI, s.Host)
	}
	if rec := <-g.records; rec.Host != "example.com" || rec.Path != "/x" {
		t.Errorf("recorded %+v", rec)
	}
	c = g.handshaken(t, "example.com:443", "example.com")
	io.WriteString(c, "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n")
	if b, err := io.ReadAll(c); err != nil || !strings.HasPrefix(string(b), "HTTP/1.1 403 ") {
		t.Errorf("%q, %v", b, err)
	}
}

// handshaken is a tunnel in which the program and the proxy speak HTTP/1.1.
func (g *guarded) handshaken(t *testing.T, to, name string) *tls.Conn {
	t.Helper()
	c := g.dial(t)
	fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: x\r\n\r\n", to)
	r := bufio.NewReader(io.LimitReader(c, int64(len("HTTP/1.1 200 Connection established\r\n\r\n"))))
	if line, err := r.ReadString('\n'); err != nil || line != "HTTP/1.1 200 Connection established\r\n" {
		t.Fatalf("%q, %v", line, err)
	}
	r.ReadString('\n')
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(g.Certificates())
	secure := tls.Client(c, &tls.Config{ServerName: name, RootCAs: pool})
	if err := secure.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return secure
}
