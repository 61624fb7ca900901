package vault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

const server = "https://mcp.example.com/mcp"

func credentials(vault string) string { return store.KindCredential + "/" + vault }

// TestSwapped shows that secrets which were put where they do not belong, or are
// to be sent where they were not meant for, are refused.
func TestSwapped(t *testing.T) {
	type place struct{ project, vault, credential string }
	sealed := func(w *world, to, from place) {
		_, theirs := w.row(from.project, credentials(from.vault), from.credential)
		o, fields := w.row(to.project, credentials(to.vault), to.credential)
		fields["sealed"] = theirs["sealed"]
		w.forge(o, fields)
	}
	key := func(w *world, to, from place) {
		_, theirs := w.row("", store.KindVaultKey, from.project+"/"+from.vault)
		o, _ := w.row("", store.KindVaultKey, to.project+"/"+to.vault)
		w.forge(o, theirs)
	}
	use := func(name string, value any) func(*world, place, place) {
		return func(w *world, to, _ place) {
			o, fields := w.row(to.project, credentials(to.vault), to.credential)
			fields["auth"].(map[string]any)[name] = value
			w.forge(o, fields)
		}
	}
	for what, c := range map[string]struct {
		project string // of the other vault; empty is the same vault
		forge   func(w *world, to, from place)
	}{
		"secrets of another credential": {"", sealed},
		"secrets of another vault":      {"a", sealed},
		"secrets of another project":    {"b", sealed},
		"key of another vault":          {"a", key},
		"key of another project":        {"b", key},
		"key and secrets of another":    {"b", func(w *world, to, from place) { sealed(w, to, from); key(w, to, from) }},
		"another client's id":           {"", use("refresh", map[string]any{"client_id": "other"})},
		"another type":                  {"", use("type", vault.TypeOAuth)},
		"hosts":                         {"", use("allowed_hosts", []string{"evil.example.com"})},
		"nothing sealed": {"", func(w *world, to, _ place) {
			o, fields := w.row(to.project, credentials(to.vault), to.credential)
			fields["sealed"] = ""
			w.forge(o, fields)
		}},
		"no key": {"", func(w *world, to, _ place) {
			if err := w.store.DeleteObject(w.t.Context(), "", store.KindVaultKey, to.project+"/"+to.vault); err != nil {
				w.t.Fatal(err)
			}
		}},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			to := place{"a", w.vault("a"), ""}
			to.credential = w.credential("a", to.vault, bearer(server, "own"))
			from := place{"a", to.vault, ""}
			if c.project != "" {
				from = place{c.project, w.vault(c.project), ""}
			}
			from.credential = w.credential(from.project, from.vault, bearer("https://other.example.com", "theirs"))
			if got, err := w.token(w.Vaults, to.vault, server); err != nil || got != "own" {
				t.Fatalf("before, the token is %q: %v", got, err)
			}
			c.forge(w, to, from)
			if got, err := w.token(w.Vaults, to.vault, server); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("the token is %q: %v, want ErrCorrupt", got, err)
			}
		})
	}
}

// TestRedirected shows that a token cannot be had for another server by writing
// its URL into the store.
func TestRedirected(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	credential := w.credential("a", id, bearer(server, "own"))
	o, fields := w.row("a", credentials(id), credential)
	fields["auth"].(map[string]any)["mcp_server_url"] = "https://evil.example.com/mcp"
	w.forge(o, fields)
	if got, err := w.token(w.Vaults, id, "https://evil.example.com/mcp"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("the token is %q: %v, want ErrCorrupt", got, err)
	}
}

// TestWrongMaster shows that a server with other keys than before says so, and
// does no harm.
func TestWrongMaster(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	w.credential("a", id, bearer(server, "own"))
	_, fields := w.row("", store.KindVaultKey, "a/"+id)
	right := w.keys
	w.keys = filepath.Join(t.TempDir(), "other.keys")
	wrong := w.over(w.store)
	_, err := w.token(wrong, id, server)
	var missing *vault.NoKeyError
	if !errors.As(err, &missing) || missing.ID != fields["master"] || !strings.Contains(err.Error(), w.keys) {
		t.Errorf("with other keys: %v, want an error that names the key %v and the file %s", err, fields["master"], w.keys)
	}
	if _, err := wrong.CreateCredential(t.Context(), "a", id, bearer(server, "new"), once); !errors.As(err, &missing) {
		t.Errorf("a new credential: %v, want a NoKeyError", err)
	}
	done, err := wrong.Rewrap(t.Context())
	if err != nil || done.Keys != 1 || done.Moved != 0 || done.Left[missing.ID] != 1 {
		t.Errorf("rewrapped %+v: %v, want one left under %s", done, err, missing.ID)
	}
	w.keys = right
	if got, err := w.token(w.over(w.store), id, server); err != nil || got != "own" {
		t.Errorf("with the right keys again the token is %q: %v", got, err)
	}
}

// TestUnset shows that vaults without a master key can be made and listed, and
// say what to do when a secret comes.
func TestUnset(t *testing.T) {
	w := newWorld(t)
	v := vault.New(w.store, vault.Unset("set STAYD_VAULT_KEY"), func() time.Time { return start })
	made, err := v.Create(t.Context(), "a", vault.Change{}, once)
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.CreateCredential(t.Context(), "a", made.ID, bearer(server, "own"), once)
	var missing *vault.NoKeyError
	if !errors.As(err, &missing) || !strings.HasSuffix(err.Error(), "vaults need a master key: set STAYD_VAULT_KEY") {
		t.Errorf("a credential without a master key: %v", err)
	}
	if _, err := v.Rewrap(t.Context()); !errors.As(err, &missing) {
		t.Errorf("rewrapped without a master key: %v", err)
	}
	if err := v.Delete(t.Context(), "a", made.ID); err != nil {
		t.Errorf("delete a vault without a master key: %v", err)
	}
}

// TestSecret shows that no way of printing shows a secret.
func TestSecret(t *testing.T) {
	s := vault.Secrets{Token: vault.NewSecret("canary"), RefreshToken: vault.NewSecret("canary"), ClientSecret: vault.NewSecret("canary")}
	opened := vault.Opened{Secrets: s}
	encoded, err := json.Marshal(opened)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("opened", "secrets", s, "one", s.Token, "pointer", &opened)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("opened", "secrets", s, "one", s.Token, "pointer", &opened)
	for _, shown := range []string{
		string(encoded), logged.String(), fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %q %x %d", opened, opened, opened, s.Token, s.Token, s.Token, s.Token),
		fmt.Sprintf("%v %+v %#v", &opened, &s, &s.Token),
	} {
		if strings.Contains(shown, "canary") || strings.Contains(shown, "63616e617279") {
			t.Errorf("a secret is shown: %s", shown)
		}
	}
	if s.Token.Reveal() != "canary" {
		t.Errorf("revealed %q", s.Token.Reveal())
	}
}
