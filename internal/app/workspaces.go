package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/store"
)

// workspacesFolder holds a folder for each session's environment, in one for
// each project.
const workspacesFolder = "workspaces"

// tidy ends the connection of a machine that may not have it any more, and asks
// for the workspaces of deleted sessions to be removed, where the commit deleted
// one.
func (a *App) tidy(c journal.Commit) {
	n := len(c.Records)
	if n == 0 {
		return
	}
	switch c.Records[n-1].Kind {
	case event.KindTokenRenewed:
		a.hub.Renewed(c.Project, c.Session)
		return
	case event.KindSessionDeleted:
		a.hub.Drop(c.Project, c.Session)
	default:
		return
	}
	select {
	case a.deleted <- struct{}{}:
	default: // it is asked for already
	}
}

// removeWorkspaces removes the workspaces whose sessions are no more, those that
// an earlier process left among them.
func (a *App) removeWorkspaces(ctx context.Context) error {
	root := filepath.Join(a.cfg.Data, workspacesFolder)
	folders, err := filepath.Glob(filepath.Join(root, "*", "*"))
	if err != nil {
		return fmt.Errorf("list the workspaces: %w", err)
	}
	var errs []error
	for _, folder := range folders {
		project, session := filepath.Base(filepath.Dir(folder)), filepath.Base(folder)
		_, err := a.store.Session(ctx, project, session)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if err := a.environments.Remove(project, session); err != nil {
				errs = append(errs, fmt.Errorf("after the deletion of session %s: %w", session, err))
			}
		case err != nil:
			return fmt.Errorf("look for the session of a workspace: %w", err)
		}
	}
	return errors.Join(errs...)
}
