package oidc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxToken is the longest token that is looked at, in bytes.
const MaxToken = 16 << 10

// maxDepth bounds how deep objects and lists of a token are in each other.
const maxDepth = 16

// maxSubject is the longest subject, in bytes, as OpenID Connect has it.
const maxSubject = 255

// token is what a token says. Nothing of it is true before its signature was
// verified.
type token struct {
	algorithm, keyID string

	issuer, subject              string
	audience                     []string
	expires, notBefore, issuedAt time.Time // zero where the token does not say
	claims                       map[string]any
}

// IsToken reports whether the text has the form of a token: three parts with dots
// between them, or the five of one that is encrypted.
func IsToken(s string) bool {
	dots := strings.Count(s, ".")
	return dots == 2 || dots == 4
}

// types are those of tokens that may be shown as a bearer (RFC 9068, 2.1): access
// tokens, and ID tokens, which may have none. Another type is a token for something
// else, as of a logout.
var types = []string{"", "jwt", "at+jwt", "application/at+jwt"}

// parse takes a token apart. The error is a *RefusedError.
func parse(s string) (*token, error) {
	if len(s) > MaxToken {
		return nil, refused(CodeInvalid, "The token has %d bytes, and %d are the most.", len(s), MaxToken)
	}
	parts := strings.Split(s, ".")
	if len(parts) == 5 {
		return nil, refused(CodeInvalid, "The token is encrypted, and only its issuer's client can read it. Ask the issuer for one that is signed.")
	}
	if len(parts) != 3 {
		return nil, refused(CodeInvalid, "This is no token that says who calls: a signed JWT has three parts with dots between them. An opaque token is not taken.")
	}
	header, err := object(parts[0])
	if err != nil {
		return nil, refused(CodeInvalid, "The header of the token cannot be read: %v.", err)
	}
	claims, err := object(parts[1])
	if err != nil {
		return nil, refused(CodeInvalid, "The claims of the token cannot be read: %v.", err)
	}
	if parts[2] == "" {
		return nil, refused(CodeSignature, "The token is not signed.")
	}
	if _, err := decode(parts[2]); err != nil {
		return nil, refused(CodeInvalid, "The signature of the token cannot be read: %v.", err)
	}
	t := &token{claims: claims}
	if err := t.readHeader(header); err != nil {
		return nil, err
	}
	return t, t.readClaims()
}

// readHeader takes from a header what says how to verify the signature, and refuses
// what would change what that means. Keys, and addresses of keys, that a header may
// have are not looked at.
func (t *token) readHeader(h map[string]any) error {
	var typ string
	for name, to := range map[string]*string{"alg": &t.algorithm, "kid": &t.keyID, "typ": &typ} {
		v, ok := h[name]
		if !ok {
			continue
		}
		if *to, ok = v.(string); !ok {
			return refused(CodeInvalid, "The header %q of the token is not a text.", name)
		}
	}
	for _, name := range []string{"crit", "b64"} {
		if _, ok := h[name]; ok {
			return refused(CodeInvalid, "The token has the header %q, which changes what a token means; none such is taken.", name)
		}
	}
	if !slices.Contains(types, strings.ToLower(typ)) {
		return refused(CodeInvalid, "The token is of the type %.40q, and is not for showing who calls.", typ)
	}
	return nil
}

// readClaims reads the claims that every token is judged by.
func (t *token) readClaims() error {
	for _, c := range []struct {
		name string
		to   *string
	}{{"iss", &t.issuer}, {"sub", &t.subject}} {
		v, ok := t.claims[c.name].(string)
		if !ok || v == "" {
			return refused(CodeInvalid, "The token has no claim '%s' that is a text.", c.name)
		}
		*c.to = v
	}
	if len(t.subject) > maxSubject || strings.ContainsFunc(t.subject, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }) {
		return refused(CodeInvalid, "The claim 'sub' of the token is longer than %d bytes, or has a character that cannot be written.", maxSubject)
	}
	for _, c := range []struct {
		name string
		to   *time.Time
	}{{"exp", &t.expires}, {"nbf", &t.notBefore}, {"iat", &t.issuedAt}} {
		v, ok := t.claims[c.name]
		if !ok {
			continue
		}
		if *c.to, ok = moment(v); !ok {
			return refused(CodeInvalid, "The claim '%s' of the token is not a time in seconds.", c.name)
		}
	}
	switch aud := t.claims["aud"].(type) {
	case nil:
	case string:
		t.audience = []string{aud}
	case []any:
		for _, v := range aud {
			s, ok := v.(string)
			if !ok {
				return refused(CodeInvalid, "The claim 'aud' of the token is not a text or a list of texts.")
			}
			t.audience = append(t.audience, s)
		}
	default:
		return refused(CodeInvalid, "The claim 'aud' of the token is not a text or a list of texts.")
	}
	if _, ok := t.claims["cnf"]; ok {
		return refused(CodeInvalid, "The token is bound to a key (the claim 'cnf'), and this server takes tokens of bearers. Ask the issuer for one without.")
	}
	if _, ok := t.claims["events"]; ok {
		return refused(CodeInvalid, "The token tells of an event, and is not for showing who calls.")
	}
	return nil
}

// lastMoment is the latest time that a token may name, in seconds: the year 9999.
const lastMoment = 253402300799

func moment(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	f, err := n.Float64()
	if err != nil || f < 1 || f > lastMoment {
		return time.Time{}, false
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), true
}

// decode reads base64 of which there is one spelling.
func decode(part string) ([]byte, error) {
	data, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil || strings.ContainsAny(part, "\r\n") {
		return nil, errors.New("it is not base64 as URLs have it")
	}
	return data, nil
}

// object reads a JSON object in base64, in which no name is there twice: two
// readers of the same token would not take the same one.
func object(part string) (map[string]any, error) {
	data, err := decode(part)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(data) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := value(d, 0)
	if err != nil {
		return nil, err
	}
	o, ok := v.(map[string]any)
	if !ok {
		return nil, errors.New("it is not a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows its JSON object")
	}
	return o, nil
}

var errNotJSON = errors.New("it is not JSON")

// value reads the next value of d.
func value(d *json.Decoder, depth int) (any, error) {
	if depth > maxDepth {
		return nil, fmt.Errorf("it is more than %d levels deep", maxDepth)
	}
	t, err := d.Token()
	if err != nil {
		return nil, errNotJSON
	}
	switch t {
	case json.Delim('{'):
		return members(d, depth)
	case json.Delim('['):
		var list []any
		for d.More() {
			v, err := value(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		if _, err := d.Token(); err != nil {
			return nil, errNotJSON
		}
		return list, nil
	}
	return t, nil
}

// members reads the rest of an object.
func members(d *json.Decoder, depth int) (map[string]any, error) {
	o := map[string]any{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errNotJSON
		}
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("it has %.40q twice", name)
		}
		if o[name], err = value(d, depth+1); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errNotJSON
	}
	return o, nil
}
