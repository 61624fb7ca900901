package vault_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

func (w *world) rotate() keyfile.Rotation {
	w.t.Helper()
	rot, err := keyfile.Rotate(w.keys)
	if err != nil {
		w.t.Fatal(err)
	}
	return rot
}

func (w *world) drop(rot keyfile.Rotation) {
	w.t.Helper()
	for _, old := range rot.Old {
		if _, err := keyfile.Drop(w.keys, old); err != nil {
			w.t.Fatal(err)
		}
	}
}

// TestRewrap shows a rotation of the master key that is interrupted at every
// write: all can be read at every moment, and when it came to its end, without
// the old key.
func TestRewrap(t *testing.T) {
	const vaults = 5
	for n := range vaults + 1 {
		t.Run(fmt.Sprintf("%d writes", n), func(t *testing.T) {
			w := newWorld(t)
			var ids []string
			for i := range vaults {
				ids = append(ids, w.vault("a"))
				w.credential("a", ids[i], bearer(server, fmt.Sprint("token ", i)))
			}
			all := func(when string) {
				t.Helper()
				for i, id := range ids {
					if got, err := w.token(w.Vaults, id, server); err != nil || got != fmt.Sprint("token ", i) {
						t.Errorf("%s the token %d is %q: %v", when, i, got, err)
					}
				}
			}
			rot := w.rotate()
			all("with a new master key")
			done, err := w.over(&failing{w.store, n}).Rewrap(t.Context())
			if n < vaults && (!errors.Is(err, store.ErrUnavailable) || done.Moved != n) {
				t.Fatalf("interrupted after %d writes it did %+v: %v", n, done, err)
			}
			all("half-way")
			done, err = w.over(w.store).Rewrap(t.Context())
			if err != nil || done.Keys != vaults || done.Moved != vaults-n || len(done.Left) != 0 || done.Master != rot.Current {
				t.Fatalf("it went on with %+v: %v, want %d moved to %s", done, err, vaults-n, rot.Current)
			}
			w.drop(rot)
			all("without the old master key")
			w.Vaults = w.over(w.store)
			all("after a restart")
			if again, err := w.Rewrap(t.Context()); err != nil || again.Moved != 0 || again.Keys != vaults {
				t.Errorf("once more it did %+v: %v", again, err)
			}
		})
	}
}

// TestRewrapMany shows a rotation over more keys than are read at a time.
func TestRewrapMany(t *testing.T) {
	w := newWorld(t)
	const vaults = 230
	for range vaults {
		w.credential("a", w.vault("a"), bearer(server, "token"))
	}
	rot := w.rotate()
	if done, err := w.Rewrap(t.Context()); err != nil || done.Keys != vaults || done.Moved != vaults || done.Master != rot.Current {
		t.Errorf("rewrapped %+v: %v", done, err)
	}
}

// TestRotateWhileServing makes and reads credentials while the master key is
// rotated again and again: none is lost.
func TestRotateWhileServing(t *testing.T) {
	w := newWorld(t)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	const each = 20
	ids := make([][]string, 4)
	for i := range ids {
		writers.Go(func() {
			for n := range each {
				v, err := w.Create(t.Context(), "a", vault.Change{}, once)
				if err != nil {
					t.Error(err)
					return
				}
				token := fmt.Sprint(i, n)
				if _, err := w.CreateCredential(t.Context(), "a", v.ID, bearer(server, token), once); err != nil {
					t.Error(err)
					return
				}
				if got, err := w.token(w.Vaults, v.ID, server); err != nil || got != token {
					t.Errorf("the token is %q: %v, want %q", got, err, token)
				}
				ids[i] = append(ids[i], v.ID)
			}
		})
	}
	go func() { writers.Wait(); close(stop) }()
	rotations := 0
	for running := true; running; rotations++ {
		rot := w.rotate()
		if done, err := w.Rewrap(t.Context()); err != nil || len(done.Left) != 0 {
			t.Fatalf("rewrapped %+v: %v", done, err)
		}
		w.drop(rot)
		select {
		case <-stop:
			running = false
		default:
		}
	}
	for i := range ids {
		if len(ids[i]) != each {
			t.Errorf("writer %d made %d vaults, want %d", i, len(ids[i]), each)
		}
		for n, id := range ids[i] {
			if got, err := w.token(w.Vaults, id, server); err != nil || got != fmt.Sprint(i, n) {
				t.Errorf("after %d rotations the token is %q: %v, want %q", rotations, got, err, fmt.Sprint(i, n))
			}
		}
	}
	t.Logf("%d rotations", rotations)
}
