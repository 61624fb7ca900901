// Package client reaches a Stayd runtime over its HTTP API: by the official SDK
// for the paths that the Agents API has, and by the same connection for Stayd's
// own. The runtime may be a server, or a handler in this process that no socket
// leads to. It knows nothing of what is behind the API.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// Client speaks to one runtime. It is safe for use by many goroutines.
type Client struct {
	// SDK is the official client, set up for the runtime.
	SDK openai.Client
	// Base is the runtime's URL without a path.
	Base string

	http *http.Client
	key  string
}

// embeddedBase is the URL of a runtime in this process. Nothing resolves it.
const embeddedBase = "http://127.0.0.1"

// Dial returns a client of the server at base. The key may be empty where the
// server asks for none.
func Dial(base, key string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("server %q is not a URL like http://127.0.0.1:8080", base)
	}
	return build(strings.TrimRight(base, "/"), key, &http.Client{CheckRedirect: keepKey}), nil
}

// maxRedirects is how many redirects of one request are followed.
const maxRedirects = 10

// keepKey has the key of a request go to the server that it is for, and to none
// that a redirect leads to: not over another scheme, nor at another port.
func keepKey(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return fmt.Errorf("stopped after %d redirects", maxRedirects)
	}
	away := func(r *http.Request) bool {
		return r.URL.Scheme != via[0].URL.Scheme || r.URL.Host != via[0].URL.Host
	}
	if away(req) || slices.ContainsFunc(via, away) { // also where it leads back from elsewhere
		req.Header.Del("Authorization")
	}
	return nil
}

// Embed returns a client of the handler, which is called without a socket.
func Embed(h http.Handler, key string) *Client {
	return build(embeddedBase, key, &http.Client{Transport: transport{h}})
}

func build(base, key string, hc *http.Client) *Client {
	if key == "" {
		key = "none" // the SDK insists on one
	}
	return &Client{
		Base: base, http: hc, key: key,
		SDK: openai.NewClient(
			option.WithBaseURL(base+"/v1/"), option.WithAPIKey(key), option.WithHTTPClient(hc), option.WithMaxRetries(2),
			option.WithHeader("OpenAI-Organization", ""), option.WithHeader("OpenAI-Project", ""),
		),
	}
}

// APIError is an answer that is not a success.
type APIError struct {
	Status  int
	Type    string `json:"type"`
	Code    string `json:"code"`
	Param   string `json:"param"`
	Message string `json:"message"`
}

func (e *APIError) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("the server answered with status %d", e.Status)
	}
	return e.Message
}

// Do sends a request of Stayd's own API. in is encoded as the body unless it is
// nil; the answer is decoded into out unless that is nil. The error of an answer
// that is not a success is an *APIError.
func (c *Client) Do(ctx context.Context, method, path string, in, out any) error {
	body, err := c.Stream(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer body.Close() //nolint:errcheck // it was read to its end
	if out == nil {
		_, err = io.Copy(io.Discard, body)
		return err
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("%s %s: the answer is not the JSON that was expected: %w", method, path, err)
	}
	return nil
}

// Stream is Do for an answer that is read piece by piece. The caller closes it.
func (c *Client) Stream(ctx context.Context, method, path string, in any) (io.ReadCloser, error) {
	if in == nil {
		return c.send(ctx, method, path, "", nil)
	}
	b, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return c.send(ctx, method, path, "application/json", bytes.NewReader(b))
}

// send sends a request with a body of any type.
func (c *Client) send(ctx context.Context, method, path, mediaType string, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("OpenAI-Beta", "agents=v1")
	if mediaType != "" {
		req.Header.Set("Content-Type", mediaType)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close() //nolint:errcheck // only read
		return nil, apiError(resp)
	}
	return resp.Body, nil
}

// errorLimit bounds what is read of an answer that is an error, in bytes.
const errorLimit = 64 << 10

func apiError(resp *http.Response) error {
	var envelope struct {
		Error APIError `json:"error"`
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, errorLimit))
	if err == nil && json.Unmarshal(b, &envelope) != nil {
		envelope.Error = APIError{}
	}
	envelope.Error.Status = resp.StatusCode
	return &envelope.Error
}

// Message is the sentence of an error for a person: what the server said, where
// it said something.
func Message(err error) string {
	var sdk *openai.Error
	if errors.As(err, &sdk) {
		if sdk.Message != "" {
			return sdk.Message
		}
		return fmt.Sprintf("the server answered with status %d", sdk.StatusCode)
	}
	var own *APIError
	if errors.As(err, &own) {
		return own.Error()
	}
	return err.Error()
}

// Status is the HTTP status of an answer that is an error, or 0.
func Status(err error) int {
	var sdk *openai.Error
	if errors.As(err, &sdk) {
		return sdk.StatusCode
	}
	var own *APIError
	if errors.As(err, &own) {
		return own.Status
	}
	return 0
}
