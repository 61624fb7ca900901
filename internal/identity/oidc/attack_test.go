package oidc_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/identity/oidc"
	"github.com/stayd/stayd/internal/identity/oidc/oidctest"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func text(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// signed is a token of header and claims as they are written, by an RSA key.
func signed(t *testing.T, k oidctest.Key, header, claims string) string {
	t.Helper()
	body := b64(header) + "." + b64(claims)
	sum := sha256.Sum256([]byte(body))
	sig, err := rsa.SignPKCS1v15(rand.Reader, k.Private.(*rsa.PrivateKey), crypto.SHA256, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	return body + "." + b64(string(sig))
}

// TestForms has tokens that are not of the form that is taken, although the issuer
// signed them.
func TestForms(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	k := p.Key()
	const header = `{"alg":"RS256","kid":"key-1"}`
	claims := text(t, s.claims(p.URL))
	with := func(more ...any) string { return text(t, s.claims(p.URL, more...)) }
	also := func(more string) string { return strings.TrimSuffix(claims, "}") + "," + more + "}" }
	s.taken(signed(t, k, header, claims), ops(p.URL))
	for _, tt := range []struct{ name, header, claims, code, message string }{
		{"critical header", `{"alg":"RS256","kid":"key-1","crit":["exp"],"exp":1}`, claims, oidc.CodeInvalid, `the header "crit"`},
		{"critical header that is null", `{"alg":"RS256","kid":"key-1","crit":null}`, claims, oidc.CodeInvalid, `the header "crit"`},
		{"payload as it is", `{"alg":"RS256","kid":"key-1","b64":true}`, claims, oidc.CodeInvalid, `the header "b64"`},
		{"type of a logout", `{"alg":"RS256","kid":"key-1","typ":"logout+jwt"}`, claims, oidc.CodeInvalid, `of the type "logout+jwt"`},
		{"type that is a number", `{"alg":"RS256","kid":"key-1","typ":1}`, claims, oidc.CodeInvalid, `The header "typ" of the token is not a text.`},
		{"key that is a number", `{"alg":"RS256","kid":1}`, claims, oidc.CodeInvalid, `The header "kid" of the token is not a text.`},
		{"header twice", `{"alg":"RS256","kid":"key-1","kid":"key-1"}`, claims, oidc.CodeInvalid, `it has "kid" twice`},
		{"header that is a list", `["RS256"]`, claims, oidc.CodeInvalid, "it is not a JSON object"},
		{"no algorithm", `{"kid":"key-1"}`, claims, oidc.CodeInvalid, `signed by ""; of this issuer RS256, ES256, EdDSA, PS256 are taken`},
		{"algorithm that is not listed", `{"alg":"RS512","kid":"key-1"}`, claims, oidc.CodeInvalid, `signed by "RS512"`},
		{"algorithm in another case", `{"alg":"rs256","kid":"key-1"}`, claims, oidc.CodeInvalid, `signed by "rs256"`},
		{"audience twice", header, also(`"aud":"stayd"`), oidc.CodeInvalid, `it has "aud" twice`},
		{"subject twice, escaped", header, also(`"\u0073ub":"eve"`), oidc.CodeInvalid, `it has "sub" twice`},
		{"claim of a claim twice", header, also(`"a":{"b":1,"b":2}`), oidc.CodeInvalid, `it has "b" twice`},
		{"issuer in another case", header, also(`"ISS":"https://evil.example.com"`), oidc.CodeInvalid, "not those of one of " + p.URL},
		{"something after", header, claims + "{}", oidc.CodeInvalid, "something follows"},
		{"half", header, claims[:len(claims)-1], oidc.CodeInvalid, "it is not JSON"},
		{"no UTF-8", header, also("\"a\":\"\xff\""), oidc.CodeInvalid, "it is not UTF-8"},
		{"deep", header, also(`"a":` + strings.Repeat("[", 17) + strings.Repeat("]", 17)), oidc.CodeInvalid, "more than 16 levels deep"},
		{"no issuer", header, with("iss", nil), oidc.CodeInvalid, "no claim 'iss' that is a text"},
		{"no subject", header, with("sub", nil), oidc.CodeInvalid, "no claim 'sub' that is a text"},
		{"subject that is a list", header, with("sub", []string{"ann"}), oidc.CodeInvalid, "no claim 'sub' that is a text"},
		{"long subject", header, with("sub", strings.Repeat("a", 256)), oidc.CodeInvalid, "longer than 255 bytes"},
		{"subject with a line", header, with("sub", "ann\nadmin"), oidc.CodeInvalid, "a character that cannot be written"},
		{"no end", header, with("exp", nil), oidc.CodeInvalid, "no end (the claim 'exp')"},
		{"end that is a text", header, with("exp", "9999999999"), oidc.CodeInvalid, "'exp' of the token is not a time in seconds"},
		{"end that is past all time", header, with("exp", 1e300), oidc.CodeInvalid, "'exp' of the token is not a time in seconds"},
		{"end that is null", header, also(`"nbf":null`), oidc.CodeInvalid, "'nbf' of the token is not a time in seconds"},
		{"audience that is an object", header, with("aud", map[string]any{"stayd": true}), oidc.CodeInvalid, "'aud' of the token is not a text or a list of texts"},
		{"audience of numbers", header, with("aud", []any{"stayd", 1}), oidc.CodeInvalid, "'aud' of the token is not a text or a list of texts"},
		{"bound to a key", header, with("cnf", map[string]any{"jkt": "x"}), oidc.CodeInvalid, "bound to a key"},
		{"of an event", header, with("events", map[string]any{}), oidc.CodeInvalid, "tells of an event"},
		{"for another audience", header, with("aud", "other"), oidc.CodeAudience, "for the audience 'other', and this server takes those for 'stayd'"},
		{"for a part of the audience", header, with("aud", "stay"), oidc.CodeAudience, "for the audience 'stay'"},
		{"for nobody", header, with("aud", nil), oidc.CodeAudience, "does not say whom it is for"},
		{"of an issuer with a slash", header, with("iss", p.URL+"/"), oidc.CodeUnknownIssuer, "of the issuer '" + p.URL + "/', which this server does not know"},
		{"of another issuer", header, with("iss", "https://evil.example.com"), oidc.CodeUnknownIssuer, "which this server does not know"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			s.refused(signed(t, k, tt.header, tt.claims), tt.code, tt.message)
		})
	}
	if p.Reads() != 1 {
		t.Errorf("the keys were read %d times; want once", p.Reads())
	}
}

// TestShapes has texts that are no tokens.
func TestShapes(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	good := p.Sign(s.claims(p.URL))
	parts := strings.Split(good, ".")
	for _, tt := range []struct{ name, token, code, message string }{
		{"nothing", "", oidc.CodeInvalid, "An opaque token is not taken"},
		{"opaque", "AAbbCC", oidc.CodeInvalid, "An opaque token is not taken"},
		{"four parts", good + ".x", oidc.CodeInvalid, "An opaque token is not taken"},
		{"encrypted", good + ".x.y", oidc.CodeInvalid, "The token is encrypted"},
		{"signature taken away", parts[0] + "." + parts[1] + ".", oidc.CodeSignature, "The token is not signed."},
		{"no base64", "a b." + parts[1] + "." + parts[2], oidc.CodeInvalid, "The header of the token cannot be read: it is not base64"},
		{"base64 with padding", parts[0] + "==." + parts[1] + "." + parts[2], oidc.CodeInvalid, "The header of the token cannot be read: it is not base64"},
		{"a line in it", parts[0] + "." + parts[1] + "\n." + parts[2], oidc.CodeInvalid, "The claims of the token cannot be read: it is not base64"},
		{"signature that is no base64", parts[0] + "." + parts[1] + ".***", oidc.CodeInvalid, "The signature of the token cannot be read: it is not base64"},
		{"as JSON", `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`, oidc.CodeInvalid, "An opaque token is not taken"},
		{"too long", p.Sign(s.claims(p.URL, "x", strings.Repeat("x", oidc.MaxToken))), oidc.CodeInvalid, "and 16384 are the most"},
		{"changed", parts[0] + "." + b64(text(t, s.claims(p.URL, "sub", "eve"))) + "." + parts[2], oidc.CodeSignature, "was changed after it was"},
		{"signature of another", parts[0] + "." + parts[1] + "." + strings.Split(p.Sign(s.claims(p.URL, "sub", "bob")), ".")[2], oidc.CodeSignature, "was changed after it was"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s.t = t
			s.refused(tt.token, tt.code, tt.message)
		})
	}
}

// TestNone has tokens that say that they are not signed.
func TestNone(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	claims := b64(text(t, s.claims(p.URL)))
	for _, alg := range []string{"none", "None", "NONE", "nOnE"} {
		for _, signature := range []string{"", b64("signature")} {
			code := oidc.CodeInvalid
			if signature == "" {
				code = oidc.CodeSignature
			}
			s.refused(b64(`{"alg":"`+alg+`","kid":"key-1"}`)+"."+claims+"."+signature, code, "signed")
		}
	}
	if p.Reads() != 0 {
		t.Errorf("the keys were read %d times", p.Reads())
	}
}

// TestConfusion has tokens that are signed with the public key as if it were a
// shared secret.
func TestConfusion(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	public := p.Key().Private.Public().(*rsa.PublicKey)
	pkix, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	jwk, err := jose.JSONWebKey{Key: public, KeyID: "key-1", Algorithm: "RS256", Use: "sig"}.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	for name, secret := range map[string][]byte{
		"PKIX":            pkix,
		"PKCS1":           x509.MarshalPKCS1PublicKey(public),
		"PEM":             pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix}),
		"PEM of PKCS1":    pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(public)}),
		"PEM, trimmed":    []byte(strings.TrimSpace(string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})))),
		"JWK":             jwk,
		"JWK set":         []byte(`{"keys":[` + string(jwk) + `]}`),
		"modulus":         public.N.Bytes(),
		"modulus, base64": []byte(base64.RawURLEncoding.EncodeToString(public.N.Bytes())),
	} {
		for _, alg := range []string{"HS256", "hs256", "RS256"} {
			body := b64(`{"alg":"`+alg+`","kid":"key-1"}`) + "." + b64(text(t, s.claims(p.URL)))
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(body))
			want, code := "signed by", oidc.CodeInvalid
			if alg == "RS256" {
				want, code = "was changed after it was", oidc.CodeSignature
			}
			t.Run(name+" "+alg, func(t *testing.T) {
				s.t = t
				s.refused(body+"."+b64(string(mac.Sum(nil))), code, want)
			})
		}
	}
}

// stranger is a key that the issuer does not have, by the name of one that it has.
func stranger(t *testing.T, id string) oidctest.Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return oidctest.Key{ID: id, Algorithm: jose.RS256, Private: private}
}

// TestKeysOfHeaders has tokens that bring their own key, or say where it is. Nobody
// looks.
func TestKeysOfHeaders(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	var asked atomic.Int32
	evil := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer evil.Close()
	for _, id := range []string{"key-1", "evil"} {
		k := stranger(t, id)
		for name, header := range map[string]map[string]any{
			"jku": {"jku": evil.URL + "/keys"},
			"x5u": {"x5u": evil.URL + "/cert"},
			"jwk": {"jwk": jose.JSONWebKey{Key: k.Private.Public(), KeyID: id, Algorithm: "RS256"}},
		} {
			t.Run(name+" "+id, func(t *testing.T) {
				s.t = t
				s.refused(k.Sign(t, header, s.claims(p.URL)), oidc.CodeSignature, "The token")
			})
		}
	}
	s.t = t
	// They are no reason to refuse a token that its issuer signed.
	s.taken(p.Key().Sign(t, map[string]any{"jku": evil.URL + "/keys"}, s.claims(p.URL)), ops(p.URL))
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests were made where a header said", n)
	}
}

// TestOtherIssuers has tokens of one issuer that another one signed, and tokens for
// another server.
func TestOtherIssuers(t *testing.T) {
	a, b := oidctest.Start(t, oidctest.Options{}), oidctest.Start(t, oidctest.Options{})
	s := serve(t, a.URL, b.URL)
	s.taken(a.Sign(s.claims(a.URL)), ops(a.URL))
	s.taken(b.Sign(s.claims(b.URL)), ops(b.URL))
	s.refused(b.Sign(s.claims(a.URL)), oidc.CodeSignature, "not signed by "+a.URL)
	s.refused(a.Sign(s.claims(b.URL)), oidc.CodeSignature, "not signed by "+b.URL)
	b.Rotate(jose.ES256)
	s.refused(b.Sign(s.claims(a.URL)), oidc.CodeSignature, `the key "key-2", which `+a.URL+" does not list")

	other := serveFile(t, "issuers:\n  - issuer: "+a.URL+"\n    audience: [other, stayd2]"+rules)
	other.refused(a.Sign(s.claims(a.URL)), oidc.CodeAudience, "for the audience 'stayd', and this server takes those for 'other' or 'stayd2'")
}

// TestKinds has tokens by each algorithm, and keys that are named for another.
func TestKinds(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	for _, algorithm := range []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.EdDSA, jose.PS256} {
		p.Rotate(algorithm)
		s.add(time.Minute)
		s.taken(p.Sign(s.claims(p.URL)), ops(p.URL))
	}
	rs, ps := oidctest.Key{}, p.Key()
	rs.ID, rs.Algorithm, rs.Private = ps.ID, jose.RS256, ps.Private
	s.refused(rs.Sign(t, nil, s.claims(p.URL)), oidc.CodeSignature, "does not list, or not for this")
	es := p.Rotate(jose.ES256)
	es.ID = "key-1" // of RSA
	s.add(time.Minute)
	s.refused(es.Sign(t, nil, s.claims(p.URL)), oidc.CodeSignature, "does not list, or not for this")
}

// TestNoKeyNamed has tokens that do not say which key signed them: they are taken
// where there is no choice.
func TestNoKeyNamed(t *testing.T) {
	p := oidctest.Start(t, oidctest.Options{})
	s := serve(t, p.URL)
	k := p.Key()
	const header = `{"alg":"RS256"}`
	s.taken(signed(t, k, header, text(t, s.claims(p.URL))), ops(p.URL))
	s.refused(signed(t, stranger(t, ""), header, text(t, s.claims(p.URL))), oidc.CodeSignature, "was changed after it was")
	p.Rotate(jose.RS256)
	s.add(5 * time.Minute)
	s.refused(signed(t, k, header, text(t, s.claims(p.URL))), oidc.CodeSignature, "does not name the key")
}
