// Package memories is the wire protocol of long-term memory, beside the Agents
// API and in its style: records, searches, histories, what is to be forgotten,
// and files that carry memory out and in. It renders what the keeper says and
// decides nothing.
package memories

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/vault"
)

// Config is what the protocol needs.
type Config struct {
	Keeper *keeper.Keeper
	// Erase erases the sessions of which memories are forgotten, and says how many;
	// nil where there are no sessions.
	Erase func(ctx context.Context, project string, sel keeper.Selection) (int, error)
	// Credentials deletes those of an actor, and says how many; nil where there are
	// none.
	Credentials func(ctx context.Context, project, actor string) (int, error)
}

type api struct{ Config }

const (
	basePath = "/v1/memories"
	onePath  = basePath + "/{memory_id}"
)

// Mount registers the protocol's operations.
func Mount(s *httpapi.Server, cfg Config) {
	a := &api{Config: cfg}
	for _, operations := range [][]httpapi.Operation{a.recordOperations(), a.forgetOperations(), a.transferOperations()} {
		for _, op := range operations {
			s.Register(op)
		}
	}
}

func (a *api) recordOperations() []httpapi.Operation {
	filters := append(httpapi.PageParams(),
		httpapi.Param{Name: "namespace", Doc: "Only memories below this prefix."},
		httpapi.Param{Name: "strategy", Doc: "Only memories of this strategy."},
		httpapi.Param{Name: "actor", Doc: "Only memories about this actor."},
		httpapi.Param{Name: "session_id", Doc: "Only memories that were drawn from this session."},
		httpapi.Param{Name: "superseded", Doc: "true also lists what was replaced."},
		httpapi.Param{Name: "metadata[]", Doc: "Only memories with all of these pairs, as metadata[key]=value."})
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: basePath, ID: "createMemory", Bound: true, Summary: "Write a memory", Body: createMemory{}, Result: MemoryObject{}, Do: a.create},
		{Method: http.MethodGet, Path: basePath, ID: "listMemories", Bound: true, Summary: "List memories", Query: filters, Result: httpapi.List[MemoryObject]{}, Do: a.list},
		{Method: http.MethodPost, Path: basePath + "/search", ID: "searchMemories", Bound: true, Summary: "Find what is relevant to a question", Scope: identity.Read, Body: searchMemories{}, Result: searchObject{}, Do: a.search},
		{Method: http.MethodGet, Path: onePath, ID: "getMemory", Bound: true, Summary: "Get a memory", Result: MemoryObject{}, Do: a.get},
		{Method: http.MethodPost, Path: onePath, ID: "updateMemory", Bound: true, Summary: "Supersede a memory by a newer version of it", Body: updateMemory{}, Result: MemoryObject{}, Do: a.update},
		{Method: http.MethodDelete, Path: onePath, ID: "deleteMemory", Bound: true, Summary: "Forget a memory, all its versions and what was drawn from it", Result: receiptObject{}, Do: a.remove},
		{Method: http.MethodGet, Path: onePath + "/history", ID: "getMemoryHistory", Bound: true, Summary: "List all versions of a memory, the oldest first", Result: httpapi.List[MemoryObject]{}, Do: a.history},
	}
}

// answer says how an error of the keeper is answered. id is the memory that was
// asked for.
func answer(err error, id string) error {
	var bad *keeper.BadRecordError
	var superseded *keeper.SupersededError
	var held *keeper.HeldError
	var broad *keeper.TooBroadError
	var key *vault.NoKeyError
	switch {
	case errors.As(err, &bad):
		if strings.HasPrefix(bad.Param, "namespace") {
			bad.Message = sentence(bad.Message)
		}
		return httpapi.Invalid(bad.Param, bad.Message)
	case errors.As(err, &superseded):
		return &httpapi.Error{Status: http.StatusConflict, Code: "memory_superseded", Message: superseded.Error()}
	case errors.As(err, &held):
		return &httpapi.Error{Status: http.StatusConflict, Code: "memory_held", Message: held.Error()}
	case errors.As(err, &broad):
		return httpapi.Invalid("namespaces", broad.Error())
	case errors.As(err, &key):
		return &httpapi.Error{
			Status: http.StatusServiceUnavailable, Code: "vault_key_wrong", Err: err,
			Message: "The key that receipts are signed with was encrypted under the master key '" + key.ID + "', which the server does not have. Its log says where it was looked for. Nothing was forgotten.",
		}
	case id != "" && errors.Is(err, store.ErrNotFound):
		return httpapi.NotFound("memory", id)
	}
	return err
}

func (a *api) create(c *httpapi.Call) (any, error) {
	var body createMemory
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	if body.Actor, err = c.ActFor(body.Actor); err != nil {
		return nil, err
	}
	r, err := body.record()
	if err != nil {
		return nil, err
	}
	if _, err := within(c, "namespace", r.Namespace); err != nil {
		return nil, err
	}
	if err := a.mineFrom(c, r.Source.RecordIDs); err != nil {
		return nil, err
	}
	if in.Key != "" {
		r.ID = memory.ID(c.Project, memory.SpaceOf(r.Namespace), "api", in.Key)
	}
	asked := r
	written, repeated, err := a.Keeper.Write(c.Context(), c.Project, []memory.Record{r})
	if err != nil {
		return nil, answer(err, "")
	}
	if repeated[0] && !same(&asked, &written[0]) {
		return nil, reused()
	}
	return render(&written[0]), nil
}

// same reports whether a stored memory is what was asked for. When it is true may
// have been found out from its text.
func same(asked, stored *memory.Record) bool {
	return asked.Namespace == stored.Namespace && asked.Strategy == stored.Strategy && asked.Actor == stored.Actor &&
		asked.Text == stored.Text && asked.Origin == stored.Origin && asked.Confidence == stored.Confidence &&
		maps.Equal(asked.Metadata, stored.Metadata) && reflect.DeepEqual(asked.Source, stored.Source) &&
		(asked.ValidFrom.IsZero() || asked.ValidFrom.Equal(stored.ValidFrom)) && (asked.ValidTo.IsZero() || asked.ValidTo.Equal(stored.ValidTo))
}

// reused is the error of a key that comes again with something else.
func reused() error {
	return &httpapi.Error{
		Status: http.StatusConflict, Code: httpapi.CodeKeyReused, Param: "Idempotency-Key",
		Message: "This Idempotency-Key was used for another request. Use a new key for a new request.",
	}
}

func (a *api) get(c *httpapi.Call) (any, error) {
	id := c.Path("memory_id")
	if err := a.mine(c, id); err != nil {
		return nil, err
	}
	r, err := a.Keeper.Get(c.Context(), c.Project, id)
	if err != nil {
		return nil, answer(err, id)
	}
	return render(&r), nil
}

func (a *api) update(c *httpapi.Call) (any, error) {
	var body updateMemory
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	change, err := body.change()
	if err != nil {
		return nil, err
	}
	id := c.Path("memory_id")
	if err := a.mine(c, id); err != nil {
		return nil, err
	}
	change.Key = in.Key
	r, err := a.Keeper.Update(c.Context(), c.Project, id, change.Change)
	if err != nil {
		return nil, answer(err, id)
	}
	if in.Key != "" && !change.made(&r) {
		return nil, reused()
	}
	return render(&r), nil
}

func (a *api) history(c *httpapi.Call) (any, error) {
	id := c.Path("memory_id")
	if err := a.mine(c, id); err != nil {
		return nil, err
	}
	versions, err := a.Keeper.History(c.Context(), c.Project, id)
	if err != nil {
		return nil, answer(err, id)
	}
	versions = theirs(c, versions)
	return httpapi.PageOf(renderAll(versions), len(versions), memoryID), nil
}

func memoryID(o *MemoryObject) string { return o.ID }

func (a *api) list(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	values := c.URL.Query()
	q := store.MemoryQuery{
		Project: c.Project, Namespace: values.Get("namespace"), Actor: values.Get("actor"), SessionID: values.Get("session_id"),
		After: p.After, Asc: p.Asc, Limit: p.Limit + 1,
	}
	if err := a.bound(c, &q); err != nil {
		return nil, err
	}
	if s := memory.Strategy(values.Get("strategy")); s != "" {
		if !slices.Contains(memory.Strategies(), s) {
			return nil, httpapi.Invalid("strategy", "Invalid value: '"+string(s)+"'. Supported values are: 'turn', 'semantic', 'preference', 'summary', 'episodic', 'core'.")
		}
		q.Strategies = []memory.Strategy{s}
	}
	if q.Superseded, err = flag(values, "superseded"); err != nil {
		return nil, err
	}
	for name := range values {
		if key, ok := strings.CutPrefix(name, "metadata["); ok {
			if q.Metadata == nil {
				q.Metadata = map[string]string{}
			}
			q.Metadata[strings.TrimSuffix(key, "]")] = values.Get(name)
		}
	}
	records, err := a.Keeper.List(c.Context(), q)
	if errors.Is(err, store.ErrNotFound) {
		return nil, noneAfter(p.After)
	}
	if err != nil {
		return nil, err
	}
	return httpapi.PageOf(renderAll(records), p.Limit, memoryID), nil
}

func noneAfter(id string) error {
	return httpapi.Invalid("after", "No memory found with id '"+id+"'.")
}

// prefix reads a namespace that selects what lies below it; "/" and nothing are
// all.
func prefix(s string) (string, error) {
	if s == "" || s == everywhere {
		return s, nil
	}
	ns, err := memory.ParseNamespace(s)
	if err != nil {
		return "", httpapi.Invalid("namespace", sentence(err.Error()))
	}
	return ns, nil
}

func flag(values url.Values, name string) (bool, error) {
	switch got := values.Get(name); got {
	case "", "false":
		return false, nil
	case "true":
		return true, nil
	default:
		return false, httpapi.Invalid(name, "Invalid '"+name+"': expected true or false, but got '"+got+"'.")
	}
}

// sentence is a message as people read it.
func sentence(message string) string {
	first, n := utf8.DecodeRuneInString(message)
	return strings.TrimSuffix(string(unicode.ToUpper(first))+message[n:], ".") + "."
}

func (a *api) search(c *httpapi.Call) (any, error) {
	var body searchMemories
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if err := about(c, body.Actor); err != nil {
		return nil, err
	}
	if mine := own(c); mine != "" && len(body.Namespaces) == 0 {
		body.Namespaces = []string{mine}
	}
	q, err := body.query(c.Project)
	if err != nil {
		return nil, err
	}
	for i, asked := range q.Namespaces {
		if q.Namespaces[i], err = searched(c, asked); err != nil {
			return nil, err
		}
	}
	found, err := a.Keeper.Search(c.Context(), q)
	if err != nil {
		return nil, answer(err, "")
	}
	return renderFound(&found), nil
}
