package awsconfig_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/outbound/awsconfig"
)

// alone takes what would give credentials from the environment.
func alone(t *testing.T) {
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_EC2_METADATA_SERVICE_ENDPOINT",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", "/nowhere")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
}

// What tells a machine or a container its credentials is reached, and not through
// a proxy.
func TestCredentials(t *testing.T) {
	given := map[string]string{
		"AccessKeyId": "AKIAGIVEN", "SecretAccessKey": "s", "Token": "t", "Code": "Success", "Expiration": time.Now().Add(time.Hour).UTC().Format(time.RFC3339),
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/latest/api/token":
			w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "600")
			w.Write([]byte("token"))
		case strings.HasSuffix(r.URL.Path, "/security-credentials/"):
			w.Write([]byte("role"))
		default:
			json.NewEncoder(w).Encode(given)
		}
	}))
	defer s.Close()
	for name, to := range map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": s.URL, "AWS_CONTAINER_CREDENTIALS_FULL_URI": s.URL + "/credentials"} {
		t.Run(name, func(t *testing.T) {
			alone(t)
			t.Setenv(name, to)
			c, err := awsconfig.Load(t.Context(), awsconfig.Source{Region: "eu-west-1", Outbound: behindProxy})
			if err != nil {
				t.Fatal(err)
			}
			got, err := c.Credentials.Retrieve(t.Context())
			if err != nil || got.AccessKeyID != "AKIAGIVEN" || c.Region != "eu-west-1" {
				t.Errorf("credentials %q in %q, %v", got.AccessKeyID, c.Region, err)
			}
		})
	}
}

var behindProxy = outbound.Policy{Proxy: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}

// What gives credentials for a token is asked by the rules for what leaves: through
// the proxy, also at an address inside that the environment names.
func TestRole(t *testing.T) {
	alone(t)
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("t"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/r")
	t.Setenv("AWS_WEB_IDENTITY_TOKEN_FILE", token)
	t.Setenv("AWS_MAX_ATTEMPTS", "1")
	const proxied = "through the proxy http://127.0.0.1:1"
	for endpoint, says := range map[string]string{"": proxied, "https://sts.example.com": proxied, "http://10.0.0.1": proxied, "http://0.0.0.0": proxied} {
		t.Setenv("AWS_ENDPOINT_URL_STS", endpoint)
		c, err := awsconfig.Load(t.Context(), awsconfig.Source{Region: "eu-west-1", Outbound: behindProxy})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Credentials.Retrieve(t.Context()); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", endpoint, err, says)
		}
	}
}

// The authorities that AWS_CA_BUNDLE names are trusted.
func TestBundle(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer s.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"": false, bundle: true} {
		alone(t)
		t.Setenv("AWS_CA_BUNDLE", name)
		c, err := awsconfig.Load(t.Context(), awsconfig.Source{Region: "eu-west-1", Endpoint: s.URL})
		if err != nil {
			t.Fatal(err)
		}
		if err := ask(t.Context(), c, s.URL); (err == nil) != want {
			t.Errorf("with the bundle %q: %v", name, err)
		}
	}
}

func ask(ctx context.Context, c aws.Config, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := c.HTTPClient.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// The addresses that AWS has for this are opened, with the service's own, and
// nothing beside them.
func TestReached(t *testing.T) {
	alone(t)
	c, err := awsconfig.Load(t.Context(), awsconfig.Source{Region: "eu-west-1", Endpoint: "http://10.1.1.1:9000", Outbound: behindProxy})
	if err != nil {
		t.Fatal(err)
	}
	// Nothing is connected to: the context has ended, and only a refusal comes first.
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		url string
		ok  bool
	}{
		{"http://10.1.1.1:9000/", true},
		{"http://127.0.0.1/", false},
		{"http://10.1.1.1/", false},
		{"http://169.254.169.253/", false},
		{"http://169.254.169.254:8080/", false},
		{"http://169.254.169.254/latest/api/token", true},
		{"http://169.254.170.2/v2/credentials", true},
		{"http://169.254.170.23/v1/credentials", true},
	} {
		var refused *outbound.RefusedError
		if err := ask(ended, c, tt.url); errors.As(err, &refused) == tt.ok {
			t.Errorf("%s: %v", tt.url, err)
		}
	}
}

// What tells credentials is on this machine's own network, where no proxy leads.
func TestMetadataIsDirect(t *testing.T) {
	alone(t)
	c, err := awsconfig.Load(t.Context(), awsconfig.Source{Region: "eu-west-1", Outbound: behindProxy})
	if err != nil {
		t.Fatal(err)
	}
	// Nobody may answer; the proxy refuses at once.
	soon, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for host, proxied := range map[string]bool{"169.254.170.2": false, "169.254.169.254": false, "kms.example.com": true} {
		err := ask(soon, c, "http://"+host+"/")
		if asked := err != nil && strings.Contains(err.Error(), "127.0.0.1:1"); asked != proxied {
			t.Errorf("%s: through the proxy %v (%v), want %v", host, asked, err, proxied)
		}
	}
}
