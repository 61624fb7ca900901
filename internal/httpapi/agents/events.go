package agents

import (
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// wireEvent is an event of the stream. Its id says what it is about, so that it
// is the same whether it is sent as it happens or read from the log later.
type wireEvent struct {
	ID   string
	Type string
	Data any
}

type sessionEvent struct {
	EventID string        `json:"event_id"`
	Type    string        `json:"type"`
	Session sessionObject `json:"session"`
}

type turnEvent struct {
	EventID   string       `json:"event_id"`
	Type      string       `json:"type"`
	SessionID string       `json:"session_id"`
	TurnID    string       `json:"turn_id"`
	Turn      turnObject   `json:"turn"`
	Usage     *usageObject `json:"usage,omitempty"`
}

type itemEvent struct {
	EventID     string     `json:"event_id"`
	Type        string     `json:"type"`
	SessionID   string     `json:"session_id"`
	TurnID      string     `json:"turn_id"`
	OutputIndex *int       `json:"output_index"`
	Item        itemObject `json:"item"`
}

// pieceEvent is about a part of a message or of a reasoning's summary, or about
// what a command prints.
type pieceEvent struct {
	EventID      string       `json:"event_id"`
	Type         string       `json:"type"`
	SessionID    string       `json:"session_id"`
	TurnID       string       `json:"turn_id"`
	ItemID       string       `json:"item_id"`
	OutputIndex  int          `json:"output_index"`
	ContentIndex *int         `json:"content_index,omitempty"`
	SummaryIndex *int         `json:"summary_index,omitempty"`
	Part         *textContent `json:"part,omitempty"`
	Text         *string      `json:"text,omitempty"`
	Delta        *string      `json:"delta,omitempty"`
}

type environmentEvent struct {
	EventID     string           `json:"event_id"`
	Type        string           `json:"type"`
	SessionID   string           `json:"session_id"`
	TurnID      *string          `json:"turn_id"`
	Environment environmentState `json:"environment"`
}

// resetEvent says that what ran in an environment was lost.
type resetEvent struct {
	EventID       string  `json:"event_id"`
	Type          string  `json:"type"`
	SessionID     string  `json:"session_id"`
	TurnID        *string `json:"turn_id"`
	EnvironmentID string  `json:"environment_id"`
	ResetCount    int64   `json:"reset_count"`
}

type environmentState struct {
	ID     string            `json:"id"`
	Type   string            `json:"type"`
	Status string            `json:"status"`
	Error  *environmentError `json:"error"`
}

type environmentError struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Type    string `json:"type"`
}

// moment is what the events of a record need of the state before it.
type moment struct {
	turn    string   // the id of the current turn
	waiting string   // the ids of the effects that wait for the client or a person
	running []string // the ids of the items of calls that are open
	place   string   // the status of the environment
}

func momentOf(s *session.State) moment {
	m := moment{place: s.Place.Status}
	t := s.Current()
	if t == nil {
		return m
	}
	m.turn = t.ID
	for _, e := range s.OpenEffects() {
		if e.ItemID != "" && e.Kind != event.EffectClient {
			m.running = append(m.running, e.ItemID)
		}
	}
	m.waiting = waiting(s)
	return m
}

func waiting(s *session.State) string {
	if s.Status() != session.RequiresAction {
		return ""
	}
	var ids []string
	for _, e := range s.RequiredActions() {
		// An effect that was approved and then became unknown waits anew.
		ids = append(ids, e.ID+" "+string(e.Status))
	}
	if s.NeedsConnection() {
		ids = append(ids, s.Environment.ID)
	}
	return strings.Join(ids, ",")
}

// project returns the events of a record: a function of the state before it, its
// payload and the state after it.
func project(before moment, seq int64, p event.Payload, after *session.State, v view) []wireEvent {
	x := projection{s: after, seq: seq, view: v}
	switch p := p.(type) {
	case *event.SessionCreated:
		x.made("created")
	case *event.SessionForked:
		x.made("forked")
	case *event.TurnCreated:
		x.turnCreated(p.TurnID)
	case *event.ModelResponded:
		for i := range p.Items {
			x.produced(p.Items[i].ID)
		}
	case *event.ContextCompacted:
		x.added(p.Item.ID)
		x.done(p.Item.ID)
	case *event.ToolResult:
		x.added(p.Item.ID)
	case *event.MemoryRecalled:
		if p.Item != nil {
			x.added(p.Item.ID)
		}
	case *event.EnvironmentChanged:
		x.environmentChanged(before.place, p)
	}
	for _, id := range before.running {
		if en, ok := after.Item(id); ok && en.Status != event.StatusInProgress {
			x.done(id)
		}
	}
	if end, ok := p.(*event.TurnEnded); ok {
		x.turn(after.Turn(end.TurnID), end.Status)
	}
	x.follow(before)
	return x.events
}

type projection struct {
	s      *session.State
	seq    int64
	view   view
	events []wireEvent
}

func (x *projection) add(id, kind string, data func(id, kind string) any) {
	x.events = append(x.events, wireEvent{ID: id, Type: kind, Data: data(id, kind)})
}

// follow says what became of the session by the record.
func (x *projection) follow(before moment) {
	t := x.s.Current()
	switch now := waiting(x.s); {
	case t == nil:
		if before.turn != "" {
			x.session(session.Idle)
		}
	case t.ID != before.turn:
		x.session(session.InProgress)
		x.turn(t, session.TurnInProgress)
		for _, it := range t.Input {
			x.added(it.ID)
		}
		if now != "" {
			x.session(session.RequiresAction) // an environment that has to connect
		}
	case now == before.waiting:
	case now != "":
		x.session(session.RequiresAction)
	default:
		x.session(session.InProgress)
	}
}

// made is a session that begins, with its environment. Whoever made it is told
// the token of the environment here, and nobody else anywhere.
func (x *projection) made(how string) {
	x.add("evt_"+x.s.ID+"_"+how, "agent.session."+how, func(id, kind string) any {
		return sessionEvent{id, kind, renderSession(x.s, x.view)}
	})
	if x.s.Environment.Type != event.EnvironmentNone {
		x.environment("", session.PlacePending, nil)
	}
}

func (x *projection) session(status string) {
	id := "evt_" + x.s.ID + "_" + strconv.FormatInt(x.seq, 10) + "_" + status
	x.add(id, "agent.session."+status, func(id, kind string) any { return sessionEvent{id, kind, renderSession(x.s, x.view.withoutToken())} })
}

// turnCreated shows the turn as it was then, though it may have started with the
// same record.
func (x *projection) turnCreated(id string) {
	t := *x.s.Turn(id)
	t.Status, t.StartedAt = session.TurnQueued, t.CompletedAt
	x.turn(&t, "created")
}

func (x *projection) turn(t *session.Turn, what string) {
	e := turnEvent{
		EventID: "evt_" + t.ID + "_" + what, Type: "agent.session.turn." + what, SessionID: x.s.ID, TurnID: t.ID, Turn: renderTurn(x.s, t),
	}
	if t.Ended() {
		e.Usage = &e.Turn.Usage
	}
	x.events = append(x.events, wireEvent{ID: e.EventID, Type: e.Type, Data: e})
}

// produced is an item of the model's answer.
func (x *projection) produced(id string) {
	en, ok := x.s.Item(id)
	if !ok {
		return
	}
	x.events = append(x.events, opening(x.s, en.Item, en.OutputIndex))
	switch en.Type {
	case event.ItemMessage:
		for i, part := range en.Content {
			x.part(&en, contentPart, i, part)
		}
		x.done(id)
	case event.ItemReasoning:
		for i, part := range en.Summary {
			x.part(&en, summaryPart, i, part)
		}
		x.done(id)
	case event.ItemFunctionCall:
		x.done(id)
	default:
		// A call that was refused at once is over already.
		if en.Status != event.StatusInProgress {
			x.done(id)
		}
	}
}

// opening is the event of an item that begins to be: a message without its text,
// a call without its result.
func opening(s *session.State, it *event.Item, output int) wireEvent {
	begun := *it
	begun.Status = event.StatusInProgress
	begun.Content, begun.Summary, begun.Phase = nil, nil, ""
	begun.Output, begun.Error, begun.ExitCode = nil, "", nil
	return itemAdded(s.ID, &begun, output)
}

func itemAdded(sessionID string, it *event.Item, output int) wireEvent {
	e := itemEvent{
		EventID: "evt_" + it.ID + "_" + it.Type + "_added", Type: "agent.session.turn.item.added",
		SessionID: sessionID, TurnID: it.TurnID, OutputIndex: outputIndex(output), Item: renderItem(it),
	}
	return wireEvent{ID: e.EventID, Type: e.Type, Data: e}
}

func outputIndex(n int) *int {
	if n < 0 {
		return nil
	}
	return &n
}

func (x *projection) added(id string) {
	if en, ok := x.s.Item(id); ok {
		x.events = append(x.events, itemAdded(x.s.ID, en.Item, en.OutputIndex))
	}
}

func (x *projection) done(id string) {
	en, ok := x.s.Item(id)
	if !ok {
		return
	}
	it := *en.Item
	if it.Type == event.ItemFunctionCall {
		// The call is complete; that it is answered is another matter.
		it.Status = event.StatusCompleted
	}
	x.add("evt_"+id+"_done", "agent.session.turn.item.done", func(eventID, kind string) any {
		return itemEvent{eventID, kind, x.s.ID, it.TurnID, outputIndex(en.OutputIndex), renderItem(&it)}
	})
}

// partKind says which events a part has.
type partKind struct {
	part, text string // in the names of events
	summary    bool
}

var (
	contentPart = partKind{part: "content_part", text: "output_text"}
	summaryPart = partKind{part: "reasoning_summary_part", text: "reasoning_summary_text", summary: true}
)

func (k partKind) event(sessionID, turnID, itemID string, output, index int, name, id string) pieceEvent {
	e := pieceEvent{
		EventID: id, Type: "agent.session.turn." + name, SessionID: sessionID, TurnID: turnID, ItemID: itemID, OutputIndex: output,
	}
	if k.summary {
		e.SummaryIndex = &index
	} else {
		e.ContentIndex = &index
	}
	return e
}

// opens is the event of a part that has no text yet.
func (k partKind) opens(sessionID, turnID, itemID string, output, index int) wireEvent {
	e := k.event(sessionID, turnID, itemID, output, index, k.part+".added", partID(itemID, k.part, index, "added"))
	e.Part = &textContent{Type: event.PartOutputText}
	if k.summary {
		e.Part.Type = event.PartSummaryText
	}
	return wireEvent{ID: e.EventID, Type: e.Type, Data: e}
}

func partID(itemID, name string, index int, what string) string {
	return "evt_" + itemID + "_" + name + "_" + strconv.Itoa(index) + "_" + what
}

func (x *projection) part(en *session.Entry, k partKind, index int, c event.Content) {
	x.events = append(x.events, k.opens(x.s.ID, en.TurnID, en.ID, en.OutputIndex, index))
	text := k.event(x.s.ID, en.TurnID, en.ID, en.OutputIndex, index, k.text+".done", partID(en.ID, k.text, index, "done"))
	text.Text = &c.Text
	done := k.event(x.s.ID, en.TurnID, en.ID, en.OutputIndex, index, k.part+".done", partID(en.ID, k.part, index, "done"))
	done.Part = &textContent{Type: c.Type, Text: c.Text}
	x.events = append(x.events, wireEvent{text.EventID, text.Type, text}, wireEvent{done.EventID, done.Type, done})
}

// environmentChanged shows a status that is another than before, and that what
// ran in the environment was lost.
func (x *projection) environmentChanged(before string, p *event.EnvironmentChanged) {
	if p.Reset > 0 {
		x.add(x.environmentEventID("reset"), "agent.session.environment.reset", func(id, kind string) any {
			return resetEvent{EventID: id, Type: kind, SessionID: x.s.ID, TurnID: orNull(p.TurnID), EnvironmentID: x.s.Environment.ID, ResetCount: p.Reset}
		})
	}
	if p.Status != session.PlaceConnected || before != session.PlaceConnected {
		x.environment(p.TurnID, p.Status, p.Error)
	}
}

func (x *projection) environment(turnID, status string, failed *event.TurnError) {
	state := environmentState{ID: x.s.Environment.ID, Type: x.s.Environment.Type, Status: status}
	if failed != nil {
		state.Error = &environmentError{Code: failed.Code, Message: failed.Message, Type: "environment_error"}
	}
	x.add(x.environmentEventID("environment"), "agent.session.environment."+status, func(id, kind string) any {
		return environmentEvent{EventID: id, Type: kind, SessionID: x.s.ID, TurnID: orNull(turnID), Environment: state}
	})
}

func (x *projection) environmentEventID(what string) string {
	return "evt_" + x.s.ID + "_" + strconv.FormatInt(x.seq, 10) + "_" + what
}
