package router

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/yamlerror"
)

// Types of providers.
const (
	TypeOpenAI     = "openai"      // the Responses API
	TypeOpenAIChat = "openai_chat" // the Chat Completions API, as most other servers speak it
	TypeAnthropic  = "anthropic"
	TypeBedrock    = "bedrock"
	TypeScript     = "script" // no model: plays the scripts of a directory
)

// Config says which providers and models there are. It is made by Default,
// Parse or Load, which check it and read the environment.
type Config struct {
	// Providers by the name that their models' names begin with.
	Providers map[string]ProviderConfig `yaml:"providers"`
	// Models by their full name, provider/name.
	Models map[string]ModelConfig `yaml:"models"`
	// Aliases are further names, of a full name each. What FirstAvailable
	// prefers is called "default".
	Aliases map[string]string `yaml:"aliases"`
}

// ProviderConfig is one provider.
type ProviderConfig struct {
	Name    string `yaml:"-"`
	Type    string `yaml:"type"`
	BaseURL string `yaml:"base_url"` // empty is the type's own service
	// APIKeyEnv is the name of the environment variable that holds the key, and
	// APIKey what it held when the configuration was read. The key itself is
	// never in a file.
	APIKeyEnv string `yaml:"api_key_env"`
	APIKey    string `yaml:"-"`
	Region    string `yaml:"region"`  // bedrock
	Profile   string `yaml:"profile"` // bedrock: of the AWS configuration
	Dir       string `yaml:"dir"`     // script
	// Record is the file in which answers are recorded as a script; empty records
	// nothing.
	Record   string       `yaml:"record"`
	Price    *model.Price `yaml:"price"` // of the models that have none of their own
	Disabled bool         `yaml:"disabled"`

	builtin     bool   // no file mentions it
	missing     string // what must be set before it can be used
	credentials bool   // bedrock: the environment names some
}

// String leaves the key out.
func (p ProviderConfig) String() string {
	return fmt.Sprintf("provider %s (type %s, base URL %q, key from %q)", p.Name, p.Type, p.BaseURL, p.APIKeyEnv)
}

// GoString leaves the key out.
func (p ProviderConfig) GoString() string { return p.String() }

// ModelConfig is what an operator says of one model. All of it may be left out.
type ModelConfig struct {
	ID            string       `yaml:"id"` // as the provider names it; empty is the name itself
	Price         *model.Price `yaml:"price"`
	ContextTokens int64        `yaml:"context_tokens"`
	Fallbacks     []string     `yaml:"fallbacks"` // full names, tried in order
}

// Default is the configuration without a file: openai, anthropic and bedrock
// with their keys from the environment, ollama on this machine, and script with
// the directory "scripts".
func Default(getenv func(string) string) Config {
	cfg := Config{Providers: map[string]ProviderConfig{}}
	for name, p := range builtins(getenv) {
		cfg.Providers[name] = finish(name, p, getenv)
	}
	return cfg
}

func builtins(getenv func(string) string) map[string]ProviderConfig {
	region := getenv("AWS_REGION")
	if region == "" {
		region = getenv("AWS_DEFAULT_REGION")
	}
	return map[string]ProviderConfig{
		"openai":    {builtin: true, Type: TypeOpenAI, BaseURL: getenv("OPENAI_BASE_URL"), APIKeyEnv: "OPENAI_API_KEY"},          //nolint:gosec // the name of a variable
		"anthropic": {builtin: true, Type: TypeAnthropic, BaseURL: getenv("ANTHROPIC_BASE_URL"), APIKeyEnv: "ANTHROPIC_API_KEY"}, //nolint:gosec // the name of a variable
		"bedrock":   {builtin: true, Type: TypeBedrock, Region: region},
		"ollama":    {builtin: true, Type: TypeOpenAIChat, BaseURL: "http://127.0.0.1:11434/v1", Price: &model.Price{}},
		"script":    {builtin: true, Type: TypeScript, Dir: "scripts"},
	}
}

// Load reads the operator's models file. Paths in it are relative to it.
func Load(path string, getenv func(string) string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read models file: %w", err)
	}
	return Parse(path, data, getenv)
}

// Parse is Load for a file that was read already. Errors name the file and the
// line, and say what to write.
func Parse(path string, data []byte, getenv func(string) string) (Config, error) {
	var cfg Config
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&cfg); err != nil && !errors.Is(err, io.EOF) {
		return Config{}, yamlerror.Explain(path, err, fault)
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return Config{}, fmt.Errorf("%s: a models file holds one YAML document", path)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return Config{}, yamlerror.Explain(path, err, fault)
	}
	f := file{path: path, doc: &doc}

	known := builtins(getenv)
	if cfg.Providers == nil {
		cfg.Providers = map[string]ProviderConfig{}
	}
	for name, p := range cfg.Providers {
		if b, ok := known[name]; ok {
			p = inherit(p, b)
		}
		if err := f.checkProvider(name, p); err != nil {
			return Config{}, err
		}
		p.Dir, p.Record = f.relative(p.Dir), f.relative(p.Record)
		cfg.Providers[name] = finish(name, p, getenv)
	}
	for name, p := range known {
		if _, ok := cfg.Providers[name]; !ok {
			cfg.Providers[name] = finish(name, p, getenv)
		}
	}
	if err := f.checkModels(&cfg); err != nil {
		return Config{}, err
	}
	return cfg, nil
}

// inherit fills what an entry for a built-in provider leaves out. The variable
// that holds the key is not inherited by an entry of another type or with
// another address, so that no key is sent where it does not belong.
func inherit(p, b ProviderConfig) ProviderConfig {
	if p.Type == "" {
		p.Type = b.Type
	}
	if p.Type != b.Type {
		return p
	}
	if p.APIKeyEnv == "" && p.BaseURL == "" {
		p.APIKeyEnv = b.APIKeyEnv
	}
	for _, s := range []struct{ to, from *string }{{&p.BaseURL, &b.BaseURL}, {&p.Region, &b.Region}, {&p.Dir, &b.Dir}} {
		if *s.to == "" {
			*s.to = *s.from
		}
	}
	if p.Price == nil {
		p.Price = b.Price
	}
	return p
}

// finish reads the key from the environment and finds out what is missing.
func finish(name string, p ProviderConfig, getenv func(string) string) ProviderConfig {
	p.Name = name
	switch p.Type {
	case TypeScript:
		if p.Price == nil {
			p.Price = &model.Price{}
		}
	case TypeBedrock:
		if p.APIKeyEnv == "" {
			p.APIKey = getenv("AWS_BEARER_TOKEN_BEDROCK")
		}
		for _, env := range []string{"AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"} {
			p.credentials = p.credentials || getenv(env) != "" || p.Profile != ""
		}
		if p.Region == "" {
			p.missing = fmt.Sprintf("set the environment variable AWS_REGION, or region of the provider %s in the models file", name)
		}
	case TypeOpenAI, TypeAnthropic:
		if p.APIKeyEnv == "" && p.BaseURL == "" {
			p.APIKeyEnv = map[string]string{TypeOpenAI: "OPENAI_API_KEY", TypeAnthropic: "ANTHROPIC_API_KEY"}[p.Type]
		}
	}
	if p.APIKeyEnv == "" {
		return p
	}
	p.APIKey = getenv(p.APIKeyEnv)
	if p.APIKey == "" {
		p.missing = fmt.Sprintf("set the environment variable %s, or name another one as api_key_env of the provider %s in the models file", p.APIKeyEnv, name)
	}
	return p
}

// file is a models file, for errors that name its lines.
type file struct {
	path string
	doc  *yaml.Node
}

func (f file) relative(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(f.path), path)
}

// errorf names the line of the field that the keys lead to, or of the last of
// them that is there.
func (f file) errorf(keys []string, format string, args ...any) error {
	line := 0
	n := f.doc
	if n.Kind == yaml.DocumentNode && len(n.Content) > 0 {
		n = n.Content[0]
	}
	for _, key := range keys {
		next := -1
		for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				next = i
			}
		}
		if next < 0 {
			break
		}
		line, n = n.Content[next].Line, n.Content[next+1]
	}
	where := f.path
	if line > 0 {
		where += ":" + strconv.Itoa(line)
	}
	return errors.New(where + ": " + fmt.Sprintf(format, args...))
}

var (
	unknownField = regexp.MustCompile(`field (\S+) not found in type router\.(\w+)`)
	wrongType    = regexp.MustCompile("cannot unmarshal !!(\\w+)(?: `[^`]*`)? into (\\S+)")
)

var fieldsOf = map[string]string{
	"Config":         "providers, models, aliases",
	"ProviderConfig": "type, base_url, api_key_env, region, profile, dir, record, price, disabled",
	"ModelConfig":    "id, price, context_tokens, fallbacks",
}

// fault puts what the decoder found into the words of the file.
func fault(text string) string {
	switch {
	case strings.HasPrefix(text, "field api_key not found"):
		return "a key is never written into the file: put it into an environment variable, and name the variable as api_key_env"
	case strings.HasPrefix(text, "field ") && strings.HasSuffix(text, "not found in type model.Price"):
		return fmt.Sprintf("unknown field %q; known are input, cached_input, output", strings.Fields(text)[1])
	case unknownField.MatchString(text):
		m := unknownField.FindStringSubmatch(text)
		return fmt.Sprintf("unknown field %q; known are %s", m[1], fieldsOf[m[2]])
	case wrongType.MatchString(text):
		m := wrongType.FindStringSubmatch(text)
		return fmt.Sprintf("this is of the wrong kind: %s where %s is expected", m[1], expected(m[2]))
	}
	return text
}

// expected says what a Go type is in a file.
func expected(goType string) string {
	switch {
	case goType == "string":
		return "a text"
	case goType == "bool":
		return "true or false"
	case goType == "float64":
		return "a number"
	case goType == "int64":
		return "a whole number"
	case strings.HasPrefix(goType, "[]"):
		return "a list"
	}
	return "a mapping"
}
