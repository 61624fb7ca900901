package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/ssestream"
)

// FromStart is the cursor before the first event of a session.
const FromStart = "0"

// Events is a stream of a session's events that knows its place, so that it can
// be taken up again where it broke off.
type Events struct {
	*ssestream.Stream[openai.AgentSessionEventUnion]
	decoder *decoder
}

// Cursor is the place after the current event.
func (e *Events) Cursor() string { return e.decoder.cursor }

// Raw is the current event's JSON as it came.
func (e *Events) Raw() []byte { return bytes.TrimSpace(e.decoder.event.Data) }

// Follow opens the stream of a session's events after the cursor; an empty
// cursor is from now on. When it returns, nothing that happens is missed. The
// stream lasts until ctx ends or the server stops.
func (c *Client) Follow(ctx context.Context, session, cursor string) (*Events, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Base+"/v1/agents/sessions/"+url.PathEscape(session)+"/events", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.key)
	req.Header.Set("OpenAI-Beta", "agents=v1")
	req.Header.Set("Accept", "text/event-stream")
	if cursor != "" {
		req.Header.Set("Last-Event-ID", cursor)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 300 {
		defer resp.Body.Close() //nolint:errcheck // only read
		return nil, apiError(resp)
	}
	d := &decoder{body: resp.Body, lines: bufio.NewReaderSize(resp.Body, 64<<10), cursor: cursor}
	return &Events{Stream: ssestream.NewStream[openai.AgentSessionEventUnion](d, nil), decoder: d}, nil
}

// decoder reads server-sent events, with their ids, which the SDK's own drops.
type decoder struct {
	body   io.ReadCloser
	lines  *bufio.Reader
	event  ssestream.Event
	id     string // of the event that is being read
	cursor string
	err    error
}

// Next reads up to the next event with data.
func (d *decoder) Next() bool {
	if d.err != nil {
		return false
	}
	var kind string
	var data []byte
	for {
		line, err := d.lines.ReadBytes('\n')
		if err != nil {
			if !errors.Is(err, io.EOF) {
				d.err = err
			}
			return false
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			if d.id != "" {
				d.cursor = d.id
			}
			if len(data) == 0 {
				kind = ""
				continue
			}
			d.event = ssestream.Event{Type: kind, Data: data}
			return true
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "id":
			d.id = string(value)
		case "event":
			kind = string(value)
		case "data":
			data = append(append(data, value...), '\n')
		}
	}
}

func (d *decoder) Event() ssestream.Event { return d.event }
func (d *decoder) Err() error             { return d.err }
func (d *decoder) Close() error           { return d.body.Close() }
