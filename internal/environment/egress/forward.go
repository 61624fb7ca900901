package egress

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"
)

type forwardKey struct{}

// forwarded is what the handlers of the one ReverseProxy need of a request.
type forwarded struct {
	exchange *exchange
	target   target
	w        http.ResponseWriter
	quiet    *quiet
	mask     *replacer // nil where there are no secrets
}

func of(r *http.Request) *forwarded { return r.Context().Value(forwardKey{}).(*forwarded) }

// newForward returns what sends requests on: as they came, less what concerns the
// connection to the proxy.
func newForward(dial Dial, roots *x509.CertPool) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext:            dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
			TLSHandshakeTimeout:    headerTimeout,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConns:           16,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 1 << 20,
			ExpectContinueTimeout:  time.Second,
		},
		ErrorLog:       log.New(io.Discard, "", 0), // it may have what a server said
		FlushInterval:  -1,
		Rewrite:        rewrite,
		ModifyResponse: modify,
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			f := of(r)
			f.exchange.fail(f.w, err, f.target)
			if f.mask != nil { // the error may repeat what the server said
				f.exchange.Reason, _ = f.mask.all(f.exchange.Reason)
			}
		},
	}
}

// rewrite has a request go to its target, whatever host it names.
func rewrite(p *httputil.ProxyRequest) {
	f := of(p.In)
	p.Out.URL.Scheme, p.Out.URL.Host = "http", f.target.dialled()
	p.Out.Host = f.target.host
	if f.target.addr.Is6() {
		p.Out.Host = "[" + f.target.host + "]"
	}
	usual := uint16(80)
	if f.exchange.encrypted {
		p.Out.URL.Scheme, usual = "https", 443
	}
	if f.target.port != usual {
		p.Out.Host = f.target.String()
	}
	p.Out.URL.RawQuery = p.In.URL.RawQuery
}

func modify(resp *http.Response) error {
	f := of(resp.Request)
	f.exchange.Status = resp.StatusCode
	if conn, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		resp.Body = &switched{ReadWriteCloser: conn, exchange: f.exchange, quiet: f.quiet}
	}
	if f.mask == nil {
		return nil
	}
	return maskAnswer(resp, f.mask)
}

// switched is the connection to a server that speaks another protocol from here
// on. It is counted as a tunnel is.
type switched struct {
	io.ReadWriteCloser
	exchange *exchange
	quiet    *quiet
}

func (s *switched) Read(p []byte) (int, error) {
	n, err := s.ReadWriteCloser.Read(p)
	s.exchange.down.Add(int64(n))
	s.quiet.moved()
	return n, err
}

func (s *switched) Write(p []byte) (int, error) {
	n, err := s.ReadWriteCloser.Write(p)
	s.exchange.up.Add(int64(n))
	s.quiet.moved()
	return n, err
}

// forward sends a request on, and the answer back.
func (e *exchange) forward(w http.ResponseWriter, r *http.Request, t target) {
	e.Allowed = true
	f := &forwarded{exchange: e, target: t, w: w}
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), forwardKey{}, f))
	defer cancel()
	c := http.NewResponseController(w)
	f.quiet = newQuiet(e.proxy.idle, func() {
		cancel()
		past := time.Unix(1, 0)
		c.SetReadDeadline(past)  //nolint:errcheck,gosec // a connection that is gone
		c.SetWriteDeadline(past) //nolint:errcheck,gosec // as above
	})
	defer f.quiet.timer.Stop()
	out := r.Clone(ctx)
	// A change of the protocol is for tunnels, where it can be seen to be one, and for
	// WebSockets in those that are opened here.
	if !e.encrypted || !strings.EqualFold(out.Header.Get("Upgrade"), "websocket") {
		out.Header.Del("Upgrade")
	}
	out.Header.Del("Http2-Settings")
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = &body{Reader: counted{r.Body, &e.up, f.quiet}, Closer: r.Body}
	}
	if e.proxy.ring != nil {
		if err := e.fill(f, out); err != nil {
			e.refuse(w, err)
			return
		}
	}
	e.proxy.forward.ServeHTTP(&counter{ResponseWriter: w, exchange: e, quiet: f.quiet, mask: f.mask}, out)
}

// fill puts the secrets into a request.
func (e *exchange) fill(f *forwarded, out *http.Request) error {
	p := e.proxy.ring.passFor(out.Context(), f.target, e.encrypted)
	if err := p.fill(out); err != nil {
		return err
	}
	if len(p.masked) > 0 {
		f.mask = p.mask()
		readable(out.Header)
	}
	return nil
}

// counter counts what is written to the program.
type counter struct {
	http.ResponseWriter
	exchange *exchange
	quiet    *quiet
	mask     *replacer // nil where there are no secrets
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.exchange.down.Add(int64(n))
	c.quiet.moved()
	return n, err
}

// WriteHeader masks what comes before an answer, which is passed on as it comes.
func (c *counter) WriteHeader(code int) {
	if c.mask != nil && code < http.StatusOK {
		maskHeader(c.Header(), c.mask)
	}
	c.ResponseWriter.WriteHeader(code)
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
