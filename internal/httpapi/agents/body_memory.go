package agents

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/transfer"
)

// memoryBody says what an agent remembers. {} remembers what is said, word for
// word, recalls it and gives the model the tools of memory.
type memoryBody struct {
	Strategies  []string          `json:"strategies,omitzero" doc:"What a model draws from conversations once a session rests: semantic, preference, summary, episodic. Defaults to none; what is said is always kept."`
	Namespaces  map[string]string `json:"namespaces,omitzero" doc:"Where memories stand, by strategy, as templates with {actorId}, {agentId} and {sessionId}."`
	Model       string            `json:"model,omitzero" doc:"The model that draws. Defaults to the agent's."`
	RestSeconds opt[int64]        `json:"rest_seconds,omitzero" minimum:"0" doc:"How long a session rests before a model draws from it. Defaults to 30."`
	Recall      opt[recallBody]   `json:"recall,omitzero" doc:"What a turn is given. null gives nothing."`
	Core        []coreBody        `json:"core,omitzero" doc:"Blocks that the model always sees, and rewrites itself."`
	Tools       opt[bool]         `json:"tools,omitzero" doc:"Whether the model may search, write, update and forget. Defaults to true."`
}

type recallBody struct {
	Namespaces     []string `json:"namespaces,omitzero" doc:"Templates of prefixes. Defaults to /actors/{actorId}."`
	Limit          int      `json:"limit,omitzero" minimum:"1" maximum:"50" doc:"Memories. Defaults to 10."`
	MaxTokens      int      `json:"max_tokens,omitzero" minimum:"100" maximum:"20000" doc:"Defaults to 1500."`
	ExcludeForeign bool     `json:"exclude_foreign,omitzero" doc:"Leave out what rests on the words of tools and of other people."`
}

type coreBody struct {
	Label       string `json:"label"`
	Description string `json:"description,omitzero"`
	Value       string `json:"value,omitzero" doc:"What it says until the agent writes something else."`
	Limit       int    `json:"limit,omitzero" minimum:"1" maximum:"8192" doc:"Bytes. Defaults to 2000."`
}

// Defaults of memory.
const (
	defaultRest         = 30 // seconds
	defaultRecall       = 10
	defaultRecallTokens = 1500
	defaultCoreLimit    = 2000
	maxCoreBlocks       = 10
)

// applyMemory replaces the setting as a whole.
func (a *api) applyMemory(agent *event.Agent, o opt[memoryBody], path string) error {
	if !o.Set {
		return nil
	}
	agent.Memory = nil
	if o.Null {
		return nil
	}
	b := &o.V
	m := &event.Memory{
		Strategies: b.Strategies, Model: b.Model, RestSeconds: orDefault(b.RestSeconds, defaultRest), Tools: orDefault(b.Tools, true),
		Namespaces: map[string]string{},
	}
	if m.Model != "" {
		if err := a.CheckModel(m.Model); err != nil {
			return httpapi.Invalid(path+".model", err.Error())
		}
	}
	for i, s := range b.Strategies {
		drawn := []memory.Strategy{memory.Semantic, memory.Preference, memory.Summary, memory.Episodic}
		if !slices.Contains(drawn, memory.Strategy(s)) || slices.Contains(b.Strategies[:i], s) {
			return httpapi.Invalid(fmt.Sprintf("%s.strategies[%d]", path, i), fmt.Sprintf("The strategies are semantic, preference, summary and episodic, each once; '%s' is none, or is given twice.", s))
		}
	}
	if err := namespaces(m, b.Namespaces, path+".namespaces"); err != nil {
		return err
	}
	if err := recall(m, b.Recall, path+".recall"); err != nil {
		return err
	}
	if err := core(m, b.Core, path+".core"); err != nil {
		return err
	}
	agent.Memory = m
	return nil
}

func namespaces(m *event.Memory, given map[string]string, path string) error {
	for s, template := range transfer.DefaultNamespaces() {
		m.Namespaces[string(s)] = template
	}
	for s, template := range given {
		if _, ok := m.Namespaces[s]; !ok {
			return httpapi.Invalid(path+"."+s, fmt.Sprintf("There is no strategy '%s'. The strategies are turn, semantic, preference, summary, episodic and core.", s))
		}
		if err := checkTemplate(template); err != nil {
			return httpapi.Invalid(path+"."+s, err.Error())
		}
		m.Namespaces[s] = template
	}
	return nil
}

func checkTemplate(template string) error {
	_, err := memory.Fill(template, map[string]string{"actorId": "a", "agentId": "a", "sessionId": "a"})
	return err
}

func recall(m *event.Memory, o opt[recallBody], path string) error {
	if o.Null {
		return nil
	}
	b := &o.V
	r := &event.Recall{Namespaces: b.Namespaces, Limit: b.Limit, MaxTokens: b.MaxTokens, ExcludeForeign: b.ExcludeForeign}
	if len(r.Namespaces) == 0 {
		r.Namespaces = []string{event.ActorNamespace}
	}
	for i, template := range r.Namespaces {
		if err := checkTemplate(template); err != nil {
			return httpapi.Invalid(fmt.Sprintf("%s.namespaces[%d]", path, i), err.Error())
		}
	}
	if r.Limit == 0 {
		r.Limit = defaultRecall
	}
	if r.MaxTokens == 0 {
		r.MaxTokens = defaultRecallTokens
	}
	m.Recall = r
	return nil
}

func core(m *event.Memory, blocks []coreBody, path string) error {
	if len(blocks) > maxCoreBlocks {
		return httpapi.Invalid(path, fmt.Sprintf("There are %d core blocks. At most %d are allowed.", len(blocks), maxCoreBlocks))
	}
	seen := map[string]bool{}
	for i, b := range blocks {
		at := fmt.Sprintf("%s[%d]", path, i)
		if !httpapi.ValidName(b.Label) {
			return httpapi.Invalid(at+".label", fmt.Sprintf("Invalid '%s.label': a block is labelled by 1 to 64 of the characters A-Z, a-z, 0-9, '_' and '-'.", at))
		}
		if seen[b.Label] {
			return httpapi.Invalid(at+".label", fmt.Sprintf("The label '%s' is given to two blocks. Give each its own.", b.Label))
		}
		seen[b.Label] = true
		if b.Limit == 0 {
			b.Limit = defaultCoreLimit
		}
		if len(b.Value) > b.Limit {
			return httpapi.Invalid(at+".value", fmt.Sprintf("The value has %d bytes, more than the block's limit of %d.", len(b.Value), b.Limit))
		}
		m.Core = append(m.Core, event.CoreBlock{Label: b.Label, Description: b.Description, Value: b.Value, Limit: b.Limit})
	}
	return nil
}

// needsActor refuses a session with nobody whose memories stand where the agent
// keeps those of actors.
func needsActor(agent *event.Agent, actor string) error {
	m := agent.Memory
	if m == nil || actor != "" {
		return nil
	}
	templates := []string{m.Namespaces[string(memory.Turn)], m.Namespaces[string(memory.Core)]}
	if m.Recall != nil {
		templates = append(templates, m.Recall.Namespaces...)
	}
	for s, template := range m.Namespaces {
		if m.Tools || slices.Contains(m.Strategies, s) {
			templates = append(templates, template)
		}
	}
	if !slices.ContainsFunc(templates, func(t string) bool { return strings.Contains(t, "{actorId}") }) {
		return nil
	}
	return required("actor", "where the agent has a memory with {actorId} in its namespaces: it says whom the session is with")
}

// maxActor is the longest name of an actor, in bytes.
const maxActor = 256

func checkActor(param, actor string) error {
	if len(actor) > maxActor || strings.ContainsRune(actor, 0) {
		return httpapi.Invalid(param, fmt.Sprintf("An actor is named by at most %d bytes, without a NUL.", maxActor))
	}
	return nil
}
