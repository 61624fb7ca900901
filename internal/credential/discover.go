package credential

import (
	"net/url"
	"strings"
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
