package agents

import (
	"fmt"
	"strings"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// bound has callers who act for one actor alone use the operations on sessions,
// of which they see that actor's. What compares two sessions is not among them.
func (a *api) bound(op httpapi.Operation) httpapi.Operation {
	switch {
	case op.ID == "createSession", op.ID == "listSessions":
		op.Bound = true
	case strings.HasPrefix(op.Path, sessionPath) && op.ID != "diffSessions":
		op.Bound = true
		do := op.Do
		op.Do = func(c *httpapi.Call) (any, error) {
			if err := a.theirs(c, c.Path("session_id")); err != nil {
				return nil, err
			}
			return do(c)
		}
	}
	return op
}

// theirs refuses a session that is not with the only actor for whom the caller
// acts, as if there were none.
func (a *api) theirs(c *httpapi.Call, id string) error {
	only := c.Principal.Actor
	if only == "" {
		return nil
	}
	err := a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		if s.Actor != only {
			return fmt.Errorf("it is another actor's: %w", store.ErrNotFound)
		}
		return nil
	})
	return sessionError(err, id)
}
