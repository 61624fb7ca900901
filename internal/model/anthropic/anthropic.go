// Package anthropic is the model provider that speaks Anthropic's Messages API.
// It maps requests and answers and knows nothing of sessions, retries or prices.
//
// Thinking blocks and redacted ones, with their signatures, are kept in the
// reasoning items and go back unchanged and in order to the model that wrote
// them. Structured output is the API's own (output_config.format), which holds
// the model to the schema while it writes; Claude models before 4.1 do not have
// it and the API says so. Efforts become adaptive thinking with an effort, or a
// budget of thinking tokens, as package claude knows of each generation.
//
// The cost of writing to the prompt cache is not in event.Usage: tokens written
// count as fresh input.
package anthropic

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
)

// DefaultBaseURL is Anthropic's own endpoint.
const DefaultBaseURL = "https://api.anthropic.com/"

// Config says where an endpoint is and how to speak with it.
type Config struct {
	// BaseURL is without the version: the paths under it begin with v1. Empty is
	// DefaultBaseURL.
	BaseURL string
	// APIKey is sent as x-api-key; empty sends none.
	APIKey string
	// Client performs the requests. It is required: it carries the policy on
	// where requests may go.
	Client *http.Client
}

// Provider is a model.Model over one endpoint.
type Provider struct {
	key      string
	messages sdk.MessageService
}

var _ model.Model = (*Provider)(nil)

// New checks the configuration and returns the provider. It sends nothing, and
// reads nothing from the environment.
func New(c Config) (*Provider, error) {
	if c.Client == nil {
		return nil, errors.New("anthropic: the HTTP client is missing")
	}
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("anthropic: the base URL must be an absolute http or https URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("anthropic: the base URL must not have a user, a query or a fragment; a key goes into the API key")
	}
	check := failure.Check{Secrets: []string{c.APIKey}}
	opts := []option.RequestOption{
		option.WithBaseURL(u.String()),
		option.WithHTTPClient(c.Client),
		option.WithMaxRetries(0),
		option.WithMiddleware(check.RoundTrip),
		// Spans are the engine's; the SDK would take its settings from the
		// environment.
		option.WithOpenTelemetryTraces(false),
		option.WithOpenTelemetryPropagation(false),
	}
	if c.APIKey != "" {
		opts = append(opts, option.WithAPIKey(c.APIKey))
	}
	return &Provider{key: c.APIKey, messages: sdk.NewMessageService(opts...)}, nil
}

// Generate implements model.Model.
func (p *Provider) Generate(ctx context.Context, req *model.Request, emit func(model.Delta)) (*model.Response, error) {
	if emit == nil {
		emit = func(model.Delta) {}
	}
	params, err := messageParams(req)
	if err != nil {
		return nil, err
	}
	stream := p.messages.NewStreaming(ctx, params, option.WithHeader("Accept", "text/event-stream"))
	// Without an answer the stream has nothing to close, and its Close fails.
	if err := stream.Err(); err != nil {
		return nil, p.streamError(ctx, err)
	}
	defer stream.Close() //nolint:errcheck // what failed was returned by Err
	a := answer{emit: emit, model: req.Model}
	for stream.Next() {
		ev := stream.Current()
		if err := a.take(&ev); err != nil {
			return nil, err
		}
		if a.done {
			return a.response(), nil
		}
	}
	if err := stream.Err(); err != nil {
		return nil, p.streamError(ctx, err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, failure.Cut()
}

// streamError says why a stream ended with err.
func (p *Provider) streamError(ctx context.Context, err error) error {
	var api *sdk.Error
	if errors.As(err, &api) {
		return p.reported(api.RawJSON())
	}
	if body, ok := strings.CutPrefix(err.Error(), "received error while streaming: "); ok {
		return p.reported(body)
	}
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	if ctx.Err() == nil && (errors.As(err, &syntax) || errors.As(err, &mismatch)) {
		return failure.Malformed("an event is not valid JSON", err)
	}
	return failure.Transport(ctx, err, p.key)
}

// reported is the error of an error event.
func (p *Provider) reported(body string) error {
	return failure.Refused(0, nil, failure.ParseDetail([]byte(body)), time.Now(), p.key)
}
