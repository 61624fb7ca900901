package vault_test

import (
	"errors"
	"testing"

	"github.com/stayd/stayd/internal/store"
)

// TestOwn shows that what the runtime seals for itself is bound, outlives the
// rotation of the master key and the start of another process, and counts as no
// vault.
func TestOwn(t *testing.T) {
	w := newWorld(t)
	sealed, err := w.SealOwn(t.Context(), "ring", []byte("secret"), "key 1")
	if err != nil {
		t.Fatal(err)
	}
	rot := w.rotate()
	if done, err := w.Rewrap(t.Context()); err != nil || done.Keys != 0 || done.Moved != 0 || len(done.Left) != 0 {
		t.Errorf("rewrapped %+v: %v", done, err)
	}
	w.drop(rot)
	next := w.over(w.store)
	if err := next.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if plain, err := next.OpenOwn(t.Context(), "ring", sealed, "key 1"); err != nil || string(plain) != "secret" {
		t.Errorf("opened %q: %v", plain, err)
	}
	if _, err := next.OpenOwn(t.Context(), "ring", sealed, "key 2"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("bound to something else: %v, want ErrCorrupt", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := next.OpenOwn(t.Context(), "ring", sealed, "key 1"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("changed: %v, want ErrCorrupt", err)
	}
	if _, err := next.OpenOwn(t.Context(), "other", sealed, "key 1"); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("by another name: %v, want ErrCorrupt", err)
	}
}
