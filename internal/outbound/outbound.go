// Package outbound makes the HTTP client that everything which leaves the
// process uses. It owns the rule of which addresses may be reached: public ones,
// and those that the operator named. The rule is applied to the address that is
// dialled, after names were resolved, so it holds on every redirect and against
// a name that resolves differently the second time. It knows nothing of what is
// sent.
package outbound

import (
	"cmp"
	"fmt"
	"net"
	"net/http"
	"net/url"
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
	// address: http, https, socks5 or socks5h. It then decides what may be
	// reached: the client sees only the addresses that are spelled out in URLs.
	// Proxies that the environment names are never used.
	Proxy *url.URL
	// DialTimeout bounds the making of one connection, and then the start of TLS
	// on it; 0 is 10 seconds.
	DialTimeout time.Duration
	// HeaderTimeout bounds the wait for the first byte of a response; 0 is no
	// limit, as a tool may work for hours before it answers. Callers bound
	// requests by their context.
	HeaderTimeout time.Duration
	// Timeout bounds a whole request, with its redirects and the reading of the
	// body; 0 is no limit, as a stream may last as long as the caller's context.
	Timeout time.Duration
	// MaxBody bounds the bytes that are read of one response's body, after it was
	// decompressed; 0 is no limit, as a stream may go on. Reading on fails with
	// ErrTooLarge.
	MaxBody int64
	// Resolver looks up names; nil is the one of the process.
	Resolver *net.Resolver
	// MaxRedirects is how many redirects are followed; 0 is 5, less than 0 none.
	MaxRedirects int

	// connecting, where set, is told of each address that is about to be connected
	// to, and prevents it by an error. Tests see by it what would be reached.
	connecting func(addr string) error
}

const (
	defaultDialTimeout = 10 * time.Second
	// maxHeader bounds the headers of a response, in bytes.
	maxHeader = 1 << 20
)

func (p *Policy) dialTimeout() time.Duration { return cmp.Or(p.DialTimeout, defaultDialTimeout) }

// New returns a client that follows the policy. It fails on an entry of Allow,
// and on a Proxy, that cannot be understood. Errors of the client's requests wrap
// a *RefusedError where the policy refused.
func New(p Policy) (*http.Client, error) {
	rules, err := parseRules(p.Allow)
	if err != nil {
		return nil, err
	}
	dialled := rules
	if p.Proxy != nil {
		// All connections are to the proxy then, which the rules do not have to
		// allow, and which requests may not name unless they do.
		if dialled, err = proxyRules(p.Proxy); err != nil {
			return nil, fmt.Errorf("proxy %s: %w", p.Proxy.Redacted(), err)
		}
	}
	t := &http.Transport{
		DialContext:            newDialer(&p, dialled).dial,
		Proxy:                  http.ProxyURL(p.Proxy),
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    p.dialTimeout(),
		ExpectContinueTimeout:  time.Second,
		ResponseHeaderTimeout:  p.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
	c := &http.Client{Transport: t, CheckRedirect: redirects(p.MaxRedirects), Timeout: p.Timeout}
	if p.Proxy != nil {
		c.Transport = &spelled{rules: rules, next: t}
	}
	if p.MaxBody > 0 {
		c.Transport = &limited{most: p.MaxBody, next: c.Transport}
	}
	return c, nil
}

func proxyRules(u *url.URL) (*rules, error) {
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
		return parseRules([]string{hostPort(u)})
	}
	return nil, fmt.Errorf("the scheme is %q; it may be http, https, socks5 or socks5h", u.Scheme)
}
