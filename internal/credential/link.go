package credential

import (
	"encoding/base64"
	"strings"
)

// consentRoot is the path below which consent pages are.
const consentRoot = "/oauth/consent/"

// ConsentPath is the path of the page on which a person is asked about an effect
// that waits for consent. Who has it can answer: the nonce is the secret in it.
func ConsentPath(project, session, effectID, nonce string) string {
	return consentRoot + base64.RawURLEncoding.EncodeToString([]byte(project+"/"+session+"/"+effectID)) + "." + nonce
}

// Link is what a consent page is about.
type Link struct {
	Project, Session, EffectID, Nonce string
}

// Path is ConsentPath of the link.
func (l Link) Path() string { return ConsentPath(l.Project, l.Session, l.EffectID, l.Nonce) }

// ParseLink reads the last part of such a path. It reports false where that is
// none.
func ParseLink(s string) (Link, bool) {
	place, nonce, ok := strings.Cut(s, ".")
	if !ok || nonce == "" || strings.ContainsAny(place, "\r\n") { // which base64 passes over
		return Link{}, false
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(place)
	if err != nil {
		return Link{}, false
	}
	parts := strings.Split(string(b), "/")
	if len(parts) != 3 || parts[0] == "" || parts[1] == "" || parts[2] == "" {
		return Link{}, false
	}
	return Link{Project: parts[0], Session: parts[1], EffectID: parts[2], Nonce: nonce}, true
}
