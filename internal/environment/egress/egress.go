// Package egress is the proxy through which the programs of one environment
// reach the network. It owns which hosts and ports they may reach, and says of
// each request what became of it; a refusal is worded for the model that reads
// it. Which addresses may be dialled is the rule of package outbound: this
// package is given the function that dials. It knows nothing of the sandbox.
//
// Of an encrypted connection it sees the name that programs ask for, and not what
// they say: a server that is allowed, and passes requests on to others, opens the
// way to those. But where a secret may be sent to the host, the connection is
// opened here, by a certificate that the environment's programs trust, and the
// secret is put where its placeholder stands.
package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/stayd/stayd/internal/environment"
)

// Limits of every environment.
const (
	maxConnections = 64 // more wait until one of them ends
	maxHeader      = 64 << 10
	headerTimeout  = 10 * time.Second // for a request's header, and for the start of TLS
	idleTimeout    = 5 * time.Minute  // for a request or a tunnel in which nothing moves
)

// Dial connects to host:port and refuses what may not be reached; see
// outbound.NewDialer.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Request is what became of a request, or of a tunnel.
type Request struct {
	At         time.Time
	Method     string
	Host       string // in lower case, without a dot at its end, internationalised names encoded
	Port       uint16
	Path       string // as the program sent it, never a query; not known of a tunnel
	Allowed    bool
	Reason     string // of the refusal or the failure, else empty
	Status     int    // 0 where there was no answer
	BytesUp    int64  // of bodies and tunnels, not of headers
	BytesDown  int64
	DurationMS int64
}

// Proxy is a proxy for one environment: HTTP/1.1 with absolute URLs, and CONNECT.
type Proxy struct {
	rules     *rules
	dial      Dial
	record    func(Request)
	idle      time.Duration
	server    *http.Server
	forward   *httputil.ReverseProxy
	life      context.Context // ends with Close
	stop      context.CancelFunc
	ring      *ring         // nil where there are no secrets
	authority *authority    // the same
	inside    chan struct{} // holds one for each request in a tunnel that is opened

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup // of handlers and tunnels
}

// New returns a proxy that follows the policy. It fails on a policy that cannot
// be understood. Record is called once for each request, at its end, and by
// several goroutines. Secrets may be nil.
func New(p Policy, secrets *environment.Secrets, dial Dial, record func(Request)) (*Proxy, error) {
	rules, err := parsePolicy(p)
	if err != nil {
		return nil, fmt.Errorf("the network policy: %w", err)
	}
	x := &Proxy{rules: rules, dial: dial, record: record, idle: idleTimeout}
	var roots *x509.CertPool
	if secrets != nil && len(secrets.Given) > 0 {
		x.ring = newRing(secrets)
		if x.authority, err = newAuthority(); err != nil {
			return nil, fmt.Errorf("the certificates of the environment: %w", err)
		}
		roots = x.authority.servers
		x.inside = make(chan struct{}, maxConnections)
	}
	x.life, x.stop = context.WithCancel(context.Background())
	x.forward = newForward(dial, roots)
	x.server = newServer(x.ServeHTTP, x.life)
	return x, nil
}

// newServer returns what answers programs. What it would print may have what they
// sent.
func newServer(h http.HandlerFunc, life context.Context) *http.Server { //nolint:revive // it is the parent of all contexts, and not of this call
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(io.Discard, "", 0),
		// Every request is refused or forwarded, and recorded.
		DisableGeneralOptionsHandler: true,
		BaseContext:                  func(net.Listener) context.Context { return life },
	}
}

// Variables implements environment.Proxy.
func (x *Proxy) Variables() map[string]string {
	if x.ring == nil {
		return nil
	}
	return x.ring.variables()
}

// Certificates implements environment.Proxy.
func (x *Proxy) Certificates() []byte {
	if x.authority == nil {
		return nil
	}
	return x.authority.roots
}

// Serve answers the connections of the listener until Close, which it returns
// nil after.
func (x *Proxy) Serve(l net.Listener) error {
	err := x.server.Serve(netutil.LimitListener(l, maxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the environment's proxy: %w", err)
}

// Close ends all connections and waits until the last request was recorded.
func (x *Proxy) Close() error {
	x.mu.Lock()
	x.closed = true
	x.mu.Unlock()
	x.stop()
	err := x.server.Close()
	x.running.Wait()
	if t, ok := x.forward.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	if err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("close the environment's proxy: %w", err)
	}
	return nil
}

func (x *Proxy) begin() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.closed {
		x.running.Add(1)
	}
	return !x.closed
}

// ServeHTTP answers one request of a program.
func (x *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !x.begin() {
		panic(http.ErrAbortHandler)
	}
	defer x.running.Done()
	e := &exchange{proxy: x, Request: Request{At: time.Now(), Method: r.Method}}
	// The forwarding of a body that breaks off ends in a panic, which closes the
	// connection; what there was is recorded all the same.
	defer e.end()
	t, err := parseTarget(r)
	e.Host, e.Port = t.host, t.port
	if err == nil && r.Method != http.MethodConnect {
		e.Path = r.URL.EscapedPath()
	}
	if err == nil {
		err = x.rules.check(t)
	}
	switch {
	case err != nil:
		e.refuse(w, err)
	case r.Method == http.MethodConnect:
		e.tunnel(w, t)
	default:
		e.forward(w, r, t)
	}
}
