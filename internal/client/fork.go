package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/openai/openai-go/v3"
)

// Fork says where a fork begins and how it differs from what it is a fork of.
type Fork struct {
	// At most one of these; none is the end of the log.
	Record int64  // after the record with this sequence number
	Turn   string // after the end of this turn
	Item   string // after this item was complete

	Cancel   bool              // ends turns that had not ended, which go on otherwise
	Model    string            // in place of the agent's; empty keeps it
	Input    string            // begins a new turn; empty begins none
	Metadata map[string]string // in place of the session's; nil keeps it
}

func (f *Fork) body() map[string]any {
	body := map[string]any{}
	switch {
	case f.Record != 0:
		body["at"] = map[string]any{"record": f.Record}
	case f.Turn != "":
		body["at"] = map[string]any{"turn": f.Turn}
	case f.Item != "":
		body["at"] = map[string]any{"item": f.Item}
	}
	if f.Cancel {
		body["turn"] = "cancel"
	}
	if f.Model != "" {
		body["agent"] = map[string]any{"model": f.Model}
	}
	if f.Input != "" {
		body["input"] = f.Input
	}
	if f.Metadata != nil {
		body["metadata"] = f.Metadata
	}
	return body
}

// Point is a record of a session.
type Point struct {
	SessionID string `json:"session_id"`
	Record    int64  `json:"record"`
}

// ForkedFrom is what the session is a fork of; nil where it is none.
func ForkedFrom(s *openai.AgentSession) *Point {
	var o struct {
		ForkedFrom *Point `json:"forked_from"`
	}
	if json.Unmarshal([]byte(s.RawJSON()), &o) != nil {
		return nil
	}
	return o.ForkedFrom
}

// Fork makes a new session that has the past of another.
func (c *Client) Fork(ctx context.Context, session string, f Fork) (*openai.AgentSession, error) {
	s := &openai.AgentSession{}
	if err := c.Do(ctx, http.MethodPost, SessionPath(session, "/fork"), f.body(), s); err != nil {
		return nil, err
	}
	return s, nil
}

// Diff says in what two sessions differ.
type Diff struct {
	Common       *Point   `json:"common"` // the last record that both have, or nil
	A            Side     `json:"a"`
	B            Side     `json:"b"`
	Files        []Change `json:"files"` // from the workspace of A to that of B
	FilesOmitted int      `json:"files_omitted"`

	raw string
}

// RawJSON is the comparison as it came.
func (d *Diff) RawJSON() string { return d.raw }

// Side is what one of the sessions has beyond what both have.
type Side struct {
	SessionID    string            `json:"session_id"`
	Turns        []openai.Turn     `json:"turns"`
	ItemsAfter   []json.RawMessage `json:"items_after"`
	Files        []Change          `json:"files"`
	FilesOmitted int               `json:"files_omitted"`
	Usage        struct {
		InputTokens  int64 `json:"input_tokens"`
		OutputTokens int64 `json:"output_tokens"`
		TotalTokens  int64 `json:"total_tokens"`
	} `json:"usage"`
	CostNanoUSD int64 `json:"cost_nano_usd"`
}

// Change is a file that differs.
type Change struct {
	Path       string `json:"path"`
	Kind       string `json:"kind"`        // added, removed, changed
	SizeBefore *int64 `json:"size_before"` // bytes; nil where there was none
	SizeAfter  *int64 `json:"size_after"`
}

// Diff compares two sessions.
func (c *Client) Diff(ctx context.Context, a, b string) (*Diff, error) {
	var raw json.RawMessage
	if err := c.Do(ctx, http.MethodGet, SessionPath(a, "/diff?with="+url.QueryEscape(b)), nil, &raw); err != nil {
		return nil, err
	}
	d := &Diff{raw: string(raw)}
	if err := json.Unmarshal(raw, d); err != nil {
		return nil, fmt.Errorf("read the comparison of %s with %s: %w", a, b, err)
	}
	return d, nil
}
