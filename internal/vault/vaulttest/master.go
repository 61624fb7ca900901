// Package vaulttest is what every place for master keys passes.
package vaulttest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// Master shows that a vault.Master keeps the contract.
func Master(t *testing.T, m vault.Master) {
	t.Helper()
	ctx := t.Context()
	dataKey, place := []byte("a data key of some length, as they are"), []byte("project and vault")
	current, err := m.Current(ctx)
	if err != nil || current == "" {
		t.Fatalf("the current key is %q: %v", current, err)
	}
	id, wrapped, err := m.Wrap(ctx, dataKey, place)
	if err != nil || id != current {
		t.Fatalf("wrapped with %q, want %q: %v", id, current, err)
	}
	if bytes.Contains(wrapped, dataKey) {
		t.Error("what is wrapped has the data key in the clear")
	}
	if got, err := m.Unwrap(ctx, id, wrapped, place); err != nil || !bytes.Equal(got, dataKey) {
		t.Errorf("unwrapped %q: %v", got, err)
	}
	if _, again, err := m.Wrap(ctx, dataKey, place); err != nil || bytes.Equal(again, wrapped) {
		t.Errorf("the same key wrapped twice looks the same: %v", err)
	}
	if _, err := m.Unwrap(ctx, id, wrapped, []byte("another vault")); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("unwrapped for another vault: %v, want ErrCorrupt", err)
	}
	changed := bytes.Clone(wrapped)
	changed[len(changed)-1] ^= 1
	if _, err := m.Unwrap(ctx, id, changed, place); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("unwrapped after a bit was turned: %v, want ErrCorrupt", err)
	}
	if _, err := m.Unwrap(ctx, id, nil, place); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("unwrapped nothing: %v, want ErrCorrupt", err)
	}
	var missing *vault.NoKeyError
	if _, err := m.Unwrap(ctx, "00000000", wrapped, place); !errors.As(err, &missing) || missing.ID != "00000000" {
		t.Errorf("unwrapped with a key that is not there: %v, want a NoKeyError of it", err)
	}
}
