// Package outbound makes the HTTP client that everything which leaves the
// process uses. It owns the rule of which addresses may be reached: public ones,
// and those that the operator named. The rule is applied to the address that is
// dialled, after names were resolved, so it holds on every redirect and against
// a name that resolves differently the second time. It knows nothing of what is
// sent.
package outbound

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
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
	// Proxy, where set, is what requests and connections go through, and may be at
	// any address: http, https, socks5 or socks5h. It then decides what may be
	// reached by name: here only the addresses are seen that are spelled out in
	// URLs. Proxies that the environment names are never used.
	Proxy *url.URL
	// Direct names what is reached without the Proxy, and by the rules for what is:
	// addresses, prefixes, hosts and domains (".internal"), each with a port or
	// without, as golang.org/x/net/http/httpproxy reads NO_PROXY. Loopback always is.
	Direct []string
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
	// RootCAs are the authorities that servers are verified by; nil is the system's.
	RootCAs *x509.CertPool
	// Resolver looks up names; nil is the one of the process.
	Resolver *net.Resolver
	// MaxRedirects is how many redirects are followed; 0 is 5, less than 0 none.
	MaxRedirects int
	// Around, where set, is put around what performs each request, those of
	// redirects too. It sees what the policy refused as an error.
	Around func(http.RoundTripper) http.RoundTripper

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

// New returns a client that follows the policy. It fails on an entry of Allow or
// Direct, and on a Proxy, that cannot be understood. Errors of the client's requests wrap
// a *RefusedError where the policy refused.
func New(p Policy) (*http.Client, error) {
	rules, err := parseRules(p.Allow)
	if err != nil {
		return nil, err
	}
	c := &http.Client{Transport: p.transport(newDialer(&p, rules), nil), CheckRedirect: redirects(p.MaxRedirects), Timeout: p.Timeout}
	if p.Proxy != nil {
		// All connections of this way are to the proxy, which the rules do not have
		// to allow, and which requests may not name unless they do.
		toProxy, err := proxyRules(p.Proxy)
		if err != nil {
			return nil, err
		}
		through, err := p.through()
		if err != nil {
			return nil, err
		}
		c.Transport = &routed{rules: rules, through: through, direct: c.Transport, proxied: p.transport(newDialer(&p, toProxy), p.Proxy)}
	}
	if p.MaxBody > 0 {
		c.Transport = &limited{most: p.MaxBody, next: c.Transport}
	}
	if p.Around != nil {
		c.Transport = p.Around(c.Transport)
	}
	return c, nil
}

func (p *Policy) transport(d *dialer, proxy *url.URL) http.RoundTripper {
	var trust *tls.Config
	if p.RootCAs != nil {
		trust = &tls.Config{RootCAs: p.RootCAs, MinVersion: tls.VersionTLS12}
	}
	return &http.Transport{
		TLSClientConfig:        trust,
		DialContext:            d.dial,
		Proxy:                  http.ProxyURL(proxy),
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    16,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    p.dialTimeout(),
		ExpectContinueTimeout:  time.Second,
		ResponseHeaderTimeout:  p.HeaderTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
}
