package vault_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
	"github.com/stayd/stayd/internal/vault"
)

// TestPostgres keeps credentials on PostgreSQL from their creation to their end.
func TestPostgres(t *testing.T) {
	st, err := postgres.Open(t.Context(), pgtest.Start(t))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorldOn(t, st)
	id := w.vault("a")
	long := strings.Repeat("s", 60_000)
	credential := w.credential("a", id, bearer(server, long))
	w.credential("a", id, oauth("https://other.example.com"))
	w.credential("a", id, variable("KEY", "value", "api.example.com"))
	if listed, err := w.ListCredentials(t.Context(), "a", id, vault.Page{Limit: 2}); err != nil || len(listed) != 3 {
		t.Errorf("a page of 2 and one more has %d: %v", len(listed), err)
	}
	rot := w.rotate()
	if done, err := w.Rewrap(t.Context()); err != nil || done.Moved != 1 || done.Master != rot.Current {
		t.Errorf("rewrapped %+v: %v", done, err)
	}
	w.drop(rot)
	if got, err := w.token(w.Vaults, id, server); err != nil || got != long {
		t.Errorf("the token has %d bytes: %v", len(got), err)
	}
	if opened, err := w.OpenEnvironment(t.Context(), "a", []string{id}, ""); err != nil || len(opened) != 1 || opened[0].Secrets.Token.Reveal() != "value" {
		t.Errorf("%d variables: %v", len(opened), err)
	}
	o, fields := w.row("a", credentials(id), credential)
	fields["auth"].(map[string]any)["mcp_server_url"] = "https://evil.example.com"
	w.forge(o, fields)
	if got, err := w.token(w.Vaults, id, "https://evil.example.com"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("sent elsewhere: %q %v, want ErrCorrupt", got, err)
	}
	if err := w.Delete(t.Context(), "a", id); err != nil {
		t.Error(err)
	}
	w.nothing("a", id)
}
