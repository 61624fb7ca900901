package crashtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Client is one client with one session. It does what a careful client does: it
// repeats a request until it is answered, with the same Idempotency-Key, and
// takes up the stream of events where it lost it.
type Client struct {
	base string
	http *http.Client
	plan Plan
	// onEvent is told of each durable event: the sequence number of its record.
	onEvent func(seq int64)

	Session string
	Seen    []Seen
	// Acked has the idempotency key of every input that was acknowledged, after
	// which it has to be in the log.
	Acked  map[string]bool
	Faults []string
	// Withdrawn counts events that opened an item of a turn that was then
	// cancelled, and that the log does not have.
	Withdrawn int

	last      string // id of the last durable event
	at        place
	posted    int             // messages that were acknowledged
	ended     map[string]bool // turns
	cancelled bool
	events    int
}

// Plan is what a client does.
type Plan struct {
	Name        string // never the same twice
	Texts       []string
	Environment bool
	Queue       bool // the messages are sent without waiting for the turns to end
	CancelAt    int  // the number of the event at which the client cancels; 0 is never
	MCP         string
}

func newClient(base string, plan Plan, onEvent func(int64)) *Client {
	return &Client{
		base: base, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2}}, plan: plan, onEvent: onEvent,
		Acked: map[string]bool{}, ended: map[string]bool{},
	}
}

func (c *Client) fault(format string, args ...any) {
	c.Faults = append(c.Faults, fmt.Sprintf("client %s (%s): ", c.plan.Name, c.Session)+fmt.Sprintf(format, args...))
}

// Run goes on until all turns of the plan have ended.
func (c *Client) Run(ctx context.Context) error {
	defer c.http.CloseIdleConnections()
	if err := c.create(ctx); err != nil {
		return err
	}
	for !c.over() {
		err := c.follow(ctx)
		if ctx.Err() != nil {
			return fmt.Errorf("client %s: the session %s has not ended: %d of %d turns did, the last event was %s", c.plan.Name, c.Session, len(c.ended), len(c.plan.Texts), c.last)
		}
		if errors.Is(err, errRefused) {
			return err
		}
		if err != nil && !errors.Is(err, errOver) {
			pause(ctx)
		}
	}
	return nil
}

func (c *Client) over() bool { return len(c.ended) == len(c.plan.Texts) }

var (
	errOver    = errors.New("the session has ended")
	errRefused = errors.New("the server refuses what it must take")
)

// retryPause is how long a client waits for a server that does not answer.
const retryPause = 5 * time.Millisecond

func pause(ctx context.Context) {
	t := time.NewTimer(retryPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (c *Client) create(ctx context.Context) error {
	env := map[string]any{"type": "none"}
	if c.plan.Environment {
		env["type"] = "openai_hosted"
	}
	var made struct {
		ID string `json:"id"`
	}
	status, err := c.post(ctx, "/v1/agents/sessions", "create "+c.plan.Name, map[string]any{
		"environment": env,
		"input":       c.plan.Texts[0],
		"agent": map[string]any{
			"model": "script/crash",
			"tools": []any{
				map[string]any{
					"type": "mcp", "server_label": "world", "required": true, "transport": map[string]any{"type": "http", "server_url": c.plan.MCP},
					"effects": map[string]any{"send": map[string]any{"lookup": "sent"}},
				},
				map[string]any{"type": "function", "name": "agree", "description": "asks", "parameters": map[string]any{"type": "object"}},
				map[string]any{"type": "timer"},
			},
		},
	}, &made)
	if err != nil {
		return err
	}
	if status != http.StatusOK || made.ID == "" {
		return fmt.Errorf("client %s: the session was not created: status %d", c.plan.Name, status)
	}
	c.Session, c.posted = made.ID, 1
	for c.plan.Queue && c.posted < len(c.plan.Texts) {
		if err := c.message(ctx); err != nil {
			return err
		}
	}
	return nil
}

// message sends the next message.
func (c *Client) message(ctx context.Context) error {
	text := c.plan.Texts[c.posted]
	status, err := c.input(ctx, "message "+text, map[string]any{
		"type":  "agent.session.input.message",
		"input": []any{map[string]any{"content": []any{map[string]any{"type": "input_text", "text": text}}}},
	})
	if err == nil && status != http.StatusAccepted {
		err = fmt.Errorf("client %s: a message was answered with status %d", c.plan.Name, status)
	}
	c.posted++
	return err
}

func (c *Client) input(ctx context.Context, key string, event map[string]any) (status int, err error) {
	return c.post(ctx, "/v1/agents/sessions/"+c.Session+"/events", key, map[string]any{"events": []any{event}}, nil)
}

// post sends a request until it is answered.
func (c *Client) post(ctx context.Context, path, key string, body, out any) (status int, err error) {
	data, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	for {
		status, answer, err := c.send(ctx, http.MethodPost, path, key, data)
		switch {
		case ctx.Err() != nil:
			return 0, fmt.Errorf("client %s: %s was not answered: %w", c.plan.Name, path, ctx.Err())
		case err != nil || status >= 500:
			pause(ctx)
			continue
		case status < 300:
			c.Acked[key] = true
		}
		if out != nil && status < 300 {
			err = json.Unmarshal(answer, out)
		}
		if status >= 400 && status != http.StatusConflict {
			err = fmt.Errorf("client %s: %s was answered with status %d: %s", c.plan.Name, path, status, answer)
		}
		return status, err
	}
}

// send makes one attempt.
func (c *Client) send(ctx context.Context, method, path, key string, data []byte) (status int, answer []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(data))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("OpenAI-Beta", "agents=v1")
	if data != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close() // it was read
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// open opens the stream of events after the one with the id.
func (c *Client) open(ctx context.Context, after string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/agents/sessions/"+c.Session+"/events", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("OpenAI-Beta", "agents=v1")
	req.Header.Set("Last-Event-ID", after)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close() // only read
		answer, _ := io.ReadAll(resp.Body)
		err = fmt.Errorf("client %s: the stream of %s after %s was answered with status %d: %s", c.plan.Name, c.Session, after, resp.StatusCode, answer)
		if resp.StatusCode < 500 {
			err = fmt.Errorf("%w: %w", errRefused, err)
		}
		return nil, err
	}
	return resp.Body, nil
}

// follow reads the stream from where it was lost until it is lost again.
func (c *Client) follow(ctx context.Context) error {
	after := c.last
	if after == "" {
		after = "0"
	}
	body, err := c.open(ctx, after)
	if err != nil {
		return err
	}
	defer body.Close() // only read
	return readEvents(body, func(e Event) error { return c.take(ctx, e) })
}

// take notes an event and does what the plan says about it.
func (c *Client) take(ctx context.Context, e Event) error {
	if e.Type == "" {
		return nil
	}
	if e.Type == "error" {
		return fmt.Errorf("the stream ended with %s", e.Data)
	}
	var data struct {
		EventID string `json:"event_id"`
		TurnID  string `json:"turn_id"`
		Item    struct {
			ID     string `json:"id"`
			Type   string `json:"type"`
			CallID string `json:"call_id"`
		} `json:"item"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil || data.EventID == "" {
		c.fault("an event of the type %s without an id: %s", e.Type, e.Data)
	}
	at, err := placeOf(e.ID)
	if err != nil {
		c.fault("the event %s has the id %q", data.EventID, e.ID)
		at = c.at
	}
	seen := Seen{EventID: data.EventID, Turn: data.TurnID, Type: e.Type, Sum: sha256.Sum256(e.Data)}
	if at.after(c.at) {
		seen.ID = e.ID
		c.at, c.last = at, e.ID
		c.onEvent(at.seq)
	} else if at != c.at && c.last != "" {
		c.fault("the event %s came with the id %s after %s", data.EventID, e.ID, c.last)
	}
	c.Seen = append(c.Seen, seen)
	c.events++
	if c.plan.CancelAt > 0 && c.events >= c.plan.CancelAt && !c.cancelled {
		if err := c.cancel(ctx); err != nil {
			return err
		}
	}
	switch e.Type {
	case "agent.session.turn.item.done":
		if data.Item.Type == "function_call" {
			return c.answer(ctx, data.TurnID, data.Item.ID, data.Item.CallID)
		}
	case "agent.session.turn.completed", "agent.session.turn.failed", "agent.session.turn.cancelled":
		c.ended[data.TurnID] = true
		if e.Type == "agent.session.turn.failed" {
			c.fault("a turn failed: %s", e.Data)
		}
		if c.posted < len(c.plan.Texts) {
			return c.message(ctx)
		}
	case "agent.session.idle":
		if c.over() {
			return errOver
		}
	}
	return nil
}

// answer answers a function call.
func (c *Client) answer(ctx context.Context, turn, item, call string) error {
	_, err := c.input(ctx, "answer "+item, map[string]any{
		"type": "agent.session.input.tool_result", "turn_id": turn, "call_id": call, "success": true, "output": "agreed",
	})
	if c.cancelled && ctx.Err() == nil {
		return nil // the call may have gone with its turn
	}
	return c.refused(ctx, err)
}

// refused notes the error of an input that was refused. It returns the one of a
// client that is to end.
func (c *Client) refused(ctx context.Context, err error) error {
	if err != nil && ctx.Err() == nil {
		c.fault("%v", err)
	}
	return ctx.Err()
}

func (c *Client) cancel(ctx context.Context) error {
	c.cancelled = true
	_, err := c.input(ctx, "cancel "+c.plan.Name, map[string]any{"type": "agent.session.input.cancel"})
	return c.refused(ctx, err)
}
