package app

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/anthropic"
	"github.com/stayd/stayd/internal/model/bedrock"
	"github.com/stayd/stayd/internal/model/openai"
	"github.com/stayd/stayd/internal/model/router"
	"github.com/stayd/stayd/internal/model/script"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/outbound/awsconfig"
)

// OpenModels reads the models file, if there is one, and makes the router.
func OpenModels(cfg *Config) (*router.Router, error) {
	models := router.Default(os.Getenv)
	if cfg.Models != "" {
		var err error
		if models, err = router.Load(cfg.Models, os.Getenv); err != nil {
			return nil, err
		}
	}
	if cfg.Scripts != "" {
		p := models.Providers["script"]
		p.Name, p.Type, p.Dir = "script", router.TypeScript, cfg.Scripts
		models.Providers["script"] = p
	}
	r, err := router.New(models, func(p router.ProviderConfig) (model.Model, error) { return openProvider(cfg, p) })
	if err != nil {
		return nil, fmt.Errorf("models: %w", err)
	}
	return r, nil
}

func openProvider(cfg *Config, p router.ProviderConfig) (model.Model, error) {
	m, err := newProvider(cfg, p)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	if p.Record != "" {
		return script.NewRecorder(m, p.Record)
	}
	return m, nil
}

func newProvider(cfg *Config, p router.ProviderConfig) (model.Model, error) {
	if p.Type == router.TypeScript {
		return script.NewProvider(p.Dir), nil
	}
	client, err := providerClient(cfg, p)
	if err != nil {
		return nil, err
	}
	switch p.Type {
	case router.TypeOpenAI:
		return openai.New(openai.Config{BaseURL: p.BaseURL, APIKey: p.APIKey, API: openai.APIResponses, Client: client})
	case router.TypeOpenAIChat:
		return openai.New(openai.Config{BaseURL: p.BaseURL, APIKey: p.APIKey, API: openai.APIChat, Client: client})
	case router.TypeAnthropic:
		return anthropic.New(anthropic.Config{BaseURL: p.BaseURL, APIKey: p.APIKey, Client: client})
	case router.TypeBedrock:
		c := bedrock.Config{Region: p.Region, APIKey: p.APIKey, BaseURL: p.BaseURL, Client: client}
		if p.APIKey == "" {
			c.Credentials = awsCredentials(cfg, p)
		}
		return bedrock.New(c)
	}
	return nil, fmt.Errorf("type %q is none that this build has", p.Type)
}

// providerClient performs requests to the provider. An endpoint that the operator
// named may be anywhere.
func providerClient(cfg *Config, p router.ProviderConfig) (*http.Client, error) {
	policy := cfg.outside(toModel, p.BaseURL)
	policy.MaxBody = maxAnswer
	return outbound.New(policy)
}

// maxAnswer is the longest answer of a model that is read, in bytes.
const maxAnswer = 256 << 20

// awsCredentials finds the credentials as AWS's own tools do, when they are first
// needed.
func awsCredentials(cfg *Config, p router.ProviderConfig) aws.CredentialsProvider {
	return aws.NewCredentialsCache(aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
		c, err := awsconfig.Load(ctx, awsconfig.Source{Region: p.Region, Profile: p.Profile, Outbound: cfg.outside(toModel)})
		if err != nil {
			return aws.Credentials{}, fmt.Errorf("load the AWS configuration: %w", err)
		}
		return c.Credentials.Retrieve(ctx)
	}))
}
