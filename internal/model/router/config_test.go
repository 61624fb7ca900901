package router_test

import (
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/router"
)

func TestParseErrors(t *testing.T) {
	const all = "anthropic, bedrock, ollama, openai, script"
	for _, tc := range []struct{ name, text, want string }{
		{"not YAML", "models: [", "m.yaml:1: did not find expected node content"},
		{"list", "- a", "m.yaml:1: this is of the wrong kind: seq where a mapping is expected"},
		{"two documents", "models: {}\n---\n{}\n", "m.yaml: a models file holds one YAML document"},
		{"unknown section", "model: {}", `m.yaml:1: unknown field "model"; known are providers, models, aliases`},
		{
			"unknown settings", "providers:\n  a:\n    typ: openai\n    url: x\n",
			"m.yaml:3: unknown field \"typ\"; known are type, base_url, api_key_env, region, profile, dir, record, price, disabled\n" +
				"m.yaml:4: unknown field \"url\"; known are type, base_url, api_key_env, region, profile, dir, record, price, disabled",
		},
		{
			"key in the file", "providers:\n  openai: {api_key: sk-secret}\n",
			"m.yaml:2: a key is never written into the file: put it into an environment variable, and name the variable as api_key_env",
		},
		{
			"key for a name", "providers:\n  openai:\n    api_key_env: sk-secret\n",
			"m.yaml:3: api_key_env of openai must be the name of an environment variable, such as MY_API_KEY, and not the key itself",
		},
		{"wrong kind", "models:\n  openai/a: {context_tokens: many}\n", "m.yaml:2: this is of the wrong kind: str where a whole number is expected"},
		{"price field", "models:\n  openai/a: {price: {in: 1}}\n", `m.yaml:2: unknown field "in"; known are input, cached_input, output`},
		{"negative price", "models:\n  openai/a:\n    price: {input: -1}\n", "m.yaml:3: a price is in USD for a million tokens, from 0"},
		{"price that is no number", "providers:\n  a: {type: anthropic, price: {input: .nan}}\n", "m.yaml:2: a price is in USD for a million tokens, from 0"},
		{"negative context", "models:\n  openai/a: {context_tokens: -1}\n", "m.yaml:2: context_tokens must be a number from 1"},
		{"provider name", "providers:\n  My AI: {type: openai}\n", `m.yaml:2: the provider's name "My AI" must have lower-case letters, digits, - and _ only, and begin with a letter`},
		{"no type", "providers:\n  a: {base_url: 'http://x/v1'}\n", "m.yaml:2: the provider a needs a type: openai, openai_chat, anthropic, bedrock or script"},
		{"unknown type", "providers:\n  a:\n    type: gemini\n", `m.yaml:3: the provider a has the unknown type "gemini"; known are openai, openai_chat, anthropic, bedrock and script`},
		{"no address", "providers:\n  a:\n    type: openai_chat\n", "m.yaml:2: the provider a needs a base_url, such as http://127.0.0.1:8000/v1"},
		{"no directory", "providers:\n  a:\n    type: script\n", "m.yaml:2: the provider a needs dir, the directory of its scripts"},
		{
			"address with a password", "providers:\n  a:\n    type: openai\n    base_url: https://user:pass@x/v1\n",
			"m.yaml:4: base_url of a must be an http or https URL without user, query and fragment, such as http://127.0.0.1:8000/v1",
		},
		{"setting of another type", "providers:\n  a:\n    type: openai\n    region: x\n", "m.yaml:4: region is not a setting of the type openai"},
		{"model without provider", "models:\n  gpt-5: {}\n", `m.yaml:2: the model "gpt-5" must be PROVIDER/NAME with one of the providers ` + all},
		{"model of nobody", "models:\n  x/gpt-5: {}\n", `m.yaml:2: the model "x/gpt-5" must be PROVIDER/NAME with one of the providers ` + all},
		{"fallback to nobody", "models:\n  openai/a:\n    fallbacks: [x/y]\n", `m.yaml:3: the fallback "x/y" of openai/a must be PROVIDER/NAME with one of the providers ` + all},
		{"own fallback", "models:\n  openai/a:\n    fallbacks: [openai/a]\n", "m.yaml:3: the fallbacks go round in a circle: openai/a -> openai/a; take one of them out"},
		{
			"circle", "models:\n  openai/a: {fallbacks: [openai/b]}\n  openai/b: {fallbacks: [openai/c, openai/d]}\n  openai/d: {fallbacks: [openai/b]}\n",
			"m.yaml:3: the fallbacks go round in a circle: openai/b -> openai/d -> openai/b; take one of them out",
		},
		{"alias of an alias", "aliases:\n  a: b\n", `m.yaml:2: the alias "a" must stand for PROVIDER/NAME with one of the providers ` + all},
		{"alias in the way", "aliases:\n  openai/a: openai/b\n", `m.yaml:2: the alias "openai/a" is the full name of a model already`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := router.Parse("m.yaml", []byte(tc.text), env{}.get)
			if err == nil {
				t.Fatal("it was accepted")
			}
			if err.Error() != tc.want {
				t.Errorf("got  %s\nwant %s", err, tc.want)
			}
			if strings.Contains(err.Error(), "sk-secret") {
				t.Error("the error shows the key")
			}
		})
	}
}

func TestLoadNamesTheFile(t *testing.T) {
	if _, err := router.Load("no/such/file.yaml", env{}.get); err == nil || !strings.Contains(err.Error(), "no/such/file.yaml") {
		t.Errorf("got %v", err)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"", "providers: {a: {type: openai_chat, base_url: 'http://x/v1', price: {input: 1}}}", "providers: {openai: }",
		"models: {openai/a: {fallbacks: [openai/b]}, openai/b: {fallbacks: [openai/c, ollama/d], id: x}}\naliases: {x: openai/a}",
		"a: &a [*a]", "providers: {a: &x {type: script, dir: d}, b: *x}", "models: {openai/a: {price: {input: 1e400}}}",
	} {
		f.Add(s, "openai/a")
	}
	f.Fuzz(func(t *testing.T, text, name string) {
		cfg, err := router.Parse("m.yaml", []byte(text), keys.get)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "m.yaml") {
				t.Errorf("the error does not name the file: %v", err)
			}
			return
		}
		r, err := router.New(cfg, func(router.ProviderConfig) (model.Model, error) { return fake{}, nil })
		if err != nil {
			t.Fatal(err)
		}
		for known := range cfg.Models {
			if chain, err := r.Resolve(known); err == nil && chain[0].Name != known {
				t.Errorf("%q resolves to %q", known, chain[0].Name)
			}
		}
		if chain, err := r.Resolve(name); err == nil && len(chain) == 0 {
			t.Errorf("%q has neither a candidate nor an error", name)
		}
	})
}
