package router

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// detectTimeout bounds the question to Ollama.
const detectTimeout = 300 * time.Millisecond

// preferred are the models that a demonstration takes where the operator names
// none: quick and cheap ones.
var preferred = []string{
	"openai/gpt-5.4-mini",
	"anthropic/claude-haiku-4-5",
	"bedrock/global.anthropic.claude-haiku-4-5-20251001-v1:0",
}

// FirstAvailable names a real model that is ready for use, and reports whether
// there is one: the alias "default"; one of a provider whose key is set; one that
// the models file mentions; or one of an Ollama that answers on this machine
// within 300 ms. A script is not a model. Keys are not tried out.
func (r *Router) FirstAvailable(ctx context.Context) (string, bool) {
	local := sync.OnceValue(func() []string { return r.localModels(ctx) })
	for _, name := range slices.Concat([]string{r.cfg.Aliases["default"]}, preferred, slices.Sorted(maps.Keys(r.cfg.Models))) {
		if r.ready(name, local) {
			return name, true
		}
	}
	if ids := local(); len(ids) > 0 {
		return "ollama/" + ids[0], true
	}
	return "", false
}

// ready reports whether the model's provider has what it needs. Of a model that
// the operator did not name, only a key that is set says so.
func (r *Router) ready(name string, local func() []string) bool {
	providerName, id, _ := strings.Cut(name, "/")
	p, ok := r.providers[providerName]
	switch {
	case !ok || p.unavailable != "" || p.Type == TypeScript:
		return false
	case providerName == "ollama":
		return slices.Contains(local(), id) || slices.Contains(local(), id+":latest")
	case p.Type == TypeBedrock:
		return p.credentials || p.APIKey != ""
	}
	return p.APIKey != "" || !slices.Contains(preferred, name)
}

// localModels are the models of the Ollama on this machine, if one answers.
func (r *Router) localModels(ctx context.Context) []string {
	p, ok := r.providers["ollama"]
	if !ok || p.unavailable != "" {
		return nil
	}
	u, err := url.Parse(p.BaseURL)
	if err != nil || (u.Hostname() != "localhost" && !net.ParseIP(u.Hostname()).IsLoopback()) {
		return nil
	}
	ids, err := listModels(ctx, p.BaseURL)
	if err != nil {
		// Nothing answers there, which is an answer too.
		return nil
	}
	return ids
}

// listModels asks a server for the models that can hold a conversation.
func listModels(ctx context.Context, baseURL string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, detectTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(baseURL, "/")+"/models", nil)
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("list models: %s", resp.Status)
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&list); err != nil {
		return nil, fmt.Errorf("list models: %w", err)
	}
	var ids []string
	for _, m := range list.Data {
		if m.ID != "" && !strings.Contains(m.ID, "embed") {
			ids = append(ids, m.ID)
		}
	}
	return ids, nil
}
