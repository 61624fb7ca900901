package agents

import (
	"fmt"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/journal"
)

// input is one thing that a client tells a session.
type input struct {
	kind   string
	turnID string // of the turn that begins, or that made the call
	actor  string // who speaks
	items  []event.Item
	callID string
	result event.Item
}

func (a *api) postEvents(c *httpapi.Call) (any, error) {
	var body postEvents
	if err := c.Decode(&body); err != nil {
		return nil, err
	}
	in, err := c.Input()
	if err != nil {
		return nil, err
	}
	id := c.Path("session_id")
	inputs := make([]input, len(body.Events))
	for i := range body.Events {
		if inputs[i], err = inputOf(c, &body.Events[i], id, i, in); err != nil {
			return nil, err
		}
	}
	err = a.Journal.Update(c.Context(), c.Project, id, func(tx *journal.Tx) error {
		repeated, err := tx.State.Repeated(in)
		if repeated || err != nil {
			return err
		}
		key := in
		for i := range inputs {
			payloads, err := inputs[i].payloads(tx, key)
			if err != nil {
				return err
			}
			if len(payloads) > 0 {
				key = event.Input{By: in.By, TraceParent: in.TraceParent} // one record is enough to know the request by
			}
			if err := tx.Append(payloads...); err != nil {
				return err
			}
		}
		return nil
	})
	return nil, sessionError(err, id)
}

func inputOf(c *httpapi.Call, b *inputEvent, sessionID string, i int, in event.Input) (input, error) {
	at := fmt.Sprintf("events[%d]", i)
	n := input{kind: b.Type, turnID: b.TurnID, callID: b.CallID}
	var err error
	switch b.Type {
	case inputComputer:
		return n, httpapi.Unsupported(at+".type", "Computer use is not served yet, so there is no request of it to answer.")
	case inputMessage:
		n.turnID = idFor("turn", in, sessionID, at)
		if n.items, err = messages(b.Input, n.turnID, at+".input"); err != nil {
			return n, err
		}
		if n.actor, err = c.ActFor(b.Actor); err != nil {
			return n, err
		}
		err = checkActor(at+".actor", n.actor)
	case inputResult:
		n.result, err = resultOf(b, at)
	}
	return n, err
}

func resultOf(b *inputEvent, at string) (event.Item, error) {
	output, err := b.Output.output(at + ".output")
	if err != nil {
		return event.Item{}, err
	}
	if b.Success {
		if b.Error != "" {
			return event.Item{}, httpapi.Invalid(at+".error", "A call that succeeded has no error. Leave error out, or set success to false.")
		}
		return event.Item{Status: event.StatusCompleted, Output: output}, nil
	}
	it := event.Item{Status: event.StatusFailed, Output: output, Error: b.Error}
	if it.Error == "" {
		it.Error = "The call failed and gave no reason."
	}
	return it, nil
}

func (n *input) payloads(tx *journal.Tx, in event.Input) ([]event.Payload, error) {
	switch n.kind {
	case inputMessage:
		return tx.State.Message(in, n.turnID, n.actor, n.items)
	case inputCancel:
		return tx.State.Cancel(in)
	}
	return tx.State.ToolResult(in, n.turnID, n.callID, n.result)
}
