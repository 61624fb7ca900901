package agents

import (
	"strconv"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
)

// liveItem is an item that is still coming in, as far as this client has seen
// it.
type liveItem struct {
	next  int // the number of the next piece
	parts int // that were opened
	// quiet is set where the client did not get a piece, or where the answer is
	// given anew: it then waits for the whole text, which comes with the item.
	quiet bool
}

// delta sends a piece of what is not yet durable. The item and the part that it
// belongs to are sent before it, with the ids that the log will have.
func (f *follower) delta(d *feed.Delta) error {
	t := f.s.Current()
	if t == nil || t.ID != d.TurnID {
		return nil
	}
	en, durable := f.s.Item(d.ItemID)
	if durable != (d.Kind == feed.CommandDelta) || (durable && en.Status != event.StatusInProgress) {
		return nil
	}
	item := f.live[d.ItemID]
	if item == nil {
		item = &liveItem{}
		f.live[d.ItemID] = item
	}
	if item.quiet || d.N != item.next {
		item.quiet = true
		return nil
	}
	item.next++
	switch d.Kind {
	case feed.TextDelta:
		return f.textDelta(item, d, contentPart, event.Item{Type: event.ItemMessage, Role: event.RoleAssistant})
	case feed.ReasoningDelta:
		return f.textDelta(item, d, summaryPart, event.Item{Type: event.ItemReasoning})
	case feed.CommandDelta:
	}
	e := pieceEvent{
		EventID: deltaID(d), Type: "agent.output.command_execution_output.delta",
		SessionID: f.id, TurnID: d.TurnID, ItemID: d.ItemID, OutputIndex: d.OutputIndex, Delta: &d.Text,
	}
	return f.write(&wireEvent{e.EventID, e.Type, e})
}

func (f *follower) textDelta(item *liveItem, d *feed.Delta, k partKind, it event.Item) error {
	if d.N == 0 {
		it.ID, it.TurnID = d.ItemID, d.TurnID
		if err := f.writeEarly(opening(f.s, &it, d.OutputIndex)); err != nil {
			return err
		}
	}
	for ; item.parts <= d.Part; item.parts++ {
		if err := f.writeEarly(k.opens(f.id, d.TurnID, d.ItemID, d.OutputIndex, item.parts)); err != nil {
			return err
		}
	}
	e := k.event(f.id, d.TurnID, d.ItemID, d.OutputIndex, d.Part, k.text+".delta", deltaID(d))
	e.Delta = &d.Text
	return f.write(&wireEvent{e.EventID, e.Type, e})
}

// writeEarly sends an event that the log will have, and remembers not to send it
// again.
func (f *follower) writeEarly(e wireEvent) error {
	f.early[e.ID] = true
	return f.write(&e)
}

func deltaID(d *feed.Delta) string { return "evt_" + d.ItemID + "_d" + strconv.Itoa(d.N) }
