package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/identity/oidc"
)

// setting is one of the runtime's settings. It is the flag --NAME, the variable
// STAYD_NAME with underscores, and the key NAME of the configuration file.
type setting struct {
	name  string
	usage string
	// register makes the flag, with the default of the configuration.
	register func(fs *pflag.FlagSet, name, usage string, c *app.Config)
}

func stringSetting(name, usage string, of func(*app.Config) *string) setting {
	return setting{name, usage, func(fs *pflag.FlagSet, name, usage string, c *app.Config) { fs.String(name, *of(c), usage) }}
}

func listSetting(name, usage string) setting {
	return setting{name, usage, func(fs *pflag.FlagSet, name, usage string, _ *app.Config) { fs.StringSlice(name, nil, usage) }}
}

// runtimeSettings are those of a runtime, served or not; serverSettings are
// those that only a server has.
var (
	runtimeSettings = []setting{
		stringSetting("data", "folder of the data", func(c *app.Config) *string { return &c.Data }),
		stringSetting("store", "postgres:// URL of the store; without it the store is a SQLite file in the data folder", func(c *app.Config) *string { return &c.Store }),
		stringSetting("models", "YAML file of models, prices and fallbacks", func(c *app.Config) *string { return &c.Models }),
		stringSetting("scripts", "folder of NAME.yaml for the models script/NAME", func(c *app.Config) *string { return &c.Scripts }),
		listSetting("memory-embedder", "what makes vectors of memories: static, none or PROVIDER/MODEL[?dimension=N]; then models of before, whose vectors serve until theirs are made"),
		stringSetting("memory-reranker", "what looks again at the best memories that were found: PROVIDER/MODEL[?top=50&timeout=1s]; without it nothing", func(c *app.Config) *string { return &c.Reranker }),
		stringSetting("blobs", "where files are kept: folder, or s3://bucket/prefix?region=R&endpoint=URL; without it in the store", func(c *app.Config) *string { return &c.Blobs }),
		stringSetting("environment-network", "the most that environments may be given of the network: none, restricted (to the domains that they name) or enabled", func(c *app.Config) *string { return &c.Network }),
		stringSetting("vault-key", "where the master keys of vaults are: the path of a file, env:VARIABLE, or aws-kms://KEY?region=R; without it in the data folder, if the store is there too", func(c *app.Config) *string { return &c.VaultKey }),
		stringSetting("public-url", "URL under which others reach the server, as https://stayd.example.com; without it http:// and the address to listen on", func(c *app.Config) *string { return &c.PublicURL }),
		stringSetting("trust-domain", "what the SPIFFE ids of agents begin with; without it the host of public-url", func(c *app.Config) *string { return &c.TrustDomain }),
		stringSetting("signing-key", "by what tokens of agents are signed: es256 or eddsa, by keys that the server makes, or aws-kms://KEY?region=R; without it es256", func(c *app.Config) *string { return &c.SigningKey }),
		listSetting("token-audiences", "audiences that callers may exchange their API keys and tokens for; without it none"),
		listSetting("dataset", "folders that all environments may read: NAME=FOLDER is /data/NAME"),
		listSetting("allow-outbound", "private addresses that may be reached: CIDR or host:port"),
		stringSetting("outbound-proxy", "URL of the proxy through which the server reaches others: http, https or socks5; without it none", func(c *app.Config) *string { return &c.OutboundProxy }),
		listSetting("outbound-direct", "what is reached without the proxy: hosts, .domains, addresses, CIDR"),
		stringSetting("traces", "URL of an OpenTelemetry collector (OTLP over HTTP) that is told what takes how long, as http://127.0.0.1:4318; without it none", func(c *app.Config) *string { return &c.Traces }),
		listSetting("allow-stdio-mcp", "commands that may be started as MCP servers; * allows any"),
		{"lease-ttl", "how long a process that died keeps others from its sessions", func(fs *pflag.FlagSet, name, usage string, c *app.Config) {
			fs.Duration(name, c.LeaseTTL, usage)
		}},
	}
	serverSettings = []setting{
		stringSetting("listen", "address to listen on, host:port", func(c *app.Config) *string { return &c.Listen }),
		stringSetting("keys", "file of API keys, a project and a key on each line", func(*app.Config) *string { return new(string) }),
		stringSetting("issuers", "YAML file of the issuers whose tokens are taken beside API keys", func(*app.Config) *string { return new(string) }),
		{"require-key", "have every caller show an API key, on loopback too", func(fs *pflag.FlagSet, name, usage string, c *app.Config) {
			fs.Bool(name, c.RequireKey, usage)
		}},
		stringSetting("log-level", "what is logged: debug (every request too), info, warn or error", func(*app.Config) *string { s := "info"; return &s }),
		{"max-body", "largest request body in bytes", func(fs *pflag.FlagSet, name, usage string, c *app.Config) {
			fs.Int64(name, c.MaxBody, usage)
		}},
	}
)

// addSettings registers the flags of the settings, and --config.
func addSettings(fs *pflag.FlagSet, groups ...[]setting) {
	c := app.Default()
	fs.String("config", "", "YAML file of these settings")
	for _, g := range groups {
		for _, s := range g {
			s.register(fs, s.name, s.usage, &c)
		}
	}
}

// loadConfig reads the configuration: a flag that was given goes before the
// environment, that before the file, and that before the default.
func loadConfig(fs *pflag.FlagSet, getenv func(string) string) (app.Config, error) {
	k := koanf.New(".")
	file, err := configFile(fs, getenv)
	if err != nil {
		return app.Config{}, err
	}
	for _, source := range []map[string]any{file, fromEnv(getenv), fromFlags(fs)} {
		if err := k.Load(values(source), nil); err != nil {
			return app.Config{}, fmt.Errorf("read the configuration: %w", err)
		}
	}
	c, err := assign(k)
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		return app.Config{}, &coded{code: exitUsage, err: err}
	}
	return c, nil
}

// assign makes the configuration of the merged values.
func assign(k *koanf.Koanf) (app.Config, error) {
	c := app.Default()
	if exe, err := os.Executable(); err == nil {
		c.SandboxHelper = []string{exe, sandboxHelper}
	}
	for name, to := range map[string]*string{
		"listen": &c.Listen, "data": &c.Data, "store": &c.Store, "models": &c.Models, "scripts": &c.Scripts, "memory-reranker": &c.Reranker,
		"blobs": &c.Blobs, "environment-network": &c.Network, "vault-key": &c.VaultKey, "public-url": &c.PublicURL,
		"trust-domain": &c.TrustDomain, "signing-key": &c.SigningKey, "outbound-proxy": &c.OutboundProxy, "traces": &c.Traces,
	} {
		if k.Exists(name) {
			*to = k.String(name)
		}
	}
	for name, to := range map[string]*[]string{
		"allow-outbound": &c.AllowOutbound, "outbound-direct": &c.OutboundDirect, "allow-stdio-mcp": &c.AllowStdioMCP, "dataset": &c.DataSets,
		"memory-embedder": &c.Embedders, "token-audiences": &c.TokenAudiences,
	} {
		if k.Exists(name) {
			*to = list(k.Get(name))
		}
	}
	c.RequireKey = k.Bool("require-key")
	if level := k.String("log-level"); level != "" {
		if err := c.LogLevel.UnmarshalText([]byte(level)); err != nil {
			return c, fmt.Errorf("log-level %q is none of debug, info, warn and error", level)
		}
	}
	if k.Exists("max-body") {
		n := k.Int64("max-body")
		if n == 0 {
			return c, fmt.Errorf("max-body %q is not a number of bytes", k.String("max-body"))
		}
		c.MaxBody = n
	}
	if k.Exists("lease-ttl") {
		d, err := time.ParseDuration(k.String("lease-ttl"))
		if err != nil {
			return c, fmt.Errorf("lease-ttl %q is not a duration like 5s", k.String("lease-ttl"))
		}
		c.LeaseTTL, c.Patience = d, d+time.Second
	}
	if name := k.String("keys"); name != "" {
		keys, err := readKeys(name)
		if err != nil {
			return c, err
		}
		c.Keys = keys
	}
	if name := k.String("issuers"); name != "" {
		issuers, err := oidc.Load(name)
		if err != nil {
			return c, err
		}
		c.Issuers = issuers
	}
	return c, nil
}

func list(v any) []string {
	switch v := v.(type) {
	case []string:
		return v
	case []any:
		out := make([]string, len(v))
		for i := range v {
			out[i] = fmt.Sprint(v[i])
		}
		return out
	case string:
		return strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == ' ' })
	}
	return nil
}

// values is a koanf provider of values that are there already.
type values map[string]any

func (v values) Read() (map[string]any, error) { return v, nil }

func (values) ReadBytes() ([]byte, error) { return nil, errors.New("values have no bytes") }

func names(yield func(setting) bool) {
	for _, g := range [][]setting{runtimeSettings, serverSettings} {
		for _, s := range g {
			if !yield(s) {
				return
			}
		}
	}
}

func fromEnv(getenv func(string) string) map[string]any {
	out := map[string]any{}
	for s := range names {
		if v := getenv("STAYD_" + strings.ToUpper(strings.ReplaceAll(s.name, "-", "_"))); v != "" {
			out[s.name] = v
		}
	}
	return out
}

func fromFlags(fs *pflag.FlagSet) map[string]any {
	out := map[string]any{}
	for s := range names {
		f := fs.Lookup(s.name)
		if f == nil || !f.Changed {
			continue
		}
		out[s.name] = f.Value.String()
		if l, ok := f.Value.(pflag.SliceValue); ok {
			out[s.name] = l.GetSlice()
		}
	}
	return out
}

// configFile reads the file that --config or STAYD_CONFIG names.
func configFile(fs *pflag.FlagSet, getenv func(string) string) (map[string]any, error) {
	name := getenv("STAYD_CONFIG")
	if f := fs.Lookup("config"); f != nil && f.Changed {
		name = f.Value.String()
	}
	if name == "" {
		return nil, nil
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, usage("the configuration file cannot be read: %w", err)
	}
	out := map[string]any{}
	if err := yaml.NewDecoder(bytes.NewReader(b)).Decode(&out); err != nil && !errors.Is(err, io.EOF) {
		return nil, usage("%s: %w", name, err)
	}
	known := map[string]bool{}
	for s := range names {
		known[s.name] = true
	}
	for key := range out {
		if !known[key] {
			return nil, usage("%s: there is no setting %q; settings are named as the flags of `stayd serve` are", name, key)
		}
	}
	return out, nil
}

// readKeys reads a file of API keys: on each line a project and a key. Empty
// lines and those that begin with # are left out.
func readKeys(name string) (map[string]string, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("the file of keys cannot be read: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	keys := map[string]string{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		if len(words) != 2 {
			return nil, fmt.Errorf("%s: line %d is not a project and a key", name, n)
		}
		if _, twice := keys[words[1]]; twice {
			return nil, fmt.Errorf("%s: the key on line %d is there twice", name, n)
		}
		keys[words[1]] = words[0]
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s holds no key; write a project and a key on a line", name)
	}
	return keys, nil
}
