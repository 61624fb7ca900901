package loop

import (
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// keeps has what was said in the turn kept word for word before the turn ends, so
// that whoever sees its end can ask for it. It reports whether the turn waits for
// that; it does not wait for a keeping that failed for good.
func (d *decision) keeps() bool {
	if len(d.s.Unkept()) == 0 {
		return false
	}
	id := session.KeepEffectID(d.s)
	if e := d.s.Effect(id); e != nil && e.Status == session.EffectFailed {
		return false
	}
	d.attempt(Start{ID: id, What: event.EffectKeep})
	return true
}

// remember fills long-term memory while no turn runs: with what a turn that was
// cancelled or failed has left unkept, and then, when the session has rested,
// with what a model draws from what was said. What it has begun goes on beside
// the turns that come.
func (d *decision) remember() {
	m := d.s.Agent.Memory
	if m == nil || len(d.step.Append) > 0 {
		return
	}
	extract := Start{ID: session.ExtractEffectID(d.s), What: event.EffectExtract}
	switch {
	case d.m.Running[extract.ID]:
		extract.Class = event.Pure
		d.step.Start = append(d.step.Start, extract)
	case d.t != nil || d.keeps():
	case len(d.s.Unextracted()) == 0:
	case d.s.Effect(extract.ID) != nil: // it was begun
		d.attempt(extract)
	default:
		if at := d.s.LastActiveAt.Add(time.Duration(m.RestSeconds) * time.Second); d.m.Now.Before(at) {
			d.wake(at)
			return
		}
		d.attempt(extract)
	}
}
