package keeper

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// Selection says what is to be forgotten: one of its fields is set.
type Selection struct {
	ID        string // a record, with all its versions
	Actor     string
	SessionID string
	Namespace string // all that lies below
}

// class is the kind of thing that is forgotten, and name which one.
func (s *Selection) class() (class, name string, err error) {
	for _, c := range [][2]string{{"record", s.ID}, {"actor", s.Actor}, {"session", s.SessionID}, {"namespace", s.Namespace}} {
		if c[1] == "" {
			continue
		}
		if class != "" {
			return "", "", &BadRecordError{Param: c[0], Message: "Say one thing to forget: a record, an actor, a session or a namespace."}
		}
		class, name = c[0], c[1]
	}
	if class == "" {
		return "", "", &BadRecordError{Message: "Say what to forget: a record, an actor, a session or a namespace."}
	}
	return class, name, nil
}

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
	// were drawn from what was asked for and lay elsewhere.
	Records   map[memory.Strategy]int `json:"records"`
	Derived   int                     `json:"derived"`
	Spaces    int                     `json:"spaces"`
	Key       string                  `json:"key"` // the public key, in hexadecimal
	Signature string                  `json:"signature,omitempty"`
}

// Forget erases what is selected, all versions of it and all that was drawn from
// it, and returns the receipt. *HeldError: a rule forbids it, and nothing was
// erased. ErrNotFound: there is no such record.
func (k *Keeper) Forget(ctx context.Context, project string, sel Selection, reason string) (Receipt, error) {
	class, name, err := sel.class()
	if err != nil {
		return Receipt{}, err
	}
	records, err := k.selected(ctx, project, &sel)
	if err != nil {
		return Receipt{}, err
	}
	asked := len(records)
	if records, err = k.withDerived(ctx, project, records); err != nil {
		return Receipt{}, err
	}
	rules, err := k.rules(ctx, project)
	if err != nil {
		return Receipt{}, err
	}
	for _, r := range records {
		if rule := held(rules, r); rule != nil {
			return Receipt{}, &HeldError{Rule: *rule}
		}
	}
	receipt := Receipt{Class: class, Reason: reason, Derived: len(records) - asked}
	if err := k.erase(ctx, project, records, &receipt); err != nil {
		return receipt, err
	}
	return receipt, k.sign(ctx, project, name, &receipt)
}

// known are records by their ids.
type known map[string]*memory.Record

// selected reads what is meant, by id.
func (k *Keeper) selected(ctx context.Context, project string, sel *Selection) (known, error) {
	out := known{}
	if sel.ID != "" {
		versions, err := k.History(ctx, project, sel.ID)
		if err != nil {
			return nil, err
		}
		for i := range versions {
			out[versions[i].ID] = &versions[i]
		}
		return out, nil
	}
	q := store.MemoryQuery{Project: project, Namespace: sel.Namespace, Actor: sel.Actor, SessionID: sel.SessionID, Superseded: true, Asc: true, Limit: 500}
	if sel.Namespace != "" && sel.Namespace != "/" {
		ns, err := memory.ParseNamespace(sel.Namespace)
		if err != nil {
			return nil, &BadRecordError{Param: "namespace", Message: err.Error()}
		}
		q.Namespace = ns
	}
	return out, k.all(ctx, q, func(r *memory.Record) { out[r.ID] = r })
}

// all reads every record that the query selects.
func (k *Keeper) all(ctx context.Context, q store.MemoryQuery, each func(*memory.Record)) error {
	for {
		records, err := k.Store.ListMemories(ctx, q)
		if err != nil {
			return err
		}
		for i := range records {
			each(&records[i])
		}
		if len(records) < q.Limit {
			return nil
		}
		q.After = records[len(records)-1].ID
	}
}

// withDerived adds all that was drawn from the records, and all versions of it:
// records of the same spaces that name one of them as their source, or as what
// they take the place of.
func (k *Keeper) withDerived(ctx context.Context, project string, records known) (known, error) {
	spaces := map[string][]*memory.Record{}
	for _, r := range records {
		spaces[r.Space] = nil
	}
	for name := range spaces {
		q := store.MemoryQuery{Project: project, Namespace: name, Superseded: true, Asc: true, Limit: 500}
		for _, s := range memory.Strategies() {
			if s != memory.Turn { // a turn is drawn from nothing
				q.Strategies = append(q.Strategies, s)
			}
		}
		if err := k.all(ctx, q, func(r *memory.Record) { spaces[name] = append(spaces[name], r) }); err != nil {
			return nil, err
		}
	}
	for grew := true; grew; {
		grew = false
		for _, list := range spaces {
			for _, r := range list {
				if records[r.ID] == nil && drawnFrom(r, records) {
					records[r.ID], grew = r, true
				}
			}
		}
	}
	return records, nil
}

// erase forgets the records, space by space. One that comes again is forgotten
// already.
func (k *Keeper) erase(ctx context.Context, project string, records known, receipt *Receipt) error {
	nums := map[string][]int64{}
	receipt.Records = map[memory.Strategy]int{}
	for _, r := range records {
		nums[r.Space] = append(nums[r.Space], r.Num)
		receipt.Records[r.Strategy]++
	}
	receipt.Spaces = len(nums)
	for name, list := range nums {
		slices.Sort(list)
		if _, err := k.Store.ForgetMemories(ctx, project, name, list); err != nil {
			return fmt.Errorf("forget %d memories: %w", len(list), err)
		}
		k.drop(spaceName{project, name})
	}
	return nil
}

// drop forgets the index of a space, which is read anew when it is asked for.
func (k *Keeper) drop(name spaceName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.spaces[name]; ok {
		k.used.Remove(e)
		delete(k.spaces, name)
		k.bytes -= e.Value.(*space).size //nolint:forcetypeassert // the list holds nothing else
	}
}

// sign completes the receipt and stores it.
func (k *Keeper) sign(ctx context.Context, project, name string, r *Receipt) error {
	key, err := k.signer(ctx)
	if err != nil {
		return err
	}
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

// ownProject is a project that no caller has.
const ownProject = "stayd:runtime"

// signer returns the key that receipts are signed with. It is made when it is
// first needed, and is the same for all processes of a store.
func (k *Keeper) signer(ctx context.Context) (ed25519.PrivateKey, error) {
	const id = "receipts"
	for range 3 {
		o, err := k.Store.Object(ctx, ownProject, store.KindReceipt, id)
		if err == nil && len(o.Data) > 0 {
			var seed []byte
			if err := json.Unmarshal(o.Data, &seed); err != nil || len(seed) != ed25519.SeedSize {
				return nil, fmt.Errorf("the key of receipts: %w", store.ErrCorrupt)
			}
			return ed25519.NewKeyFromSeed(seed), nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("read the key of receipts: %w", err)
		}
		seed := make([]byte, ed25519.SeedSize)
		rand.Read(seed)
		data, err := json.Marshal(seed)
		if err != nil {
			return nil, fmt.Errorf("encode the key of receipts: %w", err)
		}
		now := k.Now()
		err = k.Store.CreateObject(ctx, store.Object{Project: ownProject, Kind: store.KindReceipt, ID: id, Version: 1, CreatedAt: now, UpdatedAt: now, Data: data})
		if err != nil && !errors.Is(err, store.ErrConflict) {
			return nil, fmt.Errorf("store the key of receipts: %w", err)
		}
	}
	return nil, errors.New("the key of receipts could not be made")
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

// drawnFrom reports whether the record rests on one of the others.
func drawnFrom(r *memory.Record, others known) bool {
	return others[r.Supersedes] != nil || others[r.SupersededBy] != nil ||
		slices.ContainsFunc(r.Source.RecordIDs, func(id string) bool { return others[id] != nil })
}
