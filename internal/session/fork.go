package session

import (
	"maps"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// ForkedMessage is what the model is told, in a fork, of a call that was open
// where the session was forked.
const ForkedMessage = "The outcome of this call is unknown here: it was open in another session when this one was forked from it. " +
	"That session may still make it; this one does not. Find out what happened before you call it again."

// forked makes the state of the session that was forked into that of the fork.
// What has been spent is the other's. Waiting for a time reaches nothing outside,
// so it goes on.
func (s *State) forked(p *event.SessionForked, at time.Time) {
	s.Forked, s.ForkedAt = p, s.Seq+1
	s.CreatedAt, s.Created = at, p.Input
	s.keys = map[string]string{}
	s.took(p.Input)
	s.Metadata = maps.Clone(p.Metadata)
	if p.Agent != nil {
		s.Agent = *p.Agent
	}
	if p.SpendLimit != nil {
		s.SpendLimit = p.SpendLimit.Limit
	}
	s.Usage, s.CostNanoUSD = event.Usage{}, 0
	s.leaveOpen(at)
	s.leaveEnvironment(p)
	s.leaveMemory()
	s.toolsChanged()
}

// leaveOpen closes what is open: it is the other session's.
func (s *State) leaveOpen(at time.Time) {
	for _, e := range s.OpenEffects() {
		if e.Kind == event.EffectTimer {
			continue
		}
		if e.ItemID == "" {
			s.closeEffect(e.ID, EffectFailed, "forked", "the session was forked while this was under way", at)
			continue
		}
		s.closeEffect(e.ID, EffectUnknown, "forked", "the session was forked while the call was open", at)
		s.changeItem(e.ItemID, func(it *event.Item) { it.Status, it.Error = event.StatusIncomplete, ForkedMessage })
	}
	if t := s.Current(); t != nil {
		t.CancelRequested = false
	}
}

// leaveEnvironment gives the fork an environment of its own, with the same files.
func (s *State) leaveEnvironment(p *event.SessionForked) {
	if s.Environment.Type == event.EnvironmentNone {
		return
	}
	s.Environment.ID, s.Environment.TokenHash = p.EnvironmentID, p.TokenHash
	place := &s.Place
	place.Epoch, place.Resets = 0, 0
	switch {
	case s.Environment.Type == event.EnvironmentSelfHosted:
		place.Status = PlacePending
	case place.Status == PlaceConnected:
		// What was open is not open here: it is opened from the snapshot.
		place.Status = PlaceSuspended
	}
}
