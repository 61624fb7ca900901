package app

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/memory/rerank"
	"github.com/stayd/stayd/internal/model/router"
	"github.com/stayd/stayd/internal/outbound"
)

// toReranker is the use of requests that rerank memories.
const toReranker = "reranker"

// What a reranker gets without options.
const (
	rerankTop    = 50
	rerankWithin = time.Second
)

// rerankerSpec is Config.Reranker.
type rerankerSpec struct {
	model          string // PROVIDER/MODEL
	top, textBytes int
	within         time.Duration
	form           string
}

// parseReranker reads Config.Reranker, which is not empty.
func parseReranker(text string) (spec rerankerSpec, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("memory-reranker %q: %w", text, err)
		}
	}()
	model, query, _ := strings.Cut(text, "?")
	spec = rerankerSpec{model: model, top: rerankTop, within: rerankWithin}
	options, err := url.ParseQuery(query)
	if err != nil {
		return spec, errors.New("what follows the ? are options as in top=30&timeout=500ms")
	}
	if provider, id, _ := strings.Cut(model, "/"); provider == "" || id == "" {
		return spec, errors.New("it is not PROVIDER/MODEL as in cohere/rerank-v3.5")
	}
	for name, values := range options {
		if err := spec.set(name, values[0]); err != nil {
			return spec, err
		}
	}
	return spec, nil
}

func (s *rerankerSpec) set(name, value string) error {
	switch name {
	case "top":
		n, err := strconv.Atoi(value)
		if err != nil || n < 2 || n > memory.MaxLimit {
			return fmt.Errorf("top %q is not a number from 2 to %d", value, memory.MaxLimit)
		}
		s.top = n
	case "text-bytes":
		n, err := strconv.Atoi(value)
		if err != nil || n < 1 {
			return fmt.Errorf("text-bytes %q is not a number from 1 up", value)
		}
		s.textBytes = n
	case "timeout":
		d, err := time.ParseDuration(value)
		if err != nil || d <= 0 {
			return fmt.Errorf("timeout %q is not a time as in 500ms or 2s", value)
		}
		s.within = d
	case "form":
		if value != rerank.FormDocuments && value != rerank.FormTexts {
			return fmt.Errorf("form is %s or %s, not %q", rerank.FormDocuments, rerank.FormTexts, value)
		}
		s.form = value
	default:
		return fmt.Errorf("there is no option %q; there are top, timeout, text-bytes and form", name)
	}
	return nil
}

// OpenReranking makes what reranks memories; nil where Config.Reranker is empty.
func OpenReranking(cfg *Config, models *router.Router) (*keeper.Reranking, error) {
	if cfg.Reranker == "" {
		return nil, nil
	}
	spec, err := parseReranker(cfg.Reranker)
	if err != nil {
		return nil, err
	}
	r, err := openReranker(cfg, models, &spec)
	if err != nil {
		return nil, fmt.Errorf("memory-reranker %s: %w", cfg.Reranker, err)
	}
	return &keeper.Reranking{Rerank: r.Rerank, Top: spec.top, Within: spec.within}, nil
}

func openReranker(cfg *Config, models *router.Router, spec *rerankerSpec) (*rerank.Reranker, error) {
	p, id, err := models.Endpoint(spec.model)
	if err != nil {
		return nil, err
	}
	if p.Type != router.TypeOpenAI && p.Type != router.TypeOpenAIChat {
		return nil, fmt.Errorf("providers of the type %s rerank nothing here; those of the types openai and openai_chat do", p.Type)
	}
	client, err := outbound.New(cfg.outside(toReranker, p.BaseURL))
	if err != nil {
		return nil, err
	}
	return rerank.New(rerank.Config{
		BaseURL: p.BaseURL, APIKey: p.APIKey, APIKeyEnv: p.APIKeyEnv, Model: id, Form: spec.form, TextBytes: spec.textBytes, Client: client,
	})
}
