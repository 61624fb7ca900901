package loop

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// timer sets a timer: from then on it is in the log, and nothing in the process
// has to remember it.
func (d *decision) timer(e *session.Effect) {
	en, ok := d.s.Item(e.ItemID)
	if !ok {
		return
	}
	at, err := timerAt(en.Arguments, d.m.Now)
	if err != nil {
		d.append(&event.EffectFinished{EffectID: e.ID, TurnID: e.TurnID, Status: event.StatusFailed, Error: err.Error()})
		return
	}
	d.append(&event.EffectStarted{EffectID: e.ID, What: e.Kind, TurnID: e.TurnID, Class: event.Pure, Attempt: 1, Epoch: d.m.Epoch, WakeAt: &at})
}

func (d *decision) fire(e *session.Effect) {
	if d.m.Now.Before(e.WakeAt) {
		d.wake(e.WakeAt)
		return
	}
	d.append(&event.EffectFinished{
		EffectID: e.ID, TurnID: e.TurnID, Status: event.StatusCompleted,
		Output: event.TextOutput("It is " + d.m.Now.UTC().Format(time.RFC3339) + "."),
	})
}

// maxTimer keeps a timer within what a time.Duration and the stores can hold.
const maxTimer = 100 * 365 * 24 * time.Hour

func timerAt(args json.RawMessage, now time.Time) (time.Time, error) {
	var a struct {
		Seconds *float64 `json:"seconds"`
		Until   *string  `json:"until"`
	}
	if err := json.Unmarshal(args, &a); err != nil {
		return time.Time{}, fmt.Errorf("the arguments of wait are {\"seconds\": number} or {\"until\": RFC 3339 time}: %w", err)
	}
	switch {
	case a.Until != nil:
		at, err := time.Parse(time.RFC3339, *a.Until)
		if err != nil {
			return time.Time{}, fmt.Errorf("until %q is not an RFC 3339 time like 2026-05-03T09:00:00Z", *a.Until)
		}
		if at.Sub(now) > maxTimer {
			return time.Time{}, fmt.Errorf("until %q is more than a hundred years away", *a.Until)
		}
		return at.UTC(), nil
	case a.Seconds != nil && *a.Seconds >= 0 && *a.Seconds <= maxTimer.Seconds():
		return now.Add(time.Duration(*a.Seconds * float64(time.Second))).UTC(), nil
	}
	return time.Time{}, fmt.Errorf("give seconds (0 to %d) or until", int64(maxTimer.Seconds()))
}
