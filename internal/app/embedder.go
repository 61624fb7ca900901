package app

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/memory/embed"
	bedrockembed "github.com/stayd/stayd/internal/memory/embed/bedrock"
	openaiembed "github.com/stayd/stayd/internal/memory/embed/openai"
	"github.com/stayd/stayd/internal/memory/embed/static"
	"github.com/stayd/stayd/internal/model/router"
)

// What Config.Embedders has beside models.
const (
	embedderStatic = "static" // the vectors in the binary
	embedderNone   = "none"   // no vectors
)

// embedderSpec is one entry of Config.Embedders.
type embedderSpec struct {
	text  string // as it was written
	model string // PROVIDER/MODEL, or static
	// What follows is 0 where nothing was said.
	dimension, textBytes, batchTexts int
	shorten                          bool
}

// parseEmbedders reads Config.Embedders. The vectors in the binary are always the
// last, as records may have them from before; it is empty where there are to be
// none.
func parseEmbedders(list []string) ([]embedderSpec, error) {
	if slices.Equal(list, []string{embedderNone}) {
		return nil, nil
	}
	var specs []embedderSpec
	seen := map[string]bool{}
	for _, text := range list {
		spec, err := parseEmbedder(text)
		if err != nil {
			return nil, fmt.Errorf("memory-embedder %q: %w", text, err)
		}
		if seen[text] {
			return nil, fmt.Errorf("memory-embedder %q is there twice", text)
		}
		seen[text] = true
		specs = append(specs, spec)
	}
	if !seen[embedderStatic] {
		specs = append(specs, embedderSpec{text: embedderStatic, model: embedderStatic})
	}
	return specs, nil
}

func parseEmbedder(text string) (embedderSpec, error) {
	model, query, _ := strings.Cut(text, "?")
	spec := embedderSpec{text: text, model: model}
	options, err := url.ParseQuery(query)
	if err != nil {
		return spec, errors.New("what follows the ? are options as in dimension=512&text-bytes=2000")
	}
	provider, id, _ := strings.Cut(model, "/")
	switch {
	case model == embedderStatic && query == "":
		return spec, nil
	case model == embedderNone:
		return spec, errors.New("none stands alone")
	case provider == "" || id == "":
		return spec, errors.New("it is neither static, none nor PROVIDER/MODEL as in ollama/nomic-embed-text")
	}
	numbers := map[string]*int{"dimension": &spec.dimension, "text-bytes": &spec.textBytes, "batch-texts": &spec.batchTexts}
	for name, values := range options {
		value := values[0]
		to, number := numbers[name]
		switch {
		case number:
			n, err := strconv.Atoi(value)
			if err != nil || n < 1 {
				return spec, fmt.Errorf("%s %q is not a number from 1 up", name, value)
			}
			*to = n
		case name != "shorten":
			return spec, fmt.Errorf("there is no option %q; there are dimension, shorten, text-bytes and batch-texts", name)
		case value != "true" && value != "false":
			return spec, fmt.Errorf("shorten is true or false, not %q", value)
		default:
			spec.shorten = value == "true"
		}
	}
	return spec, nil
}

// embedder is one that is open.
type embedder struct {
	records, questions embed.Embedder
	local              bool
}

func openEmbedders(cfg *Config, models *router.Router) ([]embedder, error) {
	specs, err := parseEmbedders(cfg.Embedders)
	if err != nil {
		return nil, err
	}
	var list []embedder
	for i := range specs {
		e, err := openEmbedder(cfg, models, &specs[i])
		if err != nil {
			return nil, fmt.Errorf("memory-embedder %s: %w", specs[i].text, err)
		}
		list = append(list, e)
	}
	return list, nil
}

func openEmbedder(cfg *Config, models *router.Router, spec *embedderSpec) (embedder, error) {
	if spec.model == embedderStatic {
		words, err := static.New()
		return embedder{records: words, questions: words, local: true}, err
	}
	p, id, err := models.Endpoint(spec.model)
	if err != nil {
		return embedder{}, err
	}
	client, err := providerClient(cfg, p)
	if err != nil {
		return embedder{}, err
	}
	switch p.Type {
	case router.TypeOpenAI, router.TypeOpenAIChat:
		e, err := openaiembed.New(openaiembed.Config{
			BaseURL: p.BaseURL, APIKey: p.APIKey, APIKeyEnv: p.APIKeyEnv, Model: id, Client: client,
			Dimensions: spec.dimension, Shorten: spec.shorten, BatchTexts: spec.batchTexts, TextBytes: spec.textBytes,
		})
		return embedder{records: e, questions: e}, err
	case router.TypeBedrock:
		if spec.shorten || spec.textBytes != 0 || spec.batchTexts != 0 {
			return embedder{}, errors.New("of a model of Bedrock only the dimension can be chosen")
		}
		c := bedrockembed.Config{
			Region: p.Region, APIKey: p.APIKey, APIKeyEnv: p.APIKeyEnv, BaseURL: p.BaseURL, Model: id, Dimensions: spec.dimension, Client: client,
		}
		if p.APIKey == "" {
			c.Credentials = awsCredentials(cfg, p)
		}
		e, err := bedrockembed.New(c)
		if err != nil {
			return embedder{}, err
		}
		return embedder{records: e, questions: e.Questions()}, nil
	}
	return embedder{}, fmt.Errorf("providers of the type %s make no vectors here; those of the types openai, openai_chat and bedrock do", p.Type)
}
