package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/store"
)

// savedAgent is what the store keeps of an agent.
type savedAgent struct {
	Agent    event.Agent       `json:"agent"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// Created is the request that made it, Updated the last ones that changed it.
	Created event.Input   `json:"created"`
	Updated []event.Input `json:"updated,omitempty"`
}

// rememberedUpdates is how many changes of an agent are known by their
// idempotency keys.
const rememberedUpdates = 16

func (a *api) savedOperations() []httpapi.Operation {
	const path = "/v1/agents/{agent_id}"
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: "/v1/agents", ID: "createAgent", Summary: "Create an agent", Body: createAgent{}, Result: agentObject{}, Do: a.createAgent},
		{Method: http.MethodGet, Path: "/v1/agents", ID: "listAgents", Summary: "List agents", Query: httpapi.PageParams(), Result: httpapi.List[agentObject]{}, Do: a.listAgents},
		{Method: http.MethodGet, Path: path, ID: "getAgent", Summary: "Get an agent", Result: agentObject{}, Do: a.getAgent},
		{Method: http.MethodPost, Path: path, ID: "updateAgent", Summary: "Change an agent", Body: updateAgent{}, Result: agentObject{}, Do: a.updateAgent},
		{Method: http.MethodDelete, Path: path, ID: "deleteAgent", Summary: "Delete an agent", Result: deletedObject{}, Do: a.deleteAgent},
	}
}

func (a *api) createAgent(c *httpapi.Call) (any, error) {
	var body createAgent
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	if !body.Model.Set {
		return nil, missing("model")
	}
	saved := savedAgent{Agent: defaultAgent(), Created: in}
	if err := a.apply(&saved.Agent, &body.AgentSettings, ""); err != nil {
		return nil, err
	}
	if body.Name.Given() {
		saved.Agent.Name = &body.Name.V
	}
	if saved.Metadata, err = metadata(body.Metadata); err != nil {
		return nil, err
	}
	saved.Agent.ID = idFor("agent", in, c.Project)
	now := a.Now().UTC().Truncate(time.Microsecond)
	row := store.Object{Project: c.Project, Kind: store.KindAgent, ID: saved.Agent.ID, Version: 1, CreatedAt: now, UpdatedAt: now}
	if row.Data, err = httpapi.Marshal(saved); err != nil {
		return nil, fmt.Errorf("encode agent: %w", err)
	}
	err = a.Store.CreateObject(c.Context(), row)
	if errors.Is(err, store.ErrConflict) && in.Key != "" {
		return a.createdBefore(c, row.ID, in)
	}
	if err != nil {
		return nil, fmt.Errorf("create agent: %w", err)
	}
	return renderAgent(&row, &saved), nil
}

// createdBefore answers a repeated creation.
func (a *api) createdBefore(c *httpapi.Call, id string, in event.Input) (any, error) {
	row, saved, err := a.savedAgent(c.Context(), c.Project, id)
	if err != nil {
		return nil, err
	}
	if saved.Created != in {
		return nil, keyReused()
	}
	return renderAgent(row, saved), nil
}

func keyReused() error {
	return &httpapi.Error{
		Status: http.StatusConflict, Code: httpapi.CodeKeyReused, Param: "Idempotency-Key",
		Message: "This Idempotency-Key was used for another request. Use a new key for a new request.",
	}
}

func missing(param string) error {
	return &httpapi.Error{
		Status: http.StatusBadRequest, Code: httpapi.CodeMissing, Param: param, Message: fmt.Sprintf("Missing required parameter: '%s'.", param),
	}
}

func (a *api) listAgents(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	rows, err := a.Store.ListObjects(c.Context(), store.ObjectQuery{Project: c.Project, Kind: store.KindAgent, After: p.After, Asc: p.Asc, Limit: p.Limit + 1})
	if errors.Is(err, store.ErrNotFound) {
		return nil, httpapi.Invalid("after", "No agent found with id '"+p.After+"'.")
	}
	if err != nil {
		return nil, fmt.Errorf("list agents: %w", err)
	}
	found := make([]agentObject, len(rows))
	for i := range rows {
		saved, err := decodeAgent(&rows[i])
		if err != nil {
			return nil, err
		}
		found[i] = renderAgent(&rows[i], saved)
	}
	return httpapi.PageOf(found, p.Limit, func(o *agentObject) string { return o.ID }), nil
}

func (a *api) getAgent(c *httpapi.Call) (any, error) {
	row, saved, err := a.savedAgent(c.Context(), c.Project, c.Path("agent_id"))
	if err != nil {
		return nil, err
	}
	return renderAgent(row, saved), nil
}

func (a *api) savedAgent(ctx context.Context, project, id string) (*store.Object, *savedAgent, error) {
	row, err := a.Store.Object(ctx, project, store.KindAgent, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, httpapi.NotFound("agent", id)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read agent %s: %w", id, err)
	}
	saved, err := decodeAgent(&row)
	return &row, saved, err
}

func decodeAgent(row *store.Object) (*savedAgent, error) {
	saved := &savedAgent{}
	if err := json.Unmarshal(row.Data, saved); err != nil {
		return nil, fmt.Errorf("decode agent %s: %w: %w", row.ID, err, store.ErrCorrupt)
	}
	return saved, nil
}

// updateAttempts is how often a change is made again after another was first.
const updateAttempts = 8

func (a *api) updateAgent(c *httpapi.Call) (any, error) {
	var body updateAgent
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		result, err := a.tryUpdateAgent(c, &body, in)
		if !errors.Is(err, store.ErrConflict) || n == updateAttempts {
			return result, err
		}
	}
}

func (a *api) tryUpdateAgent(c *httpapi.Call, body *updateAgent, in event.Input) (any, error) {
	row, saved, err := a.savedAgent(c.Context(), c.Project, c.Path("agent_id"))
	if err != nil {
		return nil, err
	}
	if in.Key != "" {
		i := slices.IndexFunc(saved.Updated, func(u event.Input) bool { return u.Key == in.Key })
		switch {
		case i >= 0 && saved.Updated[i] == in:
			return renderAgent(row, saved), nil
		case i >= 0:
			return nil, keyReused()
		}
		saved.Updated = append(saved.Updated, in)
		saved.Updated = saved.Updated[max(0, len(saved.Updated)-rememberedUpdates):]
	}
	if err := a.apply(&saved.Agent, &body.AgentSettings, ""); err != nil {
		return nil, err
	}
	if body.Name.Set {
		saved.Agent.Name = nil
		if body.Name.Given() {
			saved.Agent.Name = &body.Name.V
		}
	}
	if body.Metadata.Set {
		if saved.Metadata, err = metadata(body.Metadata); err != nil {
			return nil, err
		}
	}
	row.Version++
	row.UpdatedAt = a.Now().UTC().Truncate(time.Microsecond)
	if row.Data, err = httpapi.Marshal(saved); err != nil {
		return nil, fmt.Errorf("encode agent: %w", err)
	}
	if err := a.Store.UpdateObject(c.Context(), *row); err != nil {
		if errors.Is(err, store.ErrNotFound) {
			return nil, httpapi.NotFound("agent", row.ID)
		}
		return nil, fmt.Errorf("change agent %s: %w", row.ID, err)
	}
	return renderAgent(row, saved), nil
}

func (a *api) deleteAgent(c *httpapi.Call) (any, error) {
	id := c.Path("agent_id")
	err := a.Store.DeleteObject(c.Context(), c.Project, store.KindAgent, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, httpapi.NotFound("agent", id)
	}
	if err != nil {
		return nil, fmt.Errorf("delete agent %s: %w", id, err)
	}
	return deletedObject{ID: id, Object: "agent.deleted", Deleted: true}, nil
}

func renderAgent(row *store.Object, saved *savedAgent) agentObject {
	g := &saved.Agent
	return agentObject{
		ID: row.ID, Object: "agent", CreatedAt: row.CreatedAt.Unix(), UpdatedAt: row.UpdatedAt.Unix(), Name: g.Name,
		Metadata: orEmpty(saved.Metadata), Model: g.Model, Instructions: g.Instructions, AgentParts: renderParts(g),
	}
}
