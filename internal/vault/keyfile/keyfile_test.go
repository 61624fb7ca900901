package keyfile_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
	"github.com/stayd/stayd/internal/vault/vaulttest"
)

func open(t *testing.T, path string) *keyfile.Keys {
	t.Helper()
	k, err := keyfile.Open(path, true)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestFile(t *testing.T) {
	vaulttest.Master(t, open(t, filepath.Join(t.TempDir(), "vault.keys")))
}

func TestText(t *testing.T) {
	text, err := keyfile.Generate()
	if err != nil {
		t.Fatal(err)
	}
	k, err := keyfile.FromText(text, "the variable KEYS")
	if err != nil {
		t.Fatal(err)
	}
	vaulttest.Master(t, k)
}

// TestMade shows that a file that is made is for its owner alone, and the same
// the next time.
func TestMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "vault.keys")
	first, err := open(t, path).Current(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v: %v, want it to be its owner's alone", info.Mode(), err)
	}
	if second, err := open(t, path).Current(t.Context()); err != nil || second != first {
		t.Errorf("the key is %s after %s: %v", second, first, err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("beside the file there is %v: %v", names, err)
	}
}

func TestNotMade(t *testing.T) {
	if _, err := keyfile.Open(filepath.Join(t.TempDir(), "vault.keys"), false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}

// TestRotation shows that a running server sees a new key at once, reads what was
// wrapped before it, and does not any more when the old key was dropped.
func TestRotation(t *testing.T) {
	ctx := t.Context()
	path := filepath.Join(t.TempDir(), "vault.keys")
	k := open(t, path)
	old, wrapped, err := k.Wrap(ctx, []byte("key"), nil)
	if err != nil {
		t.Fatal(err)
	}
	rot, err := keyfile.Rotate(path)
	if err != nil || rot.Current == old || !slices.Equal(rot.Old, []string{old}) {
		t.Fatalf("rotated to %+v: %v, want a new key and the old one %s", rot, err, old)
	}
	if again, err := keyfile.Rotate(path); err != nil || again.Current != rot.Current || !slices.Equal(again.Old, rot.Old) {
		t.Errorf("a rotation that was not over became %+v: %v", again, err)
	}
	if id, _, err := k.Wrap(ctx, []byte("key"), nil); err != nil || id != rot.Current {
		t.Errorf("wrapped with %s: %v, want %s", id, err, rot.Current)
	}
	if got, err := k.Unwrap(ctx, old, wrapped, nil); err != nil || string(got) != "key" {
		t.Errorf("what was wrapped before is %q: %v", got, err)
	}
	if left, err := keyfile.Drop(path, old); err != nil || left.Current != rot.Current || len(left.Old) != 0 {
		t.Errorf("dropped to %+v: %v", left, err)
	}
	var missing *vault.NoKeyError
	if _, err := k.Unwrap(ctx, old, wrapped, nil); !errors.As(err, &missing) || missing.ID != old || !strings.Contains(err.Error(), path) {
		t.Errorf("the dropped key: %v, want an error that names it and the file", err)
	}
	if _, err := keyfile.Drop(path, rot.Current); err == nil {
		t.Error("the current key was dropped")
	}
}

// TestBroken shows that what is no set of keys is said to be none, and that
// nothing of it is shown.
func TestBroken(t *testing.T) {
	good, err := keyfile.Generate()
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{
		"empty": "", "words": "canary-in-the-file", "cut": good[:len(good)/2], "no keys": `{"primaryKeyId":1,"key":[]}`,
		"no primary key": strings.Replace(good, `"primaryKeyId":`, `"primaryKeyId":1`, 1),
		"another type":   strings.Replace(good, "XChaCha20Poly1305Key", "HmacKey", 1),
	} {
		_, err := keyfile.FromText(text, "the variable KEYS")
		if err == nil || !strings.Contains(err.Error(), "the variable KEYS") {
			t.Errorf("%s: %v, want an error that says where", what, err)
			continue
		}
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error shows the text: %v", what, err)
		}
	}
}

// FuzzText reads texts as sets of keys: none does harm.
func FuzzText(f *testing.F) {
	good, err := keyfile.Generate()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(`{"primaryKeyId":1,"key":[{"keyData":{"typeUrl":"type.googleapis.com/google.crypto.tink.AesGcmKey","value":"","keyMaterialType":"SYMMETRIC"},"status":"ENABLED","keyId":1,"outputPrefixType":"TINK"}]}`)
	f.Fuzz(func(t *testing.T, text string) {
		k, err := keyfile.FromText(text, "a text")
		if err != nil {
			return
		}
		id, wrapped, err := k.Wrap(t.Context(), []byte("key"), []byte("place"))
		if err != nil {
			t.Fatalf("a set that was taken cannot wrap: %v", err)
		}
		if got, err := k.Unwrap(t.Context(), id, wrapped, []byte("place")); err != nil || string(got) != "key" {
			t.Fatalf("a set that was taken unwraps %q: %v", got, err)
		}
	})
}
