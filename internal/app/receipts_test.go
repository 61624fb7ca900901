package app_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/store"
)

// TestKeyOfReceipts shows that a key of receipts which was stored unencrypted is
// encrypted when a runtime with a master key starts.
func TestKeyOfReceipts(t *testing.T) {
	cfg := config(t)
	rowOf := func(change func(store.Store)) string {
		t.Helper()
		st, err := app.OpenStore(t.Context(), "", cfg.Data, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		change(st)
		row, err := st.Object(t.Context(), "stayd:runtime", store.KindReceipt, "receipts")
		if err != nil {
			t.Fatal(err)
		}
		return string(row.Data)
	}
	seed, err := json.Marshal([]byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	rowOf(func(st store.Store) {
		err := st.CreateObject(t.Context(), store.Object{Project: "stayd:runtime", Kind: store.KindReceipt, ID: "receipts", Version: 1, CreatedAt: time.Now(), UpdatedAt: time.Now(), Data: seed})
		if err != nil {
			t.Fatal(err)
		}
	})
	var log bytes.Buffer
	_, stop := runLogged(t, cfg, &log)
	defer stop()
	wait(t, "the key of receipts to be encrypted", func() bool {
		return strings.HasPrefix(rowOf(func(store.Store) {}), `{"sealed":"`)
	})
}
