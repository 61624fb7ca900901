package router_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/router"
	"github.com/stayd/stayd/internal/model/script"
)

// fake stands for a provider's model.
type fake struct{ provider string }

func (fake) Generate(context.Context, *model.Request, func(model.Delta)) (*model.Response, error) {
	return nil, errors.New("a fake")
}

func build(p router.ProviderConfig) (model.Model, error) {
	if p.Type == router.TypeScript {
		return script.NewProvider(p.Dir), nil
	}
	return fake{p.Name}, nil
}

// env is an environment of its own.
type env map[string]string

func (e env) get(name string) string { return e[name] }

var keys = env{"OPENAI_API_KEY": "k1", "ANTHROPIC_API_KEY": "k2", "AWS_REGION": "eu-west-1"}

func newRouter(t testing.TB, e env, text string) *router.Router {
	t.Helper()
	cfg, err := router.Parse("models.yaml", []byte(text), e.get)
	if err != nil {
		t.Fatal(err)
	}
	r, err := router.New(cfg, build)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// describe is a chain of candidates in short.
func describe(chain []model.Candidate) string {
	var parts []string
	for _, c := range chain {
		price := "?"
		if c.Price != nil {
			price = fmt.Sprintf("%g/%g/%g", c.Price.Input, c.Price.CachedInput, c.Price.Output)
		}
		parts = append(parts, fmt.Sprintf("%s=%s %s %d", c.Name, c.ID, price, c.ContextTokens))
	}
	return strings.Join(parts, ", ")
}

func TestResolve(t *testing.T) {
	const text = `
providers:
  vllm: {type: openai_chat, base_url: "http://10.0.0.1/v1", price: {input: 0.5, output: 1}}
  other: {type: openai_chat, base_url: "http://10.0.0.2/v1"}
  keyless: {type: openai_chat, base_url: "http://10.0.0.3/v1", api_key_env: NOT_SET}
models:
  openai/gpt-5: {price: {input: 9, output: 10}, context_tokens: 1000, fallbacks: [anthropic/claude-opus-5, keyless/x, vllm/m]}
  anthropic/claude-opus-5: {fallbacks: [vllm/m]}
  vllm/m: {id: org/M}
  openai/mine: {id: gpt-5-mini-2025-08-07}
  script/priced: {price: {input: 1, output: 2}}
aliases: {smart: openai/gpt-5, meta/llama: vllm/m, default: script/priced}
`
	r := newRouter(t, keys, text)
	for name, want := range map[string]string{
		"openai/gpt-5":                 "openai/gpt-5=gpt-5 9/0/10 1000, anthropic/claude-opus-5=claude-opus-5 5/0.5/25 1000000, vllm/m=org/M 0.5/0/1 0",
		"gpt-5":                        "openai/gpt-5=gpt-5 9/0/10 1000, anthropic/claude-opus-5=claude-opus-5 5/0.5/25 1000000, vllm/m=org/M 0.5/0/1 0",
		"smart":                        "openai/gpt-5=gpt-5 9/0/10 1000, anthropic/claude-opus-5=claude-opus-5 5/0.5/25 1000000, vllm/m=org/M 0.5/0/1 0",
		"meta/llama":                   "vllm/m=org/M 0.5/0/1 0",
		"openai/mine":                  "openai/mine=gpt-5-mini-2025-08-07 0.25/0.025/2 400000",
		"openai/gpt-4o-2024-08-06":     "openai/gpt-4o-2024-08-06=gpt-4o-2024-08-06 2.5/1.25/10 128000",
		"gpt-99":                       "openai/gpt-99=gpt-99 ? 0",
		"o3":                           "openai/o3=o3 2/0.5/8 200000",
		"chatgpt-4o-latest":            "openai/chatgpt-4o-latest=chatgpt-4o-latest ? 0",
		"claude-haiku-4-5-20251001":    "anthropic/claude-haiku-4-5-20251001=claude-haiku-4-5-20251001 1/0.1/5 200000",
		"other/org/model:8b":           "other/org/model:8b=org/model:8b ? 0",
		"vllm/else":                    "vllm/else=else 0.5/0/1 0",
		"ollama/qwen3:8b":              "ollama/qwen3:8b=qwen3:8b 0/0/0 0",
		"script/demo":                  "script/demo=demo 0/0/0 0",
		"default":                      "script/priced=priced 1/0/2 0",
		"bedrock/amazon.nova-pro-v1:0": "bedrock/amazon.nova-pro-v1:0=amazon.nova-pro-v1:0 0.8/0.2/3.2 300000",
		"bedrock/eu.anthropic.claude-haiku-4-5-20251001-v1:0": "bedrock/eu.anthropic.claude-haiku-4-5-20251001-v1:0=eu.anthropic.claude-haiku-4-5-20251001-v1:0 1.1/0.11/5.5 200000",
	} {
		chain, err := r.Resolve(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := describe(chain); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
		provider, _, _ := strings.Cut(chain[0].Name, "/")
		if m, ok := chain[0].Model.(fake); ok && m.provider != provider {
			t.Errorf("%s is served by %s", name, m.provider)
		}
	}
}

func TestResolveErrors(t *testing.T) {
	r := newRouter(t, env{"MY_KEY": "x"}, `
providers:
  research: {type: openai, api_key_env: RESEARCH_KEY}
  proxy: {type: openai, base_url: "https://proxy.example/v1"}
  ollama: {disabled: true}
`)
	all := "anthropic, bedrock, ollama, openai, proxy, research, script"
	for name, want := range map[string]string{
		"openai/gpt-5":   `authentication_error: the model "openai/gpt-5" cannot be used: set the environment variable OPENAI_API_KEY, or name another one as api_key_env of the provider openai in the models file`,
		"claude-opus-5":  `authentication_error: the model "claude-opus-5" cannot be used: set the environment variable ANTHROPIC_API_KEY, or name another one as api_key_env of the provider anthropic in the models file`,
		"bedrock/x":      `authentication_error: the model "bedrock/x" cannot be used: set the environment variable AWS_REGION, or region of the provider bedrock in the models file`,
		"research/gpt-5": `authentication_error: the model "research/gpt-5" cannot be used: set the environment variable RESEARCH_KEY, or name another one as api_key_env of the provider research in the models file`,
		"ollama/x":       `authentication_error: the model "ollama/x" cannot be used: it is disabled: take "disabled" of the provider ollama out of the models file`,
		"mistral/large":  `resource_not_found: no provider for the model "mistral/large": names are PROVIDER/NAME, and the providers are ` + all + `; further ones are added in the models file`,
		"openai/":        `resource_not_found: no provider for the model "openai/": names are PROVIDER/NAME, and the providers are ` + all + `; further ones are added in the models file`,
		"llama3":         `resource_not_found: the model "llama3" is not known: write PROVIDER/NAME with one of the providers ` + all + `, or make it an alias in the models file`,
		"":               `resource_not_found: the model "" is not known: write PROVIDER/NAME with one of the providers ` + all + `, or make it an alias in the models file`,
	} {
		chain, err := r.Resolve(name)
		var e *model.Error
		if !errors.As(err, &e) || e.Retry {
			t.Errorf("%s: got %v, %v", name, describe(chain), err)
			continue
		}
		if e.Error() != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, e, want)
		}
	}
	// An entry with an address of its own needs no key, and gets nobody else's.
	if _, err := r.Resolve("proxy/x"); err != nil {
		t.Error(err)
	}
}

// TestKeys checks which key each provider is built with.
func TestKeys(t *testing.T) {
	e := maps.Clone(keys)
	e["RESEARCH_KEY"], e["OPENAI_BASE_URL"] = "k3", "https://proxy.example/v1"
	e["AWS_BEARER_TOKEN_BEDROCK"] = "k4"
	for _, tc := range []struct {
		name, text string
		want       map[string]string // provider: key, base URL
	}{
		{"no file", "", map[string]string{
			"openai": "k1 https://proxy.example/v1", "anthropic": "k2 ", "bedrock": "k4 ", "ollama": " http://127.0.0.1:11434/v1", "script": " ",
		}},
		{"file", `
providers:
  openai: {base_url: "https://elsewhere.example/v1"}
  anthropic: {api_key_env: RESEARCH_KEY}
  bedrock: {disabled: true}
  ollama: {base_url: "http://127.0.0.1:1/v1"}
  second: {type: openai}
`, map[string]string{
			"openai": " https://elsewhere.example/v1", "anthropic": "k3 ", "ollama": " http://127.0.0.1:1/v1", "script": " ", "second": "k1 ",
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, err := router.Parse("models.yaml", []byte(tc.text), e.get)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			_, err = router.New(cfg, func(p router.ProviderConfig) (model.Model, error) {
				got[p.Name] = p.APIKey + " " + p.BaseURL
				for _, shown := range []string{fmt.Sprint(p), fmt.Sprintf("%+v", p), fmt.Sprintf("%#v", p), fmt.Sprintf("%+v", cfg)} {
					if p.APIKey != "" && strings.Contains(shown, p.APIKey) {
						t.Errorf("the key of %s is shown: %s", p.Name, shown)
					}
				}
				return fake{p.Name}, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestDefaultIsTheEmptyFile(t *testing.T) {
	r, err := router.New(router.Default(keys.get), build)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(newRouter(t, keys, "").Providers(), r.Providers()); diff != "" {
		t.Error(diff)
	}
}

func TestBuildErrors(t *testing.T) {
	broken := func(router.ProviderConfig) (model.Model, error) { return nil, errors.New("no such profile") }
	r, err := router.New(router.Default(keys.get), broken)
	if err != nil {
		t.Fatalf("a built-in provider that cannot be made stopped the others: %v", err)
	}
	if _, err := r.Resolve("openai/gpt-5"); err == nil || !strings.Contains(err.Error(), "no such profile") {
		t.Errorf("got %v", err)
	}
	cfg, err := router.Parse("models.yaml", []byte("providers: {openai: {}}"), keys.get)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := router.New(cfg, broken); err == nil || err.Error() != "provider openai: no such profile" {
		t.Errorf("a provider of the file that cannot be made: %v", err)
	}
}

func TestModels(t *testing.T) {
	r := newRouter(t, env{"ANTHROPIC_API_KEY": "k"}, `
providers: {script: {type: script, dir: ../../../examples/scripts}}
models:
  openai/gpt-5: {}
  anthropic/claude-opus-5: {fallbacks: [ollama/a, openai/gpt-5]}
aliases: {cheap: ollama/b}
`)
	list, err := r.Models()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]router.Info{}
	for _, m := range list {
		got[m.Name] = m
	}
	for _, name := range []string{"script/weather", "ollama/b", "anthropic/claude-haiku-4-5"} {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is missing", name)
		}
	}
	if _, ok := got["openai/gpt-4o"]; ok {
		t.Error("a model of a provider without a key is listed")
	}
	if m := got["openai/gpt-5"]; !strings.Contains(m.Unavailable, "OPENAI_API_KEY") || m.Price == nil {
		t.Errorf("openai/gpt-5: %+v", m)
	}
	if m := got["anthropic/claude-opus-5"]; m.Unavailable != "" || cmp.Diff([]string{"ollama/a"}, m.Fallbacks) != "" || m.ContextTokens != 1_000_000 {
		t.Errorf("anthropic/claude-opus-5: %+v", m)
	}
}

func TestExample(t *testing.T) {
	cfg, err := router.Load(filepath.Join("..", "..", "..", "examples", "models.yaml"), keys.get)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := cfg.Providers["script"].Dir, filepath.Join("..", "..", "..", "examples", "scripts"); got != want {
		t.Errorf("dir is %q, want %q", got, want)
	}
	r, err := router.New(cfg, build)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := r.Resolve("default")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := describe(chain), "openai/gpt-5.4=gpt-5.4 2.5/0.25/15 272000, anthropic/claude-sonnet-5-5=claude-sonnet-5-5 2/0.2/10 1000000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestDocumentation reads every example of the page on models.
func TestDocumentation(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "models.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```yaml\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("the page has no examples")
	}
	for _, block := range blocks {
		text, _, _ := strings.Cut(block, "```")
		newRouter(t, keys, text)
	}
}

func TestFirstAvailable(t *testing.T) {
	listing := func(body string, status int) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/v1/models" {
				t.Errorf("asked for %s", r.URL.Path)
			}
			w.WriteHeader(status)
			if _, err := io.WriteString(w, body); err != nil {
				t.Error(err)
			}
		}))
		t.Cleanup(s.Close)
		return s.URL + "/v1"
	}
	two := listing(`{"object":"list","data":[{"id":"nomic-embed-text"},{"id":"qwen3:8b"},{"id":"llama3:latest"}]}`, 200)
	ollama := func(url string) string { return "providers: {ollama: {base_url: '" + url + "'}}\n" }
	hung := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hung.Close)

	for _, tc := range []struct {
		name string
		env  env
		text string
		want string // empty: none
	}{
		{"openai", env{"OPENAI_API_KEY": "k", "ANTHROPIC_API_KEY": "k"}, "", "openai/gpt-5.4-mini"},
		{"anthropic", env{"ANTHROPIC_API_KEY": "k"}, "", "anthropic/claude-haiku-4-5"},
		{"bedrock", env{"AWS_REGION": "us-east-1", "AWS_PROFILE": "p"}, "", "bedrock/global.anthropic.claude-haiku-4-5-20251001-v1:0"},
		{"a region alone", env{"AWS_REGION": "us-east-1"}, ollama(listing("", 404)), ""},
		{"default", env{"OPENAI_API_KEY": "k"}, "aliases: {default: openai/gpt-5}", "openai/gpt-5"},
		{"default without a key", env{"ANTHROPIC_API_KEY": "k"}, "aliases: {default: openai/gpt-5}", "anthropic/claude-haiku-4-5"},
		{"default is a script", env{"ANTHROPIC_API_KEY": "k"}, "aliases: {default: script/x}", "anthropic/claude-haiku-4-5"},
		{"default in Ollama", env{"OPENAI_API_KEY": "k"}, ollama(two) + "aliases: {default: ollama/llama3}", "ollama/llama3"},
		{"default not in Ollama", env{"OPENAI_API_KEY": "k"}, ollama(two) + "aliases: {default: ollama/absent}", "openai/gpt-5.4-mini"},
		{"models file", nil, "providers: {vllm: {type: openai_chat, base_url: 'http://10.0.0.1/v1'}}\nmodels: {script/a: {}, vllm/m: {}}", "vllm/m"},
		{"Ollama", nil, ollama(two), "ollama/qwen3:8b"},
		{"Ollama without models", nil, ollama(listing(`{"data":[]}`, 200)), ""},
		{"not Ollama", nil, ollama(listing(`<html>`, 200)), ""},
		{"silent", nil, ollama(hung.URL), ""},
		{"elsewhere", nil, ollama("http://192.0.2.1:11434/v1"), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, ok := newRouter(t, tc.env, tc.text).FirstAvailable(t.Context())
			if got != tc.want || ok != (tc.want != "") {
				t.Errorf("got %q, %t, want %q", got, ok, tc.want)
			}
		})
	}
}

func BenchmarkResolve(b *testing.B) {
	r := newRouter(b, keys, "models: {openai/gpt-5: {fallbacks: [anthropic/claude-opus-5]}}")
	for _, name := range []string{"openai/gpt-5", "openai/gpt-5-mini-2025-08-07", "claude-sonnet-5"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := r.Resolve(name); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
