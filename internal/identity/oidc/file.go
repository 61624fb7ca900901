package oidc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/yamlerror"
)

// issuersFile is the operator's file of issuers.
type issuersFile struct {
	Issuers []issuerEntry `yaml:"issuers"`
}

type issuerEntry struct {
	Issuer     string         `yaml:"issuer"`
	Audience   texts          `yaml:"audience"`
	ClientID   string         `yaml:"client_id"`
	Scopes     texts          `yaml:"scopes"`
	Skew       *time.Duration `yaml:"skew"`
	Algorithms texts          `yaml:"algorithms"`
	Principals []ruleEntry    `yaml:"principals"`
}

type ruleEntry struct {
	Claims  *map[string]texts `yaml:"claims"`
	Project string            `yaml:"project"`
	Scope   string            `yaml:"scope"`
	Actor   string            `yaml:"actor"`
}

// texts is one text, or a list of them.
type texts []string

// UnmarshalYAML reads a scalar as a list of one.
func (t *texts) UnmarshalYAML(n *yaml.Node) error {
	nodes := n.Content
	if n.Kind == yaml.ScalarNode {
		nodes = []*yaml.Node{n}
	}
	if n.Kind != yaml.ScalarNode && n.Kind != yaml.SequenceNode || len(nodes) == 0 {
		return fmt.Errorf("line %d: this is neither a text nor a list of texts", n.Line)
	}
	for _, v := range nodes {
		if v.Kind == yaml.AliasNode {
			v = v.Alias
		}
		if v.Kind != yaml.ScalarNode || v.Tag == "!!null" || v.Value == "" {
			return fmt.Errorf("line %d: this is not a text", v.Line)
		}
		text := v.Value
		if v.Tag == "!!bool" {
			text = strings.ToLower(text)
		}
		*t = append(*t, text)
	}
	return nil
}

const (
	defaultSkew = time.Minute
	maxSkew     = 5 * time.Minute
)

// known are the algorithms that an issuer may sign by: those with a public key.
var known = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}

func defaultAlgorithms() []string { return []string{"RS256", "ES256", "EdDSA", "PS256"} }

func defaultScopes() []string { return []string{"openid", "profile", "email", "offline_access"} }

// Load reads the operator's file of issuers.
func Load(path string) ([]Issuer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the file of issuers cannot be read: %w", err)
	}
	return Parse(path, data)
}

// Parse is Load for a file that was read already. Errors name the file and the
// line, and say what to write.
func Parse(path string, data []byte) ([]Issuer, error) {
	var f issuersFile
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlerror.Explain(path, err, fault)
	}
	if err := d.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: a file of issuers holds one YAML document", path)
	}
	if len(f.Issuers) == 0 {
		return nil, fmt.Errorf("%s: there are no issuers; write a list of them under `issuers:`", path)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil {
		return nil, yamlerror.Explain(path, err, fault)
	}
	entries := child(doc.Content[0], "issuers")
	all := make([]Issuer, 0, len(f.Issuers))
	for i := range f.Issuers {
		at := place{path: path, node: item(entries, i)}
		is, err := f.Issuers[i].issuer(at)
		if err != nil {
			return nil, err
		}
		_, name, _ := strings.Cut(is.URL, "://")
		if slices.ContainsFunc(all, func(o Issuer) bool { return strings.HasSuffix(o.URL, "://"+name) }) {
			return nil, at.errorf("issuer", "the issuer %s is there twice; put its principals into one list", is.URL)
		}
		all = append(all, is)
	}
	return all, nil
}

// issuer checks an entry, and fills in what it leaves out.
func (e *issuerEntry) issuer(at place) (Issuer, error) {
	is := Issuer{
		URL: e.Issuer, Audience: e.Audience, ClientID: e.ClientID, Scopes: e.Scopes, Skew: defaultSkew,
		Algorithms: e.Algorithms,
	}
	if err := checkIssuer(e.Issuer); err != nil {
		return is, at.errorf("issuer", "%w", err)
	}
	if e.Skew != nil {
		is.Skew = *e.Skew
	}
	switch {
	case len(is.Audience) == 0:
		return is, at.errorf("", "the issuer has no audience; say whom its tokens have to be for, as the claim 'aud' has it")
	case is.ClientID == "" && len(is.Scopes) > 0:
		return is, at.errorf("scopes", "scopes are for `stayd login`, which needs a client_id")
	case is.Skew < 0 || is.Skew > maxSkew:
		return is, at.errorf("skew", "the skew %s is not from 0s to %s", is.Skew, maxSkew)
	case len(e.Principals) == 0:
		return is, at.errorf("", "the issuer has no principals, so nobody could call with its tokens")
	}
	if is.ClientID != "" && is.Scopes == nil {
		is.Scopes = defaultScopes()
	}
	if is.Algorithms == nil {
		is.Algorithms = defaultAlgorithms()
	}
	for _, a := range is.Algorithms {
		if !slices.Contains(known, a) {
			return is, at.errorf("algorithms", "the algorithm %q is none that only the issuer can sign by; there are %s", a, strings.Join(known, ", "))
		}
	}
	rules := child(at.node, "principals")
	for i := range e.Principals {
		r, err := e.Principals[i].rule(place{path: at.path, node: item(rules, i)})
		if err != nil {
			return is, err
		}
		is.Rules = append(is.Rules, r)
	}
	return is, nil
}

// checkIssuer takes URLs that a token can name and that nobody else can answer at.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || u.Hostname() == "" || u.User != nil || strings.ContainsAny(s, "?#") || strings.TrimSpace(s) != s {
		return fmt.Errorf("the issuer %q is not a URL like https://login.example.com, without user, query and fragment", s)
	}
	addr, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return fmt.Errorf("the issuer %q is not reached by https, so that anybody on the way could be it; http is for loopback", s)
	}
	return nil
}

var projectName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

func (e *ruleEntry) rule(at place) (Rule, error) {
	r := Rule{Project: e.Project, Scope: identity.Scope(e.Scope), Actor: e.Actor, Claims: map[string][]string{}}
	switch {
	case e.Claims == nil:
		return r, at.errorf("claims", "the principal has no claims; write what has to be in the token, or `claims: {}` for everybody whom the issuer knows")
	case !projectName.MatchString(e.Project):
		return r, at.errorf("project", "the project %q is not named by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'", e.Project)
	case !r.Scope.Valid():
		return r, at.errorf("scope", "the scope %q is none of read, write, admin, owner", e.Scope)
	}
	for name, values := range *e.Claims {
		if name == "" || len(values) == 0 {
			return r, at.errorf("claims", "the claim %q has no value that it could be", name)
		}
		r.Claims[name] = values
	}
	return r, nil
}

// place is an entry of the file.
type place struct {
	path string
	node *yaml.Node
}

// errorf names the line of the entry's field, or of the entry.
func (p place) errorf(field, format string, args ...any) error {
	line := 0
	if p.node != nil {
		line = p.node.Line
		for i := 0; p.node.Kind == yaml.MappingNode && i+1 < len(p.node.Content); i += 2 {
			if p.node.Content[i].Value == field {
				line = p.node.Content[i].Line
			}
		}
	}
	return fmt.Errorf("%s:%d: %w", p.path, line, fmt.Errorf(format, args...))
}

// child is the value of a mapping's key, and nil where it does not stand there
// itself.
func child(n *yaml.Node, key string) *yaml.Node {
	n = meant(n)
	for i := 0; n != nil && n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return meant(n.Content[i+1])
		}
	}
	return nil
}

// item is a member of a list, or nil.
func item(n *yaml.Node, i int) *yaml.Node {
	if n == nil || n.Kind != yaml.SequenceNode || i >= len(n.Content) {
		return nil
	}
	return meant(n.Content[i])
}

// meant follows an alias.
func meant(n *yaml.Node) *yaml.Node {
	if n != nil && n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

var (
	unknownField = regexp.MustCompile(`^field (.+) not found in type oidc\.(\w+)$`)
	wrongType    = regexp.MustCompile("^cannot unmarshal .* into ")
)

var fieldsOf = map[string]string{
	"issuersFile": "issuers",
	"issuerEntry": "issuer, audience, client_id, scopes, skew, algorithms, principals",
	"ruleEntry":   "claims, project, scope, actor",
}

// fault puts what the decoder found into the words of the file.
func fault(text string) string {
	if m := unknownField.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("unknown field %q; known are %s", m[1], fieldsOf[m[2]])
	}
	if wrongType.MatchString(text) {
		return "this is not of the form that is expected here"
	}
	return text
}
