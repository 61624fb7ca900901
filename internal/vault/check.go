package vault

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of the API.
const (
	maxName          = 256 // bytes
	maxMetadata      = 16
	maxMetadataKey   = 64  // characters
	maxMetadataValue = 512 // characters
	maxHosts         = 16
	maxText          = 2048     // bytes of a URL, a client's id, scopes
	maxSecret        = 64 << 10 // bytes
	maxActor         = 256      // bytes
)

func bad(param, format string, args ...any) error {
	return &ValueError{Param: param, Message: fmt.Sprintf("Invalid '%s': ", param) + fmt.Sprintf(format, args...)}
}

// checkName trims a name.
func checkName(name string) (string, error) {
	name = strings.TrimSpace(name)
	switch n := len(name); {
	case n == 0 || n > maxName:
		return "", bad("name", "a name has 1 to %d bytes after spaces around it are taken off, but this one has %d.", maxName, n)
	case strings.ContainsRune(name, 0):
		return "", bad("name", "it has a NUL character.")
	case !utf8.ValidString(name):
		return "", bad("name", "it is not UTF-8.")
	}
	return name, nil
}

func checkMetadata(pairs map[string]string) error {
	if len(pairs) > maxMetadata {
		return bad("metadata", "it has at most %d pairs, but got %d.", maxMetadata, len(pairs))
	}
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		if n := utf8.RuneCountInString(k); n == 0 || n > maxMetadataKey {
			return bad("metadata", "a key has 1 to %d characters, but one has %d.", maxMetadataKey, n)
		}
		if n := utf8.RuneCountInString(pairs[k]); n > maxMetadataValue {
			return bad("metadata."+k, "a value has at most %d characters, but this one has %d.", maxMetadataValue, n)
		}
		if !utf8.ValidString(k) || !utf8.ValidString(pairs[k]) {
			return bad("metadata", "a key or its value is not UTF-8.")
		}
	}
	return nil
}

// checkSecret never says what the secret is.
func checkSecret(param string, s Secret) error {
	switch n := len(s.text); {
	case n == 0:
		return bad(param, "a secret is not empty.")
	case n > maxSecret:
		return bad(param, "a secret has at most %d bytes, but this one has %d.", maxSecret, n)
	case strings.ContainsAny(s.text, "\r\n\x00"):
		return bad(param, "a secret has no carriage return, newline or NUL character.")
	case !utf8.ValidString(s.text):
		return bad(param, "a secret is UTF-8.")
	}
	return nil
}

func checkText(param, s string) error {
	switch n := len(s); {
	case n == 0 || n > maxText:
		return bad(param, "it has 1 to %d bytes, but got %d.", maxText, n)
	case strings.ContainsAny(s, "\r\n\x00"):
		return bad(param, "it has a carriage return, newline or NUL character.")
	case !utf8.ValidString(s):
		return bad(param, "it is not UTF-8.")
	}
	return nil
}

// checkURL takes what secrets may be sent to: https, or http to this machine. It
// does not repeat the URL, which may hold a password.
func checkURL(param, s string) error {
	if err := checkText(param, s); err != nil {
		return err
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Hostname() == "" || u.Opaque != "" || !utf8.ValidString(u.Host):
		return bad(param, "expected an https URL such as https://mcp.example.com/mcp.")
	case u.User != nil:
		return bad(param, "a URL with a user or a password is not taken: put the secret into the credential.")
	case u.Fragment != "" || strings.Contains(s, "#"):
		return bad(param, "a URL here has no fragment.")
	case u.Scheme != "https" && (u.Scheme != "http" || !thisMachine(u.Hostname())):
		return bad(param, "expected an https URL: a secret is sent without encryption to this machine only.")
	}
	return nil
}

func thisMachine(host string) bool {
	addr, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || (err == nil && addr.IsLoopback())
}

// sameServer is the form of a server's URL in which two that mean the same are
// equal: the host in lower case, without the port that the scheme has anyway, and
// without a slash at its end.
func sameServer(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	u.Scheme, u.Host = strings.ToLower(u.Scheme), strings.ToLower(u.Host)
	if port := u.Port(); (u.Scheme == "https" && port == "443") || (u.Scheme == "http" && port == "80") {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/"), strings.TrimSuffix(u.RawPath, "/")
	return u.String()
}

// reserved are variables that belong to the runtime of environments.
var reserved = []string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "FTP_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR", "NODE_EXTRA_CA_CERTS", "NODE_USE_ENV_PROXY",
	"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "PIP_CERT", "CARGO_HTTP_CAINFO", "DENO_CERT", "AWS_CA_BUNDLE",
}

func checkVariable(param, name string) error {
	if err := checkText(param, name); err != nil {
		return err
	}
	for i, r := range name {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_', i > 0 && r >= '0' && r <= '9':
		default:
			return bad(param, "a variable is named by ASCII letters, digits and underscores, and does not begin with a digit.")
		}
	}
	upper := strings.ToUpper(name)
	if strings.HasPrefix(upper, "CODEX_") || strings.HasPrefix(upper, "STAYD_") || slices.Contains(reserved, upper) {
		return bad(param, "the variable %s is reserved for the runtime of the environment. Choose another name.", name)
	}
	return nil
}

// checkHosts returns the hosts in lower case.
func checkHosts(param string, hosts []string) ([]string, error) {
	if n := len(hosts); n == 0 || n > maxHosts {
		return nil, bad(param, "it has 1 to %d hosts, but got %d.", maxHosts, n)
	}
	seen := map[string]bool{}
	out := make([]string, len(hosts))
	for i, h := range hosts {
		h = strings.ToLower(h)
		if !isHost(h) {
			return nil, bad(fmt.Sprintf("%s[%d]", param, i), "expected the name of a host such as api.example.com, or an IPv4 address, without scheme, port, path and wildcard.")
		}
		if seen[h] {
			return nil, bad(fmt.Sprintf("%s[%d]", param, i), "the host %s is there twice.", h)
		}
		seen[h], out[i] = true, h
	}
	return out, nil
}

// isHost reports whether s is an IPv4 address, or a name as DNS has it. A name
// whose last label is a number would be taken for an address by some.
func isHost(s string) bool {
	if ip := net.ParseIP(s); ip != nil {
		return ip.To4() != nil && !strings.Contains(s, ":")
	}
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' || strings.Trim(l, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
			return false
		}
	}
	last := labels[len(labels)-1]
	return strings.Trim(last, "0123456789") != "" && !strings.HasPrefix(last, "0x")
}

func checkTime(param string, s *string) error {
	if s == nil {
		return nil
	}
	if _, err := time.Parse(time.RFC3339, *s); err != nil {
		return bad(param, "expected a time in RFC 3339 such as 2026-05-03T14:00:00Z.")
	}
	return nil
}

// check finds what a new credential cannot have, and brings the rest into form.
func (n *NewCredential) check() error {
	var err error
	if n.Name, err = checkName(n.Name); err != nil {
		return err
	}
	if err := checkMetadata(n.Metadata); err != nil {
		return err
	}
	if err := checkActor(n.Auth.Actor); err != nil {
		return err
	}
	switch n.Auth.Type {
	case TypeBearer:
		if err := checkSecret("auth.token", n.Secrets.Token); err != nil {
			return err
		}
		return checkURL("auth.mcp_server_url", n.Auth.ServerURL)
	case TypeEnvironment:
		if err := checkSecret("auth.secret_value", n.Secrets.Token); err != nil {
			return err
		}
		if n.Auth.AllowedHosts != nil {
			if n.Auth.AllowedHosts, err = checkHosts("auth.networking.allowed_hosts", n.Auth.AllowedHosts); err != nil {
				return err
			}
		}
		return checkVariable("auth.secret_name", n.Auth.SecretName)
	case TypeOAuth:
		return n.checkOAuth()
	case TypeClient:
		return n.checkClient()
	}
	return bad("auth.type", "there is no such type of credentials.")
}

func (n *NewCredential) checkOAuth() error {
	if err := checkSecret("auth.access_token", n.Secrets.Token); err != nil {
		return err
	}
	if err := checkURL("auth.mcp_server_url", n.Auth.ServerURL); err != nil {
		return err
	}
	if err := checkTime("auth.expires_at", n.Auth.ExpiresAt); err != nil {
		return err
	}
	r := n.Auth.Refresh
	if r == nil {
		return nil
	}
	if err := checkSecret("auth.refresh.refresh_token", n.Secrets.RefreshToken); err != nil {
		return err
	}
	if err := checkURL("auth.refresh.token_endpoint", r.TokenEndpoint); err != nil {
		return err
	}
	if err := checkText("auth.refresh.client_id", r.ClientID); err != nil {
		return err
	}
	for param, s := range map[string]*string{"auth.refresh.resource": r.Resource, "auth.refresh.scope": r.Scope} {
		if s != nil {
			if err := checkText(param, *s); err != nil {
				return err
			}
		}
	}
	switch r.TokenEndpointAuth {
	case ClientNone:
		return nil
	case ClientKey:
		if n.Auth.Consent != nil {
			return nil
		}
		return bad("auth.refresh.token_endpoint_auth.type", "only tokens that a person consented to are renewed by the key of the runtime.")
	}
	return checkSecret("auth.refresh.token_endpoint_auth.client_secret", n.Secrets.ClientSecret)
}

func (n *NewCredential) checkClient() error {
	c := n.Auth.Client
	if err := checkURL("auth.mcp_server_url", n.Auth.ServerURL); err != nil {
		return err
	}
	if err := checkText("auth.client_id", c.ClientID); err != nil {
		return err
	}
	if err := checkURL("auth.token_endpoint", c.TokenEndpoint); err != nil {
		return err
	}
	if c.AuthorizationEndpoint != nil {
		if c.Grant != GrantCode {
			return bad("auth.authorization_endpoint", "nobody consents to the grant '%s'. Leave it out.", c.Grant)
		}
		if err := checkURL("auth.authorization_endpoint", *c.AuthorizationEndpoint); err != nil {
			return err
		}
	}
	for param, s := range map[string]*string{"auth.resource": c.Resource, "auth.scope": c.Scope} {
		if s != nil {
			if err := checkText(param, *s); err != nil {
				return err
			}
		}
	}
	switch {
	case c.TokenEndpointAuth == ClientKey:
		return checkAudience("auth.token_endpoint_auth.audience", c.Audience, c.TokenEndpoint)
	case c.TokenEndpointAuth != ClientNone:
		return checkSecret("auth.token_endpoint_auth.client_secret", n.Secrets.ClientSecret)
	case c.Grant == GrantClient:
		return bad("auth.token_endpoint_auth.type", "a client that gets tokens for itself shows who it is: use '%s', '%s' or '%s'.", ClientBasic, ClientPost, ClientKey)
	}
	return nil
}

// checkAudience takes whom the runtime says to who a client is: the server of the
// token endpoint, which is shown it. What it says to one is of no use to another.
func checkAudience(param, audience, endpoint string) error {
	if audience == "" {
		return nil
	}
	if err := checkURL(param, audience); err != nil {
		return err
	}
	if origin(audience) != origin(endpoint) {
		return bad(param, "it is another server than that of the token endpoint, which is shown what is signed.")
	}
	return nil
}

// origin is the scheme, host and port of a URL.
func origin(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return ""
	}
	return sameServer((&url.URL{Scheme: u.Scheme, Host: u.Host}).String())
}

func checkActor(actor string) error {
	if len(actor) > maxActor || strings.ContainsRune(actor, 0) || !utf8.ValidString(actor) {
		return bad("actor", "an actor is named by at most %d bytes of UTF-8, without a NUL.", maxActor)
	}
	return nil
}

// CheckURL reports whether secrets may be sent to the URL.
func CheckURL(s string) error { return checkURL("url", s) }
