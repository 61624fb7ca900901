package awskms_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/awskms"
	"github.com/stayd/stayd/internal/vault/vaulttest"
)

const (
	alias = "alias/stayd"
	arn   = "arn:aws:kms:eu-north-1:111122223333:key/1234abcd"
)

// service is as much of AWS KMS as is asked of it.
type service struct {
	decrypted atomic.Int64
	key       tink.AEAD
	// code is answered as an error, where it is set.
	code string
}

type request struct {
	KeyID             string `json:"KeyId"`
	Plaintext         []byte
	CiphertextBlob    []byte
	EncryptionContext map[string]string
}

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in request
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		s.fail(w, "ValidationException")
		return
	}
	context := []byte(in.EncryptionContext["stayd"])
	switch {
	case s.code != "":
		s.fail(w, s.code)
	case !slices.Contains([]string{alias, arn}, in.KeyID):
		s.fail(w, "NotFoundException")
	case r.Header.Get("X-Amz-Target") == "TrentService.DescribeKey":
		answer(w, http.StatusOK, reply{KeyMetadata: map[string]string{"KeyId": "1234abcd", "Arn": arn}})
	case r.Header.Get("X-Amz-Target") == "TrentService.Encrypt":
		wrapped, err := s.key.Encrypt(in.Plaintext, context)
		if err != nil {
			s.fail(w, "KMSInternalException")
			return
		}
		answer(w, http.StatusOK, reply{KeyID: arn, CiphertextBlob: wrapped})
	case r.Header.Get("X-Amz-Target") == "TrentService.Decrypt":
		s.decrypted.Add(1)
		plain, err := s.key.Decrypt(in.CiphertextBlob, context)
		if err != nil {
			s.fail(w, "InvalidCiphertextException")
			return
		}
		answer(w, http.StatusOK, reply{KeyID: arn, Plaintext: plain})
	default:
		s.fail(w, "UnknownOperationException")
	}
}

func (s *service) fail(w http.ResponseWriter, code string) {
	answer(w, http.StatusBadRequest, reply{Type: code, Message: "no"})
}

// reply is an answer to any request.
type reply struct {
	KeyID          string            `json:"KeyId,omitempty"`
	KeyMetadata    map[string]string `json:",omitempty"`
	CiphertextBlob []byte            `json:",omitempty"`
	Plaintext      []byte            `json:",omitempty"`
	Type           string            `json:"__type,omitempty"`
	Message        string            `json:"message,omitempty"`
}

func answer(w http.ResponseWriter, status int, r reply) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(r); err != nil {
		panic(err)
	}
}

func start(t *testing.T) (*service, *httptest.Server) {
	t.Helper()
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"} {
		t.Setenv(name, v)
	}
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		t.Fatal(err)
	}
	s := &service{}
	if s.key, err = aead.New(handle); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return s, server
}

func open(t *testing.T, endpoint string) *awskms.Keys {
	t.Helper()
	k, err := awskms.New(t.Context(), awskms.Config{Key: alias, Region: "eu-north-1", Endpoint: endpoint})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestOpenedOnce has the service decrypt a key once, however often it is asked
// for, and what is bound to something else not at all.
func TestOpenedOnce(t *testing.T) {
	s, server := start(t)
	k := open(t, server.URL)
	id, wrapped, err := k.Wrap(t.Context(), []byte("a key"), []byte("vault 1"))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		plain, err := k.Unwrap(t.Context(), id, wrapped, []byte("vault 1"))
		if err != nil || string(plain) != "a key" {
			t.Fatalf("%q, %v", plain, err)
		}
		clear(plain) // is the caller's
	}
	if n := s.decrypted.Load(); n != 1 {
		t.Errorf("the service decrypted %d times, want once", n)
	}
	if _, err := k.Unwrap(t.Context(), id, wrapped, []byte("vault 2")); !errors.Is(err, store.ErrCorrupt) || s.decrypted.Load() != 2 {
		t.Errorf("for another vault: %v, after %d times", err, s.decrypted.Load())
	}
}

func TestKMS(t *testing.T) {
	_, server := start(t)
	k := open(t, server.URL)
	vaulttest.Master(t, k)
	if id, err := k.Current(t.Context()); err != nil || id != arn {
		t.Errorf("the current key is %q: %v, want the ARN behind the alias", id, err)
	}
}

// TestRefused tells apart keys that cannot be used, what is not allowed, and a
// service that does not answer.
func TestRefused(t *testing.T) {
	s, server := start(t)
	k := open(t, server.URL)
	for _, code := range []string{"NotFoundException", "DisabledException", "KMSInvalidStateException"} {
		s.code = code
		var missing *vault.NoKeyError
		if _, _, err := k.Wrap(t.Context(), []byte("key"), nil); !errors.As(err, &missing) || missing.ID != alias {
			t.Errorf("%s: %v, want a NoKeyError", code, err)
		}
	}
	s.code = "AccessDeniedException"
	_, err := k.Unwrap(t.Context(), arn, []byte("wrapped"), nil)
	if err == nil || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrUnavailable) || !strings.Contains(err.Error(), "AccessDenied") {
		t.Errorf("what is not allowed: %v", err)
	}
	server.Close()
	if _, err := k.Unwrap(t.Context(), arn, []byte("wrapped"), nil); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("a service that is away: %v, want ErrUnavailable", err)
	}
}
