package vault_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

var (
	once  = event.Input{}
	start = time.Date(2026, 5, 3, 9, 0, 0, 0, time.UTC)
)

// world is vaults on a store and a file of keys of their own.
type world struct {
	*vault.Vaults
	t     testing.TB
	store store.Store
	keys  string // path of the file
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	st, err := sqlite.Open(tb.Context(), filepath.Join(tb.TempDir(), "stayd.db"), sqlite.Options{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	return newWorldOn(tb, st)
}

func newWorldOn(tb testing.TB, st store.Store) *world {
	tb.Helper()
	tb.Cleanup(func() { st.Close() })
	w := &world{t: tb, store: st, keys: filepath.Join(tb.TempDir(), "vault.keys")}
	w.Vaults = w.over(st)
	return w
}

// over is the vaults as a process sees them that starts now.
func (w *world) over(st store.Objects) *vault.Vaults {
	w.t.Helper()
	keys, err := keyfile.Open(w.keys, true)
	if err != nil {
		w.t.Fatal(err)
	}
	return vault.New(st, keys, func() time.Time { return start })
}

func (w *world) vault(project string) string {
	w.t.Helper()
	v, err := w.Create(w.t.Context(), project, vault.Change{}, once)
	if err != nil {
		w.t.Fatal(err)
	}
	return v.ID
}

func (w *world) credential(project, id string, n vault.NewCredential) string {
	w.t.Helper()
	if n.Name == "" {
		n.Name = "a name"
	}
	c, err := w.CreateCredential(w.t.Context(), project, id, n, once)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.ID
}

func bearer(url, token string) vault.NewCredential {
	return vault.NewCredential{
		Name: "bearer", Auth: vault.Auth{Type: vault.TypeBearer, ServerURL: url}, Secrets: vault.Secrets{Token: vault.NewSecret(token)},
	}
}

func variable(name, value string, hosts ...string) vault.NewCredential {
	return vault.NewCredential{
		Name: "variable", Auth: vault.Auth{Type: vault.TypeEnvironment, SecretName: name, AllowedHosts: hosts}, Secrets: vault.Secrets{Token: vault.NewSecret(value)},
	}
}

func oauth(url string) vault.NewCredential {
	resource, scope, expires := "https://mcp.example.com", "read write", "2026-06-01T00:00:00Z"
	return vault.NewCredential{
		Name: "oauth",
		Auth: vault.Auth{Type: vault.TypeOAuth, ServerURL: url, ExpiresAt: &expires, Refresh: &vault.Refresh{
			ClientID: "client", TokenEndpoint: "https://login.example.com/token", TokenEndpointAuth: vault.ClientBasic, Resource: &resource, Scope: &scope,
		}},
		Secrets: vault.Secrets{Token: vault.NewSecret("access-1"), RefreshToken: vault.NewSecret("refresh-1"), ClientSecret: vault.NewSecret("client-1")},
	}
}

// token opens the credential of the project a for a server.
func (w *world) token(v *vault.Vaults, id, url string) (string, error) {
	w.t.Helper()
	opened, err := v.OpenServer(w.t.Context(), "a", []string{id}, "", url, "")
	if err != nil || opened == nil {
		return "", err
	}
	return opened.Secrets.Token.Reveal(), nil
}

// row reads a row of the store with its fields.
func (w *world) row(project, kind, id string) (store.Object, map[string]any) {
	w.t.Helper()
	o, err := w.store.Object(w.t.Context(), project, kind, id)
	if err != nil {
		w.t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(o.Data, &fields); err != nil {
		w.t.Fatal(err)
	}
	return o, fields
}

// forge writes a row as somebody does who has the store and no key.
func (w *world) forge(o store.Object, fields map[string]any) {
	w.t.Helper()
	var err error
	if o.Data, err = json.Marshal(fields); err != nil {
		w.t.Fatal(err)
	}
	o.Version++
	if err := w.store.UpdateObject(w.t.Context(), o); err != nil {
		w.t.Fatal(err)
	}
}

// failing is a store that is away from the write after the first n.
type failing struct {
	store.Objects
	left int
}

func (f *failing) write(do func() error) error {
	if f.left == 0 {
		return store.ErrUnavailable
	}
	f.left--
	return do()
}

func (f *failing) CreateObject(ctx context.Context, o store.Object) error {
	return f.write(func() error { return f.Objects.CreateObject(ctx, o) })
}

func (f *failing) UpdateObject(ctx context.Context, o store.Object) error {
	return f.write(func() error { return f.Objects.UpdateObject(ctx, o) })
}

func (f *failing) DeleteObject(ctx context.Context, project, kind, id string) error {
	return f.write(func() error { return f.Objects.DeleteObject(ctx, project, kind, id) })
}

// deleting is a store in which a vault is deleted before the first credential
// comes.
type deleting struct {
	store.Objects
	delete func() error
	done   bool
}

func (d *deleting) CreateObject(ctx context.Context, o store.Object) error {
	if strings.HasPrefix(o.Kind, store.KindCredential+"/") && !d.done {
		d.done = true
		if err := d.delete(); err != nil {
			return err
		}
	}
	return d.Objects.CreateObject(ctx, o)
}
