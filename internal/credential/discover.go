package credential

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/vault"
)

// Names of well-known documents.
const (
	resourceMetadata = "oauth-protected-resource"   // RFC 9728
	serverMetadata   = "oauth-authorization-server" // RFC 8414
	openIDMetadata   = "openid-configuration"       // OpenID Connect Discovery
)

// wellKnown is where the document about a URL is: its path stands behind the
// document's name.
func wellKnown(of, document string) string {
	u, err := url.Parse(of)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: "/.well-known/" + document + strings.TrimSuffix(u.Path, "/")}).String()
}

// maxDocument bounds a document that a server has about itself, in bytes.
const maxDocument = 1 << 20

// resource is what a server says of how it is protected (RFC 9728).
type resource struct {
	Resource string   `json:"resource"`
	Servers  []string `json:"authorization_servers"`
	Scopes   []string `json:"scopes_supported"`
}

// parseResource checks that the document is about the server: that the server is
// at the URL that it describes, or below it.
func parseResource(data []byte, server string) (*resource, error) {
	r := &resource{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, errors.New("it is not the JSON of a protected resource")
	}
	if !covers(r.Resource, server) {
		return nil, fmt.Errorf("it describes the resource %q, which is not the server", clean(r.Resource, maxDescription))
	}
	if len(r.Servers) == 0 {
		return nil, errors.New("it names no authorization server")
	}
	if err := checkIssuer(r.Servers[0]); err != nil {
		return nil, fmt.Errorf("the authorization server %q that it names %w", clean(r.Servers[0], maxDescription), err)
	}
	return r, nil
}

// covers reports whether a server is at the URL of the resource, or below it.
func covers(resource, server string) bool {
	r, err := url.Parse(resource)
	if err != nil || r.User != nil || r.Opaque != "" || strings.Contains(resource, "#") {
		return false
	}
	s, err := url.Parse(server)
	if err != nil || !sameOrigin(resource, server) {
		return false
	}
	if r.RawQuery != "" && r.RawQuery != s.RawQuery {
		return false
	}
	below, at := strings.TrimSuffix(r.EscapedPath(), "/"), strings.TrimSuffix(s.EscapedPath(), "/")
	return at == below || strings.HasPrefix(at, below+"/")
}

// spelled is the URL of the server as tokens are asked for it: as the document
// spells it, or else the server's own where the document is about more. A token for
// all below the resource could be used by others who are there.
func spelled(resource, server string) string {
	if covers(resource, server) && covers(server, resource) {
		return resource
	}
	return server
}

// sameOrigin reports whether two URLs are of one scheme, host and port.
func sameOrigin(a, b string) bool {
	x, err := url.Parse(a)
	if err != nil {
		return false
	}
	y, err := url.Parse(b)
	return err == nil && x.Host != "" && strings.EqualFold(x.Scheme, y.Scheme) && strings.EqualFold(hostPort(x), hostPort(y))
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[strings.ToLower(u.Scheme)]
	}
	return u.Hostname() + ":" + port
}

// checkIssuer takes the URL of an authorization server (RFC 8414 section 2).
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	if err != nil || vault.CheckURL(s) != nil || u.RawQuery != "" || u.ForceQuery {
		return errors.New("has no https URL without a query and a fragment")
	}
	return nil
}

// issuer is what an authorization server says of itself (RFC 8414).
type issuer struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	Registration  string   `json:"registration_endpoint"`
	Revocation    string   `json:"revocation_endpoint"`
	Scopes        []string `json:"scopes_supported"`
	Responses     []string `json:"response_types_supported"`
	Challenges    []string `json:"code_challenge_methods_supported"`
	ClientAuth    []string `json:"token_endpoint_auth_methods_supported"`
	// NamesIssuer is set where answers to authorization requests say who gives them
	// (RFC 9207).
	NamesIssuer bool `json:"authorization_response_iss_parameter_supported"`
	// Algorithms are those of what clients sign; none are not said.
	Algorithms []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	// Documents is set where clients may be documents that they publish.
	Documents bool `json:"client_id_metadata_document_supported"`
}

// parseIssuer checks that the document is that of the authorization server, and
// that people can consent there as it is done here.
func parseIssuer(data []byte, of string) (*issuer, error) {
	i := &issuer{}
	if err := json.Unmarshal(data, i); err != nil {
		return nil, errors.New("it is not the JSON of an authorization server")
	}
	if strings.TrimSuffix(i.Issuer, "/") != strings.TrimSuffix(of, "/") {
		return nil, fmt.Errorf("it is of another issuer, %q", clean(i.Issuer, maxDescription))
	}
	for name, s := range map[string]string{"authorization_endpoint": i.Authorization, "token_endpoint": i.Token} {
		if vault.CheckURL(s) != nil {
			return nil, fmt.Errorf("its %s is no https URL", name)
		}
	}
	if i.Registration != "" && vault.CheckURL(i.Registration) != nil {
		return nil, errors.New("its registration_endpoint is no https URL")
	}
	if vault.CheckURL(i.Revocation) != nil {
		i.Revocation = "" // a courtesy that is not possible
	}
	if len(i.Responses) > 0 && !slices.Contains(i.Responses, "code") {
		return nil, errors.New("it gives no authorization codes")
	}
	if !slices.Contains(i.Challenges, "S256") {
		return nil, errors.New("it does not say that it supports PKCE by S256, without which codes are not safe")
	}
	return i, nil
}

// fetch gets a document by the client; nil is one that is not there.
func fetch(ctx context.Context, client *http.Client, where string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return nil, fmt.Errorf("%s is no URL that can be asked", clean(where, maxDescription))
	}
	req.Header.Set("Accept", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		return nil, unreached(ctx, where, err)
	}
	defer resp.Body.Close() //nolint:errcheck // nothing is lost by it
	switch {
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return nil, fmt.Errorf("%s answered with status %d", bare(where), resp.StatusCode)
	case resp.StatusCode != http.StatusOK:
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxDocument+1))
	switch {
	case err != nil:
		return nil, unreached(ctx, where, err)
	case len(data) > maxDocument:
		return nil, fmt.Errorf("%s answered with more than %d bytes", bare(where), maxDocument)
	}
	return data, nil
}

// first reads the first of the documents that is there; nil where none is.
func first[T any](ctx context.Context, s *Source, places []string, parse func([]byte) (*T, error)) (*T, error) {
	for i, where := range places {
		if where == "" || slices.Contains(places[:i], where) {
			continue
		}
		data, err := fetch(ctx, s.cfg.HTTP, where)
		if err != nil {
			return nil, err
		}
		if data == nil {
			continue
		}
		doc, err := parse(data)
		if err != nil {
			return nil, fmt.Errorf("the document at %s is not taken: %w", bare(where), err)
		}
		return doc, nil
	}
	return nil, nil
}

// discovered is what is known of how people consent to the use of a server.
type discovered struct {
	issuer
	resource string // what tokens are asked for (RFC 8707)
	scopes   []string
}

// discover asks a server who issues tokens for it, and them how they do it. A
// server that says nothing is taken for its own issuer, as it was before RFC 9728.
func (s *Source) discover(ctx context.Context, server, metadata string) (*discovered, error) {
	root, err := url.Parse(server)
	if err != nil {
		return nil, errors.New("the URL of the server cannot be read")
	}
	origin := (&url.URL{Scheme: root.Scheme, Host: root.Host}).String()
	places := []string{metadata, wellKnown(server, resourceMetadata), wellKnown(origin, resourceMetadata)}
	r, err := first(ctx, s, places, func(data []byte) (*resource, error) { return parseResource(data, server) })
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = &resource{Resource: server, Servers: []string{origin}}
	}
	of := r.Servers[0]
	places = []string{wellKnown(of, serverMetadata), wellKnown(of, openIDMetadata), strings.TrimSuffix(of, "/") + "/.well-known/" + openIDMetadata}
	i, err := first(ctx, s, places, func(data []byte) (*issuer, error) { return parseIssuer(data, of) })
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, fmt.Errorf("%s does not say how people consent there", bare(of))
	}
	return &discovered{issuer: *i, resource: spelled(r.Resource, server), scopes: r.Scopes}, nil
}
