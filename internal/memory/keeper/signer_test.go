package keeper_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
	"github.com/stayd/stayd/internal/vault/keyfile"
)

// under has the keeper work under the master keys, as a process that starts with
// them, and returns what it logs.
func (h *home) under(master vault.Master) *bytes.Buffer {
	h.Helper()
	log := &bytes.Buffer{}
	cfg := h.Config
	cfg.Vaults, cfg.Log = vault.New(h.store, master, time.Now), slog.New(slog.NewTextHandler(log, nil))
	h.Keeper = keeper.New(cfg)
	return log
}

func (h *home) masterKeys(path string) *keyfile.Keys {
	h.Helper()
	keys, err := keyfile.Open(path, true)
	if err != nil {
		h.Fatal(err)
	}
	return keys
}

// receiptOf is the receipt of something that is forgotten.
func (h *home) receiptOf() (keeper.Receipt, error) {
	h.Helper()
	return h.Forget(h.Context(), "p", keeper.Selection{ID: h.fact("Ann lives in Lisbon.").ID}, "")
}

// forgets wants a receipt that is signed by the key; empty is any.
func (h *home) forgets(key string) keeper.Receipt {
	h.Helper()
	r, err := h.receiptOf()
	if err != nil {
		h.Fatal(err)
	}
	if !r.Verify() || (key != "" && r.Key != key) {
		h.Fatalf("the receipt is of the key %s, want %s: %+v", r.Key, key, r)
	}
	return r
}

// stored is what the store has of the key of receipts.
func (h *home) stored() string {
	h.Helper()
	row, err := h.store.Object(h.Context(), "stayd:runtime", store.KindReceipt, "receipts")
	if err != nil {
		h.Fatal(err)
	}
	return string(row.Data)
}

// isSeed reports whether a text is a key as it is.
func isSeed(s string) bool {
	b, err := base64.StdEncoding.DecodeString(strings.Trim(s, `"`))
	return err == nil && len(b) == 32
}

// TestKeyOfReceiptsIsSealed shows that the key is encrypted where there is a master
// key, that one from before is at the start, and that it is the same all the while.
func TestKeyOfReceiptsIsSealed(t *testing.T) {
	onBoth(t, func(h *home) {
		log := h.under(vault.Unset("name one"))
		first := h.forgets("")
		h.forgets(first.Key)
		if n := strings.Count(log.String(), "stored unencrypted"); !isSeed(h.stored()) || n != 1 {
			h.Errorf("stored is %s, said %d times: %s", h.stored(), n, log)
		}
		if err := h.SealSigner(h.Context()); err != nil || !isSeed(h.stored()) {
			h.Errorf("sealed without a master key: %v", err)
		}
		keys := filepath.Join(h.TempDir(), "vault.keys")
		log = h.under(h.masterKeys(keys))
		h.forgets(first.Key)
		together(5, func(int) {
			if err := h.SealSigner(h.Context()); err != nil {
				h.Error(err)
			}
		})
		if got := h.stored(); !strings.HasPrefix(got, `{"sealed":`) || log.Len() > 0 {
			h.Errorf("stored is %s: %s", got, log)
		}
		h.forgets(first.Key)
		h.under(h.masterKeys(keys))
		h.forgets(first.Key)
	})
}

// TestKeyOfReceiptsIsMadeSealed shows a key that was never stored as it is, and that
// it goes under the next master key with the others.
func TestKeyOfReceiptsIsMadeSealed(t *testing.T) {
	h := newHome(t)
	path := filepath.Join(t.TempDir(), "vault.keys")
	keys := h.masterKeys(path)
	log := h.under(keys)
	first := h.forgets("")
	if got := h.stored(); !strings.HasPrefix(got, `{"sealed":`) || log.Len() > 0 {
		t.Errorf("stored is %s: %s", got, log)
	}
	rotated, err := keyfile.Rotate(path)
	if err != nil {
		t.Fatal(err)
	}
	if done, err := h.Vaults.Rewrap(t.Context()); err != nil || len(done.Left) > 0 {
		t.Fatalf("%+v: %v", done, err)
	}
	if _, err := keyfile.Drop(path, rotated.Old[0]); err != nil {
		t.Fatal(err)
	}
	h.under(h.masterKeys(path))
	h.forgets(first.Key)

	// Without its master key nothing is forgotten, rather than without a receipt.
	for what, master := range map[string]vault.Master{"another": h.masterKeys(filepath.Join(t.TempDir(), "vault.keys")), "none": vault.Unset("name one")} {
		h.under(master)
		r := h.fact("Ann has a dog.")
		var none *vault.NoKeyError
		if _, err := h.Forget(t.Context(), "p", keeper.Selection{ID: r.ID}, ""); !errors.As(err, &none) {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := h.Get(t.Context(), "p", r.ID); err != nil {
			t.Errorf("%s: it is gone: %v", what, err)
		}
		if got := h.ask(memory.Query{Text: "dog"}); len(got) == 0 {
			t.Errorf("%s: it is not found", what)
		}
	}
	h.under(h.masterKeys(path))
	h.forgets(first.Key)
}
