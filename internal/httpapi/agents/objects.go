package agents

import (
	"encoding/json"

	"github.com/stayd/stayd/internal/event"
)

// The objects of the wire. Fields without omitempty are required by the API,
// null where there is nothing.

type agentObject struct {
	ID           string            `json:"id"`
	Object       string            `json:"object" enum:"agent"`
	CreatedAt    int64             `json:"created_at"`
	UpdatedAt    int64             `json:"updated_at"`
	Name         *string           `json:"name"`
	Metadata     map[string]string `json:"metadata"`
	Model        string            `json:"model"`
	Instructions *string           `json:"instructions"`
	AgentParts
}

type sessionAgent struct {
	ID           string  `json:"id"`
	Name         *string `json:"name"`
	Model        string  `json:"model"`
	Instructions *string `json:"instructions"`
	AgentParts
}

// AgentParts is what saved agents and those of sessions have in common.
type AgentParts struct {
	MultiAgent   multiAgentObject   `json:"multi_agent"`
	Reasoning    reasoningObject    `json:"reasoning"`
	ServiceTier  string             `json:"service_tier"`
	Text         textObject         `json:"text"`
	Tools        []toolObject       `json:"tools"`
	Compaction   compactionObject   `json:"compaction"`
	Experimental experimentalObject `json:"experimental"`
	Limits       *limitsBody        `json:"limits,omitempty"`
	Memory       *event.Memory      `json:"memory,omitempty"`
}

type multiAgentObject struct {
	Enabled                bool   `json:"enabled"`
	MaxConcurrentSubagents *int64 `json:"max_concurrent_subagents"`
}

type reasoningObject struct {
	Effort  *string `json:"effort"`
	Summary *string `json:"summary"`
}

type textObject struct {
	Format    any    `json:"format"`
	Verbosity string `json:"verbosity"`
}

type compactionObject struct {
	Async     bool  `json:"async"`
	Threshold int64 `json:"threshold,omitempty"`
}

type experimentalObject struct {
	TimeAwareness bool `json:"time_awareness"`
}

// toolObject is one of the tools below.
type toolObject any

type functionObject struct {
	Type         string          `json:"type"`
	Name         string          `json:"name"`
	Description  string          `json:"description"`
	Parameters   json.RawMessage `json:"parameters"`
	DeferLoading bool            `json:"defer_loading"`
}

type mcpObject struct {
	Type             string                `json:"type"`
	ServerLabel      string                `json:"server_label"`
	Transport        any                   `json:"transport"`
	AllowedTools     []string              `json:"allowed_tools"`
	ConnectionOrigin string                `json:"connection_origin"`
	CredentialID     *string               `json:"credential_id"`
	Identity         *identityBody         `json:"identity,omitempty"`
	RequestMetadata  json.RawMessage       `json:"request_metadata"`
	Required         bool                  `json:"required"`
	Effects          map[string]effectBody `json:"effects,omitempty"`
}

type httpObject struct {
	Type      string            `json:"type"`
	ServerURL string            `json:"server_url"`
	Headers   map[string]string `json:"headers"`
}

type stdioObject struct {
	Type    string   `json:"type"`
	Command string   `json:"command"`
	Args    []string `json:"args"`
	Cwd     string   `json:"cwd"`
	EnvVars []string `json:"env_vars"`
}

type sessionObject struct {
	ID              string            `json:"id"`
	Object          string            `json:"object" enum:"agent.session"`
	Agent           sessionAgent      `json:"agent"`
	CreatedAt       int64             `json:"created_at"`
	LastActiveAt    int64             `json:"last_active_at"`
	Environment     any               `json:"environment"`
	Error           *string           `json:"error"`
	Metadata        map[string]string `json:"metadata"`
	RequiredActions []any             `json:"required_actions"`
	Status          string            `json:"status" enum:"idle,in_progress,requires_action,failed"`
	Usage           usageObject       `json:"usage"`
	VaultIDs        []string          `json:"vault_ids"`
	SpendControl    *spendObject      `json:"spend_control,omitempty"`
	ForkedFrom      *forkedFrom       `json:"forked_from"`
	Actor           string            `json:"actor,omitempty"`
}

type spendObject struct {
	Consumed int64 `json:"consumed"`
	Limit    int64 `json:"limit"`
}

type usageObject struct {
	InputTokens         int64         `json:"input_tokens"`
	InputTokensDetails  inputDetails  `json:"input_tokens_details"`
	OutputTokens        int64         `json:"output_tokens"`
	OutputTokensDetails outputDetails `json:"output_tokens_details"`
	TotalTokens         int64         `json:"total_tokens"`
}

type inputDetails struct {
	CachedTokens int64 `json:"cached_tokens"`
}

type outputDetails struct {
	ReasoningTokens int64 `json:"reasoning_tokens"`
}

type typeOnly struct {
	Type string `json:"type"`
}

type callAction struct {
	Type      string          `json:"type"`
	Arguments json.RawMessage `json:"arguments"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	TurnID    string          `json:"turn_id"`
}

type connectionAction struct {
	Type          string `json:"type"`
	EnvironmentID string `json:"environment_id"`
}

// effectAction asks a person about an effect; an addition of Stayd's.
type effectAction struct {
	Type        string          `json:"type"`
	EffectID    string          `json:"effect_id"`
	TurnID      string          `json:"turn_id"`
	Name        string          `json:"name"`
	ServerLabel string          `json:"server_label"`
	Arguments   json.RawMessage `json:"arguments"`
	Reason      *string         `json:"reason"`
}

// consentAction asks a person to let the runtime use a server in their name; an
// addition of Stayd's. They follow the URL.
type consentAction struct {
	Type        string  `json:"type"`
	EffectID    string  `json:"effect_id"`
	TurnID      string  `json:"turn_id"`
	ServerLabel string  `json:"server_label"`
	ServerURL   string  `json:"server_url"`
	Scope       *string `json:"scope"`
	Actor       *string `json:"actor"`
	URL         string  `json:"url,omitempty"` // left out for who may not answer
}

type turnObject struct {
	ID          string       `json:"id"`
	Object      string       `json:"object" enum:"agent.session.turn"`
	AgentID     string       `json:"agent_id"`
	SessionID   string       `json:"session_id"`
	SubagentID  *string      `json:"subagent_id"`
	Status      string       `json:"status" enum:"queued,in_progress,waiting,completed,failed,cancelled"`
	CreatedAt   int64        `json:"created_at"`
	StartedAt   *int64       `json:"started_at"`
	CompletedAt *int64       `json:"completed_at"`
	Error       *errorObject `json:"error"`
	Usage       usageObject  `json:"usage"`
}

type errorObject struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// itemObject is one of the items below.
type itemObject any

type messageItem struct {
	Type    string  `json:"type"`
	ID      string  `json:"id"`
	TurnID  string  `json:"turn_id"`
	Role    string  `json:"role"`
	Phase   *string `json:"phase"`
	Status  string  `json:"status"`
	Content []any   `json:"content"`
	Actor   string  `json:"actor,omitempty"` // who said it, where it is not the session's actor
	// MemoryIDs are the memories in a message of the role developer, by the numbers
	// that it gives them.
	MemoryIDs []string `json:"memory_ids,omitempty"`
}

type textContent struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

type imageContent struct {
	Type     string `json:"type"`
	ImageURL string `json:"image_url"`
}

type reasoningItem struct {
	Type    string        `json:"type"`
	ID      string        `json:"id"`
	TurnID  string        `json:"turn_id"`
	Status  string        `json:"status"`
	Summary []textContent `json:"summary"`
}

type functionCallItem struct {
	Type      string          `json:"type"`
	ID        string          `json:"id"`
	TurnID    string          `json:"turn_id"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
	Status    string          `json:"status"`
}

type functionOutputItem struct {
	Type   string          `json:"type"`
	ID     string          `json:"id"`
	TurnID string          `json:"turn_id"`
	CallID string          `json:"call_id"`
	Output json.RawMessage `json:"output"`
	Error  *string         `json:"error"`
	Status string          `json:"status"`
}

type mcpCallItem struct {
	Type        string          `json:"type"`
	ID          string          `json:"id"`
	TurnID      string          `json:"turn_id"`
	ServerLabel string          `json:"server_label"`
	Name        string          `json:"name"`
	Arguments   json.RawMessage `json:"arguments"`
	Output      json.RawMessage `json:"output"`
	Error       *string         `json:"error"`
	Status      string          `json:"status"`
}

type commandItem struct {
	Type       string  `json:"type"`
	ID         string  `json:"id"`
	TurnID     string  `json:"turn_id"`
	Command    string  `json:"command"`
	Cwd        string  `json:"cwd"`
	DurationMS *int64  `json:"duration_ms"`
	ExitCode   *int    `json:"exit_code"`
	Output     *string `json:"output"`
	Status     string  `json:"status"`
}

// compactionItem stands for what a summary covers; an addition of Stayd's.
type compactionItem struct {
	Type    string        `json:"type"`
	ID      string        `json:"id"`
	TurnID  string        `json:"turn_id"`
	Status  string        `json:"status"`
	Content []textContent `json:"content"`
	Covers  []string      `json:"covers"`
}

type deletedObject struct {
	ID      string `json:"id"`
	Object  string `json:"object"`
	Deleted bool   `json:"deleted"`
}
