package masters_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
	"github.com/stayd/stayd/internal/vault/masters"
	"github.com/stayd/stayd/internal/vault/vaulttest"
)

func keys(t *testing.T) string {
	t.Helper()
	text, err := keyfile.Generate()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestPlaces shows keys in every place that needs no service.
func TestPlaces(t *testing.T) {
	data := t.TempDir()
	named := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(named, []byte(keys(t)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("THE_KEYS", keys(t))
	for _, c := range []struct {
		place masters.Place
		file  string
	}{
		{masters.Place{Data: data}, filepath.Join(data, "vault.keys")},
		{masters.Place{Data: data, Setting: named}, named},
		{masters.Place{Data: data, Setting: named, Shared: true}, named},
		{masters.Place{Data: data, Setting: "env:THE_KEYS", Shared: true}, ""},
	} {
		if got := c.place.File(); got != c.file {
			t.Errorf("%+v: the file is %q, want %q", c.place, got, c.file)
		}
		m, err := masters.Open(t.Context(), c.place)
		if err != nil {
			t.Fatalf("%+v: %v", c.place, err)
		}
		vaulttest.Master(t, m)
	}
	if info, err := os.Stat(filepath.Join(data, "vault.keys")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file that was made is %v: %v", info, err)
	}
}

// TestNone shows that a store on another machine makes no keys on this one, and
// that this is said only when one is needed.
func TestNone(t *testing.T) {
	data := t.TempDir()
	place := masters.Place{Data: data, Shared: true}
	m, err := masters.Open(t.Context(), place)
	if err != nil || place.File() != "" {
		t.Fatalf("the file is %q: %v", place.File(), err)
	}
	var missing *vault.NoKeyError
	if _, err := m.Current(context.Background()); !errors.As(err, &missing) || !strings.Contains(err.Error(), "STAYD_VAULT_KEY") {
		t.Errorf("the first use: %v, want what to set", err)
	}
	if names, err := os.ReadDir(data); err != nil || len(names) != 0 {
		t.Errorf("the folder has %v: %v", names, err)
	}
}

// TestWrong shows what is said of settings that cannot be.
func TestWrong(t *testing.T) {
	t.Setenv("NO_KEYS", "canary")
	for setting, want := range map[string]string{
		"/does/not/exist":        "/does/not/exist",
		"env:NOT_SET_ANYWHERE":   "the variable NOT_SET_ANYWHERE is empty",
		"env:NO_KEYS":            "the variable NO_KEYS",
		"aws-kms://":             "it names no key",
		"aws-kms://k?zone=north": `there is no setting "zone"`,
		"aws-kms://k?%zz":        "cannot be read",
	} {
		_, err := masters.Open(t.Context(), masters.Place{Setting: setting, Data: t.TempDir()})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %q", setting, err, want)
		}
	}
}

// TestKMS shows that a key of a service is asked for nothing at first, that it is
// in no file, and that the service is reached where the setting or the operator
// says so, and else at public addresses only.
func TestKMS(t *testing.T) {
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1"} {
		t.Setenv(name, v)
	}
	const arn = "arn:aws:kms:eu-north-1:111122223333:key/1234"
	asked := 0
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		fmt.Fprint(w, `{"KeyMetadata":{"KeyId":"1234","Arn":"`+arn+`"}}`)
	}))
	defer service.Close()
	place := masters.Place{Setting: "aws-kms://" + arn + "?endpoint=" + service.URL, Data: t.TempDir(), Shared: true}
	m, err := masters.Open(t.Context(), place)
	if err != nil || place.File() != "" || asked != 0 {
		t.Fatalf("the file is %q, the service was asked %d times: %v", place.File(), asked, err)
	}
	if id, err := m.Current(t.Context()); err != nil || id != arn || asked != 1 {
		t.Errorf("the current key is %q after %d requests: %v", id, asked, err)
	}

	t.Setenv("AWS_ENDPOINT_URL_KMS", service.URL)
	place.Setting = "aws-kms://" + arn
	if m, err = masters.Open(t.Context(), place); err != nil {
		t.Fatal(err)
	}
	if id, err := m.Current(t.Context()); err != nil || id != arn || asked != 2 {
		t.Errorf("an endpoint that the environment names gave %q after %d requests: %v", id, asked, err)
	}
}
