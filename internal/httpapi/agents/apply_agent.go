package agents

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
)

// defaultAgent is an agent of which nothing was said.
func defaultAgent() event.Agent {
	return event.Agent{
		Tools:       []event.Tool{},
		Text:        event.Text{Format: formatPlain, Verbosity: "medium"},
		ServiceTier: "auto",
		Compaction:  event.Compaction{Async: true},
	}
}

// apply changes the agent by the settings that were given. Errors name
// parameters under path.
func (a *api) apply(agent *event.Agent, s *AgentSettings, path string) error {
	if s.Model.Set {
		if s.Model.Null || s.Model.V == "" {
			return httpapi.Invalid(path+"model", "Name a model. It cannot be empty or null.")
		}
		if err := a.CheckModel(s.Model.V); err != nil {
			return httpapi.Invalid(path+"model", err.Error())
		}
		agent.Model = s.Model.V
	}
	if s.Instructions.Set {
		agent.Instructions = nil
		if s.Instructions.Given() {
			agent.Instructions = &s.Instructions.V
		}
	}
	if s.ServiceTier.Set {
		agent.ServiceTier = orDefault(s.ServiceTier, "auto")
	}
	if s.Limits.Set {
		agent.Limits = nil
		if l := s.Limits.V; l != (limitsBody{}) {
			agent.Limits = &event.Limits{MaxSteps: l.MaxSteps, MaxTokens: l.MaxTokens, MaxSeconds: l.MaxSeconds}
		}
	}
	applyReasoning(agent, s.Reasoning)
	applyCompaction(agent, s.Compaction)
	if err := applyText(agent, s.Text); err != nil {
		return err
	}
	if s.Experimental.V.TimeAwareness.V {
		return httpapi.Unsupported(path+"experimental.time_awareness", "Time awareness is not served yet. Leave it out, or set it to false.")
	}
	if s.MultiAgent.V.Enabled {
		return httpapi.Unsupported(path+"multi_agent.enabled", "Subagents are not served yet. Leave multi_agent out, or set enabled to false.")
	}
	if err := a.applyMemory(agent, s.Memory, path+"memory"); err != nil {
		return err
	}
	return a.applyTools(agent, s.Tools, path+"tools")
}

func orDefault[T any](o opt[T], fallback T) T {
	if o.Given() {
		return o.V
	}
	return fallback
}

func applyReasoning(agent *event.Agent, o opt[reasoningBody]) {
	if o.Null {
		agent.Reasoning = event.Reasoning{}
	}
	if o.V.Effort.Set {
		agent.Reasoning.Effort = o.V.Effort.V
	}
	if o.V.Summary.Set {
		agent.Reasoning.Summary = o.V.Summary.V
	}
}

// applyCompaction replaces the settings as a whole, as the API has it.
func applyCompaction(agent *event.Agent, o opt[compactionBody]) {
	if o.Set {
		agent.Compaction = event.Compaction{Async: orDefault(o.V.Async, true), Threshold: o.V.Threshold.V}
	}
}

func applyText(agent *event.Agent, o opt[textBody]) error {
	if o.Null {
		agent.Text = defaultAgent().Text
	}
	if o.V.Verbosity.Set {
		agent.Text.Verbosity = orDefault(o.V.Verbosity, "medium")
	}
	if o.V.Format.Set {
		agent.Text.Format, agent.Text.Schema = formatPlain, nil
		if f := o.V.Format.V; f.Type == formatJSON {
			agent.Text.Format, agent.Text.Schema = formatJSON, compact(f.JSON)
		}
	}
	return nil
}

// compact is the JSON without the spaces that it came with.
func compact(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		panic(fmt.Sprintf("agents: compact what was parsed: %v", err))
	}
	return b.Bytes()
}

const (
	maxTools         = 3 << 20 // bytes of JSON
	maxMetadata      = 16
	maxMetadataKey   = 64
	maxMetadataValue = 512
)

func (a *api) applyTools(agent *event.Agent, o opt[[]toolBody], path string) error {
	if !o.Set {
		return nil
	}
	tools := make([]event.Tool, 0, len(o.V))
	seen := map[string]bool{}
	for i := range o.V {
		at := fmt.Sprintf("%s[%d]", path, i)
		tool, err := a.tool(&o.V[i], at)
		if err != nil {
			return err
		}
		if tool == nil {
			continue
		}
		name := tool.Type + " " + tool.Name + tool.ServerLabel
		if seen[name] {
			return givenTwice(tool, at)
		}
		seen[name] = true
		tools = append(tools, *tool)
	}
	data, err := httpapi.Marshal(tools)
	if err != nil {
		return fmt.Errorf("encode the tools: %w", err)
	}
	if len(data) > maxTools {
		return httpapi.Invalid(path, fmt.Sprintf("The tools take %d bytes of JSON. At most %d are allowed.", len(data), maxTools))
	}
	agent.Tools = tools
	return nil
}

// givenTwice names what two tools have in common.
func givenTwice(tool *event.Tool, at string) error {
	switch tool.Type {
	case event.ToolMCP:
		return httpapi.Invalid(at+".server_label", fmt.Sprintf("The label '%s' is given to two MCP servers. Give each its own.", tool.ServerLabel))
	case event.ToolFunction:
		return httpapi.Invalid(at+".name", fmt.Sprintf("The name '%s' is given to two functions. Give each its own.", tool.Name))
	}
	return httpapi.Invalid(at, fmt.Sprintf("The tool %s is given twice.", tool.Type))
}

// metadata checks and copies; null is none.
func metadata(o opt[map[string]string]) (map[string]string, error) {
	if len(o.V) > maxMetadata {
		return nil, httpapi.Invalid("metadata", fmt.Sprintf("Metadata has at most %d pairs, but got %d.", maxMetadata, len(o.V)))
	}
	for _, k := range slices.Sorted(maps.Keys(o.V)) {
		v := o.V[k]
		if n := utf8.RuneCountInString(k); n == 0 || n > maxMetadataKey {
			return nil, httpapi.Invalid("metadata", fmt.Sprintf("A key of metadata has 1 to %d characters, but one has %d.", maxMetadataKey, n))
		}
		if n := utf8.RuneCountInString(v); n > maxMetadataValue {
			return nil, httpapi.Invalid("metadata."+k, fmt.Sprintf("A value of metadata has at most %d characters, but this one has %d.", maxMetadataValue, n))
		}
	}
	return maps.Clone(o.V), nil
}

// resolve fills in what an agent leaves to the runtime when a session begins to
// use it.
func (a *api) resolve(agent *event.Agent) {
	if agent.Compaction.Threshold == 0 {
		agent.Compaction.Threshold = a.CompactionThreshold(agent.Model)
	}
}
