package agents

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/event"
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
// acts, as if there were none, and one in which others have spoken as well: it has
// what is remembered of them.
func (a *api) theirs(c *httpapi.Call, id string) error {
	only := c.Principal.Actor
	if only == "" {
		return nil
	}
	err := a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		if s.Actor != only || s.Several() {
			return fmt.Errorf("it is another actor's, or also another's: %w", store.ErrNotFound)
		}
		return nil
	})
	return sessionError(err, id)
}

// boundMemory refuses settings of memory, from a caller who acts for one actor
// alone, that reach the memories of others.
func boundMemory(c *httpapi.Call, settings *AgentSettings, agent *event.Agent, param string) error {
	if c.Principal.Actor == "" || !settings.Memory.Given() || agent.Memory == nil {
		return nil
	}
	templates := slices.Collect(maps.Values(agent.Memory.Namespaces))
	if agent.Memory.Recall != nil {
		templates = append(templates, agent.Memory.Recall.Namespaces...)
	}
	for _, t := range templates {
		if t != event.ActorNamespace && !strings.HasPrefix(t, event.ActorNamespace+"/") {
			return &httpapi.Error{
				Status: http.StatusForbidden, Code: "actor_not_allowed", Param: param + "memory",
				Message: "Whoever shows this token acts for '" + c.Principal.Actor + "' alone: namespaces of memory begin with " + event.ActorNamespace + ".",
			}
		}
	}
	return nil
}
