// Package openai is the embedder that asks an endpoint of OpenAI's embeddings
// API, which Ollama, vLLM and many others serve too. It gives every text the
// vector that the model gives it, with nothing put in front: a model that was
// trained with words in front (search_document:, query:) is better with them, and
// works without.
package openai

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	sdk "github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"

	"github.com/stayd/stayd/internal/memory/embed"
	"github.com/stayd/stayd/internal/memory/embed/batch"
)

// DefaultBaseURL is OpenAI's own endpoint.
const DefaultBaseURL = "https://api.openai.com/v1/"

// DefaultKeyEnv is the variable that errors name where Config.APIKeyEnv is empty
// and the endpoint is OpenAI's.
const DefaultKeyEnv = "OPENAI_API_KEY"

const (
	// DefaultBatchTexts is how many texts a request has at most. OpenAI takes 2048,
	// many others fewer.
	DefaultBatchTexts = 128
	// batchBytes keeps a request below the 300,000 tokens that OpenAI takes, as a
	// token has at least a byte.
	batchBytes = 300_000
	// DefaultTextBytes keeps a text below the 8192 tokens that OpenAI's models take,
	// for the same reason.
	DefaultTextBytes = 8000
	// requests is how many are under way at once.
	requests = 2
)

// dimensions are those of models that people use, as their makers give them.
var dimensions = map[string]int{
	"text-embedding-3-small": 1536,
	"text-embedding-3-large": 3072,
	"text-embedding-ada-002": 1536,
	"nomic-embed-text":       768,
	"mxbai-embed-large":      1024,
	"all-minilm":             384,
	"bge-m3":                 1024,
	"embeddinggemma":         768,
}

// Config says where an endpoint is and what to ask of it.
type Config struct {
	// BaseURL ends with the version, as in http://127.0.0.1:11434/v1. Empty is
	// DefaultBaseURL.
	BaseURL string
	// APIKey is sent as a bearer token; empty sends none, which is what local
	// servers expect.
	APIKey string
	// APIKeyEnv is the variable that the key came from, for errors.
	APIKeyEnv string
	// Model is the model as the endpoint names it. It is required.
	Model string
	// Dimensions is how long the vectors are. 0 is what the model has by itself,
	// where that is known; for other models it is required.
	Dimensions int
	// Shorten asks the endpoint for vectors of that dimension. It is for models
	// that can give shorter ones than their own; of text-embedding-3 they are asked
	// for without it.
	Shorten bool
	// BatchTexts is how many texts a request has at most, and TextBytes how many
	// bytes one of them has; a longer one is cut in pieces, of whose vectors it gets
	// the mean. 0 is DefaultBatchTexts and DefaultTextBytes.
	BatchTexts int
	TextBytes  int
	// Client performs the requests. It is required: it carries the policy on
	// where requests may go.
	Client *http.Client
}

// Embedder is an embed.Embedder over one endpoint.
type Embedder struct {
	config  Config
	url     *url.URL
	limits  batch.Limits
	shorten bool
	service sdk.EmbeddingService
}

var _ embed.Embedder = (*Embedder)(nil)

// New checks the configuration and returns the embedder. It sends nothing, and
// reads nothing from the environment.
func New(c Config) (*Embedder, error) {
	if c.Client == nil {
		return nil, errors.New("openai embeddings: the HTTP client is missing")
	}
	if c.BaseURL == "" {
		c.BaseURL = DefaultBaseURL
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("openai embeddings: the base URL must be an absolute http or https URL")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("openai embeddings: the base URL must not have a user, a query or a fragment; a key goes into the API key")
	}
	if c.APIKeyEnv == "" && u.Hostname() == "api.openai.com" {
		c.APIKeyEnv = DefaultKeyEnv
	}
	if c.BatchTexts == 0 {
		c.BatchTexts = DefaultBatchTexts
	}
	if c.TextBytes == 0 {
		c.TextBytes = DefaultTextBytes
	}
	if c.BatchTexts < 0 || c.TextBytes < utf8.UTFMax {
		return nil, fmt.Errorf("openai embeddings: a request has at least one text, and a text at least %d bytes", utf8.UTFMax)
	}
	e := &Embedder{url: u}
	if err := e.size(&c); err != nil {
		return nil, err
	}
	e.config = c
	e.limits = batch.Limits{Dimensions: c.Dimensions, Texts: c.BatchTexts, Bytes: batchBytes, Text: c.TextBytes, Requests: requests}
	opts := []option.RequestOption{
		option.WithBaseURL(u.String()),
		option.WithHTTPClient(c.Client),
		option.WithMiddleware(e.bound),
	}
	if c.APIKey != "" {
		opts = append(opts, option.WithAPIKey(c.APIKey))
	}
	e.service = sdk.NewEmbeddingService(opts...)
	return e, nil
}

// size finds the dimension of the vectors, and whether it is to be asked for.
func (e *Embedder) size(c *Config) error {
	name, _, _ := strings.Cut(c.Model, ":") // Ollama has tags
	own := dimensions[name]
	switch {
	case c.Model == "":
		return errors.New("openai embeddings: the model is missing, as in text-embedding-3-small or nomic-embed-text")
	case c.Dimensions < 0:
		return fmt.Errorf("openai embeddings: %d is no dimension", c.Dimensions)
	case c.Dimensions == 0 && own == 0:
		return fmt.Errorf("openai embeddings: the dimension of the model %s is not known here; set it to what the model's description says", c.Model)
	case c.Dimensions == 0:
		c.Dimensions = own
	}
	third := strings.HasPrefix(c.Model, "text-embedding-3-")
	e.shorten = c.Dimensions != own && (c.Shorten || third)
	if own != 0 && c.Dimensions != own && !e.shorten || own != 0 && c.Dimensions > own {
		return fmt.Errorf("openai embeddings: the model %s has vectors of dimension %d, not %d", c.Model, own, c.Dimensions)
	}
	return nil
}

// Model implements embed.Embedder. The endpoint is not in the name: a model is
// the same wherever it is served.
func (e *Embedder) Model() string {
	return fmt.Sprintf("openai/%s@%d", e.config.Model, e.config.Dimensions)
}

// Embed implements embed.Embedder.
func (e *Embedder) Embed(ctx context.Context, texts []string) ([][]float32, error) {
	return batch.Embed(ctx, texts, e.limits, e.ask)
}

func (e *Embedder) ask(ctx context.Context, texts []string) ([]batch.Vector, error) {
	params := sdk.EmbeddingNewParams{Model: e.config.Model, Input: sdk.EmbeddingNewParamsInputUnion{OfArrayOfStrings: texts}}
	if e.shorten {
		params.Dimensions = sdk.Int(int64(e.config.Dimensions))
	}
	var res *http.Response
	var body []byte
	_, err := e.service.New(ctx, params, option.WithResponseInto(&res), option.WithResponseBodyInto(&body))
	switch {
	case res != nil && res.StatusCode >= 400:
		body, readErr := io.ReadAll(res.Body) // the SDK has read it and put it back
		if readErr != nil {
			body = nil // the status says most
		}
		return nil, e.refused(res.StatusCode, body)
	case err != nil:
		return nil, batch.Unanswered(e.url, err)
	}
	vectors, err := parse(body)
	if err != nil {
		return nil, fmt.Errorf("the answer of %s cannot be read: %w; check the base URL, which ends with the version as in /v1", e.url.Host, err)
	}
	return vectors, nil
}

// bound is the middleware that reads no more than an answer can have.
func (e *Embedder) bound(req *http.Request, next option.MiddlewareNext) (*http.Response, error) {
	res, err := next(req)
	if err == nil {
		res.Body = e.limits.Bound(res.Body)
	}
	return res, err
}

// parse reads an answer and puts the vectors in the order of the texts.
func parse(body []byte) ([]batch.Vector, error) {
	var reply struct {
		Data []struct {
			Index     *int         `json:"index"`
			Embedding batch.Vector `json:"embedding"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return nil, err
	}
	vectors := make([]batch.Vector, len(reply.Data))
	for i, d := range reply.Data {
		if d.Index != nil {
			i = *d.Index // a server that leaves it out keeps the order
		}
		if i < 0 || i >= len(vectors) || vectors[i] != nil {
			return nil, fmt.Errorf("it has %d vectors, and index %d twice or out of range", len(vectors), i)
		}
		if len(d.Embedding) == 0 {
			return nil, fmt.Errorf("vector %d is missing", i)
		}
		vectors[i] = d.Embedding
	}
	return vectors, nil
}

// refused says what an answer with the status of an error means, and what to do.
func (e *Embedder) refused(status int, body []byte) error {
	said := batch.Message(body, e.config.APIKey)
	if said == "" {
		said = http.StatusText(status)
	}
	where, key := fmt.Sprintf("%s answered %d", e.url.Host, status), batch.Key{Value: e.config.APIKey, Variable: e.config.APIKeyEnv}
	switch {
	case status == http.StatusUnauthorized:
		return key.Unauthorized(where)
	case status == http.StatusForbidden:
		return fmt.Errorf("%s: %s; the API key in %s must be allowed to use the model %s", where, said, key.Named(), e.config.Model)
	case status == http.StatusNotFound:
		return fmt.Errorf("%s: %s; check the model's name, %s (with Ollama: ollama pull %[3]s), and the base URL", where, said, e.config.Model)
	case status == http.StatusTooManyRequests:
		return fmt.Errorf("%s, after retries: %s; wait, or raise the account's limits", where, said)
	case status == http.StatusRequestEntityTooLarge, tooLong(said):
		return fmt.Errorf("%s: %s; a text may be too long for the model: set fewer bytes a text than %d, or fewer texts a request than %d", where, said, e.config.TextBytes, e.config.BatchTexts)
	}
	return fmt.Errorf("%s: %s", where, said)
}

// tooLong reports whether a server says that a text or a request is too long:
// OpenAI and vLLM ("maximum context length"), Ollama ("exceeds the context
// length"), llama.cpp ("too large to process"), TEI ("must have less than ...
// tokens", "batch size ... > maximum allowed batch size").
func tooLong(said string) bool {
	said = strings.ToLower(said)
	for _, words := range []string{"maximum context length", "context length", "too large to process", "must have less than", "maximum allowed batch size", "max_tokens_per_request", "max allowed tokens"} {
		if strings.Contains(said, words) {
			return true
		}
	}
	return false
}
