package outbound

import "net/http"

// routed performs requests through the proxy or without it. Through it, it
// refuses the addresses that a request spells out, and leaves the proxy no other
// way to read it.
type routed struct {
	rules           *rules
	through         func(target) bool
	direct, proxied http.RoundTripper
}

func (rt *routed) RoundTrip(r *http.Request) (*http.Response, error) {
	next, out, err := rt.route(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close() //nolint:errcheck,gosec // a RoundTripper must close it; the request was refused
		}
		return nil, err
	}
	return next.RoundTrip(out)
}

// CloseIdleConnections lets http.Client close them.
func (rt *routed) CloseIdleConnections() {
	closeIdle(rt.direct)
	closeIdle(rt.proxied)
}

// route returns by which way a request goes, and the request as it is sent: to
// the proxy with an address in its plain form.
func (rt *routed) route(r *http.Request) (http.RoundTripper, *http.Request, error) {
	u := r.URL
	asked := hostPort(u)
	t, err := parseTarget(asked)
	if err != nil {
		return nil, nil, err
	}
	if err := rt.rules.checkSpelled(asked, t); err != nil {
		return nil, nil, err
	}
	if !rt.through(t) {
		return rt.direct, r, nil
	}
	switch {
	case u.Opaque != "":
		return nil, nil, &RefusedError{Host: u.Host, Reason: "asked for by a URL without a path, of which the proxy would read another host"}
	case r.Method == http.MethodConnect:
		return nil, nil, &RefusedError{Host: u.Host, Reason: "asked for by CONNECT, which is the client's own way through the proxy"}
	case r.Host != "" && r.Host != u.Host:
		return nil, nil, &RefusedError{Host: r.Host, Reason: "a Host header other than the URL's, which the proxy would follow"}
	}
	return rt.proxied, plainly(r, t), nil
}

// plainly returns the request for an address in its plain form; for a name, or
// where it is that already, the request itself.
func plainly(r *http.Request, t target) *http.Request {
	host := t.host()
	if !t.addr.IsValid() || r.URL.Hostname() == host {
		return r
	}
	if t.addr.Is6() {
		host = "[" + host + "]"
	}
	if r.URL.Port() != "" {
		host = t.String()
	}
	out := r.Clone(r.Context())
	out.URL.Host, out.Host = host, ""
	return out
}
