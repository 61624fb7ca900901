package session

import (
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/event"
)

func (s *State) applyEffect(p event.Payload, at time.Time) error {
	switch p := p.(type) {
	case *event.EffectStarted:
		return s.effectStarted(p, at)
	case *event.EffectFailed:
		return s.effectFailed(p, at)
	case *event.EffectFinished:
		return s.effectFinished(p, at)
	case *event.EffectUnknown:
		return s.effectUnknown(p, at)
	case *event.EffectResolved:
		return s.effectResolved(p, at)
	}
	return fmt.Errorf("%T: %w", p, ErrImpossible)
}

// openEffect returns a copy of the effect to be changed. An effect of the
// engine's own (a model call, a listing) comes into being with its first record.
func (s *State) openEffect(id, turnID string, kind event.EffectKind) (*Effect, error) {
	if turnID != "" || (kind != event.EffectKeep && kind != event.EffectExtract) {
		if _, err := s.running(turnID); err != nil {
			return nil, err
		}
	}
	if e := s.Effect(id); e != nil {
		if !e.Open || e.TurnID != turnID || (kind != "" && kind != e.Kind) {
			return nil, fmt.Errorf("effect %q is not open: %w", id, ErrImpossible)
		}
		c := *e
		return &c, nil
	}
	switch kind {
	case event.EffectModel, event.EffectCompaction, event.EffectToolsList, event.EffectEnvironment, event.EffectRecall,
		event.EffectKeep, event.EffectExtract:
		e := &Effect{ID: id, Kind: kind, TurnID: turnID, Class: event.Pure, Open: true}
		s.addEffect(e)
		c := *e
		return &c, nil
	default: // a call's comes into being with its item
	}
	return nil, fmt.Errorf("effect %q does not exist: %w", id, ErrImpossible)
}

func (s *State) effectStarted(p *event.EffectStarted, at time.Time) error {
	e, err := s.openEffect(p.EffectID, p.TurnID, p.What)
	if err != nil {
		return err
	}
	if e.Status == EffectUnknown || e.Status == EffectApproval || e.Status == EffectConsent || e.Kind == event.EffectClient {
		return fmt.Errorf("effect %q is %s and was started: %w", e.ID, e.Status, ErrImpossible)
	}
	// What an attempt reserved and did not report is taken as spent.
	s.spend(s.Turn(e.TurnID), event.Usage{}, e.Reserved)
	e.Doubt = e.Doubt || e.Uncertain || e.Status == EffectStarted
	e.Status, e.Class, e.Attempt, e.Epoch = EffectStarted, p.Class, p.Attempt, p.Epoch
	e.Reserved, e.Uncertain, e.RetryAt, e.StartedAt = p.ReservedNanoUSD, false, time.Time{}, at
	if p.WakeAt != nil {
		e.WakeAt = *p.WakeAt
	}
	s.setEffect(e)
	return nil
}

func (s *State) effectFailed(p *event.EffectFailed, at time.Time) error {
	e, err := s.openEffect(p.EffectID, p.TurnID, p.What)
	if err != nil {
		return err
	}
	s.spend(s.Turn(e.TurnID), p.Usage, p.CostNanoUSD)
	e.Attempt, e.Code, e.Message, e.Uncertain, e.Reserved = p.Attempt, p.Code, p.Message, p.Uncertain, 0
	if p.RetryAt != nil {
		e.Status, e.RetryAt = EffectRetrying, *p.RetryAt
		s.setEffect(e)
		return nil
	}
	e.Status, e.EndedAt = EffectFailed, at
	if e.Kind == event.EffectModel && p.Code == CodeContextLength {
		t := s.Current()
		t.Overflow, e.Open = true, false
		t.Overflows++
	}
	// A call that failed is answered by its error, without a compaction there may be
	// room left, and no turn waits for memory to fill. Another effect of the
	// engine's own stays open: the turn cannot go on without it.
	e.Open = e.Open && e.ItemID == "" && e.Kind != event.EffectCompaction && e.TurnID != ""
	if e.Kind == event.EffectExtract {
		s.Memory.GaveUp, s.Memory.GaveUpAt = s.Memory.GaveUp+1, s.Memory.Kept
	}
	if e.ItemID != "" {
		s.answered(e, false)
		s.changeItem(e.ItemID, func(it *event.Item) { it.Status, it.Error = event.StatusFailed, p.Message })
	}
	s.setEffect(e)
	return nil
}

// answered notes whose words the answer of a call has.
func (s *State) answered(e *Effect, foreign bool) {
	own := e.Server == event.MemoryLabel || e.Kind == event.EffectTimer
	if !own || foreign {
		s.markForeign()
	}
}

func (s *State) effectFinished(p *event.EffectFinished, at time.Time) error {
	e, err := s.openEffect(p.EffectID, p.TurnID, "")
	if err != nil {
		return err
	}
	if e.ItemID == "" || e.Kind == event.EffectClient {
		return fmt.Errorf("effect %q is no call of the runtime's: %w", e.ID, ErrImpossible)
	}
	e.Status, e.Open, e.EndedAt = EffectFinished, false, at
	if p.Status == event.StatusFailed {
		e.Status = EffectFailed
	}
	e.Message = p.Error
	s.setEffect(e)
	s.answered(e, p.Foreign)
	s.changeItem(e.ItemID, func(it *event.Item) {
		it.Status = event.StatusCompleted
		if p.Status == event.StatusFailed {
			it.Status = event.StatusFailed
		}
		it.Output, it.Error, it.ExitCode, it.DurationMS = p.Output, p.Error, p.ExitCode, p.DurationMS
	})
	return nil
}

func (s *State) effectUnknown(p *event.EffectUnknown, at time.Time) error {
	e, err := s.openEffect(p.EffectID, p.TurnID, "")
	if err != nil {
		return err
	}
	if e.ItemID == "" {
		return fmt.Errorf("effect %q is no call: %w", e.ID, ErrImpossible)
	}
	e.Status, e.Message, e.EndedAt = EffectUnknown, p.Reason, at
	if e.Policy.OnUnknown != OnUnknownAsk {
		e.Open = false
		s.changeItem(e.ItemID, func(it *event.Item) { it.Status, it.Error = event.StatusIncomplete, UnknownMessage })
	}
	s.setEffect(e)
	return nil
}

// CodeContextLength is the code of a model call that failed because the
// conversation is too long for the model.
const CodeContextLength = "context_length_exceeded"

// OnUnknownAsk is the policy that waits for a person where an outcome is
// unknown.
const OnUnknownAsk = "ask"

// UnknownMessage is what the model is told of a call whose outcome is unknown.
const UnknownMessage = "The outcome of this call is unknown: it was interrupted after it had started. " +
	"It may or may not have taken effect, and it was not repeated. Find out what happened before you call it again."

func (s *State) effectResolved(p *event.EffectResolved, at time.Time) error {
	e, err := s.openEffect(p.EffectID, p.TurnID, "")
	if err != nil {
		return err
	}
	if err := e.admits(p.Decision); err != nil {
		return fmt.Errorf("%w: %w", err, ErrImpossible)
	}
	s.took(p.Input)
	e.EndedAt = at
	switch p.Decision {
	case event.DecisionApprove, event.DecisionRetry:
		e.Status, e.EndedAt, e.Uncertain, e.Doubt = EffectPending, time.Time{}, false, false
	case event.DecisionCompleted:
		e.Status, e.Open = EffectFinished, false
		s.answered(e, false)
		s.changeItem(e.ItemID, func(it *event.Item) { it.Status, it.Output = event.StatusCompleted, p.Output })
	default: // deny, failed
		e.Status, e.Open, e.Message = EffectFailed, false, refusalMessage(p)
		s.changeItem(e.ItemID, func(it *event.Item) { it.Status, it.Error = event.StatusFailed, e.Message })
	}
	s.setEffect(e)
	return nil
}

func refusalMessage(p *event.EffectResolved) string {
	msg := "A person looked into this call and found that it did not take effect."
	if p.Decision == event.DecisionDeny {
		msg = "A person did not approve this call. It was not made."
	}
	if p.Reason != "" {
		msg += " Reason: " + p.Reason
	}
	return msg
}

// admits returns an error where the effect does not wait for such a decision.
func (e *Effect) admits(decision string) error {
	switch decision {
	case event.DecisionApprove, event.DecisionDeny:
		if e.Status == EffectApproval {
			return nil
		}
		return fmt.Errorf("effect %s does not wait for approval, it is %s", e.ID, e.Status)
	case event.DecisionCompleted, event.DecisionFailed, event.DecisionRetry:
		if e.Status == EffectUnknown && e.Open {
			return nil
		}
		return fmt.Errorf("effect %s does not wait for its outcome to be told, it is %s", e.ID, e.Status)
	}
	return fmt.Errorf("decision %q is none of approve, deny, completed, failed, retry", decision)
}

// addCall opens the effect of a call that the model made.
func (s *State) addCall(it *event.Item) {
	e := &Effect{
		ID: CallEffectID(s.ID, it.ID), TurnID: it.TurnID, Status: EffectPending, Open: true,
		ItemID: it.ID, CallID: it.CallID, Name: it.Name, Server: it.ServerLabel, Kind: event.EffectTool,
	}
	switch {
	case it.Type == event.ItemFunctionCall:
		e.Kind = event.EffectClient
	case it.ServerLabel == TimerLabel:
		e.Kind, e.Class = event.EffectTimer, event.Pure
	case it.ServerLabel == event.MemoryLabel:
		e.Class, e.Policy = s.memoryPolicy(it)
	default:
		e.Class, e.Policy = s.policy(it.ServerLabel, it.Name)
	}
	if e.Policy.Approval == ApprovalAlways {
		e.Status = EffectApproval
	}
	s.addEffect(e)
}

// ApprovalAlways is the policy that has a person agree before a call is made.
const ApprovalAlways = "always"

// CallEffectID is the id of the effect of a call: it follows from the call's
// item, so it is the same over every retry, restart and node.
func CallEffectID(session, itemID string) string {
	return event.DeriveID("eff", session, itemID)
}

func (s *State) addEffect(e *Effect) {
	s.effects[e.ID] = len(s.Effects)
	s.Effects = append(s.Effects, e)
}

func (s *State) setEffect(e *Effect) {
	s.Effects[s.effects[e.ID]] = e
	for s.open < len(s.Effects) && !s.Effects[s.open].Open {
		s.open++
	}
}

// finish closes an effect of the engine's own, if it ever had a record, and
// releases what it had reserved.
func (s *State) finish(id string, status EffectStatus, at time.Time) {
	s.closeEffect(id, status, "", "", at)
}

func (s *State) closeEffect(id string, status EffectStatus, code, message string, at time.Time) {
	e := s.Effect(id)
	if e == nil {
		return
	}
	c := *e
	c.Status, c.Open, c.EndedAt, c.Reserved = status, false, at, 0
	c.Code, c.Message = code, message
	s.setEffect(&c)
}
