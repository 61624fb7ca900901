package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"
	"golang.org/x/net/proxy"
)

// proxyRules allow the connection to the proxy.
func proxyRules(u *url.URL) (*rules, error) {
	var err error
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		var r *rules
		if r, err = parseRules([]string{hostPort(u)}); err == nil {
			return r, nil
		}
	default:
		err = fmt.Errorf("the scheme is %q; it may be http, https, socks5 or socks5h", u.Scheme)
	}
	return nil, fmt.Errorf("proxy %s: %w", plainProxy(u), err)
}

// plainProxy is the URL without whom it is asked as: a name may be a secret too.
func plainProxy(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host}).String()
}

// through returns what says of a target whether it is reached through the proxy.
func (p *Policy) through() (func(target) bool, error) {
	direct := make([]string, len(p.Direct))
	for i, s := range p.Direct {
		var err error
		if direct[i], err = plainDirect(s); err != nil {
			return nil, fmt.Errorf("what is reached without the proxy, %.100q: %w", s, err)
		}
	}
	config := httpproxy.Config{HTTPSProxy: p.Proxy.String(), NoProxy: strings.Join(direct, ",")}
	of := config.ProxyFunc()
	return func(t target) bool {
		u, err := of(&url.URL{Scheme: "https", Host: net.JoinHostPort(strings.TrimSuffix(t.host(), "."), strconv.Itoa(int(t.port)))})
		return u != nil || err != nil
	}, nil
}

// plainDirect returns an entry as httpproxy reads it, which would take what it
// does not understand for a name that there is not.
func plainDirect(s string) (string, error) {
	if s == "*" {
		return s, nil
	}
	if strings.Contains(s, "/") {
		return s, new(rules).addPrefix(s)
	}
	front := s[:len(s)-len(strings.TrimPrefix(strings.TrimPrefix(s, "*."), "."))]
	host, port, err := splitAllowed(s[len(front):])
	if err != nil {
		return "", err
	}
	t, reason := parseHost(host)
	switch {
	case strings.Contains(host, "*"):
		return "", errors.New("a pattern is *.domain, or .domain")
	case reason != "":
		return "", fmt.Errorf("it is %s", reason)
	case t.addr.IsValid() && front != "":
		return "", errors.New("an address has no domains below it")
	case t.addr.IsValid() && port == 0:
		return plainAddr(host, t.addr)
	case t.addr.IsValid():
		plain, err := plainAddr(host, t.addr)
		return net.JoinHostPort(plain, strconv.Itoa(int(port))), err
	case port == 0:
		return front + t.name, nil
	}
	return front + net.JoinHostPort(t.name, strconv.Itoa(int(port))), nil
}

// tunnel makes connections through a proxy.
type tunnel struct {
	proxy  *url.URL
	dialer *dialer // to the proxy
	trust  *x509.CertPool
}

// dial connects to the target. What the proxy says against it is in the error.
func (t *tunnel) dial(ctx context.Context, to target) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.dialer.timeout)
	defer cancel()
	conn, err := t.open(ctx, to.String())
	if err != nil {
		return nil, fmt.Errorf("connect to %s through the proxy %s: %w", to, plainProxy(t.proxy), err)
	}
	return conn, nil
}

func (t *tunnel) open(ctx context.Context, addr string) (net.Conn, error) {
	conn, err := t.dialer.dial(ctx, "tcp", hostPort(t.proxy))
	if err != nil {
		return nil, err
	}
	if t.proxy.Scheme == "https" {
		conn = tls.Client(conn, &tls.Config{ServerName: t.proxy.Hostname(), RootCAs: t.trust, MinVersion: tls.VersionTLS12})
	}
	// What is under way on the connection ends with the context.
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) }) //nolint:errcheck,gosec // then it is closed already
	ask := t.connect
	if strings.HasPrefix(t.proxy.Scheme, "socks5") {
		ask = t.socks
	}
	tunnelled, err := ask(ctx, conn, addr)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return tunnelled, nil
}

// socks asks a SOCKS proxy for a tunnel (RFC 1928).
func (t *tunnel) socks(ctx context.Context, conn net.Conn, addr string) (net.Conn, error) {
	var auth *proxy.Auth
	if u := t.proxy.User; u != nil {
		password, _ := u.Password()
		auth = &proxy.Auth{User: u.Username(), Password: password}
	}
	d, err := proxy.SOCKS5("tcp", hostPort(t.proxy), auth, nil)
	if err != nil {
		return nil, err
	}
	over, ok := d.(interface {
		DialWithConn(ctx context.Context, c net.Conn, network, address string) (net.Addr, error)
	})
	if !ok {
		return nil, errors.New("this build cannot speak SOCKS on a connection")
	}
	_, err = over.DialWithConn(ctx, conn, "tcp", addr)
	return conn, err
}

// connect asks an HTTP proxy for a tunnel (RFC 9110, 9.3.6).
func (t *tunnel) connect(_ context.Context, conn net.Conn, addr string) (net.Conn, error) {
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: addr}, Host: addr, Header: http.Header{}}
	if u := t.proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	read := bufio.NewReaderSize(&headerBytes{Conn: conn, left: maxHeader}, 4096)
	resp, err := http.ReadResponse(read, req) //nolint:bodyclose // the connection is, where there is no tunnel
	if err != nil {
		return nil, err
	}
	// What a success says of a body is not so: the tunnel begins behind its header.
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answered %s", resp.Status)
	}
	if n := read.Buffered(); n > 0 {
		begun, _ := read.Peek(n)
		return &begunConn{Conn: conn, begun: begun}, nil
	}
	return conn, nil
}

// headerBytes bounds what is read of a proxy's answer.
type headerBytes struct {
	net.Conn
	left int
}

func (h *headerBytes) Read(p []byte) (int, error) {
	if h.left <= 0 {
		return 0, fmt.Errorf("%w: its headers are over %d bytes", ErrTooLarge, maxHeader)
	}
	n, err := h.Conn.Read(p[:min(len(p), h.left)])
	h.left -= n
	return n, err
}

// begunConn is a connection of which the first bytes were read along with the
// proxy's answer.
type begunConn struct {
	net.Conn
	begun []byte
}

func (c *begunConn) Read(p []byte) (int, error) {
	if len(c.begun) > 0 {
		n := copy(p, c.begun)
		c.begun = c.begun[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends what is sent, where the connection can.
func (c *begunConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return c.Close()
}
