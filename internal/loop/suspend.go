package loop

import (
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// DefaultIdle is after how long without use a hosted environment is suspended
// where its session does not say.
const DefaultIdle = 15 * time.Minute

// rest has a connected environment suspended when nothing has happened for a
// while. What waits for a person or for a time is no use of it.
func (d *decision) rest() {
	if d.s.Environment.Type != event.EnvironmentHosted || d.s.Place.Status != session.PlaceConnected ||
		len(d.step.Append) > 0 || len(d.step.Start) > 0 {
		return
	}
	idle := time.Duration(d.s.Environment.IdleSeconds) * time.Second
	if idle == 0 {
		idle = DefaultIdle
	}
	if at := d.s.LastActiveAt.Add(idle); d.m.Now.Before(at) {
		d.wake(at)
		return
	}
	s := Start{ID: session.SuspendEffectID(d.s), What: event.EffectSuspend, Class: event.Pure, Attempt: 1}
	if d.t != nil {
		s.TurnID = d.t.ID
	}
	d.step.Start = append(d.step.Start, s)
}
