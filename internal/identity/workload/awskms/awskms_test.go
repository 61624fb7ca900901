package awskms_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/identity/workload/awskms"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

const (
	alias = "alias/agents"
	arn   = "arn:aws:kms:eu-north-1:111122223333:key/"
)

// service is as much of AWS KMS as is asked of it. It signs.
type service struct {
	mu      sync.Mutex
	keys    map[string]crypto.Signer // by ARN
	alias   string                   // the ARN that it leads to
	asked   map[string]int           // by operation
	regions []string                 // for which the requests were signed
	garbage []byte                   // a signature, where it is set
}

type request struct {
	KeyID            string `json:"KeyId"`
	Message          []byte
	MessageType      string
	SigningAlgorithm string
}

type reply struct {
	KeyID     string `json:"KeyId,omitempty"`
	PublicKey []byte `json:",omitempty"`
	KeySpec   string `json:",omitempty"`
	KeyUsage  string `json:",omitempty"`
	Signature []byte `json:",omitempty"`
	Type      string `json:"__type,omitempty"`
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var in request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		answer(w, http.StatusBadRequest, reply{Type: "ValidationException"})
		return
	}
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "TrentService.")
	s.asked[operation]++
	if scope := strings.Split(r.Header.Get("Authorization"), "/"); len(scope) > 2 {
		s.regions = append(s.regions, scope[2])
	}
	if in.KeyID == alias {
		in.KeyID = s.alias
	}
	key := s.keys[in.KeyID]
	switch {
	case key == nil:
		answer(w, http.StatusBadRequest, reply{Type: "NotFoundException"})
	case operation == "GetPublicKey":
		der, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			panic(err)
		}
		spec := "ECC_NIST_P256"
		if _, ok := key.(*rsa.PrivateKey); ok {
			spec = "RSA_2048"
		}
		answer(w, http.StatusOK, reply{KeyID: in.KeyID, PublicKey: der, KeySpec: spec, KeyUsage: "SIGN_VERIFY"})
	case operation == "Sign" && in.MessageType == "DIGEST" && in.SigningAlgorithm == "ECDSA_SHA_256":
		signature, err := key.Sign(rand.Reader, in.Message, crypto.SHA256)
		if err != nil {
			panic(err)
		}
		if s.garbage != nil {
			signature = s.garbage
		}
		answer(w, http.StatusOK, reply{KeyID: in.KeyID, Signature: signature})
	default:
		answer(w, http.StatusBadRequest, reply{Type: "UnknownOperationException"})
	}
}

func answer(w http.ResponseWriter, status int, r reply) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(r); err != nil {
		panic(err)
	}
}

func (s *service) lead(to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alias = to
}

func start(t *testing.T) (*service, *awskms.Service) {
	t.Helper()
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"} {
		t.Setenv(name, v)
	}
	s := &service{keys: map[string]crypto.Signer{}, alias: arn + "1", asked: map[string]int{}}
	for _, name := range []string{"1", "2"} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		s.keys[arn+name] = key
	}
	wrong, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	s.keys[arn+"rsa"] = wrong
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := awskms.New(t.Context(), awskms.Config{Region: "eu-north-1", Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return s, client
}

// TestIssuer signs tokens by a key of the service, and then by the one that its
// alias leads to later.
func TestIssuer(t *testing.T) {
	s, client := start(t)
	st, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "stayd.db"), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	masters, err := keyfile.Open(filepath.Join(t.TempDir(), "vault.keys"), true)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 5, 3, 9, 0, 0, 0, time.UTC)
	clock := func() time.Time { return now }
	cfg := workload.Config{
		Store: st, Vaults: vault.New(st, masters, clock), URL: "https://stayd.example.com", TrustDomain: "stayd.example.com",
		Remote: alias, Open: client.Open, Now: clock, Log: slog.New(slog.DiscardHandler),
	}
	i, err := workload.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	sign := func(by *workload.Issuer) string {
		t.Helper()
		token, _, err := by.Token(ctx, workload.Subject{Project: "p", Agent: "a", AgentVersion: 1, Session: "s"}, "https://mcp.example.com", nil)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		set, err := by.Keys(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sig.Verify(set); err != nil {
			t.Errorf("verify: %v", err)
		}
		return sig.Signatures[0].Header.KeyID
	}
	first := sign(i)
	for range 5 {
		sign(i)
	}
	if s.asked["GetPublicKey"] != 1 || s.asked["Sign"] != 6 {
		t.Errorf("the service was asked %v", s.asked)
	}
	// Another process signs by the same key, also where its setting is another now.
	cfg.Remote = ""
	later, err := workload.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if got := sign(later); got != first {
		t.Errorf("signed by %s, want %s", got, first)
	}
	// A key in the service is replaced there; it is not old by itself.
	now = now.Add(100 * 24 * time.Hour)
	var same *workload.SameKeyError
	if _, err := i.Rotate(ctx, false); !errors.As(err, &same) || !strings.Contains(err.Error(), arn+"1") {
		t.Errorf("a rotation to the same key: %v", err)
	}
	if _, err := i.Rotate(ctx, true); !errors.As(err, &same) {
		t.Errorf("a revocation for the same key: %v", err)
	}
	if got := sign(i); got != first {
		t.Errorf("signed by %s, want %s", got, first)
	}
	s.lead(arn + "2")
	keys, err := i.Rotate(ctx, false)
	if err != nil || len(keys) != 2 || keys[1].Remote != arn+"2" || keys[1].State != workload.Published || keys[0].Remote != arn+"1" || keys[0].State != workload.Signing {
		t.Fatalf("%+v: %v", keys, err)
	}
	now = now.Add(6 * time.Minute)
	if got := sign(i); got == first {
		t.Error("the old key signs")
	}
}

// TestWrong tells apart what a service may answer that is no key, or no signature.
func TestWrong(t *testing.T) {
	s, client := start(t)
	for name, want := range map[string]string{
		arn + "rsa":  "make one of ECC_NIST_P256 for SIGN_VERIFY",
		arn + "none": "NotFoundException",
	} {
		if _, _, err := client.Open(t.Context(), name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	key, name, err := client.Open(t.Context(), alias)
	if err != nil || name != arn+"1" || key.Algorithm() != workload.ES256 {
		t.Fatalf("%s: %v", name, err)
	}
	for what, garbage := range map[string][]byte{
		"words":         []byte("words"),
		"zero":          {0x30, 6, 2, 1, 0, 2, 1, 0},
		"negative":      {0x30, 6, 2, 1, 0xff, 2, 1, 1},
		"more after it": {0x30, 6, 2, 1, 1, 2, 1, 1, 0},
		"too large":     append([]byte{0x30, 0x27, 2, 0x22}, append(append([]byte{1}, make([]byte, 33)...), 2, 1, 1)...),
	} {
		s.mu.Lock()
		s.garbage = garbage
		s.mu.Unlock()
		if got, err := key.Sign(t.Context(), []byte("message")); err == nil || !strings.Contains(err.Error(), "no signature") {
			t.Errorf("%s: %x %v", what, got, err)
		}
	}
}

// TestRegion has the service of a key's own region asked, where its name says which
// that is.
func TestRegion(t *testing.T) {
	s, _ := start(t)
	s.keys["arn:aws:kms:us-east-2:111122223333:key/2"] = s.keys[arn+"2"]
	server := httptest.NewServer(s)
	defer server.Close()
	elsewhere, err := awskms.New(t.Context(), awskms.Config{Region: "ap-south-1", Endpoint: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"arn:aws:kms:us-east-2:111122223333:key/2", alias} {
		k, _, err := elsewhere.Open(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Sign(t.Context(), []byte("message")); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"us-east-2", "us-east-2", "ap-south-1", "eu-north-1"}; !slices.Equal(s.regions, want) {
		t.Errorf("asked in %q, want %q", s.regions, want)
	}
}
