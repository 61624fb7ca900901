package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/store"
)

// Rule is what holds for all that lies below a namespace.
type Rule struct {
	Namespace string `json:"namespace"`
	// ExpireAfterSeconds is how long after it was recorded a record is forgotten;
	// 0 is never. It holds for records that are written from then on.
	ExpireAfterSeconds int64 `json:"expire_after_seconds,omitempty"`
	// Hold keeps everything from being forgotten, and Reason says why.
	Hold   bool   `json:"hold,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func (r *Rule) covers(namespace string) bool {
	return r.Namespace == "/" || memory.Below(namespace, r.Namespace)
}

// HeldError is something that may not be forgotten.
type HeldError struct{ Rule Rule }

func (e *HeldError) Error() string {
	return fmt.Sprintf("What lies below '%s' is held and cannot be forgotten: %s", e.Rule.Namespace, e.Rule.Reason)
}

// maxRules bounds the rules of a project.
const maxRules = 1000

// Rules lists the rules of a project.
func (k *Keeper) Rules(ctx context.Context, project string) ([]Rule, error) {
	return k.rules(ctx, project)
}

func (k *Keeper) rules(ctx context.Context, project string) ([]Rule, error) {
	rows, err := k.Store.ListObjects(ctx, store.ObjectQuery{Project: project, Kind: store.KindMemoryRule, Asc: true, Limit: maxRules})
	if err != nil {
		return nil, fmt.Errorf("read the rules of memory: %w", err)
	}
	rules := make([]Rule, len(rows))
	for i := range rows {
		if err := json.Unmarshal(rows[i].Data, &rules[i]); err != nil {
			return nil, fmt.Errorf("rule %s: %w: %w", rows[i].ID, err, store.ErrCorrupt)
		}
	}
	return rules, nil
}

func ruleID(namespace string) string { return memory.ID("", namespace, "rule") }

// SetRule sets what holds below a namespace, in place of the rule that was there;
// one that says nothing takes it away.
func (k *Keeper) SetRule(ctx context.Context, project string, r Rule) (Rule, error) {
	if r.Namespace != "/" {
		ns, err := memory.ParseNamespace(r.Namespace)
		if err != nil {
			return r, &BadRecordError{Param: "namespace", Message: err.Error()}
		}
		r.Namespace = ns
	}
	switch {
	case r.ExpireAfterSeconds < 0:
		return r, &BadRecordError{Param: "expire_after_seconds", Message: "expire_after_seconds is negative."}
	case r.Hold && r.Reason == "":
		return r, &BadRecordError{Param: "reason", Message: "A hold needs a reason, which is told to whoever wants to forget something."}
	}
	if r.ExpireAfterSeconds == 0 && !r.Hold {
		err := k.Store.DeleteObject(ctx, project, store.KindMemoryRule, ruleID(r.Namespace))
		if errors.Is(err, store.ErrNotFound) {
			err = nil
		}
		return r, err
	}
	// One rule more than are read would not be heeded.
	rules, err := k.rules(ctx, project)
	if err != nil {
		return r, err
	}
	there := slices.ContainsFunc(rules, func(other Rule) bool { return other.Namespace == r.Namespace })
	if len(rules) >= maxRules && !there {
		return r, &BadRecordError{Param: "namespace", Message: fmt.Sprintf("The project has %d rules, and cannot have more. Take one away, or set one for a namespace above.", len(rules))}
	}
	return r, k.putRule(ctx, project, &r)
}

func (k *Keeper) putRule(ctx context.Context, project string, r *Rule) error {
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode a rule: %w", err)
	}
	id, now := ruleID(r.Namespace), k.Now()
	o := store.Object{Project: project, Kind: store.KindMemoryRule, ID: id, Version: 1, CreatedAt: now, UpdatedAt: now, Data: data}
	err = k.Store.CreateObject(ctx, o)
	for n := 0; errors.Is(err, store.ErrConflict) && n < 5; n++ {
		var old store.Object
		if old, err = k.Store.Object(ctx, project, store.KindMemoryRule, id); err != nil {
			break
		}
		o.Version, o.CreatedAt = old.Version+1, old.CreatedAt
		err = k.Store.UpdateObject(ctx, o)
	}
	return err
}

// held returns the hold that keeps what stands in the namespace, or nil.
func held(rules []Rule, namespace string) *Rule {
	for i := range rules {
		if rules[i].Hold && rules[i].covers(namespace) {
			return &rules[i]
		}
	}
	return nil
}
