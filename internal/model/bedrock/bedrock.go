// Package bedrock is the model provider that speaks the Converse API of Amazon
// Bedrock (ConverseStream). It maps requests and answers and knows nothing of
// sessions, retries or prices.
//
// Reasoning that a model signed is kept in the reasoning items and goes back
// unchanged to the model that wrote it. Structured output is the API's own
// (outputConfig.textFormat), which the models that have it are held to while they
// write; Bedrock refuses it for others. Prompts are cached where the model's
// family is known to take cache points: Claude, and Nova without its tools. The
// cost of writing to the cache is not in event.Usage: tokens written count as
// fresh input.
package bedrock

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/auth/bearer"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
)

// Config says where Bedrock is and how to sign for it.
type Config struct {
	// Region is the AWS region, as in "us-east-1".
	Region string
	// Credentials sign the requests. APIKey, a Bedrock API key, is sent as a
	// bearer token instead; one of the two is required.
	Credentials aws.CredentialsProvider
	APIKey      string
	// BaseURL replaces the region's endpoint, for a private one or a test.
	BaseURL string
	// Client performs the requests. It is required: it carries the policy on
	// where requests may go.
	Client *http.Client
}

// Provider is a model.Model over one region.
type Provider struct {
	key         string
	credentials *remembered // nil with an API key
	options     bedrockruntime.Options
}

var _ model.Model = (*Provider)(nil)

// New checks the configuration and returns the provider. It sends nothing, and
// takes no setting from the environment.
func New(c Config) (*Provider, error) {
	switch {
	case c.Client == nil:
		return nil, errors.New("bedrock: the HTTP client is missing")
	case c.Region == "":
		return nil, errors.New("bedrock: the region is missing")
	case c.Credentials == nil && c.APIKey == "":
		return nil, errors.New("bedrock: credentials or an API key are needed")
	}
	p := &Provider{key: c.APIKey}
	opts := bedrockruntime.Options{
		Region:     c.Region,
		HTTPClient: streamClient{c.Client},
		Retryer:    aws.NopRetryer{},
	}
	if c.APIKey == "" {
		p.credentials = &remembered{CredentialsProvider: c.Credentials}
		opts.Credentials = p.credentials
	}
	if c.BaseURL != "" {
		u, err := url.Parse(c.BaseURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return nil, errors.New("bedrock: the base URL must be an absolute http or https URL without a user or a query")
		}
		if u.Scheme == "http" && c.APIKey != "" {
			return nil, errors.New("bedrock: an API key is sent over https only")
		}
		opts.BaseEndpoint = aws.String(u.String())
	}
	p.options = opts
	return p, nil
}

// client makes a client for one call. The SDK's clients decode all their streams
// into one buffer (smithy-go v1.28.9, internal/eventstream.Codec), so that two
// streams at once would mix up each other's events.
func (p *Provider) client() *bedrockruntime.Client {
	return bedrockruntime.New(p.options, func(o *bedrockruntime.Options) {
		// The SDK has put a token from the environment here.
		o.BearerAuthTokenProvider, o.AuthSchemePreference = nil, []string{"sigv4"}
		if p.key != "" {
			o.BearerAuthTokenProvider = bearer.StaticTokenProvider{Token: bearer.Token{Value: p.key}}
			o.AuthSchemePreference = []string{"httpBearerAuth"}
		}
	})
}

// Generate implements model.Model.
func (p *Provider) Generate(ctx context.Context, req *model.Request, emit func(model.Delta)) (*model.Response, error) {
	if emit == nil {
		emit = func(model.Delta) {}
	}
	input, err := converseInput(req)
	if err != nil {
		return nil, err
	}
	out, err := p.client().ConverseStream(ctx, input)
	if err != nil {
		return nil, p.failed(ctx, err)
	}
	stream := out.GetStream()
	defer stream.Close() //nolint:errcheck // what failed was returned by Err
	a := answer{emit: emit, model: req.Model}
	for ev := range stream.Events() {
		if err := a.take(ev); err != nil {
			return nil, err
		}
	}
	if err := stream.Err(); err != nil {
		return nil, p.interrupted(ctx, err)
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return a.response()
}

// failed says what an error of the SDK means: one that the service named, an
// HTTP status, or a connection that failed.
func (p *Provider) failed(ctx context.Context, err error) error {
	var known *model.Error
	if ctx.Err() != nil || errors.As(err, &known) {
		return failure.Transport(ctx, err)
	}
	var d failure.Detail
	var api smithy.APIError
	if errors.As(err, &api) {
		d = failure.Detail{Code: api.ErrorCode(), Message: api.ErrorMessage()}
	}
	var status int
	var header http.Header
	var res *smithyhttp.ResponseError
	if errors.As(err, &res) && res.Response != nil && res.Response.Response != nil {
		status, header = res.Response.StatusCode, res.Response.Header
	}
	if status >= 300 || api != nil {
		return failure.Refused(status, header, d, time.Now(), p.secrets()...)
	}
	var unwritable *smithy.SerializationError
	if errors.As(err, &unwritable) {
		return failure.Invalid("the request cannot be written in Bedrock's form: %v", unwritable.Err)
	}
	return failure.Transport(ctx, err, p.secrets()...)
}

// interrupted says why a stream ended with err: as failed does, but what is
// neither a lost connection nor an exception is an event that cannot be read.
func (p *Provider) interrupted(ctx context.Context, err error) error {
	var gone *lost
	var api smithy.APIError
	if ctx.Err() == nil && !errors.As(err, &gone) && !errors.As(err, &api) {
		return failure.Malformed("an event is not in the form of this API", err)
	}
	return p.failed(ctx, err)
}

// secrets are what no message may repeat.
func (p *Provider) secrets() []string {
	s := []string{p.key}
	if p.credentials != nil {
		if c := p.credentials.last.Load(); c != nil {
			s = append(s, c.SecretAccessKey, c.SessionToken)
		}
	}
	return s
}
