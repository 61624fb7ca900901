package agents

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/feed"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/session"
)

// heartbeat is how often a quiet stream is written to, so that nobody between
// takes it for dead.
const heartbeat = 15 * time.Second

// cursor is a place in a session's events: after the event with the index of the
// record with the sequence number. It is written as 12.3, or as 12 for the end
// of a record.
type cursor struct {
	seq   int64
	index int
}

const endOfRecord = math.MaxInt

func (c cursor) String() string {
	s := strconv.FormatInt(c.seq, 10)
	if c.index == endOfRecord {
		return s
	}
	return s + "." + strconv.Itoa(c.index)
}

func parseCursor(s string) (cursor, bool) {
	seq, index, both := strings.Cut(s, ".")
	c := cursor{index: endOfRecord}
	n, err := strconv.ParseUint(seq, 10, 63)
	if err != nil {
		return c, false
	}
	c.seq = int64(n)
	if both {
		i, err := strconv.ParseUint(index, 10, 31)
		if err != nil || n == 0 {
			return c, false
		}
		c.index = int(i)
	}
	return c, true
}

// follower sends a session's events to one client.
type follower struct {
	a       *api
	project string
	id      string
	view    view
	sub     *feed.Subscription
	w       *httpapi.EventWriter

	s       *session.State // with the records that were taken so far
	at      cursor         // of the last durable event that the client has
	pending []wireEvent    // of the record at the cursor, after the cursor
	live    map[string]*liveItem
	early   map[string]bool // events that were sent before they were durable
}

// follow makes the stream of a session's events, from the cursor on or, where it
// is empty, from now on.
func (a *api) follow(c *httpapi.Call, id, after string, v view) (any, error) {
	f := &follower{a: a, project: c.Project, id: id, view: v, sub: a.Feed.Subscribe(id), live: map[string]*liveItem{}, early: map[string]bool{}}
	if err := f.begin(c.Context(), after); err != nil {
		f.sub.Close()
		return nil, err
	}
	return httpapi.Stream(f.run), nil
}

// begin finds the place to start from, before anything is answered.
func (f *follower) begin(ctx context.Context, after string) error {
	from, ok := parseCursor(after)
	if after != "" && !ok {
		return badCursor(after)
	}
	err := f.a.Journal.View(ctx, f.project, f.id, func(s *session.State) error {
		switch {
		case after == "":
			f.s, f.at = s.Clone(), cursor{seq: s.Seq, index: endOfRecord}
			forget(f.s)
		case from.seq > s.Seq:
			return badCursor(after)
		}
		return nil
	})
	if err != nil || after == "" {
		return sessionError(err, f.id)
	}
	f.s, f.at = session.New(""), from
	return f.read(ctx, from.seq, func(r *event.Record) error {
		events, err := f.fold(r, r.Seq == from.seq)
		if err != nil || r.Seq < from.seq || from.index == endOfRecord {
			return err
		}
		if from.index >= len(events) {
			return badCursor(after)
		}
		f.pending = events[from.index+1:]
		return nil
	})
}

func badCursor(s string) error {
	return httpapi.Invalid("after", fmt.Sprintf("'%s' is not a place in this session's events. Give the id of an event of its stream, or 0 for all events.", s))
}

const recordsPerRead = 256

// read hands the records after the state to fn, up to the sequence number last.
func (f *follower) read(ctx context.Context, last int64, fn func(*event.Record) error) error {
	for f.s.Seq < last {
		records, err := f.a.Journal.Read(ctx, f.project, f.id, f.s.Seq, recordsPerRead)
		if err != nil || len(records) == 0 {
			return err
		}
		for i := range records {
			if f.s.Seq >= last {
				return nil
			}
			if err := fn(&records[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

// fold takes the record into the state, and returns its events if they are
// wanted.
func (f *follower) fold(r *event.Record, wanted bool) ([]wireEvent, error) {
	p, err := event.Decode(r)
	if err != nil {
		return nil, fmt.Errorf("stream %s: %w", f.id, err)
	}
	var before moment
	if wanted {
		before = momentOf(f.s)
	}
	if r.Seq != f.s.Seq+1 {
		return nil, fmt.Errorf("stream %s: record %d follows %d", f.id, r.Seq, f.s.Seq)
	}
	if err := session.FoldPayload(f.s, r, p); err != nil {
		return nil, fmt.Errorf("stream %s: %w", f.id, err)
	}
	var events []wireEvent
	if wanted {
		events = f.eventsOf(before, r.Seq, p)
	}
	if r.Kind == event.KindTurnEnded {
		forget(f.s)
	}
	return events, nil
}

// eventsOf returns the events of the record that the state is after. What was
// another session's before a fork is shown as this one's.
func (f *follower) eventsOf(before moment, seq int64, p event.Payload) []wireEvent {
	id := f.s.ID
	f.s.ID = f.id
	defer func() { f.s.ID = id }()
	return project(before, seq, p, f.s, f.view)
}

// run sends events until the client is gone, the session deleted or the server
// stopped.
func (f *follower) run(w *httpapi.EventWriter) {
	defer f.sub.Close()
	f.w = w
	w.At(f.at.String())
	if err := f.send(f.at.seq, f.at.index+1, f.pending); err != nil {
		w.Fail(err)
		return
	}
	f.pending = nil
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	lost := true // the log may have gone on since begin
	for {
		if err := f.take(lost); err != nil {
			if w.Context().Err() == nil {
				w.Fail(err)
			}
			return
		}
		if !w.Flush() || f.s.Deleted {
			return
		}
		lost = false
		select {
		case <-f.sub.Ready():
		case <-beat.C:
			w.Comment()
		case <-w.Context().Done():
			return
		case <-f.a.server.Stopping():
			return
		}
	}
}

// take sends what the feed has, and what the log has where the feed lost some.
func (f *follower) take(lost bool) error {
	messages, missed := f.sub.Take()
	if lost || missed {
		if err := f.read(f.w.Context(), math.MaxInt64, f.record); err != nil {
			return err
		}
	}
	for _, m := range messages {
		switch {
		case m.Delta != nil:
			if err := f.delta(m.Delta); err != nil {
				return err
			}
		case m.Record.Seq > f.s.Seq+1:
			if err := f.read(f.w.Context(), m.Record.Seq, f.record); err != nil {
				return err
			}
		case m.Record.Seq == f.s.Seq+1:
			if err := f.record(m.Record); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *follower) record(r *event.Record) error {
	events, err := f.fold(r, true)
	if err != nil {
		return err
	}
	if err := f.send(r.Seq, 0, events); err != nil {
		return err
	}
	if r.Kind == event.KindModelResponded || r.Kind == event.KindTurnEnded {
		clear(f.live)
		clear(f.early)
	}
	return nil
}

// send writes a record's events from the index first on.
func (f *follower) send(seq int64, first int, events []wireEvent) error {
	for i := range events {
		f.at = cursor{seq: seq, index: first + i}
		if f.early[events[i].ID] {
			continue
		}
		if err := f.write(&events[i]); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) write(e *wireEvent) error {
	data, err := httpapi.Marshal(e.Data)
	if err != nil {
		return fmt.Errorf("encode %s: %w", e.Type, err)
	}
	f.w.Event(f.at.String(), e.Type, data)
	return nil
}

// forget drops what ended turns said and did, which no later event needs.
func forget(s *session.State) {
	current := ""
	if t := s.Current(); t != nil {
		current = t.ID
	}
	gone := &event.Item{}
	for i := len(s.Items) - 1; i >= 0 && len(s.Items[i].ID) > 0; i-- {
		if s.Items[i].TurnID != current {
			s.Items[i].Item = gone
		}
	}
	ended := &session.Effect{}
	for i := len(s.Effects) - 1; i >= 0 && s.Effects[i].TurnID != ""; i-- {
		if s.Effects[i].TurnID != current {
			s.Effects[i] = ended
		}
	}
	for _, t := range s.Turns {
		if t.Ended() {
			t.Input = nil
		}
	}
}
