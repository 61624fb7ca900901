package workload_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/pgtest"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/postgres"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

// states are those of the keys, the oldest first.
func (w *world) states(i *workload.Issuer) string {
	w.t.Helper()
	keys, err := i.List(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	var states []string
	for _, k := range keys {
		states = append(states, string(k.State))
	}
	return strings.Join(states, " ")
}

func (w *world) rotate(i *workload.Issuer, atOnce bool) {
	w.t.Helper()
	if _, err := i.Rotate(context.Background(), atOnce); err != nil {
		w.t.Error(err)
	}
}

// TestRotation follows a key from its publication until nobody needs it.
func TestRotation(t *testing.T) {
	w := newWorld(t)
	i := w.node()
	first := w.token(i, ann)
	w.rotate(i, false)
	w.rotate(i, false) // one that waits is enough
	step := func(after time.Duration, want string, published int) {
		t.Helper()
		w.clock.pass(after)
		if got := w.states(i); got != want {
			t.Errorf("at %s the keys are %s, want %s", w.clock.Now(), got, want)
		}
		if got := len(w.published(i).Keys); got != published {
			t.Errorf("at %s %d keys are published, want %d", w.clock.Now(), got, published)
		}
	}
	step(0, "signing published", 2)
	step(6*time.Minute-time.Second, "signing published", 2)
	if kid(t, w.token(i, ann)) != kid(t, first) {
		t.Error("a key signs that others may not know yet")
	}
	step(time.Second, "retired signing", 2)
	last := w.token(i, ann)
	if kid(t, last) == kid(t, first) {
		t.Error("the old key still signs")
	}
	step(time.Hour, "retired signing", 2) // the longest life of what it signed
	step(time.Hour, "signing", 1)
	if set := w.published(i); set.Keys[0].KeyID != kid(t, last) || verify(set, first) == nil {
		t.Error("the old key is still taken")
	}
	// By itself, after 90 days, whoever asks.
	step(90*24*time.Hour-2*time.Hour-6*time.Minute, "signing", 1)
	step(2*time.Hour+6*time.Minute, "signing published", 2)
	step(6*time.Minute, "retired signing", 2)
}

func kid(tb testing.TB, token string) string {
	tb.Helper()
	sig, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256, jose.EdDSA})
	if err != nil {
		tb.Error(err)
		return ""
	}
	return sig.Signatures[0].Header.KeyID
}

// TestRevocation ends a key at once, also for a process that was not told.
func TestRevocation(t *testing.T) {
	w := newWorld(t)
	here, there := w.node(), w.node()
	before := w.delegation(here, ann, []string{server})
	if _, err := there.Open(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	w.rotate(here, true)
	if got := w.states(here); got != "revoked signing" {
		t.Errorf("the keys are %s", got)
	}
	for name, i := range map[string]*workload.Issuer{"here": here, "there": there} {
		var refused *workload.RefusedError
		if _, err := i.Open(t.Context(), before); !errors.As(err, &refused) || refused.Why != "The key of the token was revoked." {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.clock.pass(10 * time.Second)
	for _, i := range []*workload.Issuer{here, there} {
		after := w.delegation(i, ann, []string{server})
		if _, err := there.Open(t.Context(), after); err != nil || kid(t, after) == kid(t, before) {
			t.Errorf("a token after that: %v", err)
		}
		if set := w.published(i); len(set.Keys) != 1 || set.Keys[0].KeyID != kid(t, after) {
			t.Errorf("%d keys are published", len(set.Keys))
		}
	}
	// Revoked keys are listed for a week, and no more than some.
	for range 40 {
		w.rotate(here, true)
	}
	if got := w.states(there); got != strings.Repeat("revoked ", 31)+"signing" {
		t.Errorf("the keys are %s", got)
	}
	w.clock.pass(8 * 24 * time.Hour)
	w.rotate(here, false)
	if got := w.states(here); got != "signing published" {
		t.Errorf("after a week the keys are %s", got)
	}
}

// TestLate shows that a process which does not hear of a rotation, as the store
// does not answer it, signs what the others take.
func TestLate(t *testing.T) {
	w := newWorld(t)
	cfg := w.config()
	away := &awayStore{Objects: w.store}
	cfg.Store = away
	late, here := w.nodeOf(cfg), w.node()
	old := kid(t, w.token(late, ann))
	away.set(true)
	w.rotate(here, false)
	w.clock.pass(4 * time.Minute)
	token := w.delegation(late, ann, []string{server})
	if _, err := here.Open(t.Context(), token); err != nil || kid(t, token) != old {
		t.Errorf("signed by %s: %v", kid(t, token), err)
	}
	w.clock.pass(2 * time.Minute)
	if _, _, err := late.Token(t.Context(), ann, server, nil); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("keys of long ago sign: %v", err)
	}
	away.set(false)
	if got := kid(t, w.token(late, ann)); got == old {
		t.Error("it still signs by the old key")
	}
	// What the process signed last is taken until it ends.
	w.clock.pass(54*time.Minute - time.Second)
	if _, err := here.Open(t.Context(), token); err != nil {
		t.Errorf("before its end: %v", err)
	}
}

// awayStore is a store that can be away.
type awayStore struct {
	store.Objects
	mu   sync.Mutex
	away bool
}

func (s *awayStore) set(away bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = away
}

func (s *awayStore) Object(ctx context.Context, project, kind, id string) (store.Object, error) {
	s.mu.Lock()
	away := s.away
	s.mu.Unlock()
	if away {
		return store.Object{}, store.ErrUnavailable
	}
	return s.Objects.Object(ctx, project, kind, id)
}

// TestMasterRotation shows that signing keys outlive the rotation of the master
// key that they are sealed under.
func TestMasterRotation(t *testing.T) {
	w := newWorld(t)
	old := kid(t, w.token(w.node(), ann))
	rot, err := keyfile.Rotate(w.keys)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.config().Vaults.Rewrap(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := keyfile.Drop(w.keys, rot.Old[0]); err != nil {
		t.Fatal(err)
	}
	if got := kid(t, w.token(w.node(), ann)); got != old {
		t.Errorf("signed by %s, want %s", got, old)
	}
}

// TestStolen shows what a store is good for without the master key, and what
// whoever writes it cannot do.
func TestStolen(t *testing.T) {
	w := newWorld(t)
	w.token(w.node(), ann)
	thief := &world{t: t, store: w.store, keys: t.TempDir() + "/vault.keys", clock: w.clock}
	var missing *vault.NoKeyError
	if token, _, err := thief.node().Token(t.Context(), ann, server, nil); !errors.As(err, &missing) || missing.ID == "" {
		t.Errorf("without the master key: %q %v", token, err)
	}
	// A key of their own in place of ours, with a seal of ours.
	row, err := w.store.Object(t.Context(), "", store.KindSigningKeys, "keys")
	if err != nil {
		t.Fatal(err)
	}
	forged := newWorld(t)
	forged.token(forged.node(), ann)
	theirs, err := forged.store.Object(t.Context(), "", store.KindSigningKeys, "keys")
	if err != nil {
		t.Fatal(err)
	}
	row.Version, row.Data = row.Version+1, theirs.Data
	if err := w.store.UpdateObject(t.Context(), row); err != nil {
		t.Fatal(err)
	}
	if set, err := w.node().Keys(t.Context()); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("a key that nobody sealed here is published: %v %v", set, err)
	}
}

// TestLoad has eight verifiers, which keep the published keys for as long as they
// may, and two processes that sign, while keys are rotated.
func TestLoad(t *testing.T) {
	w := newWorld(t)
	nodes := []*workload.Issuer{w.node(), w.node()}
	const steps, verifiers = 60, 8
	var tokens sync.Map // step -> token
	var wg sync.WaitGroup
	gates := make([]chan int, verifiers)
	for v := range verifiers {
		gates[v] = make(chan int)
		wg.Go(func() {
			var set jose.JSONWebKeySet
			var read time.Time
			for step := range gates[v] {
				if now := w.clock.Now(); now.Sub(read) >= workload.CacheFor {
					set, read = w.published(nodes[v%2]), now
				}
				for _, n := range []int{max(0, step-8), step} { // the oldest that has not ended, and the newest
					token, _ := tokens.Load(n)
					if err := verify(set, token.(string)); err != nil {
						t.Errorf("verifier %d at step %d, token of step %d: %v", v, step, n, err)
					}
				}
			}
		})
	}
	used := map[string]bool{}
	for step := range steps {
		w.clock.pass(time.Minute + time.Second)
		if step%9 == 0 {
			w.rotate(nodes[step/9%2], false)
		}
		token := w.token(nodes[step%2], ann)
		used[kid(t, token)] = true
		tokens.Store(step, token)
		for _, g := range gates {
			g <- step
		}
	}
	for _, g := range gates {
		close(g)
	}
	wg.Wait()
	if len(used) != 7 {
		t.Errorf("%d keys signed, want 7", len(used))
	}
}

// TestTogether has processes that start at once, on either store: they make one
// key, and one more when they rotate at once.
func TestTogether(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *world{
		"sqlite": func(t *testing.T) *world { return newWorld(t) },
		"postgres": func(t *testing.T) *world {
			st, err := postgres.Open(t.Context(), pgtest.Start(t))
			if err != nil {
				t.Fatal(err)
			}
			return newWorldOn(t, st)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := open(t)
			const processes = 6
			kids := make([]string, processes)
			var wg sync.WaitGroup
			nodes := make([]*workload.Issuer, processes)
			for n := range nodes {
				nodes[n] = w.node()
			}
			for n := range nodes {
				wg.Go(func() { kids[n] = kid(t, w.token(nodes[n], ann)) })
			}
			wg.Wait()
			if n := len(slices.Compact(slices.Sorted(slices.Values(kids)))); n != 1 {
				t.Errorf("%d keys were made, want 1", n)
			}
			for n := range nodes {
				wg.Go(func() { w.rotate(nodes[n], false) })
			}
			wg.Wait()
			if got := w.states(nodes[0]); got != "signing published" {
				t.Errorf("the keys are %s", got)
			}
			w.clock.pass(6 * time.Minute)
			for _, i := range nodes {
				if got := kid(t, w.token(i, ann)); got == kids[0] {
					t.Error("the old key still signs")
				}
			}
			w.rotate(nodes[1], true)
			if got := w.states(nodes[2]); got != strings.Repeat("revoked ", 2)+"signing" {
				t.Errorf("the keys are %s", got)
			}
		})
	}
}
