package session

import (
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// Consent is what a person is asked before an effect goes on.
type Consent struct {
	ServerLabel, ServerURL string
	Actor                  string // whose consent it is
	Nonce                  string // of the link
	Metadata, Scope        string
}

// consentRequested has the effect wait for a person.
func (s *State) consentRequested(p *event.ConsentRequested) error {
	e, err := s.openEffect(p.EffectID, p.TurnID, p.What)
	if err != nil {
		return err
	}
	e.Status, e.Attempt, e.Uncertain = EffectConsent, p.Attempt, p.Uncertain
	e.Consent = &Consent{
		ServerLabel: p.ServerLabel, ServerURL: p.ServerURL, Actor: p.Actor, Nonce: p.Nonce, Metadata: p.Metadata, Scope: p.Scope,
	}
	s.setEffect(e)
	return nil
}

// consentResolved has the effect go on, or fail, by what the person said.
func (s *State) consentResolved(p *event.ConsentResolved, at time.Time) error {
	e, err := s.openEffect(p.EffectID, p.TurnID, "")
	if err != nil {
		return err
	}
	if e.Status != EffectConsent {
		return fmt.Errorf("effect %q does not wait for consent: %w", e.ID, ErrImpossible)
	}
	s.took(p.Input)
	label := e.Consent.ServerLabel
	e.Consent = nil
	if p.Granted {
		e.Status, e.RetryAt = EffectRetrying, at
		s.setEffect(e)
		return nil
	}
	message := "The person who was asked did not let the runtime use the MCP server '" + label + "' in their name."
	if p.Reason != "" {
		message += " Reason: " + p.Reason
	}
	if e.Kind == event.EffectToolsList {
		s.finish(e.ID, EffectFailed, at)
		s.Servers[label] = &Server{Label: label, TurnID: p.TurnID, Error: message}
		s.toolsChanged()
		return nil
	}
	if e.Uncertain {
		s.setEffect(e)
		return s.effectUnknown(&event.EffectUnknown{EffectID: e.ID, TurnID: e.TurnID, Reason: message}, at)
	}
	e.Status, e.Open, e.Message, e.EndedAt = EffectFailed, false, message, at
	s.changeItem(e.ItemID, func(it *event.Item) { it.Status, it.Error = event.StatusFailed, message })
	s.setEffect(e)
	return nil
}

// leaveListings closes the listings of servers that the agent does not have any
// more, or not as they were: nobody waits for them.
func (s *State) leaveListings(before []event.Tool, at time.Time) {
	t := s.Current()
	if t == nil {
		return
	}
	for i := range before {
		label := before[i].ServerLabel
		if before[i].Type == event.ToolMCP && !sameServer(before, s.Agent.Tools, label) {
			if e := s.Effect(ToolsEffectID(s.ID, t, &before[i])); e != nil && e.Open {
				s.closeEffect(e.ID, EffectFailed, "server_changed", "the MCP server was changed while its tools were listed", at)
			}
		}
	}
}

// ResolveConsent appends a person's answer to what an effect waits for. The nonce
// is that of the link which they followed.
func (s *State) ResolveConsent(p event.ConsentResolved, nonce string) ([]event.Payload, error) {
	e := s.AwaitsConsent(p.EffectID, nonce)
	if e == nil {
		return nil, &Refusal{Code: CodeNotWaiting, State: true, Message: "Nothing waits for this consent any more."}
	}
	p.TurnID = e.TurnID
	return []event.Payload{&p}, nil
}

// settleConsent appends the decision about a consent of who may decide about
// effects: not to wait for it any more, or that there is a credential now.
func (s *State) settleConsent(p *event.EffectResolved) ([]event.Payload, error) {
	out := &event.ConsentResolved{Input: p.Input, EffectID: p.EffectID, TurnID: s.Effect(p.EffectID).TurnID, Reason: p.Reason}
	switch p.Decision {
	case event.DecisionRetry:
		out.Granted, out.Reason = true, ""
	case event.DecisionDeny:
	default:
		return nil, &Refusal{
			Code: CodeNotWaiting, State: true, Param: "decision",
			Message: fmt.Sprintf("effect %s waits for a person's consent: decide 'deny', or 'retry' when a vault of the session has a credential for it", p.EffectID),
		}
	}
	return []event.Payload{out}, nil
}

// AwaitsConsent returns the effect that waits for the consent which the nonce
// stands for, or nil.
func (s *State) AwaitsConsent(effectID, nonce string) *Effect {
	e := s.Effect(effectID)
	if e == nil || !e.Open || e.Status != EffectConsent || e.Consent.Nonce != nonce {
		return nil
	}
	if t := s.Current(); s.Deleted || t == nil || t.ID != e.TurnID {
		return nil
	}
	return e
}
