package agents

import (
	"encoding/json"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

// createAgent is the body of a new saved agent, updateAgent that of a change.
type createAgent struct {
	AgentSettings
	Name     opt[string]            `json:"name,omitzero"`
	Metadata opt[map[string]string] `json:"metadata,omitzero"`
}

type updateAgent struct {
	AgentSettings
	Name     opt[string]            `json:"name,omitzero"`
	Metadata opt[map[string]string] `json:"metadata,omitzero"`
}

type createSession struct {
	Environment  environmentBody        `json:"environment"`
	AgentID      string                 `json:"agent_id,omitzero"`
	Agent        opt[AgentSettings]     `json:"agent,omitzero"`
	Input        inputBody              `json:"input,omitzero"`
	Metadata     opt[map[string]string] `json:"metadata,omitzero"`
	SpendControl opt[spendBody]         `json:"spend_control,omitzero"`
	VaultIDs     []string               `json:"vault_ids,omitzero"`
	Review       string                 `json:"review,omitzero" enum:"none,auto_review"`
	Stream       bool                   `json:"stream,omitzero"`
	// StreamOptions asks for padding in events, which this server never adds.
	StreamOptions *streamOptions `json:"stream_options,omitzero"`
}

type updateSession struct {
	Agent        opt[AgentSettings]     `json:"agent,omitzero"`
	Metadata     opt[map[string]string] `json:"metadata,omitzero"`
	SpendControl opt[spendBody]         `json:"spend_control,omitzero"`
	Review       string                 `json:"review,omitzero" enum:"none,auto_review"`
}

type spendBody struct {
	Limit opt[int64] `json:"limit" required:"true" minimum:"1" doc:"USD cents, or null for no limit."`
}

// environmentBody is an environment of any type.
type environmentBody struct {
	Type string `json:"type"`

	Sandbox string            `json:"sandbox"`
	Env     map[string]string `json:"env"`
	Files   []fileBody        `json:"files"`

	Network               *networkBody    `json:"network"`
	Desktop               *desktopBody    `json:"desktop"`
	EnvironmentID         string          `json:"environment_id"`
	EnvironmentTemplateID string          `json:"environment_template_id"`
	ContainerSize         string          `json:"container_size"`
	Packages              *packagesBody   `json:"packages"`
	Plugins               json.RawMessage `json:"plugins"`
	Skills                json.RawMessage `json:"skills"`
	SetupCommands         json.RawMessage `json:"setup_commands"`
	CapabilityDirectories []string        `json:"capability_directories"`
}

const selfHosted = "self_hosted"

// Schema tells the types of environments apart.
func (environmentBody) Schema(r huma.Registry) *huma.Schema {
	return httpapi.ByType("", map[string]*huma.Schema{
		event.EnvironmentNone:   httpapi.SchemaOf[noEnvironment](r),
		event.EnvironmentHosted: httpapi.SchemaOf[hostedEnvironment](r),
		selfHosted:              httpapi.SchemaOf[selfHostedEnvironment](r),
	})
}

type noEnvironment struct {
	Type string `json:"type" enum:"none"`
}

type hostedEnvironment struct {
	Type    string            `json:"type" enum:"openai_hosted"`
	Sandbox string            `json:"sandbox,omitzero" enum:"js,bubblewrap" doc:"What commands run in. Defaults to js. An addition of Stayd's."`
	Env     map[string]string `json:"env,omitzero"`
	Files   []fileBody        `json:"files,omitzero"`

	Network               networkBody  `json:"network,omitzero"`
	Desktop               desktopBody  `json:"desktop,omitzero"`
	EnvironmentID         string       `json:"environment_id,omitzero"`
	EnvironmentTemplateID string       `json:"environment_template_id,omitzero"`
	ContainerSize         string       `json:"container_size,omitzero" enum:"small,medium,large"`
	Packages              packagesBody `json:"packages,omitzero"`
	Plugins               []any        `json:"plugins,omitzero"`
	Skills                []any        `json:"skills,omitzero"`
	SetupCommands         []any        `json:"setup_commands,omitzero"`
	CapabilityDirectories []string     `json:"capability_directories,omitzero"`
}

// selfHostedEnvironment is known and not served; it is refused by name.
type selfHostedEnvironment struct {
	_    struct{} `additionalProperties:"true"`
	Type string   `json:"type" enum:"self_hosted"`
}

type networkBody struct {
	Access         string   `json:"access" enum:"enabled,disabled,restricted"`
	AllowedDomains []string `json:"allowed_domains,omitzero"`
	BlockedDomains []string `json:"blocked_domains,omitzero"`
}

type desktopBody struct {
	Enabled bool `json:"enabled"`
}

type packagesBody struct {
	NPM    []string `json:"npm,omitzero"`
	Python []string `json:"python,omitzero"`
	System []string `json:"system,omitzero"`
}

// fileBody is a file of any type.
type fileBody struct {
	Type   string `json:"type"`
	Path   string `json:"path"`
	Data   string `json:"data"`
	FileID string `json:"file_id"`
}

// Schema tells the types of files apart.
func (fileBody) Schema(r huma.Registry) *huma.Schema {
	return httpapi.ByType("", map[string]*huma.Schema{
		fileInline: httpapi.SchemaOf[inlineFileBody](r),
		fileByID:   httpapi.SchemaOf[fileIDBody](r),
	})
}

const (
	fileInline = "inline"
	fileByID   = "file_id"
)

type inlineFileBody struct {
	Type string `json:"type" enum:"inline"`
	Path string `json:"path" doc:"Absolute, under /workspace."`
	Data string `json:"data" doc:"Standard base64."`
}

type fileIDBody struct {
	Type   string `json:"type" enum:"file_id"`
	Path   string `json:"path"`
	FileID string `json:"file_id"`
}

// streamOptions are taken and have no effect: events bear no obfuscation padding.
type streamOptions struct {
	IncludeObfuscation bool `json:"include_obfuscation,omitzero"`
}
