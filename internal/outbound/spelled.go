package outbound

import "net/http"

// spelled refuses, where a proxy makes the connections, the addresses that a
// request spells out, and leaves the proxy no other way to read it.
type spelled struct {
	rules *rules
	next  *http.Transport
}

func (s *spelled) RoundTrip(r *http.Request) (*http.Response, error) {
	out, err := s.admit(r)
	if err != nil {
		if r.Body != nil {
			r.Body.Close() //nolint:errcheck,gosec // a RoundTripper must close it; the request was refused
		}
		return nil, err
	}
	return s.next.RoundTrip(out)
}

// CloseIdleConnections lets http.Client close them.
func (s *spelled) CloseIdleConnections() { s.next.CloseIdleConnections() }

// admit returns the request as it is sent: with an address in its plain form.
func (s *spelled) admit(r *http.Request) (*http.Request, error) {
	u := r.URL
	switch {
	case u.Opaque != "":
		return nil, &RefusedError{Host: u.Host, Reason: "asked for by a URL without a path, of which the proxy would read another host"}
	case r.Method == http.MethodConnect:
		return nil, &RefusedError{Host: u.Host, Reason: "asked for by CONNECT, which is the client's own way through the proxy"}
	case r.Host != "" && r.Host != u.Host:
		return nil, &RefusedError{Host: r.Host, Reason: "a Host header other than the URL's, which the proxy would follow"}
	}
	asked := hostPort(u)
	t, err := parseTarget(asked)
	if err != nil {
		return nil, err
	}
	if err := s.rules.checkSpelled(asked, t); err != nil {
		return nil, err
	}
	return plainly(r, t), nil
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
