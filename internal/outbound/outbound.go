// Package outbound makes the HTTP client that everything which leaves the
// process uses. It owns the rule of which addresses may be reached: public ones,
// and those that the operator named. The rule is applied to the address that is
// dialled, after names were resolved, so it holds on every redirect and against
// a name that resolves differently the second time. It knows nothing of what is
// sent.
package outbound

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"
)

// Policy says what may be reached. The zero value allows public addresses only.
type Policy struct {
	// Allow names what may be reached although it is not public: prefixes
	// ("10.0.0.0/8"), addresses ("127.0.0.1", "[::1]:8080") and hosts
	// ("localhost:11434", "models.internal"). One without a port is allowed on
	// all ports. A host is allowed by its name, whatever it resolves to; this is
	// for names from the operator's own configuration.
	Allow []string
	// Proxy, where set, is what all requests go through, and may be at any
	// address. It then decides what may be reached: the client sees only the
	// addresses that are spelled out in URLs.
	Proxy *url.URL
	// DialTimeout bounds one connection; 0 is 10 seconds.
	DialTimeout time.Duration
	// HeaderTimeout bounds the wait for the first byte of a response; 0 is no
	// limit, as a tool may work for hours before it answers. Callers bound
	// requests by their context.
	HeaderTimeout time.Duration
	// Resolver looks up names; nil is the one of the process.
	Resolver *net.Resolver
	// MaxRedirects is how many redirects are followed; 0 is 5, less than 0 none.
	MaxRedirects int
}

// RefusedError is a connection that the policy does not allow. Nothing was sent.
type RefusedError struct {
	Host   string // as the URL has it
	Addr   string // as it was resolved, or as it was spelled
	Reason string // what the address is: "loopback", "private", ...
}

func (e *RefusedError) Error() string {
	where := e.Addr
	if e.Host != "" && e.Host != e.Addr {
		where = fmt.Sprintf("%s (%s)", e.Host, e.Addr)
	}
	return fmt.Sprintf("%s is not allowed: the address is %s; the operator may allow it by name in the configuration", where, e.Reason)
}

// New returns a client that follows the policy. It fails on an entry of Allow
// that cannot be understood. The client has no overall timeout: a stream may
// last as long as the caller's context.
func New(p Policy) (*http.Client, error) {
	rules, err := parseRules(p.Allow)
	if err != nil {
		return nil, err
	}
	p.DialTimeout = cmp.Or(p.DialTimeout, 10*time.Second)
	if p.Proxy != nil {
		if err := rules.add(hostPort(p.Proxy)); err != nil {
			return nil, fmt.Errorf("proxy %s: %w", p.Proxy.Redacted(), err)
		}
	}
	d := &dialer{rules: rules, timeout: p.DialTimeout, resolver: p.Resolver}
	t := &http.Transport{
		DialContext:           d.dial,
		Proxy:                 http.ProxyURL(p.Proxy),
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          256,
		MaxIdleConnsPerHost:   16,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		ResponseHeaderTimeout: p.HeaderTimeout,
	}
	c := &http.Client{Transport: t, CheckRedirect: redirects(p.MaxRedirects)}
	if p.Proxy != nil {
		c.Transport = &literals{rules: rules, next: t}
	}
	return c, nil
}

// NewDialer returns a function that connects as the policy allows, for what is
// not a request of this process. A name is resolved once, and the address that
// was checked is the one that is connected to. Its errors wrap a *RefusedError
// where the policy refused. It fails on an entry of Allow that cannot be
// understood, and with a Proxy, which it could not use.
func NewDialer(p Policy) (func(ctx context.Context, network, addr string) (net.Conn, error), error) {
	if p.Proxy != nil {
		return nil, errors.New("a dialer does not go through a proxy")
	}
	rules, err := parseRules(p.Allow)
	if err != nil {
		return nil, err
	}
	d := &dialer{rules: rules, timeout: cmp.Or(p.DialTimeout, 10*time.Second), resolver: p.Resolver}
	return d.dial, nil
}

// dialer connects to what the rules allow.
type dialer struct {
	rules    *rules
	timeout  time.Duration
	resolver *net.Resolver
}

func (d *dialer) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n := net.Dialer{Timeout: d.timeout, KeepAlive: 30 * time.Second, Resolver: d.resolver}
	if !d.rules.allowsHost(addr) {
		n.ControlContext = func(_ context.Context, network, resolved string, _ syscall.RawConn) error {
			return d.rules.check(addr, network, resolved)
		}
	}
	return n.DialContext(ctx, network, addr)
}

// literals refuses, where a proxy does the resolving, the addresses that a URL
// spells out.
type literals struct {
	rules *rules
	next  http.RoundTripper
}

func (l *literals) RoundTrip(r *http.Request) (*http.Response, error) {
	hp := hostPort(r.URL)
	if !l.rules.allowsHost(hp) {
		if err := l.rules.checkLiteral(hp); err != nil {
			if r.Body != nil {
				r.Body.Close() //nolint:errcheck,gosec // a RoundTripper must close it; the request was refused
			}
			return nil, err
		}
	}
	return l.next.RoundTrip(r)
}

func (l *literals) CloseIdleConnections() {
	if c, ok := l.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// hostPort is the host and port that a URL reaches.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// ErrTooLarge is wrapped by the error of a body that is larger than its reader
// allows.
var ErrTooLarge = errors.New("the response is too large")

// LimitBody lets at most limit bytes of the response's body be read. Reading on
// fails with ErrTooLarge, so that a body which was cut is not taken for a whole
// one.
func LimitBody(resp *http.Response, limit int64) {
	resp.Body = &limitedBody{ReadCloser: resp.Body, left: limit, limit: limit}
}

type limitedBody struct {
	io.ReadCloser
	left, limit int64
}

func (b *limitedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, fmt.Errorf("%w: over %d bytes", ErrTooLarge, b.limit)
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, fmt.Errorf("%w: over %d bytes", ErrTooLarge, b.limit)
	}
	return n, err
}
