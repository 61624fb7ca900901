// Package agentfile reads an agent that is written down as YAML, and turns it
// into the JSON that the Agents API takes. It owns the format of the file; what
// the values may be is the API's to say.
package agentfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Agent is the content of a file.
type Agent struct {
	Name         string            `yaml:"name" json:"name,omitempty"`
	Model        string            `yaml:"model" json:"model,omitempty"`
	Instructions string            `yaml:"instructions" json:"instructions,omitempty"`
	Tools        []Tool            `yaml:"tools" json:"tools,omitempty"`
	Reasoning    *Reasoning        `yaml:"reasoning" json:"reasoning,omitempty"`
	Compaction   *Compaction       `yaml:"compaction" json:"compaction,omitempty"`
	Limits       *Limits           `yaml:"limits" json:"limits,omitempty"`
	Memory       *map[string]any   `yaml:"memory" json:"memory,omitempty"` // as the API takes it
	Metadata     map[string]string `yaml:"metadata" json:"metadata,omitempty"`
	// Environment belongs to a session and is not part of a saved agent.
	Environment Environment `yaml:"environment" json:"-"`
}

// Reasoning asks the model for effort and a summary.
type Reasoning struct {
	Effort  string `yaml:"effort" json:"effort,omitempty"`
	Summary string `yaml:"summary" json:"summary,omitempty"`
}

// Compaction says from how many input tokens a conversation is shortened.
type Compaction struct {
	Async     *bool `yaml:"async" json:"async,omitempty"`
	Threshold int64 `yaml:"threshold" json:"threshold,omitempty"`
}

// Limits bound one turn. Zero is no limit.
type Limits struct {
	MaxSteps   int   `yaml:"max_steps" json:"max_steps,omitempty"`
	MaxTokens  int64 `yaml:"max_tokens" json:"max_tokens,omitempty"`
	MaxSeconds int64 `yaml:"max_seconds" json:"max_seconds,omitempty"`
}

// Tool is a function, an MCP server or the timer.
type Tool struct {
	Type         string            `yaml:"type" json:"type"`
	Name         string            `yaml:"name" json:"name,omitempty"`
	Description  string            `yaml:"description" json:"description,omitempty"`
	Parameters   map[string]any    `yaml:"parameters" json:"parameters,omitempty"`
	ServerLabel  string            `yaml:"server_label" json:"server_label,omitempty"`
	Transport    *Transport        `yaml:"transport" json:"transport,omitempty"`
	AllowedTools []string          `yaml:"allowed_tools" json:"allowed_tools,omitempty"`
	Required     bool              `yaml:"required" json:"required,omitempty"`
	Identity     *Identity         `yaml:"identity" json:"identity,omitempty"`
	Effects      map[string]Effect `yaml:"effects" json:"effects,omitempty"`
}

// Identity is the token of the agent's that an MCP server is shown.
type Identity struct {
	Audience string   `yaml:"audience" json:"audience,omitempty"`
	Scope    []string `yaml:"scope" json:"scope,omitempty"`
}

// Transport of an MCP server.
type Transport struct {
	Type      string            `yaml:"type" json:"type"`
	ServerURL string            `yaml:"server_url" json:"server_url,omitempty"`
	Headers   map[string]string `yaml:"headers" json:"headers,omitempty"`
	Command   string            `yaml:"command" json:"command,omitempty"`
	Args      []string          `yaml:"args" json:"args,omitempty"`
	Cwd       string            `yaml:"cwd" json:"cwd,omitempty"`
	Env       map[string]string `yaml:"env" json:"env,omitempty"`
	EnvVars   []string          `yaml:"env_vars" json:"env_vars,omitempty"`
}

// Effect says how a call of a tool may be repeated and who must agree to it.
type Effect struct {
	Class          string `yaml:"class" json:"class,omitempty"`
	Lookup         string `yaml:"lookup" json:"lookup,omitempty"`
	OnUnknown      string `yaml:"on_unknown" json:"on_unknown,omitempty"`
	Approval       string `yaml:"approval" json:"approval,omitempty"`
	TimeoutSeconds int64  `yaml:"timeout_seconds" json:"timeout_seconds,omitempty"`
}

// Environment is where the agent's commands run. Type may be none, hosted, or
// the API's own openai_hosted; empty is hosted where a sandbox or files are
// named, else none.
type Environment struct {
	Type    string            `yaml:"type"`
	Sandbox string            `yaml:"sandbox"` // js, bubblewrap, gvisor; empty is the server's choice
	Env     map[string]string `yaml:"env"`
	Files   []File            `yaml:"files"`
	Network *Network          `yaml:"network"`
	// Setup are commands that are run before the first use.
	Setup   []Setup           `yaml:"setup_commands"`
	Idle    int64             `yaml:"idle_timeout_seconds"`
	Effects map[string]Effect `yaml:"effects"` // by tool name
}

// Network says what the environment's programs may reach.
type Network struct {
	Access  string   `yaml:"access" json:"access"`
	Allowed []string `yaml:"allowed_domains" json:"allowed_domains,omitempty"`
	Blocked []string `yaml:"blocked_domains" json:"blocked_domains,omitempty"`
}

// Setup is a command that sets an environment up.
type Setup struct {
	Command string `yaml:"command" json:"command"`
	Cwd     string `yaml:"cwd" json:"cwd,omitempty"`
}

// File is a local file that the workspace starts with.
type File struct {
	Source string `yaml:"source"` // relative to the agent's file
	Path   string `yaml:"path"`   // in the workspace; empty is the name of the source
}

// Read reads an agent's file. A field that it does not know is an error.
func Read(name string) (*Agent, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	a, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for i := range a.Environment.Files {
		f := &a.Environment.Files[i]
		if f.Source == "" {
			return nil, fmt.Errorf("%s: a file of the environment has no source", name)
		}
		if f.Path == "" {
			f.Path = filepath.Base(f.Source)
		}
		if !filepath.IsAbs(f.Source) {
			f.Source = filepath.Join(filepath.Dir(name), f.Source)
		}
	}
	return a, nil
}

func parse(b []byte) (*Agent, error) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	dec.KnownFields(true)
	var a Agent
	if err := dec.Decode(&a); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("the file is empty; an agent has at least a model")
		}
		return nil, sentence(err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("the file holds more than one document; write one agent a file")
	}
	if _, err := json.Marshal(&a); err != nil {
		return nil, fmt.Errorf("parameters hold what JSON has no word for: %w", err)
	}
	return &a, nil
}

// goType is how the decoder names what a field is missing from.
var goType = regexp.MustCompile(` in type \S+`)

// sentence puts what the decoder found on one line, without the names of types.
func sentence(err error) error {
	var e *yaml.TypeError
	if !errors.As(err, &e) {
		return err
	}
	return errors.New(goType.ReplaceAllString(strings.Join(e.Errors, "; "), ""))
}

// workspace is where the API puts a session's files.
const workspace = "/workspace"

// inlineFile and hosted are the environment as the API takes it.
type inlineFile struct {
	Type string `json:"type"`
	Path string `json:"path"`
	Data []byte `json:"data"`
}

type hosted struct {
	Type    string            `json:"type"`
	Sandbox string            `json:"sandbox,omitempty"`
	Env     map[string]string `json:"env,omitempty"`
	Files   []inlineFile      `json:"files,omitempty"`
	Network *Network          `json:"network,omitempty"`
	Setup   []Setup           `json:"setup_commands,omitempty"`
	Idle    int64             `json:"idle_timeout_seconds,omitempty"`
	Effects map[string]Effect `json:"effects,omitempty"`
}

// JSON is the environment as the API takes it, with the content of its files.
func (e *Environment) JSON() (json.RawMessage, error) {
	kind := e.Type
	if kind == "" && (e.Sandbox != "" || len(e.Files) > 0) {
		kind = "hosted"
	}
	switch kind {
	case "", "none":
		if e.Sandbox != "" || len(e.Files) > 0 || len(e.Env) > 0 {
			return nil, errors.New("an environment of type none has no sandbox, files or env")
		}
		return json.RawMessage(`{"type":"none"}`), nil
	case "hosted", "openai_hosted":
	default:
		return nil, fmt.Errorf("environment type %q is neither none nor hosted", e.Type)
	}
	h := hosted{
		Type: "openai_hosted", Sandbox: e.Sandbox, Env: e.Env, Network: e.Network, Setup: e.Setup, Idle: e.Idle, Effects: e.Effects,
	}
	for _, f := range e.Files {
		data, err := os.ReadFile(f.Source)
		if err != nil {
			return nil, fmt.Errorf("a file of the environment: %w", err)
		}
		target := f.Path
		if !path.IsAbs(target) {
			target = path.Join(workspace, target)
		}
		h.Files = append(h.Files, inlineFile{Type: "inline", Path: target, Data: data})
	}
	return json.Marshal(h)
}
