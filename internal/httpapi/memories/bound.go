package memories

import (
	"cmp"
	"errors"
	"net/http"
	"slices"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

// everywhere is the prefix of all.
const everywhere = "/"

// own is the place of the only actor for whom the caller acts; empty is all.
func own(c *httpapi.Call) string {
	if c.Principal.Actor == "" {
		return ""
	}
	return "/actors/" + memory.Escape(c.Principal.Actor)
}

// within is the prefix that is asked for, or else the caller's own place. It refuses
// one that reaches beyond that.
func within(c *httpapi.Call, param, prefix string) (string, error) {
	mine := own(c)
	if mine == "" {
		return prefix, nil
	}
	if prefix = cmp.Or(prefix, mine); memory.Below(prefix, mine) {
		return prefix, nil
	}
	return "", &httpapi.Error{
		Status: http.StatusForbidden, Code: "actor_not_allowed", Param: param,
		Message: "Whoever shows this token acts for '" + c.Principal.Actor + "' alone, whose memories lie below '" + mine + "'.",
	}
}

// bound has a list be of the caller's own place, and begin after a memory of it.
func (a *api) bound(c *httpapi.Call, q *store.MemoryQuery) (err error) {
	if err := about(c, q.Actor); err != nil {
		return err
	}
	if q.Namespace, err = prefix(q.Namespace); err != nil {
		return err
	}
	if q.Namespace, err = within(c, "namespace", q.Namespace); err != nil {
		return err
	}
	if q.After == "" {
		return nil
	}
	ok, err := a.isMine(c, q.After)
	if err == nil && !ok {
		err = noneAfter(q.After)
	}
	return err
}

// searched is a prefix below which is searched.
func searched(c *httpapi.Call, asked string) (string, error) {
	if own(c) == "" {
		return asked, nil // the keeper reads it
	}
	if asked == everywhere {
		return within(c, "namespaces", asked)
	}
	ns, err := memory.ParseNamespace(asked)
	if err != nil {
		return "", answer(&keeper.BadRecordError{Param: "namespaces", Message: err.Error()}, "")
	}
	return within(c, "namespaces", ns)
}

// about refuses memories about another than the only actor for whom the caller
// acts.
func about(c *httpapi.Call, actor string) error {
	if actor == "" {
		return nil
	}
	_, err := c.ActFor(actor)
	return err
}

// mine refuses a memory that does not lie in the caller's own place, as if there
// were none.
func (a *api) mine(c *httpapi.Call, id string) error {
	ok, err := a.isMine(c, id)
	if err == nil && !ok {
		err = httpapi.NotFound("memory", id)
	}
	return err
}

// isMine reports whether a memory is there and lies in the caller's own place; of
// who acts for all, nothing is looked up.
func (a *api) isMine(c *httpapi.Call, id string) (bool, error) {
	if own(c) == "" {
		return true, nil
	}
	r, err := a.Keeper.Get(c.Context(), c.Project, id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil && memory.Below(r.Namespace, own(c)), err
}

// mineFrom refuses sources that are not the caller's own, as if they were not there.
func (a *api) mineFrom(c *httpapi.Call, ids []string) error {
	for _, id := range ids {
		ok, err := a.isMine(c, id)
		if err != nil {
			return err
		}
		if !ok {
			return answer(keeper.MissingSource(id), "")
		}
	}
	return nil
}

// unnamed is an error of forgetting without the name of a place that is not the
// caller's own.
func unnamed(c *httpapi.Call, held *keeper.HeldError) error {
	mine, at := own(c), held.Rule.Namespace
	if mine == "" || at == everywhere || memory.Below(at, mine) || memory.Below(mine, at) {
		return held
	}
	return &httpapi.Error{Status: http.StatusConflict, Code: "memory_held", Message: "Something that was drawn from it is held and cannot be forgotten."}
}

// theirs are the memories that lie in the caller's own place.
func theirs(c *httpapi.Call, records []memory.Record) []memory.Record {
	if own(c) == "" {
		return records
	}
	return slices.DeleteFunc(records, func(r memory.Record) bool { return !memory.Below(r.Namespace, own(c)) })
}
