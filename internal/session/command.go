package session

import (
	"fmt"
	"slices"

	"github.com/stayd/stayd/internal/event"
)

// Refusal is a command that the session does not take. Nothing was appended.
type Refusal struct {
	Code    string // machine-readable
	Param   string // the parameter at fault, where there is one
	Message string // what was wrong and what to do
	// State is set where the command was right and the session's state stands
	// in its way.
	State bool
}

func (r *Refusal) Error() string { return r.Message }

// Codes of refusals.
const (
	CodeUnknownCall   = "invalid_request_error"
	CodeNoActiveTurn  = "no_active_turn"
	CodeUnknownEffect = "effect_not_found"
	CodeNotWaiting    = "effect_not_waiting"
	CodeSessionBusy   = "session_in_progress"
	CodeKeyReused     = "idempotency_key_reused"
	CodeInvalid       = "invalid_value"
)

// Repeated checks the idempotency key of a command: it returns true where the
// command was taken before, and a refusal where the key was used for another.
func (s *State) Repeated(in event.Input) (bool, error) {
	if in.Key == "" {
		return false, nil
	}
	hash, ok := s.SeenKey(in.Key)
	if !ok {
		return false, nil
	}
	if hash != in.RequestHash {
		return false, &Refusal{Code: CodeKeyReused, Param: "Idempotency-Key", Message: "This Idempotency-Key was used for another request. Use a new key for a new request."}
	}
	return true, nil
}

// Message appends an input of messages from an actor, which begins a turn. Empty
// is whom the session is with. The turn runs when those before it have ended.
func (s *State) Message(in event.Input, turnID, actor string, items []event.Item) ([]event.Payload, error) {
	if actor != "" && actor != s.Actor {
		items = slices.Clone(items)
		for i := range items {
			items[i].Actor = actor
		}
		return []event.Payload{&event.TurnCreated{Input: in, TurnID: turnID, Actor: actor, Items: items}}, nil
	}
	return []event.Payload{&event.TurnCreated{Input: in, TurnID: turnID, Items: items}}, nil
}

// Cancel appends the wish that the turn that runs be ended.
func (s *State) Cancel(in event.Input) ([]event.Payload, error) {
	t := s.Current()
	if t == nil {
		return nil, &Refusal{Code: CodeNoActiveTurn, State: true, Message: "The session has no active turn to cancel."}
	}
	if t.CancelRequested && in.Key == "" { // with a key, the request is to be known again
		return nil, nil
	}
	return []event.Payload{&event.TurnCancelRequested{Input: in, TurnID: t.ID}}, nil
}

// ToolResult appends the client's answer to an open function call.
func (s *State) ToolResult(in event.Input, turnID, callID string, item event.Item) ([]event.Payload, error) {
	e := s.OpenCall(turnID, callID)
	if e == nil {
		return nil, &Refusal{Code: CodeUnknownCall, Param: "call_id", Message: "Unknown pending tool call: " + callID}
	}
	item.Type, item.CallID = event.ItemFunctionCallOutput, callID
	item.ID = event.DeriveID("fco", s.ID, e.ID)
	return []event.Payload{&event.ToolResult{Input: in, TurnID: turnID, CallID: callID, Item: item}}, nil
}

// Resolve appends a person's decision about an effect.
func (s *State) Resolve(p event.EffectResolved) ([]event.Payload, error) {
	e := s.Effect(p.EffectID)
	if e == nil {
		return nil, &Refusal{Code: CodeUnknownEffect, Param: "effect_id", Message: fmt.Sprintf("No effect with id '%s' in this session.", p.EffectID)}
	}
	if e.Open && e.Status == EffectConsent {
		return s.settleConsent(&p)
	}
	if err := e.admits(p.Decision); err != nil {
		return nil, &Refusal{Code: CodeNotWaiting, State: true, Param: "decision", Message: err.Error()}
	}
	p.TurnID = e.TurnID
	return []event.Payload{&p}, nil
}

// Delete appends the tombstone. A turn that runs has to be cancelled first; one
// that waits is given up.
func (s *State) Delete(in event.Input) ([]event.Payload, error) {
	if t := s.Current(); t != nil && t.Status == TurnInProgress {
		return nil, &Refusal{Code: CodeSessionBusy, State: true, Message: "The session has a running turn. Cancel it, wait until the session is idle, and delete it then."}
	}
	return []event.Payload{&event.SessionDeleted{Input: in, Class: "session", Reason: "deleted by the client"}}, nil
}
