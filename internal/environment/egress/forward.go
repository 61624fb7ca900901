package egress

import (
	"context"
	"io"
	"net/http"
	"net/http/httputil"
	"time"
)

type forwardKey struct{}

// forwarded is what the handlers of the one ReverseProxy need of a request.
type forwarded struct {
	exchange *exchange
	target   target
	w        http.ResponseWriter
}

func of(r *http.Request) *forwarded { return r.Context().Value(forwardKey{}).(*forwarded) }

// newForward returns what sends plain HTTP on: as it came, less what concerns the
// connection to the proxy.
func newForward(dial Dial) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: &http.Transport{
			DialContext:            dial,
			DisableCompression:     true,
			MaxIdleConns:           16,
			IdleConnTimeout:        30 * time.Second,
			MaxResponseHeaderBytes: 1 << 20,
			ExpectContinueTimeout:  time.Second,
		},
		FlushInterval: -1,
		Rewrite: func(p *httputil.ProxyRequest) {
			f := of(p.In)
			p.Out.URL.Host = f.target.dialled()
			p.Out.Host = f.target.host
			if f.target.addr.Is6() {
				p.Out.Host = "[" + f.target.host + "]"
			}
			if f.target.port != 80 {
				p.Out.Host = f.target.String()
			}
			p.Out.URL.RawQuery = p.In.URL.RawQuery
		},
		ModifyResponse: func(resp *http.Response) error {
			of(resp.Request).exchange.Status = resp.StatusCode
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			f := of(r)
			f.exchange.fail(f.w, err, f.target)
		},
	}
}

// forward sends a plain request on, and the answer back.
func (e *exchange) forward(w http.ResponseWriter, r *http.Request, t target) {
	e.Allowed = true
	ctx, cancel := context.WithCancel(context.WithValue(r.Context(), forwardKey{}, &forwarded{exchange: e, target: t, w: w}))
	defer cancel()
	c := http.NewResponseController(w)
	q := newQuiet(e.proxy.idle, func() {
		cancel()
		past := time.Unix(1, 0)
		c.SetReadDeadline(past)  //nolint:errcheck,gosec // a connection that is gone
		c.SetWriteDeadline(past) //nolint:errcheck,gosec // as above
	})
	defer q.timer.Stop()
	out := r.WithContext(ctx)
	// A change of the protocol is for tunnels, where it can be seen to be one.
	out.Header.Del("Upgrade")
	out.Header.Del("Http2-Settings")
	if r.Body != nil && r.Body != http.NoBody {
		out.Body = struct {
			io.Reader
			io.Closer
		}{counted{r.Body, &e.up, q}, r.Body}
	}
	e.proxy.forward.ServeHTTP(&counter{ResponseWriter: w, exchange: e, quiet: q}, out)
}

// counter counts what is written to the program.
type counter struct {
	http.ResponseWriter
	exchange *exchange
	quiet    *quiet
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.ResponseWriter.Write(p)
	c.exchange.down.Add(int64(n))
	c.quiet.moved()
	return n, err
}

func (c *counter) Unwrap() http.ResponseWriter { return c.ResponseWriter }
