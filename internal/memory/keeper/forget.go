package keeper

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// Selection says what is to be forgotten: one of its fields is set.
type Selection struct {
	ID        string // a record, with all its versions
	Actor     string
	SessionID string
	Namespace string // all that lies below
	// Erase, where it is set, erases the sessions that are meant, once it is known
	// that nothing forbids it and before their memories, and says how many.
	Erase func(context.Context) (int, error)
	// Credentials, where it is set, deletes the actor's, after Erase, and says how many.
	Credentials func(context.Context) (int, error)
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

// Forget erases what is selected, all versions of it and all that was drawn from
// it anywhere in the project, and returns the receipt. *HeldError: a rule forbids
// it, and nothing was erased. ErrNotFound: there is no such record. *vault.NoKeyError:
// receipts cannot be signed without a master key that is not there, and nothing was
// erased.
//
// What was drawn goes before what it was drawn from, so that Forget reaches all of
// the rest when it is asked again after it failed half-way.
func (k *Keeper) Forget(ctx context.Context, project string, sel Selection, reason string) (Receipt, error) {
	class, name, err := sel.class()
	if err != nil {
		return Receipt{}, err
	}
	doomed, err := k.meantBy(ctx, project, &sel)
	if err != nil {
		return Receipt{}, err
	}
	rules, err := k.rules(ctx, project)
	if err != nil {
		return Receipt{}, err
	}
	for _, d := range doomed {
		if rule := held(rules, d.namespace); rule != nil {
			return Receipt{}, &HeldError{Rule: *rule}
		}
	}
	key, err := k.signer(ctx)
	if err != nil {
		return Receipt{}, err
	}
	receipt := newReceipt(class, reason)
	if sel.Erase != nil {
		if receipt.Sessions, err = sel.Erase(ctx); err != nil {
			return receipt, err
		}
		// A session may have written until it was erased.
		if doomed, err = k.meantBy(ctx, project, &sel); err != nil {
			return receipt, err
		}
	}
	if sel.Credentials != nil {
		if receipt.Credentials, err = sel.Credentials(ctx); err != nil {
			return receipt, err
		}
	}
	if err := k.erase(ctx, project, doomed, &receipt); err != nil {
		return receipt, err
	}
	if err := k.eraseLate(ctx, project, doomed, rules, &receipt); err != nil {
		return receipt, err
	}
	return receipt, k.sign(ctx, key, project, name, &receipt)
}

// meantBy is what is selected, and what was drawn from it.
func (k *Keeper) meantBy(ctx context.Context, project string, sel *Selection) (doomed, error) {
	records, err := k.selected(ctx, project, sel)
	if err != nil {
		return nil, err
	}
	return records, k.addDrawn(ctx, project, records)
}

// eraseLate erases what was drawn from the records, or took the place of one, until
// they were erased. Whoever writes such a thing from then on finds that they are not
// there.
func (k *Keeper) eraseLate(ctx context.Context, project string, gone doomed, rules []Rule, receipt *Receipt) error {
	for {
		if err := k.addDrawn(ctx, project, gone); err != nil {
			return err
		}
		late := doomed{}
		for id, d := range gone {
			if !d.erased && held(rules, d.namespace) == nil {
				late[id] = d
			}
		}
		if len(late) == 0 {
			return nil
		}
		if err := k.erase(ctx, project, late, receipt); err != nil {
			return err
		}
	}
}

// doomed are the records that are to be forgotten, by their ids.
type doomed map[string]*doomedRecord

// doomedRecord is what of a record is needed to forget it.
type doomedRecord struct {
	space     string
	num       int64
	namespace string
	strategy  memory.Strategy
	versions  [2]string // ids of the one before and the one after it, or empty
	// depth is 0 for what was asked for, and one more than that of the record by
	// which it was found.
	depth   int
	derived bool // it is neither what was asked for nor a version of that
	erased  bool
}

func (d doomed) add(r *memory.Record, depth int, derived bool) *doomedRecord {
	if d[r.ID] == nil {
		d[r.ID] = &doomedRecord{
			space: r.Space, num: r.Num, namespace: r.Namespace, strategy: r.Strategy,
			versions: [2]string{r.Supersedes, r.SupersededBy}, depth: depth, derived: derived,
		}
	}
	return d[r.ID]
}

// selected finds what is meant.
func (k *Keeper) selected(ctx context.Context, project string, sel *Selection) (doomed, error) {
	out := doomed{}
	if sel.ID != "" {
		r, err := k.Store.Memory(ctx, project, sel.ID)
		if err != nil {
			return nil, err
		}
		out.add(&r, 0, false)
		return out, k.addVersions(ctx, project, out)
	}
	q := store.MemoryQuery{Project: project, Namespace: sel.Namespace, Actor: sel.Actor, SessionID: sel.SessionID, Superseded: true, Asc: true}
	if sel.Namespace != "" && sel.Namespace != "/" {
		ns, err := memory.ParseNamespace(sel.Namespace)
		if err != nil {
			return nil, &BadRecordError{Param: "namespace", Message: err.Error()}
		}
		q.Namespace = ns
	}
	err := k.all(ctx, q, func(r *memory.Record) { out.add(r, 0, false) })
	if err != nil {
		return nil, err
	}
	return out, k.addVersions(ctx, project, out)
}

// erase forgets the records and counts those that were there: the deepest first,
// and strategy by strategy, as the store counts them together.
func (k *Keeper) erase(ctx context.Context, project string, records doomed, receipt *Receipt) error {
	type batch struct {
		depth    int
		derived  bool
		space    string
		strategy memory.Strategy
	}
	batches := map[batch][]*doomedRecord{}
	for _, d := range records {
		if !d.erased {
			b := batch{d.depth, d.derived, d.space, d.strategy}
			batches[b] = append(batches[b], d)
		}
	}
	order := make([]batch, 0, len(batches))
	for b := range batches {
		order = append(order, b)
	}
	slices.SortFunc(order, func(a, b batch) int {
		return cmp.Or(cmp.Compare(b.depth, a.depth), cmp.Compare(a.space, b.space))
	})
	for _, b := range order {
		nums := make([]int64, len(batches[b]))
		for i, d := range batches[b] {
			nums[i] = d.num
		}
		slices.Sort(nums)
		n, err := k.Store.ForgetMemories(ctx, project, b.space, nums)
		if err != nil {
			return fmt.Errorf("forget %d memories: %w", len(nums), err)
		}
		k.drop(spaceName{project, b.space})
		for _, d := range batches[b] {
			d.erased = true
		}
		receipt.count(b.space, b.strategy, n, b.derived)
	}
	return nil
}

// drop forgets the index of a space, which is read anew when it is asked for.
func (k *Keeper) drop(name spaceName) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e, ok := k.spaces[name]; ok {
		k.bytes -= e.Value.(*space).size //nolint:forcetypeassert // the list holds nothing else
		e.Value = &space{name: name}
	}
}
