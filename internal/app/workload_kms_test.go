package app_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/stayd/stayd/internal/app"
)

const signingARN = "arn:aws:kms:eu-north-1:111122223333:key/1234"

// signingService is as much of AWS KMS as is asked of it, with one key.
func signingService(t *testing.T) *httptest.Server {
	t.Helper()
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"} {
		t.Setenv(name, v)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			KeyID   string `json:"KeyId"`
			Message []byte
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || (in.KeyID != signingARN && in.KeyID != "alias/agents") {
			http.Error(w, `{"__type":"NotFoundException"}`, http.StatusBadRequest)
			return
		}
		out := map[string]any{"KeyId": signingARN}
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetPublicKey") {
			out["PublicKey"], out["KeySpec"], out["KeyUsage"] = public, "ECC_NIST_P256", "SIGN_VERIFY"
		} else if out["Signature"], err = key.Sign(rand.Reader, in.Message, crypto.SHA256); err != nil {
			http.Error(w, `{"__type":"ValidationException"}`, http.StatusBadRequest)
			return
		}
		if err := json.NewEncoder(w).Encode(out); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(service.Close)
	return service
}

// TestSigningService has tokens signed by a key in AWS KMS, where the setting says
// that it is.
func TestSigningService(t *testing.T) {
	service := signingService(t)
	n := issuing(t, func(c *app.Config) {
		c.SigningKey = "aws-kms://alias/agents?region=eu-north-1&endpoint=" + service.URL
	})
	id := n.create("hello", "")
	var s signed
	n.must(&s, "POST", sessions+"/"+id+"/token", `{"audience":"`+mcpServer+`"}`)
	provider, err := oidc.NewProvider(t.Context(), n.url)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: mcpServer}).Verify(t.Context(), s.Token); err != nil {
		t.Error(err)
	}
	if a := n.do("GET", "/v1/identity", ""); !strings.Contains(a.body, `"remote":"`+signingARN+`","state":"signing"`) {
		t.Errorf("the key: %s", a)
	}
	if a := n.do("POST", "/v1/identity/keys/rotate", "{}"); a.status != 409 || !strings.Contains(a.body, `"code":"same_key"`) {
		t.Errorf("a rotation to the same key: %s", a)
	}
	service.Close()
	if a := n.do("POST", sessions+"/"+id+"/token", `{"audience":"`+mcpServer+`"}`); a.status != 503 || !strings.Contains(a.body, "service_unavailable") {
		t.Errorf("while the service is away: %s", a)
	}
	if a := n.do("GET", "/.well-known/jwks.json", ""); a.status != 200 {
		t.Errorf("the published keys while the service is away: %s", a)
	}
}

// TestSigningServiceGivenUp has the key of a service sign until the one takes its
// place that the changed setting asks for.
func TestSigningServiceGivenUp(t *testing.T) {
	t.Setenv("AWS_ENDPOINT_URL_KMS", signingService(t).URL)
	t.Setenv("AWS_REGION", "")
	cfg := config(t)
	cfg.AllowOutbound, cfg.SigningKey = []string{"127.0.0.0/8"}, "aws-kms://"+signingARN
	n := start(t, cfg)
	id := n.create("hello", "")
	sign := func(n *node) string {
		var s signed
		n.must(&s, "POST", sessions+"/"+id+"/token", `{"audience":"`+mcpServer+`"}`)
		head, _, _ := strings.Cut(s.Token, ".")
		return head
	}
	before := sign(n)
	n.stop()
	cfg.SigningKey = "es256"
	n = start(t, cfg)
	if got := sign(n); got != before {
		t.Errorf("signed by %s, want %s", got, before)
	}
	var after issuerObject
	n.must(&after, "POST", "/v1/identity/keys/rotate", `{}`)
	if len(after.Keys) != 2 || after.Keys[0].State != "signing" || after.Keys[1].State != "published" {
		t.Errorf("after a rotation: %+v", after)
	}
	if got := sign(n); got != before {
		t.Errorf("after a rotation signed by %s, want %s", got, before)
	}
}

// TestIdentitySettings has settings that cannot be, and what is said of them.
func TestIdentitySettings(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*app.Config)
		want   string
	}{
		"no key":              {func(c *app.Config) { c.SigningKey = "aws-kms://" }, `signing-key "aws-kms://" is none of es256, eddsa and aws-kms://KEY`},
		"another algorithm":   {func(c *app.Config) { c.SigningKey = "RS256" }, `signing-key "RS256" is none of`},
		"another setting":     {func(c *app.Config) { c.SigningKey = "aws-kms://k?zone=n" }, `there is no setting "zone", only region and endpoint`},
		"no settings":         {func(c *app.Config) { c.SigningKey = "aws-kms://k?%zz" }, "its settings cannot be read"},
		"a trust domain":      {func(c *app.Config) { c.TrustDomain = "spiffe://x" }, `trust-domain "spiffe://x" is not one`},
		"an audience":         {func(c *app.Config) { c.TokenAudiences = []string{"a b"} }, `token-audiences: "a b" is not whom a token may be for`},
		"itself":              {func(c *app.Config) { c.TokenAudiences = []string{"http://127.0.0.1:8080"} }, "give another URL than public-url"},
		"a path":              {func(c *app.Config) { c.PublicURL = "https://x.example.com/stayd" }, "without user, path, query and fragment"},
		"a password":          {func(c *app.Config) { c.PublicURL = "https://u:canary@x.example.com" }, "without user, path, query and fragment"},
		"no scheme":           {func(c *app.Config) { c.PublicURL = "x.example.com" }, "is not a URL like https://stayd.example.com"},
		"a scheme of another": {func(c *app.Config) { c.PublicURL = "ftp://x.example.com" }, "is not a URL like https://stayd.example.com"},
	} {
		cfg := app.Default()
		tt.change(&cfg)
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	for _, key := range []string{"", "es256", "eddsa", "aws-kms://alias/agents", "aws-kms://" + signingARN + "?region=eu-north-1"} {
		cfg := app.Default()
		cfg.SigningKey, cfg.PublicURL, cfg.TokenAudiences = key, "https://[::1]:8443/", []string{"https://mcp.example.com", "mail"}
		if err := cfg.Validate(); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}
