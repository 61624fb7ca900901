package agents

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/snapshot"
	"github.com/stayd/stayd/internal/store"
)

// prewarmed is what the store keeps of an environment that was made before its
// session. The object's tree is its workspace.
type prewarmed struct {
	// Environment is without the contents of its files, which the tree has.
	Environment event.Environment `json:"environment"`
	VaultIDs    []string          `json:"vault_ids,omitempty"` // that the session which takes it gets
	Created     event.Input       `json:"created"`
	Updated     remembered        `json:"updated,omitempty"`
	// Session is the one that took it, TakenAt when.
	Session string    `json:"session,omitempty"`
	TakenAt time.Time `json:"taken_at,omitzero"`
}

var environmentKind = objectKind[prewarmed]{kind: store.KindEnvironment, what: "environment"}

func (a *api) environmentOperations() []httpapi.Operation {
	const one = environmentsPath + "/{environment_id}"
	query := append(httpapi.PageParams(), httpapi.Param{Name: "type", Doc: "The type of environments to list: openai_hosted, the default."})
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: environmentsPath, ID: "createEnvironment", Summary: "Prepare an environment for a session", Body: createEnvironment{}, Result: environmentObject{}, Do: a.createEnvironment},
		{Method: http.MethodGet, Path: environmentsPath, ID: "listEnvironments", Summary: "List the environments that were prepared", Query: query, Result: httpapi.List[environmentObject]{}, Do: a.listEnvironments},
		{Method: http.MethodGet, Path: one, ID: "getEnvironment", Summary: "Get an environment", Result: environmentObject{}, Do: a.getEnvironment},
		{Method: http.MethodDelete, Path: one, ID: "deleteEnvironment", Summary: "Delete an environment that no session has", Result: deletedObject{}, Do: a.deleteEnvironment},
		{Method: http.MethodPost, Path: one + "/token", ID: "renewEnvironmentToken", Summary: "Give a self-hosted environment a new token; the one before does not work any more", Body: struct{}{}, Result: tokenObject{}, Do: a.renewToken},
	}
}

type environmentObject struct {
	ID        string       `json:"id"`
	Object    string       `json:"object" enum:"agent.environment"`
	Type      string       `json:"type" enum:"openai_hosted,self_hosted"`
	Status    string       `json:"status" enum:"pending,ready,connected,disconnected,suspended,expired,failed"`
	Files     []fileObject `json:"files"`
	Plugins   []any        `json:"plugins"`
	Skills    []any        `json:"skills"`
	SessionID *string      `json:"session_id" doc:"The session that has it. An addition of Stayd's."`
}

func (r *room) render() environmentObject {
	return environmentObject{
		ID: r.env.ID, Object: "agent.environment", Type: r.env.Type, Status: r.status, Files: renderFiles(r.env.Files), Plugins: []any{}, Skills: []any{},
		SessionID: orNull(r.session),
	}
}

// room is an environment as the door sees it: that of a session, or a prepared
// one that none has taken.
type room struct {
	env     event.Environment
	status  string
	session string     // empty where it is prepared
	held    event.Hash // the tree that the log, or the object, says that it holds
	furnish bool       // the files of env are yet to be put into it
	busy    bool       // a turn runs in it
	taken   bool       // the request with the idempotency key was taken before

	row *store.Object // of a prepared one
	pre *prewarmed
}

// room finds an environment by its id. key is an idempotency key to look for.
func (a *api) room(c *httpapi.Call, id, key string) (*room, error) {
	row, pre, err := environmentKind.read(c, a, id)
	switch {
	case err == nil && pre.Session != "":
		r, err := a.sessionRoom(c, id, pre.Session, key)
		if err == nil {
			r.env.Files = pre.Environment.Files
		}
		if !isNotFound(err) {
			return r, err
		}
		switch came, readErr := a.came(c.Context(), c.Project, pre); {
		case readErr != nil:
			return nil, readErr
		case came:
			return nil, httpapi.NotFound("environment", id)
		}
		return prewarmedRoom(row, pre), nil
	case err == nil:
		return prewarmedRoom(row, pre), nil
	case !isNotFound(err):
		return nil, err
	}
	suffix, ok := strings.CutPrefix(id, environmentPrefix)
	if !ok {
		return nil, httpapi.NotFound("environment", id)
	}
	return a.sessionRoom(c, id, sessionPrefix+suffix, key)
}

func prewarmedRoom(row *store.Object, pre *prewarmed) *room {
	r := &room{env: pre.Environment, status: session.PlaceReady, row: row, pre: pre}
	if row.Tree != nil {
		r.held = *row.Tree
	}
	return r
}

func (a *api) sessionRoom(c *httpapi.Call, id, sessionID, key string) (*room, error) {
	r := &room{session: sessionID}
	err := a.Journal.View(c.Context(), c.Project, sessionID, func(s *session.State) error {
		if s.Environment.ID != id {
			return store.ErrNotFound
		}
		r.env, r.status, r.held, r.busy = s.Environment, s.Place.Status, s.Place.Root, s.Current() != nil
		if r.status == "" {
			r.status = session.PlacePending
		}
		r.furnish = r.status == session.PlacePending && len(r.env.Files) > 0
		if key != "" {
			_, r.taken = s.SeenKey(key)
		}
		return nil
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil, httpapi.NotFound("environment", id)
	}
	return r, err
}

func (a *api) createEnvironment(c *httpapi.Call) (any, error) {
	var body createEnvironment
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	b := &body.Environment
	switch {
	case b.Type != event.EnvironmentHosted:
		return nil, httpapi.Invalid("environment.type", "Invalid value: '"+b.Type+"'. Supported values are: 'openai_hosted'.")
	case b.EnvironmentID != "":
		return nil, httpapi.Unsupported("environment.environment_id", "An environment is not made of another. Leave environment_id out.")
	}
	if err := a.checkVaults(c, body.VaultIDs); err != nil {
		return nil, err
	}
	settings, err := a.templated(c, b)
	if err != nil {
		return nil, err
	}
	id := idFor("env", in, c.Project)
	env, err := a.hosted(c, settings, id, "environment.")
	if err != nil {
		return nil, err
	}
	row, pre, err := a.prepare(c, &env, together(body.VaultIDs, nil), in)
	if err != nil {
		return nil, err
	}
	return prewarmedRoom(row, pre).render(), nil
}

// prepare stores an environment, with its files in place.
func (a *api) prepare(c *httpapi.Call, env *event.Environment, vaults []string, in event.Input) (*store.Object, *prewarmed, error) {
	root, err := furnished(c.Context(), snapshot.New(a.Blobs, c.Project), event.Hash{}, env.Files)
	if err != nil {
		return nil, nil, err
	}
	for i := range env.Files {
		f := &env.Files[i]
		if f.FileID == "" {
			f.Size, f.Data = int64(len(f.Data)), nil
		}
		f.Tree = event.Hash{}
	}
	pre := &prewarmed{Environment: *env, VaultIDs: vaults, Created: in}
	row, err := environmentKind.create(c, a, env.ID, pre, orNoTree(root))
	if errors.Is(err, store.ErrConflict) && in.Key != "" {
		row, pre, err = environmentKind.read(c, a, env.ID)
		if err == nil && pre.Created != in {
			err = keyReused()
		}
	}
	return row, pre, err
}

func orNoTree(root event.Hash) *event.Hash {
	if root.IsZero() {
		return nil
	}
	return &root
}

func (a *api) listEnvironments(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	if t := c.URL.Query().Get("type"); t != "" && t != event.EnvironmentHosted {
		return nil, httpapi.Invalid("type", "Invalid value: '"+t+"'. Supported values are: 'openai_hosted'.")
	}
	rows, err := environmentKind.list(c, a, p)
	if err != nil {
		return nil, err
	}
	found := make([]environmentObject, 0, len(rows))
	for i := range rows {
		r, err := a.room(c, rows[i].ID, "")
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		if err == nil {
			found = append(found, r.render())
		}
	}
	return httpapi.PageOf(found, p.Limit, func(o *environmentObject) string { return o.ID }), nil
}

func (a *api) getEnvironment(c *httpapi.Call) (any, error) {
	r, err := a.room(c, c.Path("environment_id"), "")
	if err != nil {
		return nil, err
	}
	return r.render(), nil
}

func (a *api) deleteEnvironment(c *httpapi.Call) (any, error) {
	id := c.Path("environment_id")
	r, err := a.room(c, id, "")
	if err != nil {
		return nil, err
	}
	if r.session != "" {
		return nil, &httpapi.Error{Status: http.StatusConflict, Code: codeTaken, Message: "The environment belongs to session '" + r.session + "', and is deleted with it."}
	}
	if err := environmentKind.delete(c, a, id); err != nil {
		return nil, err
	}
	return deletedObject{ID: id, Object: "agent.environment.deleted", Deleted: true}, nil
}

const codeTaken = "environment_taken"

// prewarmedFor makes the environment of a session of a prepared one, which the
// session has to take.
func (a *api) prewarmedFor(c *httpapi.Call, b *environmentBody, n *newSession) (event.Environment, error) {
	if b.EnvironmentTemplateID != "" || !reflect.ValueOf(b.HostedSettings).IsZero() {
		return event.Environment{}, httpapi.Invalid("environment.environment_id", "A prepared environment is taken as it is. Leave the other fields of environment out.")
	}
	row, pre, err := environmentKind.read(c, a, b.EnvironmentID)
	if isNotFound(err) {
		return event.Environment{}, httpapi.Invalid("environment.environment_id", err.Error())
	}
	if err != nil {
		return event.Environment{}, err
	}
	if pre.Session != "" && pre.Session != n.id {
		free, err := a.free(c.Context(), c.Project, pre)
		if err != nil {
			return event.Environment{}, err
		}
		if !free {
			return event.Environment{}, &httpapi.Error{
				Status: http.StatusConflict, Code: codeTaken, Param: "environment.environment_id",
				Message: "The environment '" + row.ID + "' was taken by another session. Prepare another.",
			}
		}
	}
	env := pre.Environment
	env.Files = nil // they are in the tree
	if row.Tree != nil {
		env.Root = *row.Tree
	}
	n.row, n.pre, n.vaults = row, pre, pre.VaultIDs
	return env, nil
}

// takeTimeout is how long a session may take from taking an environment to being
// created. One that did not come to be by then never will.
const takeTimeout = time.Minute

// free reports whether the session that was to take the environment never will,
// since the server died in between.
func (a *api) free(ctx context.Context, project string, pre *prewarmed) (bool, error) {
	if a.Now().Sub(pre.TakenAt) < takeTimeout {
		return false, nil
	}
	came, err := a.came(ctx, project, pre)
	return !came, err
}

// came reports whether the session that was to take the environment came to be,
// whatever became of it.
func (a *api) came(ctx context.Context, project string, pre *prewarmed) (bool, error) {
	records, err := a.Journal.Read(ctx, project, pre.Session, 0, 1)
	if err != nil {
		return false, fmt.Errorf("read session %s: %w", pre.Session, err)
	}
	return len(records) > 0, nil
}

// take gives the prepared environment to the session that is about to be made.
// The error is store.ErrConflict where it was changed meanwhile.
func (a *api) take(c *httpapi.Call, n *newSession) error {
	if n.pre == nil || n.pre.Session == n.id {
		return nil
	}
	n.pre.Session, n.pre.TakenAt = n.id, a.Now().UTC()
	return environmentKind.update(c, a, n.row, n.pre)
}

// giveBack undoes take, where the session was not made.
func (a *api) giveBack(c *httpapi.Call, n *newSession) error {
	if n.pre == nil {
		return nil
	}
	n.pre.Session, n.pre.TakenAt = "", time.Time{}
	return environmentKind.update(c, a, n.row, n.pre)
}
