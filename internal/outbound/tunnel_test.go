package outbound_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/outbound"
)

// echo answers what it is told, until what is sent has ended.
func echo(t *testing.T) string {
	t.Helper()
	return listen(t, func(c net.Conn) { io.Copy(c, c) })
}

// listen serves connections until the test ends.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String()
}

// join passes on what comes from each side to the other.
func join(a io.Reader, to net.Conn, c net.Conn) {
	go func() {
		io.Copy(to, a)
		to.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(c, to)
}

// httpProxy makes tunnels to at, whatever it is asked for, and says what that was.
// It says it together with the first bytes of the tunnel.
func httpProxy(t *testing.T, at string, asked chan<- string) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		r := bufio.NewReader(c)
		req, err := http.ReadRequest(r)
		if err != nil {
			return
		}
		asked <- req.Method + " " + req.Host + " " + req.Header.Get("Proxy-Authorization")
		to, err := net.Dial("tcp", at)
		if err != nil {
			return
		}
		defer to.Close()
		// What a success says of a body is to be ignored (RFC 9110, 9.3.6).
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst ")
		join(r, to, c)
	})
}

// socksProxy is the same by SOCKS 5 with a name and a password (RFC 1928, 1929).
func socksProxy(t *testing.T, at string, asked chan<- string) string {
	t.Helper()
	return listen(t, func(c net.Conn) {
		b := make([]byte, 256)
		field := func(n int) string { // n bytes, or where that is 0 as many as the next one says
			if n == 0 {
				io.ReadFull(c, b[:1])
				n = int(b[0])
			}
			io.ReadFull(c, b[:n])
			return string(b[:n])
		}
		field(1)
		field(0)
		c.Write([]byte{5, 2}) // by name and password
		field(1)
		who := field(0) + ":" + field(0)
		c.Write([]byte{1, 0})
		var host string
		switch kind := field(4); kind[3] {
		case 3:
			host = field(0)
		case 1:
			a, _ := netip.AddrFromSlice([]byte(field(4)))
			host = a.String()
		}
		port := binary.BigEndian.Uint16([]byte(field(2)))
		asked <- "SOCKS " + host + " " + who
		if port != 443 {
			return
		}
		to, err := net.Dial("tcp", at)
		if err != nil {
			return
		}
		defer to.Close()
		c.Write([]byte{5, 0, 0, 1, 127, 0, 0, 1, 0, 80})
		io.WriteString(c, "first ")
		join(c, to, c)
	})
}

func dialer(t *testing.T, p outbound.Policy) outbound.DialFunc {
	t.Helper()
	dial, err := outbound.NewDialer(p)
	if err != nil {
		t.Fatal(err)
	}
	return dial
}

func TestTunnel(t *testing.T) {
	asked := make(chan string, 1)
	at := echo(t)
	for scheme, tt := range map[string]struct {
		proxy      string
		name, addr string // what it is asked for
	}{
		"http":   {httpProxy(t, at, asked), "CONNECT example.test:443 Basic dTpzZWNyZXQ=", "CONNECT 8.8.8.8:443 Basic dTpzZWNyZXQ="},
		"socks5": {socksProxy(t, at, asked), "SOCKS example.test u:secret", "SOCKS 8.8.8.8 u:secret"},
	} {
		t.Run(scheme, func(t *testing.T) {
			dial := dialer(t, outbound.Policy{Proxy: &url.URL{Scheme: scheme, Host: tt.proxy, User: url.UserPassword("u", "secret")}})
			for addr, want := range map[string]string{"example.test:443": tt.name, "0x8.8.8.8:443": tt.addr} {
				c, err := dial(t.Context(), "tcp", addr)
				if err != nil {
					t.Fatal(err)
				}
				defer c.Close()
				if got := <-asked; got != want {
					t.Errorf("the proxy was asked for %q, want %q", got, want)
				}
				io.WriteString(c, "said")
				if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
					t.Fatal(err)
				}
				if got, err := io.ReadAll(c); string(got) != "first said" || err != nil {
					t.Errorf("read %q, %v", got, err)
				}
			}
			for _, addr := range []string{"10.0.0.1:443", "127.0.0.1:443", "localhost:443", "0177.0.0.1:443", "[::ffff:10.0.0.1]:443", "169.254.169.254:80"} {
				var refused *outbound.RefusedError
				if _, err := dial(t.Context(), "tcp", addr); !errors.As(err, &refused) {
					t.Errorf("%s: got %v, want a refusal", addr, err)
				}
			}
			if len(asked) != 0 {
				t.Errorf("the proxy was asked for %q", <-asked)
			}
		})
	}
}

func TestTunnelDirect(t *testing.T) {
	at := echo(t)
	proxy, asked := proxyServer(t)
	c, err := dialer(t, outbound.Policy{Proxy: proxy, Allow: []string{at}})(t.Context(), "tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	io.WriteString(c, "said")
	c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); string(got) != "said" || err != nil || len(asked()) != 0 {
		t.Errorf("read %q, %v", got, err)
	}
}

// What a proxy says instead of making a tunnel is an error that names it, without
// its password, and one that says nothing does not hold a connection for ever.
func TestNoTunnel(t *testing.T) {
	silent := make(chan struct{})
	t.Cleanup(func() { close(silent) })
	for _, tt := range []struct {
		scheme, answer string // an empty one never comes
		says           string
	}{
		{"http", "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n", "it answered 407 Proxy Authentication Required"},
		{"http", "HTTP/1.1 503 Service Unavailable\r\n\r\n", "it answered 503 Service Unavailable"},
		{"http", "what?\r\n\r\n", "malformed HTTP"},
		{"http", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20), "the response is too large"},
		{"http", "", "i/o timeout"},
		{"socks5", "\x04\x00", "unexpected protocol version 4"},
		{"socks5", "\x05\xff", "no acceptable authentication methods"},
		{"socks5", "", "i/o timeout"},
	} {
		at := listen(t, func(c net.Conn) {
			if io.WriteString(c, tt.answer); tt.answer == "" {
				<-silent
			}
			io.Copy(io.Discard, c)
		})
		timeout := 10 * time.Second
		if tt.answer == "" {
			timeout = 50 * time.Millisecond
		}
		dial := dialer(t, outbound.Policy{Proxy: &url.URL{Scheme: tt.scheme, Host: at, User: url.UserPassword("u", "secret")}, DialTimeout: timeout})
		_, err := dial(t.Context(), "tcp", "example.test:443")
		want := "connect to example.test:443 through the proxy " + tt.scheme + "://" + at + ": "
		if err == nil || !strings.HasPrefix(err.Error(), want) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s %.40q: got %v, want %s", tt.scheme, tt.answer, err, want+tt.says)
		}
	}
	at := listen(t, func(net.Conn) { <-silent })
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := dialer(t, outbound.Policy{Proxy: &url.URL{Scheme: "http", Host: at}})(ctx, "tcp", "example.test:443"); err == nil {
		t.Error("a context that ended made a connection")
	}
}
