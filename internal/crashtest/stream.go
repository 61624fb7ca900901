package crashtest

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"io"
	"strconv"
	"strings"
)

// Event is a server-sent event.
type Event struct {
	ID   string // as it was sent: that of the last durable event, in one that is not durable
	Type string
	Data []byte
}

// readEvents calls fn with each event of the stream until the stream or fn fails.
// An id without an event is handed on without a type.
func readEvents(r io.Reader, fn func(Event) error) error {
	br := bufio.NewReader(r)
	var e Event
	for {
		line, err := br.ReadBytes('\n')
		if err != nil {
			return err // what was cut off in the middle was not received
		}
		line = bytes.TrimRight(line, "\r\n")
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) == 0:
			if e.ID == "" && e.Type == "" {
				continue
			}
			if err := fn(e); err != nil {
				return err
			}
			e = Event{}
		case string(name) == "id":
			e.ID = string(value)
		case string(name) == "event":
			e.Type = string(value)
		case string(name) == "data":
			e.Data = bytes.Clone(value)
		}
	}
}

// place is where an event is in a session's events: the record, and the index
// among the record's events.
type place struct{ seq, index int64 }

// placeOf reads an event's id, which is 12.3, or 12 for the end of a record.
func placeOf(id string) (place, error) {
	seq, index, both := strings.Cut(id, ".")
	p := place{index: 1 << 30}
	var err error
	if p.seq, err = strconv.ParseInt(seq, 10, 64); err != nil {
		return p, err
	}
	if both {
		p.index, err = strconv.ParseInt(index, 10, 64)
	}
	return p, err
}

func (p place) after(q place) bool { return p.seq > q.seq || (p.seq == q.seq && p.index > q.index) }

// Seen is an event as a client saw it.
type Seen struct {
	ID      string // of the stream; empty where the event was not yet durable
	EventID string
	Turn    string
	Type    string
	Sum     [sha256.Size]byte // of the data
}
