package agents

import (
	"net/http"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
	"github.com/stayd/stayd/internal/session"
)

func (a *api) effectOperations() []httpapi.Operation {
	return []httpapi.Operation{
		{Method: http.MethodGet, Path: sessionPath + "/effects", ID: "listEffects", Summary: "List what a session did to the outside", Query: httpapi.PageParams(), Result: httpapi.List[effectObject]{}, Do: a.listEffects},
		{Method: http.MethodPost, Path: sessionPath + "/effects/{effect_id}/resolve", ID: "resolveEffect", Summary: "Decide about an effect that waits for a person", Body: resolveBody{}, Result: effectObject{}, Do: a.resolveEffect},
	}
}

type effectObject struct {
	ID          string  `json:"id"`
	Object      string  `json:"object" enum:"agent.session.effect"`
	SessionID   string  `json:"session_id"`
	TurnID      string  `json:"turn_id"`
	Kind        string  `json:"kind" enum:"model,compaction,tools_list,environment,tool,timer,client,recall,keep,extract"`
	Class       *string `json:"class"`
	Status      string  `json:"status" enum:"pending,approval,consent,started,retrying,unknown,completed,failed"`
	Open        bool    `json:"open" doc:"Whether the turn waits for it."`
	ItemID      *string `json:"item_id"`
	CallID      *string `json:"call_id"`
	Name        *string `json:"name"`
	ServerLabel *string `json:"server_label"`
	Attempt     int     `json:"attempt"`
	Code        *string `json:"code"`
	Message     *string `json:"message"`
	StartedAt   *int64  `json:"started_at"`
	EndedAt     *int64  `json:"ended_at"`
	RetryAt     *int64  `json:"retry_at"`
	WakeAt      *int64  `json:"wake_at"`
}

func renderEffect(s *session.State, e *session.Effect) effectObject {
	return effectObject{
		ID: e.ID, Object: "agent.session.effect", SessionID: s.ID, TurnID: e.TurnID, Kind: string(e.Kind), Class: orNull(string(e.Class)),
		Status: string(e.Status), Open: e.Open, ItemID: orNull(e.ItemID), CallID: orNull(e.CallID), Name: orNull(e.Name),
		ServerLabel: orNull(e.Server), Attempt: e.Attempt, Code: orNull(e.Code), Message: orNull(e.Message),
		StartedAt: unix(e.StartedAt), EndedAt: unix(e.EndedAt), RetryAt: unix(e.RetryAt), WakeAt: unix(e.WakeAt),
	}
}

func (a *api) listEffects(c *httpapi.Call) (any, error) {
	p, err := c.Pages()
	if err != nil {
		return nil, err
	}
	id := c.Path("session_id")
	var found []effectObject
	err = a.Journal.View(c.Context(), c.Project, id, func(s *session.State) error {
		places, err := pick(len(s.Effects), p, "effect", func(after string) (int, bool) {
			for i, e := range s.Effects {
				if e.ID == after {
					return i, true
				}
			}
			return 0, false
		})
		for _, i := range places {
			found = append(found, renderEffect(s, s.Effects[i]))
		}
		return err
	})
	if err != nil {
		return nil, sessionError(err, id)
	}
	return httpapi.PageOf(found, p.Limit, func(o *effectObject) string { return o.ID }), nil
}

func (a *api) resolveEffect(c *httpapi.Call) (any, error) {
	var body resolveBody
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	output, err := body.Output.output("output")
	if err != nil {
		return nil, err
	}
	if output != nil && body.Decision != event.DecisionCompleted {
		return nil, httpapi.Invalid("output", "Only a call that is completed has an output.")
	}
	id, effectID := c.Path("session_id"), c.Path("effect_id")
	var found effectObject
	err = a.Journal.Update(c.Context(), c.Project, id, func(tx *journal.Tx) error {
		repeated, err := tx.State.Repeated(in)
		if err != nil {
			return err
		}
		if !repeated {
			payloads, err := tx.State.Resolve(event.EffectResolved{
				Input: in, EffectID: effectID, Decision: body.Decision, Output: output, Reason: body.Reason,
			})
			if err != nil {
				return err
			}
			if err := tx.Append(payloads...); err != nil {
				return err
			}
		}
		if e := tx.State.Effect(effectID); e != nil {
			found = renderEffect(tx.State, e)
		}
		return nil
	})
	if err != nil {
		return nil, sessionError(err, id)
	}
	return found, nil
}
