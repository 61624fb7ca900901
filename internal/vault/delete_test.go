package vault_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// TestDelete interrupts the deletion of a vault at every write. From the first on
// it is not found; when the deletion is asked for again, or the server starts
// again, nothing of it is left.
func TestDelete(t *testing.T) {
	const writes = 1 + 1 + 3 + 1 + 1 // the mark, the key, the credentials, the vault, the key's row
	for n := range writes + 1 {
		for _, finish := range []string{"again", "restart"} {
			t.Run(fmt.Sprintf("%d writes, %s", n, finish), func(t *testing.T) {
				w := newWorld(t)
				id, other := w.vault("a"), w.vault("a")
				w.credential("a", other, bearer(server, "other"))
				for i := range 3 {
					w.credential("a", id, bearer(server+strconv.Itoa(i), "token"))
				}
				err := w.over(&failing{w.store, n}).Delete(t.Context(), "a", id)
				if n < writes && !errors.Is(err, store.ErrUnavailable) {
					t.Fatalf("deleted with %d writes: %v", n, err)
				}
				var gone *vault.NotFoundError
				if _, err := w.Get(t.Context(), "a", id); errors.As(err, &gone) != (n > 0) {
					t.Errorf("after %d writes: %v", n, err)
				}
				listed, err := w.List(t.Context(), "a", vault.Page{Limit: 10})
				if want := map[bool]int{true: 1, false: 2}[n > 0]; err != nil || len(listed) != want {
					t.Errorf("after %d writes %d vaults are listed: %v, want %d", n, len(listed), err, want)
				}
				if _, err := w.token(w.Vaults, id, server+"0"); n > 0 && !errors.As(err, &gone) {
					t.Errorf("after %d writes a secret is opened: %v", n, err)
				}
				if n > 1 && n < writes {
					if _, fields := w.row("", store.KindVaultKey, "a/"+id); fields["wrapped"] != nil {
						t.Errorf("after %d writes the key is there: %v", n, fields)
					}
				}
				if finish == "restart" && n > 0 {
					err = w.over(w.store).Finish(t.Context())
				} else {
					err = w.Delete(t.Context(), "a", id)
				}
				// Where its row is gone already, the rest of it is left to the next start.
				if finish == "again" && n == writes-1 && errors.As(err, &gone) {
					err = w.Finish(t.Context())
				}
				if err != nil && (n < writes || !errors.As(err, &gone)) {
					t.Fatalf("%s: %v", finish, err)
				}
				w.nothing("a", id)
				if got, err := w.token(w.Vaults, other, server); err != nil || got != "other" {
					t.Errorf("the other vault has %q: %v", got, err)
				}
			})
		}
	}
}

// nothing checks that no row is left of a vault.
func (w *world) nothing(project, id string) {
	w.t.Helper()
	for _, row := range [][3]string{{project, store.KindVault, id}, {"", store.KindVaultKey, project + "/" + id}} {
		if _, err := w.store.Object(w.t.Context(), row[0], row[1], row[2]); !errors.Is(err, store.ErrNotFound) {
			w.t.Errorf("%v is left: %v", row, err)
		}
	}
	left, err := w.store.ListObjects(w.t.Context(), store.ObjectQuery{Project: project, Kind: credentials(id), Limit: 10})
	if err != nil || len(left) != 0 {
		w.t.Errorf("%d credentials are left: %v", len(left), err)
	}
}

// TestDeletedMeanwhile shows that a credential which comes while its vault is
// deleted is not left behind.
func TestDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	id := w.vault("a")
	racing := &deleting{Objects: w.store, delete: func() error { return w.Delete(t.Context(), "a", id) }}
	_, err := w.over(racing).CreateCredential(t.Context(), "a", id, bearer(server, "late"), once)
	var gone *vault.NotFoundError
	if !errors.As(err, &gone) || gone.What != "vault" {
		t.Errorf("the late credential: %v, want that there is no vault", err)
	}
	w.nothing("a", id)
}
