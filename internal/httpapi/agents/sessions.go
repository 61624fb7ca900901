package agents

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

const (
	sessionsPath = "/v1/agents/sessions"
	sessionPath  = sessionsPath + "/{session_id}"
)

func (a *api) sessionOperations() []httpapi.Operation {
	filters := append(httpapi.PageParams(),
		httpapi.Param{Name: "agent_id", Doc: "Only sessions of this agent."},
		httpapi.Param{Name: "actor", Doc: "Only sessions with this actor."},
		httpapi.Param{Name: "forked_from", Doc: "Only forks of this session, which may be deleted."},
		httpapi.Param{Name: "metadata[]", Doc: "Only sessions with all of these pairs, as metadata[key]=value."})
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: sessionsPath, ID: "createSession", Summary: "Create a session", Body: createSession{}, Result: sessionObject{}, Stream: true, Do: a.createSession},
		{Method: http.MethodGet, Path: sessionsPath, ID: "listSessions", Summary: "List sessions", Query: filters, Result: httpapi.List[sessionObject]{}, Do: a.listSessions},
		{Method: http.MethodGet, Path: sessionPath, ID: "getSession", Summary: "Get a session", Result: sessionObject{}, Do: a.getSession},
		{Method: http.MethodPost, Path: sessionPath, ID: "updateSession", Summary: "Change a session", Body: updateSession{}, Result: sessionObject{}, Do: a.updateSession},
		{Method: http.MethodDelete, Path: sessionPath, ID: "deleteSession", Summary: "Delete a session and erase what it held", Result: deletedObject{}, Do: a.deleteSession},
	}
}

// sessionError names the session that there is not.
func sessionError(err error, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return httpapi.NotFound("agent session", id)
	}
	return err
}

// newSession is a session that is about to be made.
type newSession struct {
	id      string
	created *event.SessionCreated
	turn    *event.TurnCreated // nil without an input
	view    view               // of who makes it

	row *store.Object // of the prepared environment that it takes, or nil
	pre *prewarmed

	vaults []string // of the prepared environment
}

func (a *api) createSession(c *httpapi.Call) (any, error) {
	var body createSession
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	n, err := a.takenSession(c, &body, in)
	if err != nil {
		return nil, err
	}
	made, err := a.makeSession(c, n, in)
	if err != nil {
		return nil, err
	}
	if body.Stream {
		return a.follow(c, n.id, "0", n.view)
	}
	return made, nil
}

// takenSession is a new session that has the environment it asked for.
func (a *api) takenSession(c *httpapi.Call, body *createSession, in event.Input) (*newSession, error) {
	for i := 1; ; i++ {
		n, err := a.newSession(c, body, in)
		if err != nil {
			return nil, err
		}
		err = a.take(c, n)
		if !errors.Is(err, store.ErrConflict) || i == updateAttempts {
			return n, err
		}
	}
}

func (a *api) makeSession(c *httpapi.Call, n *newSession, in event.Input) (made sessionObject, err error) {
	err = a.Journal.Create(c.Context(), c.Project, n.id, func(tx *journal.Tx) error {
		payloads := []event.Payload{n.created}
		if n.turn != nil {
			payloads = append(payloads, n.turn)
		}
		err := tx.Append(payloads...)
		made = renderSession(tx.State, n.view)
		return err
	})
	switch {
	case errors.Is(err, store.ErrConflict) && in.Key != "":
		n.view.token = "" // which nobody is told twice
		return a.sessionBefore(c, n.id, in)
	case errors.Is(err, store.ErrFull), errors.Is(err, session.ErrImpossible):
		// Nothing was written, for certain.
		err = errors.Join(err, a.giveBack(c, n))
	}
	return made, err
}

// sessionBefore answers a repeated creation.
func (a *api) sessionBefore(c *httpapi.Call, id string, in event.Input) (sessionObject, error) {
	made, known, err := a.madeBefore(c, id, in)
	if err == nil && !known {
		err = keyReused() // by a session that was deleted since
	}
	return made, err
}

// madeBefore returns the session that the same request made before, if there is
// one.
func (a *api) madeBefore(c *httpapi.Call, id string, in event.Input) (made sessionObject, known bool, err error) {
	err = a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		if s.Created != in {
			return keyReused()
		}
		made = renderSession(s, a.view(c))
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return made, false, nil
	}
	return made, err == nil, err
}

func (a *api) newSession(c *httpapi.Call, body *createSession, in event.Input) (*newSession, error) {
	n := &newSession{id: idFor("sess", in, c.Project), view: a.view(c)}
	if err := unservedSession(body.Review); err != nil {
		return nil, err
	}
	if err := a.checkVaults(c, body.VaultIDs); err != nil {
		return nil, err
	}
	env, err := a.environment(c, &body.Environment, n)
	if err != nil {
		return nil, err
	}
	agent, err := a.sessionAgent(c, body, n.id)
	if err != nil {
		return nil, err
	}
	pairs, err := metadata(body.Metadata)
	if err != nil {
		return nil, err
	}
	actor, err := c.ActFor(body.Actor)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkActor("actor", actor), needsActor(agent, actor)); err != nil {
		return nil, err
	}
	n.created = &event.SessionCreated{
		Input: in, Project: c.Project, Agent: *agent, Environment: env, Metadata: pairs, SpendLimit: spendLimit(body.SpendControl), Actor: actor,
		VaultIDs: together(body.VaultIDs, n.vaults),
	}
	if err := needsVault(agent, n.created.VaultIDs); err != nil {
		return nil, err
	}
	switch {
	case !body.Input.set && env.Type == event.EnvironmentNone:
		return nil, required("input", "when environment.type is 'none'")
	case !body.Input.set && body.Stream:
		return nil, required("input", "when stream is true")
	case !body.Input.set:
		return n, nil
	}
	turnID := event.DeriveID("turn", n.id, "first")
	items, err := messages(body.Input.Messages, turnID, "input")
	if err != nil {
		return nil, err
	}
	n.turn = &event.TurnCreated{Input: event.Input{By: in.By, TraceParent: in.TraceParent}, TurnID: turnID, Items: items}
	return n, nil
}

func required(param, when string) error {
	return &httpapi.Error{
		Status: http.StatusBadRequest, Code: httpapi.CodeMissing, Param: param,
		Message: fmt.Sprintf("Missing required parameter: '%s'. It is required %s.", param, when),
	}
}

func unservedSession(review string) error {
	if review == "auto_review" {
		return httpapi.Unsupported("review", "Automatic review is not served yet. Leave review out, and let tools ask for approval by their effects.")
	}
	return nil
}

func spendLimit(o opt[spendBody]) *int64 {
	if !o.Given() || !o.V.Limit.Given() {
		return nil
	}
	return &o.V.Limit.V
}

// sessionAgent is the agent that the session begins with: a saved one with what
// the request overrides, or one of the request's own.
func (a *api) sessionAgent(c *httpapi.Call, body *createSession, sessionID string) (*event.Agent, error) {
	agent := defaultAgent()
	agent.ID = event.DeriveID("agent", sessionID)
	switch {
	case body.AgentID != "":
		row, saved, err := a.savedAgent(c.Context(), c.Project, body.AgentID)
		if err != nil {
			return nil, err
		}
		agent = saved.Agent
		agent.Version = row.Version
		if err := a.CheckModel(agent.Model); err != nil && !body.Agent.V.Model.Set {
			return nil, httpapi.Invalid("agent_id", err.Error())
		}
	case !body.Agent.Given():
		return nil, required("agent", "without 'agent_id'")
	case !body.Agent.V.Model.Set:
		return nil, required("agent.model", "without 'agent_id'")
	}
	if err := a.apply(&agent, &body.Agent.V, "agent."); err != nil {
		return nil, err
	}
	a.resolve(&agent)
	return &agent, boundMemory(c, &body.Agent.V, &agent, "agent.")
}

func (a *api) getSession(c *httpapi.Call) (any, error) {
	return a.viewed(c, c.Path("session_id"))
}

func (a *api) viewed(c *httpapi.Call, id string) (sessionObject, error) {
	var found sessionObject
	err := a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		found = renderSession(s, a.view(c))
		return nil
	})
	return found, sessionError(err, id)
}

func (a *api) listSessions(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	query := c.URL.Query()
	actor, err := c.ActFor(query.Get("actor"))
	if err != nil {
		return nil, err
	}
	q := store.SessionQuery{
		Project: c.Project, AgentID: query.Get("agent_id"), ForkedFrom: query.Get("forked_from"), Actor: session.ActorKey(c.Project, actor), Metadata: metadataFilter(query),
		After: p.After, Asc: p.Asc, Limit: p.Limit + 1,
	}
	rows, err := a.Store.Sessions(c.Context(), q)
	if errors.Is(err, store.ErrNotFound) {
		return nil, httpapi.Invalid("after", "No agent session found with id '"+p.After+"'.")
	}
	if err != nil {
		return nil, fmt.Errorf("list sessions: %w", err)
	}
	more := len(rows) > p.Limit
	rows = rows[:min(len(rows), p.Limit)]
	found := make([]sessionObject, 0, len(rows))
	for i := range rows {
		o, err := a.viewed(c, rows[i].Session)
		switch {
		case errors.Is(err, store.ErrCorrupt):
			o = corruptSession(&rows[i])
		case err != nil && isNotFound(err):
			continue // deleted since
		case err != nil:
			return nil, err
		}
		found = append(found, o)
	}
	l := httpapi.PageOf(found, p.Limit, func(o *sessionObject) string { return o.ID })
	l.HasMore = more
	return l, nil
}

func isNotFound(err error) bool {
	var e *httpapi.Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// corruptSession shows what the index still knows of a session whose log cannot
// be read, so that the list with all the others can.
func corruptSession(ix *store.Index) sessionObject {
	agent := defaultAgent()
	message := "The log of this session is corrupt. Verify it to see where."
	return sessionObject{
		ID: ix.Session, Object: "agent.session", CreatedAt: ix.CreatedAt.Unix(), LastActiveAt: ix.UpdatedAt.Unix(),
		Agent: sessionAgent{ID: ix.AgentID, AgentParts: renderParts(&agent)}, Environment: typeOnly{Type: event.EnvironmentNone},
		Error: &message, Metadata: orEmpty(ix.Metadata), RequiredActions: []any{}, Status: "failed", VaultIDs: []string{},
	}
}

func metadataFilter(query url.Values) map[string]string {
	var pairs map[string]string
	for name := range query {
		key, ok := strings.CutPrefix(name, "metadata[")
		if !ok {
			continue
		}
		if pairs == nil {
			pairs = map[string]string{}
		}
		pairs[strings.TrimSuffix(key, "]")] = query.Get(name)
	}
	return pairs
}

func (a *api) updateSession(c *httpapi.Call) (any, error) {
	var body updateSession
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	if err := unservedSession(body.Review); err != nil {
		return nil, err
	}
	pairs, err := metadata(body.Metadata)
	if err != nil {
		return nil, err
	}
	id := c.Path("session_id")
	var found sessionObject
	err = a.Journal.Update(c.Context(), c.Project, id, func(tx *journal.Tx) error {
		repeated, err := tx.State.Repeated(in)
		if err != nil {
			return err
		}
		if !repeated {
			if err := a.change(c, tx, &body, pairs, in); err != nil {
				return err
			}
		}
		found = renderSession(tx.State, a.view(c))
		return nil
	})
	if err != nil {
		return nil, sessionError(err, id)
	}
	return found, nil
}

// change appends what the body changes, if anything.
func (a *api) change(c *httpapi.Call, tx *journal.Tx, body *updateSession, pairs map[string]string, in event.Input) error {
	p := event.SessionUpdated{Input: in}
	if body.Agent.Given() {
		agent, err := a.changedAgent(c, tx.State, &body.Agent.V)
		if err != nil {
			return err
		}
		p.Agent = agent
	}
	if body.Metadata.Set {
		if pairs == nil {
			pairs = map[string]string{}
		}
		p.Metadata = &pairs
	}
	if body.SpendControl.Set {
		p.SpendLimit = &event.SpendLimit{Limit: spendLimit(body.SpendControl)}
	}
	if p.Agent == nil && p.Metadata == nil && p.SpendLimit == nil {
		return nil
	}
	return tx.Append(&p)
}

// changedAgent is a session's agent with the settings that were given.
func (a *api) changedAgent(c *httpapi.Call, s *session.State, settings *AgentSettings) (*event.Agent, error) {
	agent := s.Agent
	if err := a.apply(&agent, settings, "agent."); err != nil {
		return nil, err
	}
	// A threshold that nobody chose follows the model.
	if agent.Compaction.Threshold == a.CompactionThreshold(s.Agent.Model) {
		agent.Compaction.Threshold = 0
	}
	a.resolve(&agent)
	return &agent, errors.Join(boundMemory(c, settings, &agent, "agent."), needsActor(&agent, s.Actor))
}

func (a *api) deleteSession(c *httpapi.Call) (any, error) {
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	id := c.Path("session_id")
	err = a.forgetSession(c, id, in)
	if errors.Is(err, store.ErrNotFound) && in.Key != "" {
		err = a.deletedBefore(c, id, in, err)
	}
	if err != nil {
		return nil, sessionError(err, id)
	}
	return deletedObject{ID: id, Object: "agent.session.deleted", Deleted: true}, nil
}

// deletedBefore returns nil where the session's last record is the deletion that
// the request asked for, or else the error.
func (a *api) deletedBefore(c *httpapi.Call, id string, in event.Input, otherwise error) error {
	last, err := a.lastRecord(c.Context(), c.Project, id)
	if err != nil || last == nil {
		return errors.Join(otherwise, err)
	}
	p, err := event.Decode(last)
	if err != nil {
		return err
	}
	if deleted, ok := p.(*event.SessionDeleted); ok && deleted.Input == in {
		return nil
	}
	return otherwise
}

func (a *api) lastRecord(ctx context.Context, project, id string) (*event.Record, error) {
	var last *event.Record
	for after := int64(0); ; after = last.Seq {
		records, err := a.Journal.Read(ctx, project, id, after, recordsPerRead)
		if err != nil || len(records) == 0 {
			return last, err
		}
		last = &records[len(records)-1]
	}
}
