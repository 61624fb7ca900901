package memories

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/memory/keeper"
	"github.com/stayd/stayd/internal/store"
)

func (a *api) forgetOperations() []httpapi.Operation {
	return []httpapi.Operation{
		{Method: http.MethodPost, Path: basePath + "/forget", ID: "forgetMemories", Summary: "Forget a memory, an actor with their sessions, a session, or a namespace, and all that was drawn from it", Body: forgetMemories{}, Result: receiptObject{}, Do: a.forget},
		{Method: http.MethodGet, Path: basePath + "/receipts", ID: "listMemoryReceipts", Summary: "List the signed receipts of what was forgotten", Query: httpapi.PageParams(), Result: httpapi.List[receiptObject]{}, Do: a.receipts},
		{Method: http.MethodGet, Path: basePath + "/rules", ID: "listMemoryRules", Summary: "List the rules of expiry and the holds", Result: httpapi.List[ruleObject]{}, Do: a.rules},
		{Method: http.MethodPost, Path: basePath + "/rules", ID: "setMemoryRule", Summary: "Set when what lies below a namespace expires, or hold it", Body: setMemoryRule{}, Result: ruleObject{}, Do: a.setRule},
	}
}

// forgetMemories says what is to be forgotten: one of its first four fields.
type forgetMemories struct {
	MemoryID    string `json:"memory_id,omitzero"`
	Actor       string `json:"actor,omitzero" doc:"All that is about this actor, and the sessions with them."`
	SessionID   string `json:"session_id,omitzero" doc:"This session, and all that was drawn from it."`
	Namespace   string `json:"namespace,omitzero" doc:"All that lies below it."`
	Credentials bool   `json:"credentials,omitzero" doc:"With an actor: their credentials in all vaults are deleted too, and what they consented to is taken back."`
	Reason      string `json:"reason,omitzero" doc:"Why; it stands in the receipt, so it must not name what is forgotten."`
}

// receiptObject says what class of things was forgotten.
type receiptObject struct {
	Object string `json:"object" enum:"memory.receipt"`
	keeper.Receipt
}

func (a *api) forget(c *httpapi.Call) (any, error) {
	var body forgetMemories
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	given := 0
	for _, name := range []string{body.MemoryID, body.Actor, body.SessionID, body.Namespace} {
		if name != "" {
			given++
		}
	}
	if given != 1 {
		return nil, httpapi.Invalid("", "Say one thing to forget: give one of 'memory_id', 'actor', 'session_id' and 'namespace'.")
	}
	sel := keeper.Selection{ID: body.MemoryID, Actor: body.Actor, SessionID: body.SessionID, Namespace: body.Namespace}
	if body.Credentials {
		if body.Actor == "" {
			return nil, httpapi.Invalid("credentials", "Invalid 'credentials': credentials are an actor's, and no 'actor' is given.")
		}
		sel.Credentials = func(ctx context.Context) (int, error) {
			if a.Credentials == nil {
				return 0, nil
			}
			return a.Credentials(ctx, c.Project, body.Actor)
		}
	}
	return a.forgotten(c, sel, body.Reason)
}

func (a *api) remove(c *httpapi.Call) (any, error) {
	id := c.Path("memory_id")
	if err := a.mine(c, id); err != nil {
		return nil, err
	}
	return a.forgotten(c, keeper.Selection{ID: id}, "")
}

func (a *api) forgotten(c *httpapi.Call, sel keeper.Selection, reason string) (any, error) {
	if a.Erase != nil && (sel.Actor != "" || sel.SessionID != "") {
		asked := sel
		sel.Erase = func(ctx context.Context) (int, error) { return a.Erase(ctx, c.Project, asked) }
	}
	r, err := a.Keeper.Forget(c.Context(), c.Project, sel, reason)
	var held *keeper.HeldError
	if errors.As(err, &held) {
		err = unnamed(c, held)
	}
	if err != nil {
		return nil, answer(err, sel.ID)
	}
	return receiptObject{Object: "memory.receipt", Receipt: r}, nil
}

func (a *api) receipts(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	list, err := a.Keeper.Receipts(c.Context(), store.ObjectQuery{Project: c.Project, After: p.After, Asc: p.Asc, Limit: p.Limit + 1})
	if err != nil {
		return nil, err
	}
	out := make([]receiptObject, len(list))
	for i := range list {
		out[i] = receiptObject{Object: "memory.receipt", Receipt: list[i]}
	}
	return httpapi.PageOf(out, p.Limit, func(o *receiptObject) string { return o.ID }), nil
}

// setMemoryRule is a rule that is to hold. One that says nothing is taken away.
type setMemoryRule struct {
	Namespace          string `json:"namespace"`
	ExpireAfterSeconds int64  `json:"expire_after_seconds,omitzero" minimum:"0" doc:"How long after it was recorded a memory is forgotten; of memories that are written from now on. 0 is never."`
	Hold               bool   `json:"hold,omitzero" doc:"Nothing is forgotten while it is set."`
	Reason             string `json:"reason,omitzero" doc:"Why it is held."`
}

// maxExpiry is the longest that a rule keeps a memory, in seconds.
const maxExpiry = 36_525 * 24 * 60 * 60

type ruleObject struct {
	Object string `json:"object" enum:"memory.rule"`
	keeper.Rule
}

func (a *api) rules(c *httpapi.Call) (any, error) {
	list, err := a.Keeper.Rules(c.Context(), c.Project)
	if err != nil {
		return nil, err
	}
	out := make([]ruleObject, len(list))
	for i := range list {
		out[i] = ruleObject{Object: "memory.rule", Rule: list[i]}
	}
	return httpapi.PageOf(out, len(out), func(o *ruleObject) string { return o.Namespace }), nil
}

func (a *api) setRule(c *httpapi.Call) (any, error) {
	var body setMemoryRule
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	if body.ExpireAfterSeconds > maxExpiry {
		return nil, httpapi.Invalid("expire_after_seconds", fmt.Sprintf("Invalid 'expire_after_seconds': expected at most %d, which is a hundred years, but got %d.", maxExpiry, body.ExpireAfterSeconds))
	}
	r, err := a.Keeper.SetRule(c.Context(), c.Project, keeper.Rule(body))
	if err != nil {
		return nil, answer(err, "")
	}
	return ruleObject{Object: "memory.rule", Rule: r}, nil
}
