package mcp

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/stayd/stayd/internal/outbound"
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
	client.Transport = &endpoint{next: next, url: u, headers: cfg.Tool.Transport.Headers}
	return &sdk.StreamableClientTransport{
		Endpoint: cfg.Tool.Transport.ServerURL, HTTPClient: &client,
		// What a server sends without being asked is of no use here, and a stream
		// for it would cost a connection for every session.
		DisableStandaloneSSE: true,
		MaxEventSize:         maxAnswer,
	}, nil
}

// endpoint adds the configured headers to what goes to the server itself, and
// notes how far a call came.
type endpoint struct {
	next    http.RoundTripper
	url     *url.URL
	headers map[string]string
}

func (e *endpoint) RoundTrip(r *http.Request) (*http.Response, error) {
	a := attemptOf(r.Context())
	ctx := r.Context()
	if a != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { a.written.Store(true) }})
	}
	r = r.Clone(ctx)
	if r.URL.Scheme == e.url.Scheme && strings.EqualFold(r.URL.Host, e.url.Host) {
		for k, v := range e.headers {
			if http.CanonicalHeaderKey(k) == "Host" {
				r.Host = v
				continue
			}
			r.Header.Set(k, v)
		}
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
