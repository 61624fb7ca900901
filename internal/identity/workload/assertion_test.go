package workload_test

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/identity/workload"
)

// TestAssertion shows what a client says of itself, that the published keys verify
// it, and that it is none of the tokens of agents.
func TestAssertion(t *testing.T) {
	i := newWorld(t).node()
	const client, endpoint = "https://stayd.example.com/oauth/clients/p/private_key_jwt", "https://login.example.com"
	signed, err := i.Assertion(t.Context(), client, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	sig, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := i.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	body, err := sig.Verify(keys)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	id := got["jti"]
	delete(got, "jti")
	now := float64(begin.Unix())
	want := map[string]any{"iss": client, "sub": client, "aud": endpoint, "iat": now, "exp": now + (2 * time.Minute).Seconds()}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	again, err := i.Assertion(t.Context(), client, endpoint)
	if err != nil || again == signed || id == "" {
		t.Errorf("the next one is the same: %v", err)
	}
	var no *workload.RefusedError
	if _, err := i.Open(t.Context(), signed); !errors.As(err, &no) {
		t.Errorf("taken as a token of the issuer: %v", err)
	}
	if a, err := i.SigningAlgorithm(t.Context()); err != nil || a != workload.ES256 {
		t.Errorf("signed by %s: %v", a, err)
	}
}

// TestAssertionOfNobody shows for which clients and servers nothing is signed.
func TestAssertionOfNobody(t *testing.T) {
	i := newWorld(t).node()
	for what, c := range map[string]struct{ client, audience string }{
		"the issuer":             {issuer, other},
		"the issuer, otherwise":  {issuer + "//", other},
		"an agent":               {"spiffe://stayd.example.com/project/p/agent/a/version/1", other},
		"an agent, in capitals":  {"SPIFFE://stayd.example.com/project/p/session/s", other},
		"no client":              {"", other},
		"for the issuer":         {"client", issuer},
		"for nobody":             {"client", ""},
		"for two, with a space":  {"client", other + " " + server},
		"for a name with a line": {"client", "a\nb"},
	} {
		var bad *workload.ValueError
		if got, err := i.Assertion(t.Context(), c.client, c.audience); !errors.As(err, &bad) || got != "" {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
}
