package event

import "encoding/json"

// Agent is the configuration that a session runs with, as it was resolved when
// the session was created or last updated. Field names are those of the Agents
// API's agent; Limits, Memory and the tools' Effects are Stayd's.
type Agent struct {
	ID           string       `json:"id"`
	Version      int64        `json:"version,omitempty"` // of the saved agent; 0 is one that was not saved
	Name         *string      `json:"name"`
	Model        string       `json:"model"`
	Instructions *string      `json:"instructions"`
	Tools        []Tool       `json:"tools"`
	Reasoning    Reasoning    `json:"reasoning"`
	Text         Text         `json:"text"`
	ServiceTier  string       `json:"service_tier"`
	Compaction   Compaction   `json:"compaction"`
	Experimental Experimental `json:"experimental"`
	Limits       *Limits      `json:"limits,omitempty"`
	Memory       *Memory      `json:"memory,omitempty"` // nil remembers nothing
}

// Reasoning asks a model for effort and for a summary of its reasoning. Empty
// means the model's default.
type Reasoning struct {
	Effort  string `json:"effort,omitempty"`
	Summary string `json:"summary,omitempty"`
}

// Text says what form the model's text takes. Schema is set for the format
// json_schema.
type Text struct {
	Format    string          `json:"format,omitempty"` // "text" (or empty), "json_schema"
	Schema    json.RawMessage `json:"schema,omitempty"`
	Verbosity string          `json:"verbosity,omitempty"`
}

// Compaction says how a conversation that outgrows the model is shortened.
type Compaction struct {
	Async bool `json:"async"`
	// Threshold is the number of input tokens from which the conversation is
	// compacted; 0 is the runtime's default.
	Threshold int64 `json:"threshold,omitempty"`
}

// Experimental settings.
type Experimental struct {
	TimeAwareness bool `json:"time_awareness,omitempty"`
}

// Limits bound one turn. They are checked before a step is taken, and a turn
// that reaches one fails. Zero means no limit.
type Limits struct {
	MaxSteps   int   `json:"max_steps,omitempty"`   // model calls
	MaxTokens  int64 `json:"max_tokens,omitempty"`  // input and output tokens
	MaxSeconds int64 `json:"max_seconds,omitempty"` // wall time
}

// Tool types.
const (
	ToolFunction = "function"
	ToolMCP      = "mcp"
	ToolTimer    = "timer"
)

// Tool is a tool of an agent.
type Tool struct {
	Type string `json:"type"`

	// function
	Name        string          `json:"name,omitempty"`
	Description string          `json:"description,omitempty"`
	Parameters  json.RawMessage `json:"parameters,omitempty"` // JSON Schema

	// mcp
	ServerLabel     string          `json:"server_label,omitempty"`
	Transport       *Transport      `json:"transport,omitempty"`
	AllowedTools    []string        `json:"allowed_tools,omitempty"` // nil allows all
	Required        bool            `json:"required,omitempty"`
	RequestMetadata json.RawMessage `json:"request_metadata,omitempty"`
	CredentialID    string          `json:"credential_id,omitempty"` // of the session's vaults; empty takes the one for the server
	Identity        *Identity       `json:"identity,omitempty"`      // shown to the server in place of a credential

	// Effects says, by tool name ("*" for all of the server's tools), how a call
	// may be repeated and who must agree to it.
	Effects map[string]EffectPolicy `json:"effects,omitempty"`
}

// Identity has the runtime show a server a token of its own, which says which
// agent calls, in which session and for whom.
type Identity struct {
	Audience string   `json:"audience,omitempty"` // empty is the server's URL
	Scope    []string `json:"scope,omitempty"`
}

// Transport of an MCP server.
type Transport struct {
	Type      string            `json:"type"` // "http" or "stdio"
	ServerURL string            `json:"server_url,omitempty"`
	Headers   map[string]string `json:"headers,omitempty"`
	Command   string            `json:"command,omitempty"`
	Args      []string          `json:"args,omitempty"`
	Cwd       string            `json:"cwd,omitempty"`
	Env       map[string]string `json:"env,omitempty"`
	EnvVars   []string          `json:"env_vars,omitempty"`
}

// Class says how an effect may be repeated after a crash between its start and
// its result.
type Class string

// The four classes. An undeclared tool is Once.
const (
	Pure         Class = "pure"
	Idempotent   Class = "idempotent"
	Reconcilable Class = "reconcilable"
	Once         Class = "once"
)

// EffectPolicy is what an agent's author declares of a tool.
type EffectPolicy struct {
	Class Class `json:"class,omitempty"` // empty: what the tool itself declares, else Once
	// Lookup names the tool of the same server that says what became of an
	// effect id. It makes an effect reconcilable.
	Lookup string `json:"lookup,omitempty"`
	// OnUnknown says what happens when nobody knows whether the effect took
	// place: "tell" (or empty) tells the model, "ask" waits for a person.
	OnUnknown string `json:"on_unknown,omitempty"`
	// Approval is "always" where a person must agree before the effect starts.
	Approval string `json:"approval,omitempty"`
	// TimeoutSeconds bounds one call; 0 is the runtime's default.
	TimeoutSeconds int64 `json:"timeout_seconds,omitempty"`
}

// Environment types.
const (
	EnvironmentNone       = "none"
	EnvironmentHosted     = "openai_hosted" // this runtime is the host
	EnvironmentSelfHosted = "self_hosted"   // a machine of the client's, which connects
)

// Sandboxes of a hosted environment.
const (
	SandboxJS         = "js"         // JavaScript in the process
	SandboxBubblewrap = "bubblewrap" // programs in namespaces
	SandboxGVisor     = "gvisor"     // programs on a kernel of their own
)

// Environment is where a session's commands run.
type Environment struct {
	Type    string            `json:"type"`
	ID      string            `json:"id,omitempty"`
	Sandbox string            `json:"sandbox,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Files   []InlineFile      `json:"files,omitempty"`
	Network *Network          `json:"network,omitempty"` // nil is none
	Setup   []SetupCommand    `json:"setup,omitempty"`
	// IdleSeconds is after how long without use the environment is suspended; 0
	// is the default.
	IdleSeconds int64 `json:"idle_seconds,omitempty"`
	// Root is the tree that the workspace begins with.
	Root Hash `json:"root,omitzero"`
	// Effects says, by tool name ("*" for all), how a call of the environment's
	// tools may be repeated and who must agree to it.
	Effects map[string]EffectPolicy `json:"effects,omitempty"`
	// Directory is the project folder on the machine of a self-hosted environment.
	Directory string `json:"directory,omitempty"`
	// TokenHash is the SHA-256 of the token with which a self-hosted environment
	// connects.
	TokenHash Hash `json:"token_hash,omitzero"`
}

// Network accesses.
const (
	NetworkRestricted = "restricted" // the domains that are listed
	NetworkEnabled    = "enabled"    // any public address
)

// Network says what an environment's programs may reach.
type Network struct {
	Access  string   `json:"access"`
	Allowed []string `json:"allowed,omitempty"`
	Blocked []string `json:"blocked,omitempty"`
}

// SetupCommand is run in a new environment before its first use.
type SetupCommand struct {
	Command string `json:"command"`
	Cwd     string `json:"cwd,omitempty"` // absolute; empty is the workspace
}

// InlineFile is a file that is put into the workspace before the first step.
// Either Data or Tree has its content.
type InlineFile struct {
	ID     string `json:"id"`
	Path   string `json:"path"` // absolute, under /workspace
	Data   []byte `json:"data,omitempty"`
	FileID string `json:"file_id,omitempty"` // of the upload that it is a copy of
	Tree   Hash   `json:"tree,omitzero"`     // of the upload's content
	Size   int64  `json:"size,omitempty"`    // of the upload, in bytes
}
