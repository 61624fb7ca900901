package agents

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

// opt is a field where leaving it out and null mean different things.
type opt[T any] = httpapi.Opt[T]

// AgentSettings are what an agent is made of. A field that is left out stays as
// it is, or has its default in a new agent; null sets the default.
type AgentSettings struct {
	Model        opt[string]           `json:"model,omitzero" doc:"The model, as provider/name."`
	Instructions opt[string]           `json:"instructions,omitzero"`
	Tools        opt[[]toolBody]       `json:"tools,omitzero" doc:"At most 3 MiB of JSON."`
	Reasoning    opt[reasoningBody]    `json:"reasoning,omitzero"`
	Text         opt[textBody]         `json:"text,omitzero"`
	ServiceTier  opt[string]           `json:"service_tier,omitzero" enum:"auto,default,flex,priority,fast,ultrafast"`
	Compaction   opt[compactionBody]   `json:"compaction,omitzero"`
	Experimental opt[experimentalBody] `json:"experimental,omitzero"`
	MultiAgent   opt[multiAgentBody]   `json:"multi_agent,omitzero"`
	Limits       opt[limitsBody]       `json:"limits,omitzero" doc:"Limits of one turn. An addition of Stayd's."`
	Memory       opt[memoryBody]       `json:"memory,omitzero" doc:"What the agent remembers across sessions. An addition of Stayd's."`
}

type reasoningBody struct {
	Effort  opt[string] `json:"effort,omitzero" enum:"none,minimal,low,medium,high,xhigh,max"`
	Summary opt[string] `json:"summary,omitzero" enum:"concise,detailed,auto"`
}

type textBody struct {
	Format    opt[formatBody] `json:"format,omitzero"`
	Verbosity opt[string]     `json:"verbosity,omitzero" enum:"low,medium,high"`
}

// formatBody is a format of any type.
type formatBody struct {
	Type string          `json:"type"`
	JSON json.RawMessage `json:"schema"`
}

// Schema tells the types of formats apart.
func (formatBody) Schema(r huma.Registry) *huma.Schema {
	return httpapi.ByType("", map[string]*huma.Schema{
		formatPlain: httpapi.SchemaOf[formatText](r),
		formatJSON:  httpapi.SchemaOf[formatSchema](r),
	})
}

const (
	formatPlain = "text"
	formatJSON  = "json_schema"
)

type formatText struct {
	Type string `json:"type" enum:"text"`
}

type formatSchema struct {
	Type   string         `json:"type" enum:"json_schema"`
	Schema map[string]any `json:"schema"`
}

type compactionBody struct {
	Async     opt[bool]  `json:"async,omitzero"`
	Threshold opt[int64] `json:"threshold,omitzero" minimum:"1" doc:"Input tokens from which the conversation is compacted. An addition of Stayd's."`
}

type experimentalBody struct {
	TimeAwareness opt[bool] `json:"time_awareness,omitzero"`
}

type multiAgentBody struct {
	Enabled                bool  `json:"enabled"`
	MaxConcurrentSubagents int64 `json:"max_concurrent_subagents,omitzero"`
}

type limitsBody struct {
	MaxSteps   int   `json:"max_steps,omitzero" minimum:"1" doc:"Model calls."`
	MaxTokens  int64 `json:"max_tokens,omitzero" minimum:"1" doc:"Input and output tokens."`
	MaxSeconds int64 `json:"max_seconds,omitzero" minimum:"1" doc:"Wall time."`
}

// toolBody is a tool of any type.
type toolBody struct {
	Type string `json:"type"`

	Name         string          `json:"name"`
	Description  string          `json:"description"`
	Parameters   json.RawMessage `json:"parameters"`
	DeferLoading bool            `json:"defer_loading"`
	Enabled      *bool           `json:"enabled"`

	ServerLabel      string                `json:"server_label"`
	Transport        transportBody         `json:"transport"`
	CredentialID     string                `json:"credential_id"`
	Identity         *identityBody         `json:"identity"`
	Required         bool                  `json:"required"`
	AllowedTools     []string              `json:"allowed_tools"`
	ConnectionOrigin string                `json:"connection_origin"`
	RequestMetadata  json.RawMessage       `json:"request_metadata"`
	Effects          map[string]effectBody `json:"effects"`
}

// Schema tells the types of tools apart.
func (toolBody) Schema(r huma.Registry) *huma.Schema {
	refs := map[string]*huma.Schema{
		event.ToolFunction: httpapi.SchemaOf[functionTool](r),
		event.ToolMCP:      httpapi.SchemaOf[mcpTool](r),
		event.ToolTimer:    httpapi.SchemaOf[timerTool](r),
	}
	for name := range unservedTools {
		refs[name] = httpapi.SchemaOf[unservedTool](r)
	}
	return httpapi.ByType("", refs)
}

type functionTool struct {
	Type         string         `json:"type" enum:"function"`
	Name         string         `json:"name"`
	Description  string         `json:"description"`
	Parameters   map[string]any `json:"parameters" doc:"A JSON Schema of the arguments."`
	DeferLoading bool           `json:"defer_loading,omitzero"`
}

type mcpTool struct {
	Type             string                `json:"type" enum:"mcp"`
	ServerLabel      string                `json:"server_label"`
	Transport        transportBody         `json:"transport"`
	CredentialID     string                `json:"credential_id,omitzero"`
	Identity         *identityBody         `json:"identity,omitzero" doc:"Shows the server a token of this runtime in place of a credential. An addition of Stayd's."`
	Required         bool                  `json:"required,omitzero"`
	AllowedTools     []string              `json:"allowed_tools,omitzero"`
	ConnectionOrigin string                `json:"connection_origin,omitzero" enum:"service,environment"`
	RequestMetadata  map[string]any        `json:"request_metadata,omitzero"`
	Effects          map[string]effectBody `json:"effects,omitzero" doc:"By the name of a tool, or * for all. An addition of Stayd's."`
}

// identityBody is what the token of an agent says.
type identityBody struct {
	Audience string   `json:"audience,omitzero" doc:"For whom it is: the URL of the server, which it defaults to, and nobody else."`
	Scope    []string `json:"scope,omitzero" maxItems:"50"`
}

type timerTool struct {
	Type string `json:"type" enum:"timer"`
}

// unservedTool is a tool that is known and not served; it is refused by name.
type unservedTool struct {
	_    struct{} `additionalProperties:"true"`
	Type string   `json:"type"`
}

// effectBody says how a call may be repeated and who must agree to it.
type effectBody struct {
	Class          string `json:"class,omitzero" enum:"pure,idempotent,reconcilable,once"`
	Lookup         string `json:"lookup,omitzero" doc:"The tool that says what became of an effect id."`
	OnUnknown      string `json:"on_unknown,omitzero" enum:"tell,ask"`
	Approval       string `json:"approval,omitzero" enum:"always,never"`
	TimeoutSeconds int64  `json:"timeout_seconds,omitzero" minimum:"1"`
}

// transportBody is a transport of any type.
type transportBody struct {
	Type          string            `json:"type"`
	ServerURL     string            `json:"server_url"`
	Authorization string            `json:"authorization"`
	Headers       map[string]string `json:"headers"`
	Command       string            `json:"command"`
	Args          []string          `json:"args"`
	Cwd           string            `json:"cwd"`
	Env           map[string]string `json:"env"`
	EnvVars       []string          `json:"env_vars"`
}

// Schema tells the types of transports apart.
func (transportBody) Schema(r huma.Registry) *huma.Schema {
	return httpapi.ByType("", map[string]*huma.Schema{
		transportHTTP:  httpapi.SchemaOf[httpTransport](r),
		transportStdio: httpapi.SchemaOf[stdioTransport](r),
	})
}

const (
	transportHTTP  = "http"
	transportStdio = "stdio"
)

type httpTransport struct {
	Type          string            `json:"type" enum:"http"`
	ServerURL     string            `json:"server_url"`
	Authorization string            `json:"authorization,omitzero"`
	Headers       map[string]string `json:"headers,omitzero"`
}

type stdioTransport struct {
	Type    string            `json:"type" enum:"stdio"`
	Command string            `json:"command"`
	Cwd     string            `json:"cwd,omitzero"`
	Args    []string          `json:"args,omitzero"`
	Env     map[string]string `json:"env,omitzero"`
	EnvVars []string          `json:"env_vars,omitzero"`
}
