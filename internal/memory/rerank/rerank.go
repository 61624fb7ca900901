// Package rerank asks an endpoint how relevant texts are to a question, one by
// one: a model that reads both together sees more than words and vectors, and is
// too slow for more than the best of what these found. It speaks the form that
// Cohere, Jina, vLLM and llama.cpp serve, and that of Text Embeddings Inference.
package rerank

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/memory/embed/batch"
)

// The forms of requests.
const (
	FormDocuments = "documents" // model, query, documents and top_n, as of Cohere
	FormTexts     = "texts"     // query and texts, as of Text Embeddings Inference
)

const (
	// DefaultTextBytes is how much of a text is shown to the model: some 500 tokens,
	// which all models take with a question.
	DefaultTextBytes = 2000
	// answerBytes is how much of an answer is read, beside the texts, which some
	// servers repeat.
	answerBytes = 1 << 20
)

// What a reranking may fail of, by errors.Is. Other errors are of answers that are no
// list of scores, and of a context that ended.
var (
	ErrUnanswered = errors.New("there was no whole answer")
	ErrRefused    = errors.New("the request was refused")
)

// Config says where an endpoint is and what to ask of it.
type Config struct {
	// BaseURL is what stands before /rerank, as https://api.cohere.com/v2. It is
	// required.
	BaseURL string
	// APIKey is sent as a bearer token; empty sends none. APIKeyEnv is the variable
	// that it came from, for errors.
	APIKey, APIKeyEnv string
	// Model is the model as the endpoint names it. It is required.
	Model string
	// Form is that of requests; empty is FormDocuments. Answers are read in either.
	Form string
	// TextBytes is how much of a text is sent; 0 is DefaultTextBytes.
	TextBytes int
	// Client performs the requests. It is required: it carries the policy on
	// where requests may go.
	Client *http.Client
}

// Reranker asks one endpoint. It is safe for use by several goroutines.
type Reranker struct {
	config Config
	url    *url.URL
}

// New checks the configuration and returns the reranker. It sends nothing.
func New(c Config) (*Reranker, error) {
	if c.Client == nil {
		return nil, errors.New("rerank: the HTTP client is missing")
	}
	u, err := url.Parse(c.BaseURL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, errors.New("rerank: the provider needs a base URL, as in https://api.cohere.com/v2 or http://127.0.0.1:8000/v1")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("rerank: the base URL must not have a user, a query or a fragment; a key goes into the API key")
	}
	if c.Form == "" {
		c.Form = FormDocuments
	}
	if c.TextBytes == 0 {
		c.TextBytes = DefaultTextBytes
	}
	switch {
	case c.Model == "":
		return nil, errors.New("rerank: the model is missing")
	case c.Form != FormDocuments && c.Form != FormTexts:
		return nil, fmt.Errorf("rerank: the form %q is neither %s nor %s", c.Form, FormDocuments, FormTexts)
	case c.TextBytes < utf8.UTFMax:
		return nil, fmt.Errorf("rerank: a text has at least %d bytes", utf8.UTFMax)
	}
	return &Reranker{config: c, url: u.JoinPath("rerank")}, nil
}

// Model names the model. The endpoint is not in the name.
func (r *Reranker) Model() string { return r.config.Model }

// Rerank returns the places of the texts in the order of their relevance to the
// query, the best first. Those of which the endpoint says nothing come last, in
// their own order, and so do those that it finds alike. It asks once. Errors:
// ErrUnanswered, ErrRefused; their texts say where the endpoint is and what it said.
func (r *Reranker) Rerank(ctx context.Context, query string, texts []string) ([]int, error) {
	if len(texts) == 0 {
		return nil, nil
	}
	order, err := r.ask(ctx, query, texts)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("rerank %d texts: %w", len(texts), err)
	}
	return order, nil
}

func (r *Reranker) ask(ctx context.Context, query string, texts []string) ([]int, error) {
	body, err := json.Marshal(r.request(query, texts))
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if r.config.APIKey != "" {
		req.Header.Set("Authorization", "Bearer "+r.config.APIKey)
	}
	res, err := r.config.Client.Do(req)
	if err != nil {
		return nil, r.unanswered(err)
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	// A character of a text may take six in JSON.
	answer, err := io.ReadAll(http.MaxBytesReader(nil, res.Body, int64(answerBytes+6*len(body))))
	if err != nil {
		return nil, r.unanswered(err)
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%w: %w", ErrRefused, r.refused(res.StatusCode, answer))
	}
	order, err := parse(answer, len(texts))
	if err != nil {
		return nil, fmt.Errorf("the answer of %s cannot be read: %w; check the base URL, behind which /rerank is put", r.url.Host, err)
	}
	return order, nil
}

// request is the body of one.
func (r *Reranker) request(query string, texts []string) map[string]any {
	short := make([]string, len(texts))
	for i, text := range texts {
		short[i] = cut(text, r.config.TextBytes)
	}
	if r.config.Form == FormTexts {
		return map[string]any{"query": query, "texts": short, "truncate": true}
	}
	return map[string]any{"model": r.config.Model, "query": query, "documents": short, "top_n": len(short)}
}

// cut returns the beginning of a text that is too long. It cuts no character.
func cut(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= most {
		return text
	}
	for !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// unanswered says what it means that there was no whole answer.
func (r *Reranker) unanswered(err error) error {
	var long *http.MaxBytesError
	var outer *url.Error
	switch {
	case errors.As(err, &long):
		return fmt.Errorf("%s answered with more than %d bytes, which is no list of scores; check the base URL", r.url.Host, long.Limit)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nothing listens at %s; is the server of the model running? (%w)", ErrUnanswered, r.url.Host, syscall.ECONNREFUSED)
	case errors.As(err, &outer): // it would repeat the URL
		err = outer.Err
	}
	return fmt.Errorf("%w: the connection to %s failed: %w", ErrUnanswered, r.url.Host, err)
}

// refused says what an answer with the status of an error means, and what to do.
func (r *Reranker) refused(status int, body []byte) error {
	said := batch.Message(body, r.config.APIKey)
	if said == "" {
		said = http.StatusText(status)
	}
	where := fmt.Sprintf("%s answered %d", r.url.Host, status)
	switch status {
	case http.StatusUnauthorized:
		return batch.Key{Value: r.config.APIKey, Variable: r.config.APIKeyEnv}.Unauthorized(where)
	case http.StatusNotFound:
		return fmt.Errorf("%s: %s; check the model's name, %s, and the base URL, behind which /rerank is put", where, said, r.config.Model)
	case http.StatusUnprocessableEntity:
		return fmt.Errorf("%s: %s; is the form %s what it takes?", where, said, r.config.Form)
	}
	return fmt.Errorf("%s: %s", where, said)
}
