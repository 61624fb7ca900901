package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// ErrImpossible is wrapped by the errors of Fold for a record that cannot
// follow the ones before it. A log that has one was not written by Stayd.
var ErrImpossible = errors.New("impossible record")

// Fold takes the next record into the state. It returns an error, after which
// the state is not to be used, for a record that cannot be decoded or cannot
// follow.
func Fold(s *State, r *event.Record) error {
	if r.Seq != s.Seq+1 {
		return fmt.Errorf("record %d of %s after record %d of %s: %w", r.Seq, r.Session, s.Seq, s.ID, ErrImpossible)
	}
	p, err := event.Decode(r)
	if err != nil {
		return err
	}
	return FoldPayload(s, r, p)
}

// FoldPayload is Fold for a record whose payload is at hand.
func FoldPayload(s *State, r *event.Record, p event.Payload) error {
	if (r.Seq == 1) != (r.Kind == event.KindSessionCreated) && !r.Erased() {
		return fmt.Errorf("record %d of %s is %s: %w", r.Seq, r.Session, r.Kind, ErrImpossible)
	}
	if err := s.enter(r, p); err != nil {
		return err
	}
	if err := s.apply(p, r.Time); err != nil {
		return fmt.Errorf("record %d of %s (%s): %w", r.Seq, r.Session, r.Kind, err)
	}
	s.Seq, s.Hash, s.LastActiveAt = r.Seq, r.Hash, r.Time
	s.advance(r.Time)
	return nil
}

// enter checks whose record it is. The records of a fork follow those of the
// session that it is a fork of.
func (s *State) enter(r *event.Record, p event.Payload) error {
	if s.Seq == 0 && s.ID == "" {
		s.ID = r.Session
	}
	f, ok := p.(*event.SessionForked)
	switch {
	case r.Kind == event.KindSessionForked && (p == nil || (ok && f.From == s.ID && f.At == s.Seq)) && r.Session != s.ID:
		s.ID = r.Session
	case r.Session != s.ID || ok:
		return fmt.Errorf("record %d of %s after record %d of %s: %w", r.Seq, r.Session, s.Seq, s.ID, ErrImpossible)
	}
	return nil
}

func (s *State) apply(p event.Payload, at time.Time) error {
	switch p := p.(type) {
	case nil: // erased
		return nil
	case *event.SessionCreated:
		return s.created(p, at)
	case *event.SessionUpdated:
		return s.updated(p, at)
	case *event.SessionDeleted:
		s.Deleted = true
		return nil
	case *event.SessionForked:
		s.forked(p, at)
		return nil
	case *event.TurnCreated:
		return s.turnCreated(p, at)
	case *event.TurnCancelRequested:
		t, err := s.running(p.TurnID)
		if err != nil {
			return err
		}
		s.took(p.Input)
		t.CancelRequested = true
		return nil
	case *event.TurnEnded:
		return s.turnEnded(p, at)
	case *event.ToolsListed:
		s.finish(p.EffectID, EffectFinished, at)
		s.Servers[p.ServerLabel] = &Server{Label: p.ServerLabel, TurnID: p.TurnID, Tools: p.Tools, Error: p.Error}
		s.toolsChanged()
		return nil
	case *event.EnvironmentChanged:
		s.environmentChanged(p, at)
		return nil
	case *event.Snapshot:
		s.snapshot(p)
		return nil
	case *event.Egress:
		return nil
	case *event.TokenRenewed:
		return s.tokenRenewed(p)
	case *event.ArtifactDeleted:
		return s.artifactDeleted(p)
	case *event.ModelResponded:
		return s.modelResponded(p, at)
	case *event.ContextCompacted:
		return s.compacted(p, at)
	case *event.ToolResult:
		return s.toolResult(p, at)
	case *event.ConsentRequested:
		return s.consentRequested(p)
	case *event.ConsentResolved:
		return s.consentResolved(p, at)
	case *event.MemoryRecalled, *event.MemoryKept, *event.MemoryExtracted:
		return s.applyMemory(p, at)
	}
	return s.applyEffect(p, at)
}

func (s *State) created(p *event.SessionCreated, at time.Time) error {
	s.Project, s.Agent, s.Environment = p.Project, p.Agent, p.Environment
	s.Metadata, s.SpendLimit, s.VaultIDs = p.Metadata, p.SpendLimit, p.VaultIDs
	s.Actor = p.Actor
	s.CreatedAt, s.Created = at, p.Input
	s.Place.Root = p.Environment.Root
	s.took(p.Input)
	return nil
}

func (s *State) updated(p *event.SessionUpdated, at time.Time) error {
	s.took(p.Input)
	if p.Agent != nil {
		before := s.Agent
		s.Agent = *p.Agent
		s.toolsChanged()
		s.memoryChanged(before.Memory, at)
		for label := range s.Servers {
			if !sameServer(before.Tools, s.Agent.Tools, label) {
				delete(s.Servers, label)
			}
		}
		s.leaveListings(before.Tools, at)
	}
	if p.Metadata != nil {
		s.Metadata = *p.Metadata
	}
	if p.SpendLimit != nil {
		s.SpendLimit = p.SpendLimit.Limit
	}
	return nil
}

// sameServer reports whether both tool lists have the server with the same
// configuration.
func sameServer(a, b []event.Tool, label string) bool {
	find := func(tools []event.Tool) []byte {
		for i := range tools {
			if tools[i].Type == event.ToolMCP && tools[i].ServerLabel == label {
				data, err := json.Marshal(tools[i])
				if err == nil {
					return data
				}
			}
		}
		return nil
	}
	x, y := find(a), find(b)
	return x != nil && string(x) == string(y)
}

func (s *State) turnCreated(p *event.TurnCreated, at time.Time) error {
	if _, ok := s.turns[p.TurnID]; ok || p.TurnID == "" {
		return fmt.Errorf("turn %q exists: %w", p.TurnID, ErrImpossible)
	}
	s.took(p.Input)
	s.turns[p.TurnID] = len(s.Turns)
	t := &Turn{ID: p.TurnID, Status: TurnQueued, CreatedAt: at, NeedsModel: true, Actor: p.Actor, TraceParent: p.TraceParent}
	s.several = s.several || s.SpeakerOf(t) != s.Actor
	s.Turns = append(s.Turns, t)
	for i := range p.Items {
		it := p.Items[i]
		it.TurnID = p.TurnID
		if err := s.reserveItem(it.ID); err != nil {
			return err
		}
		t.Input = append(t.Input, &it)
	}
	return nil
}

func (s *State) turnEnded(p *event.TurnEnded, at time.Time) error {
	t, err := s.running(p.TurnID)
	if err != nil {
		return err
	}
	switch p.Status {
	case TurnCompleted, TurnFailed, TurnCancelled:
	default:
		return fmt.Errorf("turn status %q: %w", p.Status, ErrImpossible)
	}
	for _, e := range s.OpenEffects() {
		if e.Status == EffectStarted {
			// Nobody will know what the call that was given up has cost.
			s.spend(t, event.Usage{}, e.Reserved)
		}
		if e.Status == EffectUnknown {
			s.closeEffect(e.ID, EffectUnknown, e.Code, e.Message, at)
			s.changeItem(e.ItemID, func(it *event.Item) { it.Status, it.Error = event.StatusIncomplete, UnknownMessage })
			continue
		}
		s.closeEffect(e.ID, EffectFailed, "turn_ended", "the turn ended before the call was answered", at)
		s.closeItem(e.ItemID, event.StatusIncomplete)
	}
	t.Status, t.Error, t.CompletedAt, t.CancelRequested = p.Status, p.Error, at, false
	if p.Status == TurnCompleted {
		s.publish(t.ID, at)
	}
	s.current++
	return nil
}

func (s *State) modelResponded(p *event.ModelResponded, at time.Time) error {
	t, err := s.running(p.TurnID)
	if err != nil {
		return err
	}
	s.finish(p.EffectID, EffectFinished, at)
	s.spend(t, p.Usage, p.CostNanoUSD)
	// What an answer counted is of the context as it was when it was asked for,
	// which a compaction in the background may have shortened since.
	counted := !s.compactedSince || p.RequestHash == s.RequestHash()
	s.compactedSince = false
	t.Steps++
	t.NeedsModel = false
	step := s.step() + 1
	for i := range p.Items {
		it := p.Items[i]
		it.TurnID = p.TurnID
		if err := s.addItem(&it, step, t); err != nil {
			return err
		}
		if it.IsCall() {
			t.NeedsModel = true
			if it.Status == event.StatusInProgress {
				s.addCall(&it)
			}
		}
	}
	if counted {
		s.contextTokens, s.contextItems = p.Usage.Total(), len(s.Items)
	}
	return nil
}

func (s *State) compacted(p *event.ContextCompacted, at time.Time) error {
	t, err := s.running(p.TurnID)
	if err != nil {
		return err
	}
	if len(p.Item.Covers) == 0 {
		return fmt.Errorf("a compaction that covers nothing: %w", ErrImpossible)
	}
	last, ok := s.items[p.Item.Covers[len(p.Item.Covers)-1]]
	if !ok || last < s.ContextFrom {
		return fmt.Errorf("a compaction of what is not in the context: %w", ErrImpossible)
	}
	s.finish(p.EffectID, EffectFinished, at)
	s.spend(t, p.Usage, p.CostNanoUSD)
	it := p.Item
	it.TurnID = p.TurnID
	if err := s.addItem(&it, s.step(), t); err != nil {
		return err
	}
	s.Summary, s.ContextFrom = &it, last+1
	s.Compactions++
	t.Overflow = false
	s.contextTokens, s.contextItems, s.compactedSince = 0, 0, true
	return nil
}

func (s *State) toolResult(p *event.ToolResult, at time.Time) error {
	t, err := s.running(p.TurnID)
	if err != nil {
		return err
	}
	e := s.OpenCall(p.TurnID, p.CallID)
	if e == nil {
		return fmt.Errorf("no open call %q: %w", p.CallID, ErrImpossible)
	}
	s.took(p.Input)
	status := EffectFinished
	if p.Item.Status == event.StatusFailed {
		status = EffectFailed
	}
	s.finish(e.ID, status, at)
	s.closeItem(e.ItemID, event.StatusCompleted)
	it := p.Item
	it.TurnID = p.TurnID
	if err := s.addItem(&it, s.step(), t); err != nil {
		return err
	}
	s.markForeign()
	return nil
}

// OpenCall returns the open effect of a client's function call, or nil.
func (s *State) OpenCall(turnID, callID string) *Effect {
	for _, e := range s.OpenEffects() {
		if e.Kind == event.EffectClient && e.CallID == callID && e.TurnID == turnID {
			return e
		}
	}
	return nil
}

// running returns the current turn, which must be the one named.
func (s *State) running(id string) (*Turn, error) {
	t := s.Current()
	if t == nil || t.ID != id {
		return nil, fmt.Errorf("turn %q does not run: %w", id, ErrImpossible)
	}
	return t, nil
}

func (s *State) took(in event.Input) {
	if in.Key != "" {
		s.keys[in.Key] = in.RequestHash
	}
}

// spend counts what a call took, for the turn too where it is one's.
func (s *State) spend(t *Turn, u event.Usage, cost int64) {
	s.Usage = s.Usage.Add(u)
	s.CostNanoUSD += cost
	if t != nil {
		t.Usage = t.Usage.Add(u)
		t.CostNanoUSD += cost
	}
}

// step is the step of the last item.
func (s *State) step() int {
	if n := len(s.Items); n > 0 {
		return s.Items[n-1].Step
	}
	return 0
}

// advance sets the statuses that follow from what is open.
func (s *State) advance(at time.Time) {
	t := s.Current()
	if t == nil {
		return
	}
	if t.Status == TurnQueued {
		t.Status, t.StartedAt = TurnInProgress, at
		for _, it := range t.Input {
			s.appendItem(it, s.step(), -1)
		}
		if s.several { // what one says is foreign to what is remembered of another
			s.markForeign()
		}
	}
	t.Status = TurnInProgress
	if !t.CancelRequested && (len(s.RequiredActions()) > 0 || s.NeedsConnection()) {
		t.Status = TurnWaiting
	}
}
