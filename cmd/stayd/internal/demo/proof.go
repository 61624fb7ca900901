package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/cmd/stayd/internal/station"
	"github.com/stayd/stayd/internal/event"
)

// conclude shows what happened, from the log and the ledger, and that nothing
// happened twice.
func (d *Demo) conclude(ctx context.Context) error {
	d.printer.Line(show.Bold, "\nWhat happened, from the log of the session:")
	finished, steps, err := d.timeline(ctx)
	if err != nil {
		return err
	}
	d.printer.Line(show.Bold, "\nWas anything done twice?")
	sound := d.prove(finished, steps)
	v, err := d.client.Verify(ctx, d.session)
	if err != nil {
		return fmt.Errorf("verify the log: %w", err)
	}
	d.check(&sound, v.OK, "the log verifies: %d records, chained by SHA-256 up to %.12s…", v.Records, v.Hash)
	if d.killed.IsZero() {
		d.printer.Line(show.Warn, "the agent was done before there was a moment to kill the server; nothing was interrupted")
	}
	if d.turn.Status != "completed" {
		return fmt.Errorf("the turn is %s; the log of the session says why", d.turn.Status)
	}
	if !sound {
		return errors.New("something is not as it must be; see above")
	}
	d.printer.Line(show.Bold, "\nWhat the agent made:")
	for _, name := range []string{station.ReportFile, "chart.svg", "chart.png"} {
		path := filepath.Join(d.out(), name)
		if _, err := os.Stat(path); err == nil {
			d.printer.Line(show.Bold, "  %s", path)
		}
	}
	d.say("\nLook closer: stayd sessions log %s --data %s", d.session, filepath.Join(d.cfg.Dir, "data"))
	return nil
}

// check prints what was found, and notes where it is not so.
func (d *Demo) check(sound *bool, ok bool, format string, args ...any) {
	if ok {
		d.printer.Line(show.Good, "✓ "+format, args...)
		return
	}
	*sound = false
	d.printer.Line(show.Bad, "✗ NOT SO: "+format, args...)
}

// prove compares what the tools saw with what the log says. finished counts the
// outcomes of each effect, steps the model's answers to each request.
func (d *Demo) prove(finished, steps map[string]int) bool {
	sound := true
	entries, err := station.Ledger(d.out())
	if err != nil {
		d.check(&sound, false, "the ledger can be read: %v", err)
		return false
	}
	arrived, drawn, posted := map[string]int{}, map[string]int{}, map[string]int{}
	for _, e := range entries {
		switch e.Did {
		case station.Called:
			arrived[e.EffectID]++
		case station.Drawn:
			drawn[e.EffectID]++
		case station.Posted:
			posted[e.EffectID]++
		}
	}
	for id, n := range arrived {
		d.check(&sound, drawn[id] <= 1, "render_chart (idempotent, effect %s): %s, drawn %s", show.Short(id), calls(n), times(drawn[id]))
	}
	for id, n := range posted {
		d.check(&sound, n == 1, "publish_report (once, effect %s): published %s", show.Short(id), times(n))
	}
	if d.cfg.Model == Script {
		d.check(&sound, len(drawn) == 1 && len(posted) == 1, "the ledger has one chart and one published report")
	}
	d.check(&sound, once(finished), "the log has one outcome for each of %d calls", len(finished))
	d.check(&sound, once(steps), "the log has one answer for each of %d model requests", len(steps))
	return sound
}

func once(counts map[string]int) bool {
	for _, n := range counts {
		if n != 1 {
			return false
		}
	}
	return len(counts) > 0
}

func calls(n int) string {
	if n == 1 {
		return "called once"
	}
	return fmt.Sprintf("called %d times under one id, before and after the kill", n)
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// timeline prints the log. It counts the outcomes of effects and the answers of
// the model.
func (d *Demo) timeline(ctx context.Context) (finished, steps map[string]int, err error) {
	finished, steps = map[string]int{}, map[string]int{}
	names := map[string]string{} // of calls, by effect id
	var first time.Time
	struck := false
	for r, err := range d.client.Log(ctx, d.session, 0) {
		if err != nil {
			return nil, nil, err
		}
		rec, err := r.Record(d.session)
		if err != nil {
			return nil, nil, err
		}
		payload, err := event.Decode(&rec)
		if err != nil {
			return nil, nil, err
		}
		if first.IsZero() {
			first = r.Time
		}
		process := d.server.pid()
		if !d.killed.IsZero() && r.Time.Before(d.killed) {
			process = d.killID
		} else if !d.killed.IsZero() && !struck {
			struck = true
			d.printer.Line(show.Bad, "%8s  ■ kill -9 %d", offset(d.killed.Sub(first)), d.killID)
		}
		if text := d.entry(payload, names, finished, steps); text != "" {
			d.printer.Line(show.Dim, "%8s  process %d  %s", offset(r.Time.Sub(first)), process, show.Shorten(text, d.cfg.Width))
		}
	}
	return finished, steps, nil
}

func offset(d time.Duration) string { return fmt.Sprintf("+%.2fs", d.Seconds()) }

// entry is what the timeline says of a record, or "".
func (d *Demo) entry(payload event.Payload, names map[string]string, finished, steps map[string]int) string {
	name := func(id string) string {
		if n := names[id]; n != "" {
			return n
		}
		return "a call"
	}
	switch p := payload.(type) {
	case *event.ModelResponded:
		steps[p.EffectID]++
		var asked []string
		for i := range p.Items {
			if it := &p.Items[i]; it.IsCall() {
				names[event.DeriveID("eff", d.session, it.ID)] = it.Name
				asked = append(asked, it.Name)
			}
		}
		if len(asked) == 0 {
			return "model: the final answer"
		}
		return "model: → " + strings.Join(asked, ", ")
	case *event.EffectStarted:
		if p.What != event.EffectTool {
			return ""
		}
		return fmt.Sprintf("begins %s, effect %s, attempt %d, epoch %d", name(p.EffectID), show.Short(p.EffectID), p.Attempt, p.Epoch)
	case *event.EffectFinished:
		finished[p.EffectID]++
		return fmt.Sprintf("%s %s, effect %s: %s", p.Status, name(p.EffectID), show.Short(p.EffectID), event.OutputText(p.Output)+p.Error)
	case *event.EffectUnknown:
		return fmt.Sprintf("unknown %s, effect %s", name(p.EffectID), show.Short(p.EffectID))
	case *event.TurnCreated:
		return "the task comes in"
	case *event.TurnEnded:
		return "turn " + p.Status
	}
	return ""
}
