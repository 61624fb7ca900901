// Package router finds the model behind a name such as "openai/gpt-5": it is the
// model.Catalog of an operator's configuration. It owns that configuration, the
// table of prices and the order of fallbacks. It knows no provider's
// implementation: what makes one is handed to it.
package router

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/model"
)

// Router is an immutable model.Catalog, safe for use by many goroutines.
type Router struct {
	cfg       Config
	prices    prices
	providers map[string]provider
	// chains of the models that the configuration mentions, by full name.
	chains map[string][]model.Candidate
}

// provider is one that the configuration names, and why it cannot be used.
type provider struct {
	ProviderConfig
	model       model.Model
	unavailable string
}

var _ model.Catalog = (*Router)(nil)

// New makes the providers that have what they need, with build, which makes the
// model of one provider: it is given the name of a model in each request, and is
// wrapped in a recorder where Record is set. A built-in provider that cannot be
// made is unavailable, and says why when it is asked for; one that the file
// mentions is an error.
func New(cfg Config, build func(ProviderConfig) (model.Model, error)) (*Router, error) {
	table, err := readPrices()
	if err != nil {
		return nil, err
	}
	r := &Router{cfg: cfg, prices: table, providers: map[string]provider{}, chains: map[string][]model.Candidate{}}
	for name, p := range cfg.Providers {
		made := provider{ProviderConfig: p}
		switch {
		case p.Disabled:
			made.unavailable = fmt.Sprintf("it is disabled: take \"disabled\" of the provider %s out of the models file", name)
		case p.missing != "":
			made.unavailable = p.missing
		default:
			made.model, err = build(p)
			if err != nil && !p.builtin {
				return nil, fmt.Errorf("provider %s: %w", name, err)
			}
			if err != nil {
				made.unavailable = err.Error()
			}
		}
		r.providers[name] = made
	}
	for name := range cfg.Models {
		r.chains[name] = r.chain(name)
	}
	return r, nil
}

// Resolve finds the candidates of a name: a full name, an alias, or a bare name
// that says by its beginning whose it is, as in "gpt-5". The slice is not to be
// changed. Errors are *model.Error and say what to configure.
func (r *Router) Resolve(name string) ([]model.Candidate, error) {
	full, err := r.fullName(name)
	if err != nil {
		return nil, err
	}
	providerName, id, _ := strings.Cut(full, "/")
	p, ok := r.providers[providerName]
	if !ok || id == "" {
		return nil, &model.Error{Code: "resource_not_found", Message: fmt.Sprintf(
			"no provider for the model %q: names are PROVIDER/NAME, and the providers are %s; further ones are added in the models file", name, r.providerNames())}
	}
	if p.unavailable != "" {
		return nil, &model.Error{Code: "authentication_error", Message: fmt.Sprintf("the model %q cannot be used: %s", name, p.unavailable)}
	}
	if chain, ok := r.chains[full]; ok {
		return chain, nil
	}
	return []model.Candidate{r.candidate(full, p, id)}, nil
}

// bare are the beginnings of names that SDKs use without a provider.
var bare = []struct{ prefix, provider string }{
	{"gpt-", "openai"}, {"o1", "openai"}, {"o3", "openai"}, {"o4", "openai"}, {"chatgpt", "openai"}, {"claude-", "anthropic"},
}

func (r *Router) fullName(name string) (string, error) {
	if full, ok := r.cfg.Aliases[name]; ok {
		return full, nil
	}
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, b := range bare {
		if strings.HasPrefix(name, b.prefix) {
			return b.provider + "/" + name, nil
		}
	}
	return "", &model.Error{Code: "resource_not_found", Message: fmt.Sprintf(
		"the model %q is not known: write PROVIDER/NAME with one of the providers %s, or make it an alias in the models file", name, r.providerNames())}
}

func (r *Router) providerNames() string {
	return strings.Join(slices.Sorted(maps.Keys(r.providers)), ", ")
}

// chain is the model and its fallbacks, theirs included, each once. Fallbacks of
// providers that cannot be used are left out.
func (r *Router) chain(name string) []model.Candidate {
	var chain []model.Candidate
	seen := map[string]bool{}
	var add func(string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		providerName, id, _ := strings.Cut(name, "/")
		if p := r.providers[providerName]; p.unavailable == "" {
			chain = append(chain, r.candidate(name, p, id))
		}
		for _, fb := range r.cfg.Models[name].Fallbacks {
			add(fb)
		}
	}
	add(name)
	return slices.Clip(chain)
}

// candidate puts together what is known of a model: what the operator says of
// it, then of its provider, then the table.
func (r *Router) candidate(name string, p provider, id string) model.Candidate {
	c := model.Candidate{Name: name, Model: p.model, ID: id}
	m := r.cfg.Models[name]
	if m.ID != "" {
		c.ID = m.ID
	}
	if known, ok := r.prices.find(p.ProviderConfig, c.ID); ok {
		c.Price, c.ContextTokens = &known.Price, known.ContextTokens
	}
	if p.Price != nil {
		c.Price = p.Price
	}
	if m.Price != nil {
		c.Price = m.Price
	}
	if m.ContextTokens != 0 {
		c.ContextTokens = m.ContextTokens
	}
	return c
}

// Info is what is known of one model.
type Info struct {
	Name          string
	Provider      string
	Price         *model.Price // nil where none is known
	ContextTokens int64        // 0 where it is not known
	Fallbacks     []string     // those that can be used, in order
	// Unavailable says what to configure before the model can be used; empty
	// where it can be.
	Unavailable string
}

// Models lists the models that the configuration, the table of prices or a
// provider's own list names, sorted by name. A provider may serve others too.
// Of a provider that cannot be used only what the configuration mentions is
// listed.
func (r *Router) Models() ([]Info, error) {
	names := map[string]bool{}
	for name := range r.cfg.Models {
		names[name] = true
	}
	for _, full := range r.cfg.Aliases {
		names[full] = true
	}
	for name, p := range r.providers {
		if p.unavailable != "" {
			continue
		}
		for _, id := range r.prices.ids(p.ProviderConfig) {
			names[name+"/"+id] = true
		}
		if l, ok := p.model.(interface{ Names() ([]string, error) }); ok {
			ids, err := l.Names()
			if err != nil {
				return nil, fmt.Errorf("models of %s: %w", name, err)
			}
			for _, id := range ids {
				names[name+"/"+id] = true
			}
		}
	}
	var list []Info
	for _, name := range slices.Sorted(maps.Keys(names)) {
		list = append(list, r.info(name))
	}
	return list, nil
}

func (r *Router) info(name string) Info {
	providerName, id, _ := strings.Cut(name, "/")
	p := r.providers[providerName]
	c := r.candidate(name, p, id)
	i := Info{Name: name, Provider: providerName, Price: c.Price, ContextTokens: c.ContextTokens, Unavailable: p.unavailable}
	for _, fb := range r.chains[name] {
		if fb.Name != name {
			i.Fallbacks = append(i.Fallbacks, fb.Name)
		}
	}
	return i
}

// Status is whether a provider can be used.
type Status struct {
	Name        string
	Type        string
	Unavailable string // what to configure; empty where it can be used
}

// Providers lists the providers, sorted by name.
func (r *Router) Providers() []Status {
	var list []Status
	for _, name := range slices.Sorted(maps.Keys(r.providers)) {
		p := r.providers[name]
		list = append(list, Status{Name: name, Type: p.Type, Unavailable: p.unavailable})
	}
	return list
}

// Aliases are the names that stand for others, with the full names.
func (r *Router) Aliases() map[string]string { return maps.Clone(r.cfg.Aliases) }
