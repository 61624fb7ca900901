package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/store"
)

// Rewrapped says what Rewrap did.
type Rewrapped struct {
	Master string // id of the current master key
	Keys   int    // data keys of vaults that there are
	Moved  int    // those of them that were wrapped with another master key
	// Left are data keys that are still under other master keys, by the id of the
	// key, as that is not there.
	Left map[string]int
}

// Rewrap wraps all data keys with the current master key. Who reads and writes
// credentials meanwhile is not held up. When it returns without an error and Left
// is empty, nothing needs any other master key. Where it was interrupted, the next
// one goes on.
func (v *Vaults) Rewrap(ctx context.Context) (Rewrapped, error) {
	v.rewrapping.Lock()
	defer v.rewrapping.Unlock()
	done := Rewrapped{Left: map[string]int{}}
	// Whoever wraps with an older key has stored it when this lock is had.
	v.wrapping.Lock()
	id, err := v.master.Current(ctx)
	v.wrapping.Unlock()
	if err != nil {
		return done, fmt.Errorf("find the master key: %w", err)
	}
	done.Master = id
	err = v.eachKey(ctx, func(row *store.Object) error {
		project, vault, _ := strings.Cut(row.ID, "/")
		if project != ownProject {
			done.Keys++
		}
		return v.rewrap(ctx, project, vault, &done)
	})
	return done, err
}

func (v *Vaults) rewrap(ctx context.Context, project, vault string, done *Rewrapped) error {
	err := again(func() error {
		row, err := v.store.Object(ctx, keysProject, store.KindVaultKey, keyID(project, vault))
		if err != nil {
			return err
		}
		saved, err := decode[savedKey](&row)
		if err != nil || saved.Master == done.Master {
			return err
		}
		if saved.Deleted {
			return store.ErrNotFound
		}
		plain, err := v.master.Unwrap(ctx, saved.Master, saved.Wrapped, keyBinding(project, vault))
		var without *NoKeyError
		if errors.As(err, &without) {
			done.Left[saved.Master]++
			return nil
		}
		if err != nil {
			return err
		}
		if saved, err = v.wrap(ctx, project, vault, plain); err != nil {
			return err
		}
		if err := v.replace(ctx, &row, saved); err != nil {
			return err
		}
		if project != ownProject {
			done.Moved++
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) { // deleted meanwhile
		done.Keys--
		return nil
	}
	if err != nil {
		return fmt.Errorf("wrap the data key of vault %s anew: %w", vault, err)
	}
	return nil
}
