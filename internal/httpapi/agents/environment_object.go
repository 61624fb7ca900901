package agents

import "github.com/stayd/stayd/internal/event"

type hostedObject struct {
	Type                  string                `json:"type"`
	ID                    string                `json:"id"`
	CapabilityDirectories []string              `json:"capability_directories"`
	Files                 []fileObject          `json:"files"`
	Network               networkObject         `json:"network"`
	Packages              packagesObject        `json:"packages"`
	Plugins               []any                 `json:"plugins"`
	Skills                []any                 `json:"skills"`
	ContainerSize         *string               `json:"container_size"`
	Desktop               desktopBody           `json:"desktop"`
	Sandbox               string                `json:"sandbox"`
	IdleTimeoutSeconds    int64                 `json:"idle_timeout_seconds,omitempty"`
	Effects               map[string]effectBody `json:"effects,omitempty"`
}

// selfHostedObject is an environment on a machine of the client's. Token is
// there once, for who made it.
type selfHostedObject struct {
	Type                  string                `json:"type"`
	ID                    string                `json:"id"`
	CapabilityDirectories []string              `json:"capability_directories"`
	RemoteURL             string                `json:"remote_url"`
	WorkspaceDirectory    string                `json:"workspace_directory"`
	Token                 string                `json:"token,omitempty"`
	Effects               map[string]effectBody `json:"effects,omitempty"`
}

type fileObject struct {
	Type      string `json:"type"`
	ID        string `json:"id,omitempty"`
	FileID    string `json:"file_id,omitempty"`
	Path      string `json:"path"`
	SizeBytes *int64 `json:"size_bytes,omitempty"`
}

type networkObject struct {
	Access         string   `json:"access"`
	AllowedDomains []string `json:"allowed_domains"`
	BlockedDomains []string `json:"blocked_domains,omitempty"`
}

type packagesObject struct {
	NPM    []string `json:"npm"`
	Python []string `json:"python"`
	System []string `json:"system"`
}

func noPackages() packagesObject {
	return packagesObject{NPM: []string{}, Python: []string{}, System: []string{}}
}

func renderEnvironment(e *event.Environment, v view) any {
	switch e.Type {
	case event.EnvironmentNone:
		return typeOnly{Type: e.Type}
	case event.EnvironmentSelfHosted:
		return selfHostedObject{
			Type: e.Type, ID: e.ID, CapabilityDirectories: []string{}, RemoteURL: connectURL(v.base, e.ID),
			WorkspaceDirectory: e.Directory, Token: v.token, Effects: renderEffects(e.Effects),
		}
	}
	return hostedObject{
		Type: e.Type, ID: e.ID, CapabilityDirectories: []string{}, Files: renderFiles(e.Files), Network: renderNetwork(e.Network),
		Packages: noPackages(), Plugins: []any{}, Skills: []any{}, Sandbox: e.Sandbox, IdleTimeoutSeconds: e.IdleSeconds,
		Effects: renderEffects(e.Effects),
	}
}

const environmentsPath = "/v1/agents/environments"

func renderFiles(files []event.InlineFile) []fileObject {
	out := make([]fileObject, len(files))
	for i := range files {
		f := &files[i]
		size := max(f.Size, int64(len(f.Data)))
		out[i] = fileObject{Type: fileInline, ID: f.ID, Path: f.Path, SizeBytes: &size}
		if f.FileID != "" {
			out[i].Type, out[i].FileID = fileByID, f.FileID
		}
	}
	return out
}

const networkDisabled = "disabled"

func renderNetwork(n *event.Network) networkObject {
	if n == nil {
		return networkObject{Access: networkDisabled, AllowedDomains: []string{}}
	}
	return networkObject{Access: n.Access, AllowedDomains: orNone(n.Allowed), BlockedDomains: n.Blocked}
}

func renderEffects(in map[string]event.EffectPolicy) map[string]effectBody {
	var out map[string]effectBody
	for name, e := range in {
		if out == nil {
			out = map[string]effectBody{}
		}
		out[name] = effectBody{
			Class: string(e.Class), Lookup: e.Lookup, OnUnknown: e.OnUnknown, Approval: e.Approval, TimeoutSeconds: e.TimeoutSeconds,
		}
	}
	return out
}
