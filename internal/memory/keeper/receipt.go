package keeper

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// Receipt says what class of things was forgotten, and when, without what they
// were. Signature is that of its JSON without Signature, by Ed25519, in
// hexadecimal.
type Receipt struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Class   string    `json:"class"`   // record, actor, session, namespace, expired
	Subject string    `json:"subject"` // SHA-256 of Salt, a zero byte and the id, actor, session or namespace
	Salt    string    `json:"salt"`
	Reason  string    `json:"reason,omitempty"`
	// Records counts what was forgotten, by strategy; Derived is how many of them
	// were not asked for, and went as they were drawn from what was.
	Records  map[memory.Strategy]int `json:"records"`
	Derived  int                     `json:"derived"`
	Spaces   int                     `json:"spaces"`
	Sessions int                     `json:"sessions"` // that were erased with them
	// Credentials is how many of the actor's were deleted with them, where that was
	// asked for.
	Credentials int    `json:"credentials,omitempty"`
	Key         string `json:"key"` // the public key, in hexadecimal
	Signature   string `json:"signature,omitempty"`

	spaces map[string]bool
}

func newReceipt(class, reason string) Receipt {
	return Receipt{Class: class, Reason: reason, Records: map[memory.Strategy]int{}, spaces: map[string]bool{}}
}

// count adds what was forgotten of one space.
func (r *Receipt) count(space string, s memory.Strategy, n int, derived bool) {
	if n == 0 {
		return
	}
	r.Records[s] += n
	if derived {
		r.Derived += n
	}
	r.spaces[space] = true
	r.Spaces = len(r.spaces)
}

// sign completes the receipt and stores it.
func (k *Keeper) sign(ctx context.Context, key ed25519.PrivateKey, project, name string, r *Receipt) error {
	r.ID, r.At = "rcpt_"+uuid.NewString(), k.Now().UTC().Truncate(time.Microsecond)
	salt := rand.Text()
	sum := sha256.Sum256([]byte(salt + "\x00" + name))
	r.Salt, r.Subject = salt, hex.EncodeToString(sum[:])
	r.Key = hex.EncodeToString(key.Public().(ed25519.PublicKey)) //nolint:forcetypeassert // as documented
	plain, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a receipt: %w", err)
	}
	r.Signature = hex.EncodeToString(ed25519.Sign(key, plain))
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a receipt: %w", err)
	}
	err = k.Store.CreateObject(ctx, store.Object{
		Project: project, Kind: store.KindReceipt, ID: r.ID, Version: 1, CreatedAt: r.At, UpdatedAt: r.At, Data: data,
	})
	if err != nil {
		return fmt.Errorf("store the receipt of what was forgotten: %w", err)
	}
	return nil
}

// Verify reports whether the receipt is as it was signed, by the key in it.
func (r Receipt) Verify() bool {
	signature, err := hex.DecodeString(r.Signature)
	key, keyErr := hex.DecodeString(r.Key)
	r.Signature = ""
	plain, jsonErr := json.Marshal(r)
	return err == nil && keyErr == nil && jsonErr == nil && len(key) == ed25519.PublicKeySize && ed25519.Verify(key, plain, signature)
}

// Receipts lists what was forgotten in a project.
func (k *Keeper) Receipts(ctx context.Context, q store.ObjectQuery) ([]Receipt, error) {
	q.Kind = store.KindReceipt
	rows, err := k.Store.ListObjects(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("list receipts: %w", err)
	}
	out := make([]Receipt, len(rows))
	for i := range rows {
		if err := json.Unmarshal(rows[i].Data, &out[i]); err != nil {
			return nil, fmt.Errorf("receipt %s: %w: %w", rows[i].ID, err, store.ErrCorrupt)
		}
	}
	return out, nil
}
