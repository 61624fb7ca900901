// Package openai is the model provider that speaks OpenAI's APIs: Responses, and
// Chat Completions as OpenAI, Ollama, vLLM, llama.cpp and many others serve it.
// It maps requests and answers and knows nothing of sessions, retries or prices.
//
// Nothing depends on the provider's memory: answers are not stored there, and
// what it wants back with a reasoning item (its id and encrypted content) is
// kept in the item. It is sent back only to the endpoint and model it came from,
// because no other can read it.
//
// Structured output is asked for as json_schema in strict mode, so a schema has
// to keep the rules of that mode; one that does not is refused by the provider
// with invalid_request.
package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/openai/openai-go/v3/responses"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
)

// The APIs that an endpoint may speak.
const (
	APIResponses = "responses"
	APIChat      = "chat"
)

// DefaultBaseURL is OpenAI's own endpoint.
const DefaultBaseURL = "https://api.openai.com/v1/"

// Config says where an endpoint is and how to speak with it.
type Config struct {
	// BaseURL ends with the version, as in http://127.0.0.1:11434/v1. Empty is
	// DefaultBaseURL.
	BaseURL string
	// APIKey is sent as a bearer token; empty sends none, which is what local
	// servers expect.
	APIKey string
	// API is APIResponses (or empty) or APIChat.
	API string
	// Client performs the requests. It is required: it carries the policy on
	// where requests may go.
	Client *http.Client
}

// Provider is a model.Model over one endpoint.
type Provider struct {
	api       string
	key       string
	origin    string // host of the endpoint, by which kept reasoning is told apart
	openAI    bool   // whether it is OpenAI's (or Azure's) own service
	responses responses.ResponseService
	chat      sdk.ChatCompletionService
}

var _ model.Model = (*Provider)(nil)

// New checks the configuration and returns the provider. It sends nothing, and
// reads nothing from the environment.
func New(c Config) (*Provider, error) {
	if c.Client == nil {
		return nil, errors.New("openai: the HTTP client is missing")
	}
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("openai: the base URL must be an absolute http or https URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("openai: the base URL must not have a user, a query or a fragment; a key goes into the API key")
	}
	switch c.API {
	case "":
		c.API = APIResponses
	case APIResponses, APIChat:
	default:
		return nil, fmt.Errorf("openai: there is no API %q; it is %q or %q", c.API, APIResponses, APIChat)
	}
	check := failure.Check{Secrets: []string{c.APIKey}}
	opts := []option.RequestOption{
		option.WithBaseURL(u.String()),
		option.WithHTTPClient(c.Client),
		option.WithMaxRetries(0),
		option.WithMiddleware(check.RoundTrip),
	}
	if c.APIKey != "" {
		opts = append(opts, option.WithAPIKey(c.APIKey))
	}
	host := strings.ToLower(u.Hostname())
	return &Provider{
		api:       c.API,
		key:       c.APIKey,
		origin:    strings.ToLower(u.Host),
		openAI:    host == "api.openai.com" || strings.HasSuffix(host, ".openai.com") || strings.HasSuffix(host, ".openai.azure.com"),
		responses: responses.NewResponseService(opts...),
		chat:      sdk.NewChatCompletionService(opts...),
	}, nil
}

// Generate implements model.Model.
func (p *Provider) Generate(ctx context.Context, req *model.Request, emit func(model.Delta)) (*model.Response, error) {
	if emit == nil {
		emit = func(model.Delta) {}
	}
	if p.api == APIChat {
		return p.generateChat(ctx, req, emit)
	}
	return p.generateResponses(ctx, req, emit)
}

// perCall are the options of one request.
func perCall(req *model.Request) []option.RequestOption {
	opts := []option.RequestOption{option.WithHeader("Accept", "text/event-stream")}
	if req.EffectID != "" {
		opts = append(opts, option.WithHeader("Idempotency-Key", req.EffectID))
	}
	return opts
}

// streamError says why a stream ended with err.
func (p *Provider) streamError(ctx context.Context, err error) error {
	var se *ssestream.StreamError
	if errors.As(err, &se) {
		d := failure.ParseDetail(se.Event.Data)
		return failure.Refused(0, nil, d, time.Now(), p.key)
	}
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	if ctx.Err() == nil && (errors.As(err, &syntax) || errors.As(err, &mismatch)) {
		return failure.Malformed("an event is not valid JSON", err)
	}
	return failure.Transport(ctx, err, p.key)
}

// kept is what Item.Provider of a reasoning item holds.
type kept struct {
	OpenAI *keptReasoning `json:"openai,omitempty"`
	Chat   *keptText      `json:"openai_chat,omitempty"`
}

// keptReasoning is a reasoning item of the Responses API.
type keptReasoning struct {
	Origin    string   `json:"origin"`
	Model     string   `json:"model"`
	ID        string   `json:"id"`
	Encrypted string   `json:"encrypted_content,omitempty"`
	Content   []string `json:"content,omitempty"` // of open models, whose reasoning is plain
	Summary   []string `json:"summary,omitempty"`
}

// keptText says in which field of a chat message the reasoning came.
type keptText struct {
	Origin string `json:"origin"`
	Model  string `json:"model"`
	Field  string `json:"field"`
}

// encode returns the value of Item.Provider.
func (k kept) encode() json.RawMessage {
	b, err := json.Marshal(k)
	if err != nil {
		panic(fmt.Sprintf("openai: encode %T: %v", k, err)) // strings only
	}
	return b
}

// keptOf reads Item.Provider. What another provider, endpoint or model wrote is
// not there.
func (p *Provider) keptOf(item *event.Item, model string) kept {
	var k kept
	if len(item.Provider) == 0 || json.Unmarshal(item.Provider, &k) != nil {
		return kept{}
	}
	if k.OpenAI != nil && (k.OpenAI.Origin != p.origin || k.OpenAI.Model != model) {
		k.OpenAI = nil
	}
	if k.Chat != nil && (k.Chat.Origin != p.origin || k.Chat.Model != model) {
		k.Chat = nil
	}
	return k
}
