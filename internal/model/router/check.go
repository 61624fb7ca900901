package router

import (
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/model"
)

var (
	providerName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,39}$`)
	variableName = regexp.MustCompile(`^[A-Z_][A-Z0-9_]*$`)
)

func (f file) checkProvider(name string, p ProviderConfig) error {
	at := func(field string) []string { return []string{"providers", name, field} }
	if !providerName.MatchString(name) {
		return f.errorf(at(""), "the provider's name %q must have lower-case letters, digits, - and _ only, and begin with a letter", name)
	}
	switch p.Type {
	case TypeOpenAI, TypeOpenAIChat, TypeAnthropic, TypeBedrock, TypeScript:
	case "":
		return f.errorf(at("type"), "the provider %s needs a type: openai, openai_chat, anthropic, bedrock or script", name)
	default:
		return f.errorf(at("type"), "the provider %s has the unknown type %q; known are openai, openai_chat, anthropic, bedrock and script", name, p.Type)
	}
	if p.BaseURL != "" {
		u, err := url.Parse(p.BaseURL)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
			return f.errorf(at("base_url"), "base_url of %s must be an http or https URL without user, query and fragment, such as http://127.0.0.1:8000/v1", name)
		}
	}
	if p.APIKeyEnv != "" && !variableName.MatchString(p.APIKeyEnv) {
		// What stands there may be a key: it is not repeated.
		return f.errorf(at("api_key_env"), "api_key_env of %s must be the name of an environment variable, such as MY_API_KEY, and not the key itself", name)
	}
	for _, field := range []struct {
		name, value string
		types       []string
	}{
		{"base_url", p.BaseURL, []string{TypeOpenAI, TypeOpenAIChat, TypeAnthropic, TypeBedrock}},
		{"api_key_env", p.APIKeyEnv, []string{TypeOpenAI, TypeOpenAIChat, TypeAnthropic, TypeBedrock}},
		{"record", p.Record, []string{TypeOpenAI, TypeOpenAIChat, TypeAnthropic, TypeBedrock}},
		{"region", p.Region, []string{TypeBedrock}},
		{"profile", p.Profile, []string{TypeBedrock}},
		{"dir", p.Dir, []string{TypeScript}},
	} {
		if field.value != "" && !slices.Contains(field.types, p.Type) {
			return f.errorf(at(field.name), "%s is not a setting of the type %s", field.name, p.Type)
		}
	}
	switch {
	case p.Type == TypeOpenAIChat && p.BaseURL == "":
		return f.errorf(at("base_url"), "the provider %s needs a base_url, such as http://127.0.0.1:8000/v1", name)
	case p.Type == TypeScript && p.Dir == "":
		return f.errorf(at("dir"), "the provider %s needs dir, the directory of its scripts", name)
	}
	return f.checkPrice(at("price"), p.Price)
}

func (f file) checkPrice(at []string, p *model.Price) error {
	if p == nil {
		return nil
	}
	for _, usd := range []float64{p.Input, p.CachedInput, p.Output} {
		if usd < 0 || math.IsNaN(usd) || usd > 1e6 {
			return f.errorf(at, "a price is in USD for a million tokens, from 0")
		}
	}
	return nil
}

func (f file) checkModels(cfg *Config) error {
	defined := func(name string) bool {
		provider, rest, ok := strings.Cut(name, "/")
		_, known := cfg.Providers[provider]
		return ok && known && rest != ""
	}
	have := strings.Join(slices.Sorted(maps.Keys(cfg.Providers)), ", ")
	for _, name := range slices.Sorted(maps.Keys(cfg.Models)) {
		m := cfg.Models[name]
		if !defined(name) {
			return f.errorf([]string{"models", name}, "the model %q must be PROVIDER/NAME with one of the providers %s", name, have)
		}
		if m.ContextTokens < 0 {
			return f.errorf([]string{"models", name, "context_tokens"}, "context_tokens must be a number from 1")
		}
		if err := f.checkPrice([]string{"models", name, "price"}, m.Price); err != nil {
			return err
		}
		for _, fb := range m.Fallbacks {
			if !defined(fb) {
				return f.errorf([]string{"models", name, "fallbacks"}, "the fallback %q of %s must be PROVIDER/NAME with one of the providers %s", fb, name, have)
			}
		}
		if cycle := cycleFrom(cfg.Models, []string{name}, map[string]bool{}); cycle != nil {
			return f.errorf([]string{"models", name, "fallbacks"}, "the fallbacks go round in a circle: %s; take one of them out", strings.Join(cycle, " -> "))
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(cfg.Aliases)) {
		at := []string{"aliases", alias}
		switch target := cfg.Aliases[alias]; {
		case alias == "":
			return f.errorf(at, "an alias needs a name")
		case defined(alias):
			return f.errorf(at, "the alias %q is the full name of a model already", alias)
		case !defined(target):
			return f.errorf(at, "the alias %q must stand for PROVIDER/NAME with one of the providers %s", alias, have)
		}
	}
	return nil
}

// cycleFrom returns the way from path's last model back to its first, if there
// is one. Other circles are found from the models in them. What was seen leads
// nowhere.
func cycleFrom(models map[string]ModelConfig, path []string, seen map[string]bool) []string {
	for _, next := range models[path[len(path)-1]].Fallbacks {
		if next == path[0] {
			return append(path, next)
		}
		if seen[next] {
			continue
		}
		seen[next] = true
		if cycle := cycleFrom(models, append(slices.Clip(path), next), seen); cycle != nil {
			return cycle
		}
	}
	return nil
}
