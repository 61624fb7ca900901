// Package bedrock is the embedder that asks models of Amazon Bedrock by its API
// InvokeModel: Amazon's Titan Text Embeddings V2, and Cohere's Embed v3 and v4.
//
// Cohere's models tell what is stored from what is asked: New returns the embedder
// of documents, and Questions that of questions. The vectors of both are
// comparable, so that they have one name. Titan makes no difference.
package bedrock

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/bedrockruntime"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/auth/bearer"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/embed/batch"
)

// Config says where Bedrock is, how to sign for it and which model to ask.
type Config struct {
	// Region is the AWS region, as in "us-east-1".
	Region string
	// Credentials sign the requests. APIKey, a Bedrock API key, is sent as a
	// bearer token instead; one of the two is required.
	Credentials aws.CredentialsProvider
	APIKey      string
	// APIKeyEnv is the variable that the key came from, for errors. Empty is
	// DefaultKeyEnv.
	APIKeyEnv string
	// BaseURL replaces the region's endpoint, for a private one or a test.
	BaseURL string
	// Model is the id or the ARN of the model, or of a profile that has the
	// model's id in it: amazon.titan-embed-text-v2:0, cohere.embed-english-v3,
	// cohere.embed-multilingual-v3, us.cohere.embed-v4:0. It is required.
	Model string
	// Dimensions is how long the vectors are, of those that the model has: 256, 512
	// or 1024 of Titan, 1024 of Cohere v3, 256, 512, 1024 or 1536 of Cohere v4. 0 is
	// the longest.
	Dimensions int
	// Client performs the requests. It is required: it carries the policy on
	// where requests may go.
	Client *http.Client
}

// DefaultKeyEnv is the variable in which AWS's own tools look for a Bedrock API
// key.
const DefaultKeyEnv = "AWS_BEARER_TOKEN_BEDROCK"

// Embedder is an embed.Embedder over one model in one region.
type Embedder struct {
	config   Config
	family   *family
	name     string // the model's, without what a profile or an ARN puts in front
	limits   batch.Limits
	url      *url.URL
	client   *bedrockruntime.Client
	question bool
}

var _ embed.Embedder = (*Embedder)(nil)

// New checks the configuration and returns the embedder. It sends nothing, and
// takes no setting from the environment.
func New(c Config) (*Embedder, error) {
	switch {
	case c.Client == nil:
		return nil, errors.New("bedrock embeddings: the HTTP client is missing")
	case c.Region == "":
		return nil, errors.New("bedrock embeddings: the region is missing")
	case c.Credentials == nil && c.APIKey == "":
		return nil, errors.New("bedrock embeddings: credentials or an API key are needed")
	}
	e := &Embedder{url: &url.URL{Scheme: "https", Host: "bedrock-runtime." + c.Region + ".amazonaws.com"}}
	if c.BaseURL != "" {
		u, err := url.Parse(c.BaseURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
			return nil, errors.New("bedrock embeddings: the base URL must be an absolute http or https URL without a user or a query")
		}
		if u.Scheme == "http" && c.APIKey != "" {
			return nil, errors.New("bedrock embeddings: an API key is sent over https only")
		}
		e.url = u
	}
	var err error
	if e.family, e.name, err = familyOf(c.Model); err != nil {
		return nil, err
	}
	if c.Dimensions, err = e.family.dimension(c.Model, c.Dimensions); err != nil {
		return nil, err
	}
	if c.APIKeyEnv == "" {
		c.APIKeyEnv = DefaultKeyEnv
	}
	e.config, e.limits = c, e.family.limits
	e.limits.Dimensions = c.Dimensions
	e.client = e.newClient()
	return e, nil
}

func (e *Embedder) newClient() *bedrockruntime.Client {
	c := &e.config
	opts := bedrockruntime.Options{
		Region:     c.Region,
		HTTPClient: bounded{c.Client, e.limits},
		Retryer:    retry.NewStandard(),
	}
	if c.APIKey == "" {
		opts.Credentials = marked{c.Credentials}
	}
	if c.BaseURL != "" {
		opts.BaseEndpoint = aws.String(e.url.String())
	}
	return bedrockruntime.New(opts, func(o *bedrockruntime.Options) {
		// The SDK has put a token from the environment here.
		o.BearerAuthTokenProvider, o.AuthSchemePreference = nil, []string{"sigv4"}
		if c.APIKey != "" {
			o.BearerAuthTokenProvider = bearer.StaticTokenProvider{Token: bearer.Token{Value: c.APIKey}}
			o.AuthSchemePreference = []string{"httpBearerAuth"}
		}
	})
}

// Questions returns the embedder for what is searched with. Its vectors are
// comparable with those of the embedder itself.
func (e *Embedder) Questions() *Embedder {
	q := *e
	q.question = true
	return &q
}

// Model implements embed.Embedder. The region and the profile are not in the
// name: a model is the same wherever it is served.
func (e *Embedder) Model() string {
	return fmt.Sprintf("bedrock/%s@%d", e.name, e.config.Dimensions)
}

// Embed implements embed.Embedder.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	return batch.Embed(ctx, texts, e.limits, e.ask)
}

func (e *Embedder) ask(ctx context.Context, texts []string) ([]batch.Vector, error) {
	body, err := e.family.request(texts, e.config.Dimensions, e.question)
	if err != nil {
		return nil, err
	}
	out, err := e.client.InvokeModel(ctx, &bedrockruntime.InvokeModelInput{
		ModelId: aws.String(e.config.Model), Body: body,
		ContentType: aws.String("application/json"), Accept: aws.String("application/json"),
	})
	if err != nil {
		return nil, e.failed(err)
	}
	vectors, err := e.family.parse(out.Body)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s cannot be read: %w", e.url.Host, err)
	}
	return vectors, nil
}

// failed says what an error of the SDK means, and what to do.
func (e *Embedder) failed(err error) error {
	var api smithy.APIError
	var res *smithyhttp.ResponseError
	status := 0
	if errors.As(err, &res) && res.Response != nil && res.Response.Response != nil {
		status = res.HTTPStatusCode()
	}
	if !errors.As(err, &api) {
		var signing *credentialsError
		if errors.As(err, &signing) {
			return fmt.Errorf("AWS credentials are not to be had: %s; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or %s", batch.Clean(signing.Error(), e.config.APIKey), e.config.APIKeyEnv)
		}
		return batch.Unanswered(e.url, err)
	}
	where := e.url.Host + " answered"
	if status != 0 {
		where = fmt.Sprintf("%s %d", where, status)
	}
	said := batch.Clean(api.ErrorMessage(), e.config.APIKey)
	if said == "" {
		said = api.ErrorCode()
	}
	keys := "the AWS credentials"
	if e.config.APIKey != "" {
		keys = "the API key in " + e.config.APIKeyEnv
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%s: %s; %s must be valid and allowed to invoke %s in %s (bedrock:InvokeModel, and access to the model in the Bedrock console)", where, said, keys, e.config.Model, e.config.Region)
	case http.StatusNotFound:
		return fmt.Errorf("%s: %s; check the model's id, %s, and that the region %s has it", where, said, e.config.Model, e.config.Region)
	case http.StatusTooManyRequests:
		return fmt.Errorf("%s, after retries: %s; wait, or raise the account's quota", where, said)
	case http.StatusBadRequest:
		return fmt.Errorf("%s: %s (model %s in %s)", where, said, e.config.Model, e.config.Region)
	}
	return fmt.Errorf("%s: %s", where, said)
}
