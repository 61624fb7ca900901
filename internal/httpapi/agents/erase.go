package agents

import (
	"context"
	"errors"
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// erase deletes a session, and the prepared environment that it took.
func (cfg *Config) erase(ctx context.Context, project, id string, in event.Input) error {
	prepared := ""
	err := cfg.Journal.Update(ctx, project, id, func(tx *journal.Tx) error {
		payloads, err := tx.State.Delete(in)
		if err != nil {
			return err
		}
		if e := tx.State.Environment.ID; e != environmentID(id) {
			prepared = e
		}
		return tx.Append(payloads...)
	})
	if err != nil || prepared == "" {
		return err
	}
	err = cfg.Store.DeleteObject(ctx, project, store.KindEnvironment, prepared)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("delete the environment %s of a session: %w", prepared, err)
	}
	return nil
}

// erasePage is how many sessions are listed at once.
const erasePage = 100

// Eraser returns what erases the sessions of which memories are forgotten: the one
// that is named, or all with an actor. Where one of them has a running turn it
// refuses, before any is erased.
func Eraser(cfg Config) func(ctx context.Context, project string, sel keeper.Selection) (int, error) {
	return func(ctx context.Context, project string, sel keeper.Selection) (int, error) {
		ids, err := cfg.sessionsOf(ctx, project, &sel)
		if err != nil {
			return 0, err
		}
		for n, id := range ids {
			if err := cfg.erase(ctx, project, id, event.Input{}); err != nil && !errors.Is(err, store.ErrNotFound) {
				return n, err
			}
		}
		return len(ids), nil
	}
}

func (cfg *Config) sessionsOf(ctx context.Context, project string, sel *keeper.Selection) (ids []string, err error) {
	running := func(id string) error {
		return &session.Refusal{
			Code: session.CodeSessionBusy, State: true,
			Message: fmt.Sprintf("The session '%s' has a running turn. Cancel it, wait until the session is idle, and ask again. Nothing was forgotten.", id),
		}
	}
	if sel.SessionID != "" {
		err := cfg.Journal.View(ctx, project, sel.SessionID, func(s *session.State) error {
			if s.Status() == session.InProgress {
				return running(s.ID)
			}
			ids = []string{s.ID}
			return nil
		})
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil // memories may be of a session that is elsewhere
		}
		return ids, err
	}
	if sel.Actor == "" {
		return nil, nil
	}
	q := store.SessionQuery{Project: project, Actor: session.ActorKey(project, sel.Actor), Asc: true, Limit: erasePage}
	for {
		rows, err := cfg.Store.Sessions(ctx, q)
		if err != nil {
			return nil, fmt.Errorf("list the sessions with an actor: %w", err)
		}
		for i := range rows {
			if rows[i].Status == session.InProgress {
				return nil, running(rows[i].Session)
			}
			ids = append(ids, rows[i].Session)
		}
		if len(rows) < q.Limit {
			return ids, nil
		}
		q.After = rows[len(rows)-1].Session
	}
}

// forgetSession deletes a session and, where its agent remembers, what is
// remembered of it.
func (a *api) forgetSession(c *httpapi.Call, id string, in event.Input) error {
	remembers := false
	err := a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		remembers = s.Agent.Memory != nil || s.Memory.Kept > 0
		return nil
	})
	switch {
	case errors.Is(err, store.ErrNotFound):
		return errors.Join(err, a.forgetRest(c, id))
	case err != nil:
		return err
	case !remembers:
		return a.erase(c.Context(), c.Project, id, in)
	}
	sel := keeper.Selection{SessionID: id, Erase: func(ctx context.Context) (int, error) {
		return 1, a.erase(ctx, c.Project, id, in)
	}}
	// A caller who goes away leaves nothing half done.
	_, err = a.Keeper.Forget(context.WithoutCancel(c.Context()), c.Project, sel, sessionDeleted)
	var held *keeper.HeldError
	if errors.As(err, &held) {
		return &httpapi.Error{Status: 409, Code: "memory_held", Message: held.Error()}
	}
	return err
}

// sessionDeleted is the reason in the receipt of what was remembered of a session.
const sessionDeleted = "the session was deleted"

// forgetRest forgets what is remembered of a session that is not there: its
// deletion may have broken off.
func (a *api) forgetRest(c *httpapi.Call, id string) error {
	if a.Keeper == nil {
		return nil
	}
	left, err := a.Keeper.List(c.Context(), store.MemoryQuery{Project: c.Project, SessionID: id, Superseded: true, Limit: 1})
	if err != nil || len(left) == 0 {
		return err
	}
	last, err := a.lastRecord(c.Context(), c.Project, id)
	if err != nil || last == nil || last.Kind != event.KindSessionDeleted {
		return err // memories may be of a session that is elsewhere
	}
	_, err = a.Keeper.Forget(context.WithoutCancel(c.Context()), c.Project, keeper.Selection{SessionID: id}, sessionDeleted)
	return err
}
