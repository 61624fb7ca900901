package egress

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// hello is what a client of TLS sends first.
func hello(tb testing.TB, name string) []byte {
	tb.Helper()
	a, b := net.Pipe()
	go func() {
		tls.Client(a, &tls.Config{ServerName: name, InsecureSkipVerify: true}).HandshakeContext(tb.Context())
		a.Close()
	}()
	buf := make([]byte, 4096)
	n, err := b.Read(buf)
	b.Close()
	if err != nil {
		tb.Fatal(err)
	}
	return buf[:n]
}

// fed is a connection on which some bytes arrive, few at a time.
type fed struct {
	net.Conn // for what nobody calls
	r        io.Reader
}

func (f fed) Read(p []byte) (int, error)       { return f.r.Read(p[:min(len(p), 7)]) }
func (f fed) SetDeadline(time.Time) error      { return nil }
func (f fed) SetReadDeadline(time.Time) error  { return nil }
func (f fed) SetWriteDeadline(time.Time) error { return nil }

func TestServerName(t *testing.T) {
	for _, name := range []string{"example.com", "a.b.example.com", ""} {
		h := hello(t, name)
		read, got, err := serverName(fed{r: strings.NewReader(string(h) + "and more")})
		if err != nil || got != name || !strings.HasPrefix(string(h)+"and more", read) || len(read) < len(h) {
			t.Errorf("%q: got %q, %d bytes of %d, %v", name, got, len(read), len(h), err)
		}
		// One that is cut has no name.
		if _, _, err := serverName(fed{r: strings.NewReader(string(h[:len(h)-1]))}); err == nil {
			t.Errorf("%q: a part was taken for the whole", name)
		}
	}
	// One that goes on for ever is left.
	endless := "\x16\x03\x01\x40\x00" + "\x01\x00\xff\xff" + strings.Repeat("x", 1<<14-4) +
		strings.Repeat("\x16\x03\x01\x40\x00"+strings.Repeat("x", 1<<14), 20)
	if read, _, err := serverName(fed{r: strings.NewReader(endless)}); err == nil || len(read) > maxHello {
		t.Errorf("%d bytes were read, %v", len(read), err)
	}
}

func FuzzServerName(f *testing.F) {
	h := hello(f, "example.com")
	f.Add(h)
	f.Add(h[:40])
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		read, name, err := serverName(fed{r: strings.NewReader(string(b))})
		if !strings.HasPrefix(string(b), read) {
			t.Fatalf("what was read is not what was sent")
		}
		if err != nil && name != "" {
			t.Fatalf("a name, %q, and an error, %v", name, err)
		}
	})
}

func FuzzParseHost(f *testing.F) {
	for _, s := range []string{"example.com", "EXAMPLE.com.", "127.0.0.1", "0x7f.1", "[::1]", "::ffff:1.2.3.4", "fe80::1%eth0", "bücher.test", "１２７。0.0.1", "a..b", "", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, addr, err := parseHost(s)
		if err != nil {
			return
		}
		again, sameAddr, err := parseHost(host)
		if err != nil || again != host || sameAddr != addr {
			t.Fatalf("%q becomes %q, and that %q (%v)", s, host, again, err)
		}
		if strings.ContainsAny(host, "%@/\\#? \r\n\x00[]") || strings.ToLower(host) != host || strings.HasSuffix(host, ".") {
			t.Fatalf("%q becomes %q", s, host)
		}
		if !addr.IsValid() && strings.Contains(host, ":") {
			t.Fatalf("%q becomes the name %q", s, host)
		}
	})
}

// What moves no more is ended, and recorded: a tunnel, a server that does not
// answer, a program that does not go on.
func TestIdle(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	records := make(chan Request, 8)
	x, err := New(Policy{Access: Enabled}, nil, func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, l.Addr().String()) // accepts, and never answers
	}, func(r Request) { records <- r })
	if err != nil {
		t.Fatal(err)
	}
	x.idle = 50 * time.Millisecond
	p, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- x.Serve(p) }()
	for name, raw := range map[string]string{
		"tunnel":  "CONNECT a.test:443 HTTP/1.1\r\nHost: x\r\n\r\nhello",
		"request": "GET http://a.test/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"body":    "POST http://a.test/ HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhello",
	} {
		c, err := net.Dial("tcp", p.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, raw)
		if b, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: %q, %v", name, b, err)
		}
		c.Close()
		if r := <-records; r.Host != "a.test" {
			t.Errorf("%s: recorded %+v", name, r)
		}
	}
	if err := x.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
