package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
)

// DialAs is Dial for a caller whose token changes: bearer is asked for it before
// each request.
func DialAs(base string, bearer func(context.Context) (string, error)) (*Client, error) {
	c, err := Dial(base, "")
	if err != nil {
		return nil, err
	}
	own, err := url.Parse(c.Base)
	if err != nil {
		return nil, fmt.Errorf("read the server's URL: %w", err)
	}
	c.http.Transport = &bearing{
		own: own, bearer: bearer,
		next: http.DefaultTransport, //nolint:forbidigo // the server that the user names, as Dial has it
	}
	return c, nil
}

// bearing puts the token into requests to the server, and into none that a
// redirect has lead away from it.
type bearing struct {
	own    *url.URL
	bearer func(context.Context) (string, error)
	next   http.RoundTripper
}

// RoundTrip sends the request with the token.
func (b *bearing) RoundTrip(req *http.Request) (*http.Response, error) {
	out := req.Clone(req.Context())
	out.Header.Del("Authorization")
	if req.URL.Scheme == b.own.Scheme && req.URL.Host == b.own.Host {
		token, err := b.bearer(req.Context())
		if err != nil {
			if req.Body != nil {
				req.Body.Close() //nolint:errcheck,gosec // it is not sent
			}
			return nil, err
		}
		out.Header.Set("Authorization", "Bearer "+token)
	}
	return b.next.RoundTrip(out)
}
