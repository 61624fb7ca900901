package agents

import (
	"github.com/danielgtaylor/huma/v2"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

// environmentBody is an environment of any type.
type environmentBody struct {
	Type string `json:"type"`
	HostedSettings
	EnvironmentID         string `json:"environment_id"`
	EnvironmentTemplateID string `json:"environment_template_id"`
	WorkspaceDirectory    string `json:"workspace_directory"`
}

// Schema tells the types of environments apart.
func (environmentBody) Schema(r huma.Registry) *huma.Schema {
	return httpapi.ByType("", map[string]*huma.Schema{
		event.EnvironmentNone:       httpapi.SchemaOf[noEnvironment](r),
		event.EnvironmentHosted:     httpapi.SchemaOf[hostedEnvironment](r),
		event.EnvironmentSelfHosted: httpapi.SchemaOf[selfHostedEnvironment](r),
	})
}

type noEnvironment struct {
	Type string `json:"type" enum:"none"`
}

type hostedEnvironment struct {
	Type string `json:"type" enum:"openai_hosted"`
	HostedSettings
	EnvironmentID         string `json:"environment_id,omitzero" doc:"A prewarmed environment, which is taken as it is, once."`
	EnvironmentTemplateID string `json:"environment_template_id,omitzero" doc:"A template, whose fields are used where they are left out here."`
}

type selfHostedEnvironment struct {
	Type                  string                `json:"type" enum:"self_hosted"`
	WorkspaceDirectory    string                `json:"workspace_directory" doc:"The absolute project folder on the machine that connects."`
	CapabilityDirectories []string              `json:"capability_directories,omitzero"`
	Effects               map[string]effectBody `json:"effects,omitzero"`
}

// HostedSettings is what hosted environments and templates of them have in
// common.
type HostedSettings struct {
	Sandbox            string                `json:"sandbox,omitzero" enum:"js,bubblewrap,gvisor" doc:"What commands run in. Defaults to the server's choice. An addition of Stayd's."`
	Env                map[string]string     `json:"env,omitzero"`
	Files              []fileBody            `json:"files,omitzero"`
	Network            opt[networkBody]      `json:"network,omitzero" doc:"Defaults to none."`
	SetupCommands      []setupBody           `json:"setup_commands,omitzero" doc:"Run in a new environment, in this order. They are never shown again."`
	IdleTimeoutSeconds int64                 `json:"idle_timeout_seconds,omitzero" minimum:"10" maximum:"86400" doc:"After how long without use the environment is suspended. An addition of Stayd's."`
	Effects            map[string]effectBody `json:"effects,omitzero" doc:"How calls of the environment's tools may be repeated, by the name of the tool, or * for all. An addition of Stayd's."`

	Desktop               desktopBody  `json:"desktop,omitzero"`
	ContainerSize         string       `json:"container_size,omitzero" enum:"small,medium,large"`
	Packages              packagesBody `json:"packages,omitzero"`
	Plugins               []any        `json:"plugins,omitzero"`
	Skills                []any        `json:"skills,omitzero"`
	CapabilityDirectories []string     `json:"capability_directories,omitzero"`
}

type networkBody struct {
	Access         string   `json:"access" enum:"enabled,disabled,restricted"`
	AllowedDomains []string `json:"allowed_domains,omitzero" maxItems:"500"`
	BlockedDomains []string `json:"blocked_domains,omitzero" maxItems:"500"`
}

type setupBody struct {
	Command string `json:"command" minLength:"1"`
	Cwd     string `json:"cwd,omitzero" doc:"Absolute. Defaults to /workspace."`
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
	Data   string `json:"data,omitempty"`
	FileID string `json:"file_id,omitempty"`
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
	Path   string `json:"path" doc:"Absolute, under /workspace."`
	FileID string `json:"file_id" doc:"Of a file that was uploaded to /v1/files."`
}

// createEnvironment is the body of a prewarmed environment.
type createEnvironment struct {
	Environment environmentBody `json:"environment"`
	VaultIDs    []string        `json:"vault_ids,omitzero" maxItems:"10"`
}

// templateBody is the body of a template, new or changed.
type templateBody struct {
	HostedSettings
	Name opt[string] `json:"name,omitzero"`
}
