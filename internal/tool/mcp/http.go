package mcp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/tool"
)

// maxAnswer bounds one answer of a server, in bytes.
const maxAnswer = 32 << 20

func httpTransport(cfg Config) (sdk.Transport, error) {
	if cfg.HTTP == nil {
		return nil, errors.New("there is no HTTP client for it")
	}
	u, err := url.Parse(cfg.Tool.Transport.ServerURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("server_url is not an http or https URL")
	}
	client := *cfg.HTTP
	next := client.Transport
	if next == nil {
		return nil, errors.New("the HTTP client has no transport of its own")
	}
	client.Transport = &endpoint{next: next, url: u, headers: cfg.Tool.Transport.Headers, authorize: cfg.Authorize}
	return &sdk.StreamableClientTransport{
		Endpoint: cfg.Tool.Transport.ServerURL, HTTPClient: &client,
		// What a server sends without being asked is of no use here, and a stream
		// for it would cost a connection for every session.
		DisableStandaloneSSE: true,
		MaxEventSize:         maxAnswer,
	}, nil
}

// endpoint adds the configured headers and a credential to what goes to the
// server itself, and notes how far a call came.
type endpoint struct {
	next      http.RoundTripper
	url       *url.URL
	headers   map[string]string
	authorize func(context.Context, *tool.Challenge) (string, error)
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	own := r.URL.Scheme == e.url.Scheme && strings.EqualFold(r.URL.Host, e.url.Host)
	if !own || e.authorize == nil {
		return e.send(r, own, "")
	}
	a := attemptOf(r.Context())
	shown, err := e.authorize(r.Context(), nil)
	if err != nil {
		return nil, a.unauthorized(err)
	}
	resp, err := e.send(r, own, shown)
	if err != nil || !challenges(resp) {
		return resp, err
	}
	better, err := e.authorize(r.Context(), &tool.Challenge{Refused: shown, Authenticate: resp.Header.Values("WWW-Authenticate")})
	if err != nil {
		resp.Body.Close() //nolint:errcheck,gosec // it is not read
		return nil, a.unauthorized(err)
	}
	if better == "" || better == shown || (r.Body != nil && r.GetBody == nil) {
		return resp, nil
	}
	resp.Body.Close() //nolint:errcheck,gosec // it is not read
	if r.GetBody != nil {
		r = r.Clone(r.Context())
		if r.Body, err = r.GetBody(); err != nil {
			return nil, fmt.Errorf("send the request again: %w", err)
		}
	}
	return e.send(r, own, better)
}

// challenges reports whether the server asks for another credential: it has not
// done what it was asked for.
func challenges(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusUnauthorized:
		return true
	case http.StatusForbidden: // RFC 6750 section 3.1
		return strings.Contains(strings.Join(resp.Header.Values("WWW-Authenticate"), " "), "insufficient_scope")
	}
	return false
}

// send sends the request, with the credential where there is one.
func (e *endpoint) send(r *http.Request, own bool, authorization string) (*http.Response, error) {
	a := attemptOf(r.Context())
	ctx := r.Context()
	if a != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { a.written.Store(true) }})
	}
	r = r.Clone(ctx)
	if own {
		for k, v := range e.headers {
			if http.CanonicalHeaderKey(k) == "Host" {
				if authorization == "" { // a credential is for the server of the URL
					r.Host = v
				}
				continue
			}
			r.Header.Set(k, v)
		}
		if authorization != "" {
			r.Header.Set("Authorization", authorization)
			a.show(authorization)
		}
	}
	if a != nil && r.Method == http.MethodPost {
		a.status.Store(0) // what was answered before this sending says nothing of it
	}
	resp, err := e.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if a != nil && r.Method == http.MethodPost {
		a.status.Store(int32(resp.StatusCode))
	}
	if !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		if resp.ContentLength > maxAnswer {
			resp.Body.Close() //nolint:errcheck,gosec // it is not read
			return nil, fmt.Errorf("%w: %d bytes", outbound.ErrTooLarge, resp.ContentLength)
		}
		outbound.LimitBody(resp, maxAnswer)
	}
	return resp, nil
}
