package event

import (
	"encoding/json"
	"strings"
)

// Item types, as the Agents API and the Responses API name them.
const (
	ItemMessage            = "message"
	ItemReasoning          = "reasoning"
	ItemFunctionCall       = "function_call"
	ItemFunctionCallOutput = "function_call_output"
	ItemMCPCall            = "mcp_call"
	ItemCommandExecution   = "command_execution"
	ItemCompaction         = "compaction"
)

// Item statuses.
const (
	StatusInProgress = "in_progress"
	StatusCompleted  = "completed"
	StatusFailed     = "failed"
	StatusIncomplete = "incomplete"
)

// Roles of a message and phases of an assistant's message.
const (
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleDeveloper = "developer" // what the runtime puts in

	PhaseCommentary  = "commentary"
	PhaseFinalAnswer = "final_answer"
)

// Content part types.
const (
	PartInputText   = "input_text"
	PartInputImage  = "input_image"
	PartOutputText  = "output_text"
	PartSummaryText = "summary_text"
)

// EnvironmentLabel is the server_label of an mcp_call that a tool of the
// session's own environment answers.
const EnvironmentLabel = "environment"

// Item is one entry of the conversation. Which fields are set depends on Type;
// names and meanings are those of the Agents API.
type Item struct {
	Type   string `json:"type"`
	ID     string `json:"id"`
	TurnID string `json:"turn_id,omitempty"`
	Status string `json:"status,omitempty"`

	// message, reasoning, compaction
	Role    string    `json:"role,omitempty"`
	Phase   string    `json:"phase,omitempty"`
	Content []Content `json:"content,omitempty"`
	Summary []Content `json:"summary,omitempty"`
	// Actor is who said what a user's message says, where it is not the session's
	// actor.
	Actor string `json:"actor,omitempty"`
	// MemoryIDs names the memories that a message of the runtime's has, in the order
	// in which it numbers them.
	MemoryIDs []string `json:"memory_ids,omitempty"`

	// function_call, function_call_output, mcp_call, command_execution
	CallID      string          `json:"call_id,omitempty"`
	Name        string          `json:"name,omitempty"`
	ServerLabel string          `json:"server_label,omitempty"`
	Arguments   json.RawMessage `json:"arguments,omitempty"` // a JSON object, or a JSON string where the model wrote no valid object
	Output      json.RawMessage `json:"output,omitempty"`    // a JSON string, or an array of content parts
	Error       string          `json:"error,omitempty"`

	// command_execution
	Command    string `json:"command,omitempty"`
	Cwd        string `json:"cwd,omitempty"`
	DurationMS int64  `json:"duration_ms,omitempty"`
	ExitCode   *int   `json:"exit_code,omitempty"`

	// compaction: the ids of the items that the summary stands for
	Covers []string `json:"covers,omitempty"`

	// Provider is what the model's provider wants back with the item (an
	// encrypted reasoning, a signature). It is never shown to a client.
	Provider json.RawMessage `json:"provider,omitempty"`
}

// Content is one part of a message, of a reasoning's summary or of an output.
type Content struct {
	Type     string `json:"type"`
	Text     string `json:"text,omitempty"`
	ImageURL string `json:"image_url,omitempty"`
}

// IsCall reports whether the item asks for a tool.
func (i *Item) IsCall() bool {
	switch i.Type {
	case ItemFunctionCall, ItemMCPCall, ItemCommandExecution:
		return true
	}
	return false
}

// Text joins the text of the item's content parts.
func (i *Item) Text() string {
	return joinText(i.Content)
}

func joinText(parts []Content) string {
	if len(parts) == 1 {
		return parts[0].Text
	}
	var b strings.Builder
	for i := range parts {
		b.WriteString(parts[i].Text)
	}
	return b.String()
}

// TextOutput encodes a plain text as the Output of an item.
func TextOutput(s string) json.RawMessage {
	return marshal(s)
}

// OutputText is the text of an Output: the string itself, the text of its parts
// joined, or the raw JSON of anything else.
func OutputText(raw json.RawMessage) string {
	if len(raw) == 0 {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []Content
	if json.Unmarshal(raw, &parts) == nil {
		return joinText(parts)
	}
	return string(raw)
}

// Usage counts tokens as the Agents API does.
type Usage struct {
	InputTokens     int64 `json:"input_tokens"`
	CachedTokens    int64 `json:"cached_tokens,omitempty"`
	OutputTokens    int64 `json:"output_tokens"`
	ReasoningTokens int64 `json:"reasoning_tokens,omitempty"`
}

// Total is the number of input and output tokens.
func (u Usage) Total() int64 { return u.InputTokens + u.OutputTokens }

// Add returns the sum of u and v.
func (u Usage) Add(v Usage) Usage {
	u.InputTokens += v.InputTokens
	u.CachedTokens += v.CachedTokens
	u.OutputTokens += v.OutputTokens
	u.ReasoningTokens += v.ReasoningTokens
	return u
}
