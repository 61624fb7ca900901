package vault

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/store"
)

// Delete deletes a vault with all its credentials. From its first write on the
// vault is not found, and from its second nobody can read the secrets any more.
func (v *Vaults) Delete(ctx context.Context, project, id string) error {
	err := again(func() error {
		row, err := v.store.Object(ctx, project, store.KindVault, id)
		if err != nil {
			return err
		}
		saved, err := decode[savedVault](&row)
		if err != nil || saved.Deleted {
			return err
		}
		saved.Deleted = true
		return v.replace(ctx, &row, saved)
	})
	if err != nil {
		return missing(err, "vault", id, "delete")
	}
	return v.clear(ctx, project, id)
}

// clear removes what a deleted vault has. Its key is emptied first, without which
// the rest cannot be read; its row goes last, by which Finish finds what is left.
func (v *Vaults) clear(ctx context.Context, project, id string) error {
	if err := v.emptyKey(ctx, project, id); err != nil {
		return fmt.Errorf("delete the data key of vault %s: %w", id, err)
	}
	for {
		rows, err := v.store.ListObjects(ctx, store.ObjectQuery{Project: project, Kind: credentialKind(id), Limit: scanned})
		if err != nil {
			return fmt.Errorf("list the credentials of vault %s: %w", id, err)
		}
		for i := range rows {
			if err := gone(v.store.DeleteObject(ctx, project, rows[i].Kind, rows[i].ID)); err != nil {
				return fmt.Errorf("delete credential %s: %w", rows[i].ID, err)
			}
		}
		if len(rows) < scanned {
			break
		}
	}
	if err := gone(v.store.DeleteObject(ctx, project, store.KindVault, id)); err != nil {
		return fmt.Errorf("delete vault %s: %w", id, err)
	}
	if err := gone(v.store.DeleteObject(ctx, keysProject, store.KindVaultKey, keyID(project, id))); err != nil {
		return fmt.Errorf("delete the data key of vault %s: %w", id, err)
	}
	return nil
}

// emptyKey overwrites the data key of a vault.
func (v *Vaults) emptyKey(ctx context.Context, project, id string) error {
	return gone(again(func() error {
		row, err := v.store.Object(ctx, keysProject, store.KindVaultKey, keyID(project, id))
		if err != nil {
			return err
		}
		saved, err := decode[savedKey](&row)
		if err != nil || saved.Deleted {
			return err
		}
		return v.replace(ctx, &row, &savedKey{Deleted: true})
	}))
}

// gone takes what is not there for deleted.
func gone(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// Finish removes what is left of vaults whose deletion did not come to its end. It
// needs no master key.
func (v *Vaults) Finish(ctx context.Context) error {
	return v.eachKey(ctx, func(row *store.Object) error {
		project, id, _ := strings.Cut(row.ID, "/")
		if project == ownProject {
			return nil
		}
		_, _, err := v.vault(ctx, project, id)
		var deleted *NotFoundError
		if errors.As(err, &deleted) {
			return v.clear(ctx, project, id)
		}
		return err
	})
}

// eachKey calls fn with the data keys of all projects. One that is made meanwhile
// may be left out.
func (v *Vaults) eachKey(ctx context.Context, fn func(*store.Object) error) error {
	var all []store.Object
	q := store.ObjectQuery{Project: keysProject, Kind: store.KindVaultKey, Asc: true, Limit: scanned}
	for {
		rows, err := v.store.ListObjects(ctx, q)
		if errors.Is(err, store.ErrNotFound) { // the last one was deleted meanwhile
			all, q.After = nil, ""
			continue
		}
		if err != nil {
			return fmt.Errorf("list the data keys of vaults: %w", err)
		}
		all = append(all, rows...)
		if len(rows) < scanned {
			break
		}
		q.After = rows[len(rows)-1].ID
	}
	for i := range all {
		if err := fn(&all[i]); err != nil {
			return err
		}
	}
	return nil
}
