package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/tracing"
)

// Config is everything that an operator sets. The zero value of a field is its
// default, as Default has it.
type Config struct {
	Listen string // host:port
	// PublicURL is the URL under which others reach the server: http or https, a host
	// and perhaps a port, no path. Empty is http:// and Listen.
	PublicURL string
	// PagesURL is where browsers find the pages on which people consent, of a runtime
	// that serves nothing else. Empty is PublicURL.
	PagesURL string
	Data     string // folder: the SQLite file, workspaces
	Store    string // postgres://... ; empty is SQLite in Data
	Blobs    string // "folder", or s3://bucket/prefix ; empty is in the store
	Models   string // YAML file of providers, prices and fallbacks
	Scripts  string // folder of NAME.yaml for script/NAME
	// Embedders make vectors of long-term memory. The first one makes those of
	// records: "static" (in the binary, and the default), "none" (it is searched by
	// words alone), or PROVIDER/MODEL, with options as in
	// openai/text-embedding-3-large?dimension=1024. Those after it are models of
	// before, whose vectors are searched until the first one's are made.
	Embedders []string
	// Reranker looks again at the best of the memories that were found: PROVIDER/MODEL,
	// with options as in cohere/rerank-v3.5?top=30&timeout=500ms. Empty is none.
	Reranker string
	MaxBody  int64 // bytes of a request's body
	LogLevel slog.Level
	// Keys has the project of each API key that the operator sets. RequireKey has
	// every caller show a key, one of these or one that was made; other machines always
	// have to.
	Keys       map[string]string
	RequireKey bool
	// Issuers are those whose tokens are taken beside keys. With one, every caller has
	// to show a key or a token.
	Issuers []oidc.Issuer
	// VaultKey says where the master keys of vaults are: the path of a file,
	// env:VARIABLE, or aws-kms://KEY. Empty is a file in Data, where the store is
	// there too.
	VaultKey string
	// TrustDomain is what the SPIFFE ids of agents begin with; empty is the host of
	// PublicURL. SigningKey says by what their tokens are signed: es256 (which empty is)
	// or eddsa for keys that the runtime makes, or aws-kms://KEY. TokenAudiences are
	// those that callers may ask tokens for.
	TrustDomain    string
	SigningKey     string
	TokenAudiences []string
	// AllowOutbound has the addresses (CIDR, or host:port) that may be reached
	// although they are not public.
	AllowOutbound []string
	// OutboundProxy is the URL of the proxy that all of this goes through (http, https,
	// socks5); empty is none. OutboundDirect has what is reached without it.
	OutboundProxy  string
	OutboundDirect []string
	// Traces is the URL of an OpenTelemetry collector that takes OTLP over HTTP; empty is
	// none.
	Traces string
	// AllowStdioMCP has the commands that sessions may start as MCP servers on
	// this machine; "*" allows any.
	AllowStdioMCP []string
	// Network is the most that an environment may ask for: "none", "restricted"
	// or "enabled".
	Network string
	// DataSets are folders that all environments may read: NAME=FOLDER is
	// /data/NAME.
	DataSets []string
	// SandboxHelper is the command line of a program that makes network namespaces for
	// sandboxes and confines their programs; see bubblewrap.Config. Without it they
	// reach no network.
	SandboxHelper []string
	// LeaseTTL is how long the shards of a process that died stay its own.
	LeaseTTL time.Duration
	// Patience is how long to wait on start for another process to give up the
	// store.
	Patience time.Duration

	sent   *sent           // counts what leaves; nil where nobody asks
	tracer *tracing.Tracer // tells of what is done; nil tells nobody
}

// Default is the configuration of a server that nothing was said to.
func Default() Config {
	return Config{
		Listen:   "127.0.0.1:8080",
		Data:     "data",
		MaxBody:  100 << 20,
		Network:  NetworkRestricted,
		LeaseTTL: cluster.DefaultTTL,
		Patience: cluster.DefaultTTL + time.Second,
	}
}

// Validate reports every setting that cannot be, and what to do.
func (c *Config) Validate() error {
	var errs []error
	add := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		add("listen %q is not host:port: %w", c.Listen, err)
	}
	if err := checkPublicURL(c.PublicURL); err != nil {
		errs = append(errs, err)
	}
	errs = append(errs, c.checkIdentity()...)
	if c.Data == "" {
		add("data is empty: name the folder where Stayd keeps its files")
	}
	if c.Store != "" && !strings.HasPrefix(c.Store, "postgres://") && !strings.HasPrefix(c.Store, "postgresql://") {
		add("store %q is not a postgres:// URL; leave it empty for SQLite in the data folder", redactURL(c.Store))
	}
	if c.Blobs != "" && c.Blobs != "folder" {
		if _, err := bucket(c.Blobs); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := parseEmbedders(c.Embedders); err != nil {
		errs = append(errs, err)
	}
	if c.Reranker != "" {
		if _, err := parseReranker(c.Reranker); err != nil {
			errs = append(errs, err)
		}
	}
	if err := checkNetwork(c.Network); err != nil {
		errs = append(errs, err)
	}
	for _, d := range c.DataSets {
		if _, err := parseDataSet(d); err != nil {
			errs = append(errs, err)
		}
	}
	if c.MaxBody < 1024 {
		add("max-body %d is below 1024 bytes", c.MaxBody)
	}
	if c.LeaseTTL < 500*time.Millisecond {
		add("lease-ttl %s is below 500ms", c.LeaseTTL)
	}
	for _, a := range c.AllowOutbound {
		if _, err := netip.ParsePrefix(a); err != nil {
			if _, _, err := net.SplitHostPort(a); err != nil {
				add("allow-outbound %q is neither a CIDR prefix like 127.0.0.0/8 nor host:port", a)
			}
		}
	}
	if err := c.checkOutbound(); err != nil {
		errs = append(errs, err)
	}
	if c.Traces != "" {
		if err := tracing.CheckCollector(c.Traces); err != nil {
			add("traces %q %w", redactURL(c.Traces), err)
		}
	}
	return errors.Join(errs...)
}

// checkPublicURL takes the start of a URL, without anything after the port.
func checkPublicURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || strings.TrimPrefix(u.Path, "/") != "" || strings.ContainsAny(s, "?#") {
		return fmt.Errorf("public-url %q is not a URL like https://stayd.example.com, with http or https and without user, path, query and fragment", redactURL(s))
	}
	return nil
}

// publicURL is the URL under which others reach the server, without a slash at its
// end. A server that listens on all addresses is told by localhost which it is: only
// its operator knows a name that others have for it.
func (c *Config) publicURL() string {
	if c.PublicURL != "" {
		scheme, rest, _ := strings.Cut(c.PublicURL, "://")
		return strings.ToLower(scheme) + "://" + strings.TrimSuffix(rest, "/")
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "http://" + c.Listen // Validate refuses it
	}
	if addr, err := netip.ParseAddr(host); host == "" || (err == nil && addr.IsUnspecified()) {
		host = "localhost"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// pagesURL is where the browsers of people find the pages for consent.
func (c *Config) pagesURL() string {
	if c.PagesURL != "" {
		return c.PagesURL
	}
	return c.publicURL()
}

// isLoopback reports whether only this machine reaches the host.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// redactURL cuts what may be a password.
func redactURL(s string) string {
	if i := strings.LastIndexByte(s, '@'); i >= 0 {
		return "..." + s[i:]
	}
	return s
}
