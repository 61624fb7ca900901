// Package show prints what happens in a session, as it happens or from its log,
// for a person at a terminal. It only reads: it decides nothing.
package show

import (
	"encoding/json"
	"fmt"

	"github.com/stayd/stayd/internal/event"
)

// Event is an event of a session's stream, with what is shown or decided on.
type Event struct {
	Type        string      `json:"type"`
	TurnID      string      `json:"turn_id"`
	ItemID      string      `json:"item_id"`
	Delta       string      `json:"delta"`
	Item        Item        `json:"item"`
	Turn        Turn        `json:"turn"`
	Session     Session     `json:"session"`
	Environment Environment `json:"environment"`
	Error       *Error      `json:"error"`
}

// Item is an entry of the conversation.
type Item struct {
	Type        string          `json:"type"`
	ID          string          `json:"id"`
	Role        string          `json:"role"`
	MemoryIDs   []string        `json:"memory_ids"`
	Phase       string          `json:"phase"`
	Status      string          `json:"status"`
	Name        string          `json:"name"`
	ServerLabel string          `json:"server_label"`
	Command     string          `json:"command"`
	Arguments   json.RawMessage `json:"arguments"`
	Output      json.RawMessage `json:"output"`
	Error       string          `json:"error"`
	ExitCode    *int            `json:"exit_code"`
	DurationMS  int64           `json:"duration_ms"`
	Content     []event.Content `json:"content"`
	Summary     []event.Content `json:"summary"`
}

// Turn is one input and what was done about it.
type Turn struct {
	ID     string `json:"id"`
	Status string `json:"status"`
	Error  *Error `json:"error"`
	Usage  Usage  `json:"usage"`
}

// Usage counts tokens.
type Usage struct {
	Input  int64 `json:"input_tokens"`
	Output int64 `json:"output_tokens"`
}

// Session is the session as it then was.
type Session struct {
	ID      string   `json:"id"`
	Status  string   `json:"status"`
	Actions []Action `json:"required_actions"`
}

// Action is what a session waits for.
type Action struct {
	Type        string          `json:"type"`
	TurnID      string          `json:"turn_id"`
	EffectID    string          `json:"effect_id"`
	CallID      string          `json:"call_id"`
	Name        string          `json:"name"`
	ServerLabel string          `json:"server_label"`
	Arguments   json.RawMessage `json:"arguments"`
	Reason      string          `json:"reason"`

	// of a consent and a connection
	ServerURL     string `json:"server_url"`
	Actor         string `json:"actor"`
	URL           string `json:"url"` // where a person answers
	EnvironmentID string `json:"environment_id"`
}

// Types of actions.
const (
	ActionApproval = "effect_approval"
	ActionOutcome  = "effect_outcome"
	ActionFunction = "function_call"
	// ActionConsent is answered in a browser, ActionConnection by a machine.
	ActionConsent    = "consent"
	ActionConnection = "environment_connection"
)

// Environment is where the session's commands run.
type Environment struct {
	Status string `json:"status"`
	Error  *Error `json:"error"`
}

// Error says why something failed.
type Error struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Parse reads an event from its JSON.
func Parse(raw []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(raw, &e); err != nil {
		return e, fmt.Errorf("read an event: %w", err)
	}
	return e, nil
}
