package outbound_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/outbound"
)

// silent is a server that takes connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// Each wait has an end of its own. A test that hangs here has found one that has
// none.
func TestTimeouts(t *testing.T) {
	const short = 50 * time.Millisecond
	quiet := silent(t)
	release := make(chan struct{})
	slow := server(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Write([]byte("the first part"))
			http.NewResponseController(w).Flush()
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	noNames := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	for name, tt := range map[string]struct {
		url    string
		policy outbound.Policy
	}{
		"names":   {"http://slow.test/", outbound.Policy{DialTimeout: short, Resolver: noNames}},
		"TLS":     {"https://" + quiet + "/", outbound.Policy{DialTimeout: short}},
		"headers": {slow.URL + "/", outbound.Policy{HeaderTimeout: short}},
		"whole":   {slow.URL + "/", outbound.Policy{Timeout: short}},
	} {
		tt.policy.Allow = []string{"127.0.0.0/8"}
		_, err := client(t, tt.policy).Get(tt.url) //nolint:bodyclose // there is none
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%s: got %v, want a timeout", name, err)
		}
	}
	resp, err := client(t, outbound.Policy{Allow: []string{"127.0.0.0/8"}, Timeout: 4 * short}).Get(slow.URL + "/body")
	if err == nil { // on a machine that is too busy, that took the time already
		defer resp.Body.Close()
		_, err = io.ReadAll(resp.Body)
	}
	if !os.IsTimeout(err) {
		t.Errorf("the reading of the body: got %v, want a timeout", err)
	}
}

// Too many headers are not read to their end.
func TestHeaderLimit(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Long", strings.Repeat("x", 2<<20)) })
	if _, err := get(t, client(t, outbound.Policy{Allow: []string{"127.0.0.1"}}), s.URL); err == nil { //nolint:bodyclose // get closes it
		t.Error("two megabytes of headers were taken")
	}
}

func TestMaxBody(t *testing.T) {
	s := server(t, func(w http.ResponseWriter, r *http.Request) {
		body := strings.Repeat("x", 100)
		switch r.URL.Path {
		case "/short":
			body = body[:10]
		case "/none":
			w.WriteHeader(http.StatusNoContent)
			return
		case "/chunked":
			http.NewResponseController(w).Flush()
		case "/packed":
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			z.Write([]byte(body))
			z.Close()
			w.Header().Set("Content-Encoding", "gzip")
			body = packed.String()
		}
		io.WriteString(w, body)
	})
	for _, tt := range []struct {
		path  string
		most  int64
		read  int
		large bool
	}{
		{"/short", 10, 10, false},
		{"/short", 9, 0, true},
		{"/", 100, 100, false},
		{"/", 99, 0, true}, // its header says so
		{"/chunked", 100, 100, false},
		{"/chunked", 99, 99, true},
		{"/packed", 100, 100, false},
		{"/packed", 99, 99, true},
		{"/none", 1, 0, false},
		{"/", 0, 100, false},
	} {
		resp, err := get(t, client(t, outbound.Policy{Allow: []string{"127.0.0.1"}, MaxBody: tt.most}), s.URL+tt.path) //nolint:bodyclose // get closes it
		var b []byte
		if err == nil {
			b, err = io.ReadAll(resp.Body)
		}
		if len(b) != tt.read || errors.Is(err, outbound.ErrTooLarge) != tt.large || !tt.large && err != nil {
			t.Errorf("%s, at most %d: read %d bytes, error %v; want %d bytes, too large: %v", tt.path, tt.most, len(b), err, tt.read, tt.large)
		}
	}
	resp, err := client(t, outbound.Policy{Allow: []string{"127.0.0.1"}, MaxBody: 9}).Head(s.URL)
	if err != nil || resp.ContentLength != 100 {
		t.Errorf("a HEAD that names a large body: %v, %v", resp, err)
		return
	}
	resp.Body.Close()
}

// After a change of the protocol the body is a connection: it is written to, and
// has no size.
func TestMaxBodyLeavesConnections(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		rw.Flush()
		io.CopyN(conn, rw, 20)
	}))
	t.Cleanup(s.Close)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", "echo")
	resp, err := client(t, outbound.Policy{Allow: []string{"127.0.0.1"}, MaxBody: 5}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	w, ok := resp.Body.(io.Writer)
	if !ok {
		t.Fatal("the body cannot be written to")
	}
	io.WriteString(w, "twenty bytes of text")
	if b, err := io.ReadAll(resp.Body); string(b) != "twenty bytes of text" || err != nil {
		t.Errorf("read %q, %v", b, err)
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
