package session

import (
	"encoding/json"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// TimerLabel is the server_label of the runtime's own timer tool.
const TimerLabel = "timer"

// TimerTool is the name of the timer tool.
const TimerTool = "wait"

// BoundTool is a tool as the model sees it, and what stands behind it.
type BoundTool struct {
	model.Tool        // Name is the name that the model uses
	Server     string // label; empty for a function of the client
	Target     string // the name that the server uses
	ItemType   string // of the item that a call becomes
}

// Toolset lists what the model may call now: the agent's functions, the tools
// that its servers listed, and those of the environment.
func (s *State) Toolset() []BoundTool {
	if s.toolset != nil {
		return s.toolset
	}
	set := make([]BoundTool, 0, len(s.Agent.Tools)+len(s.EnvironmentTools))
	for _, spec := range s.EnvironmentTools {
		set = append(set, bind(event.EnvironmentLabel, spec.Name, spec))
	}
	for i := range s.Agent.Tools {
		t := &s.Agent.Tools[i]
		switch t.Type {
		case event.ToolFunction:
			set = append(set, BoundTool{
				Tool:     model.Tool{Name: t.Name, Description: t.Description, Parameters: t.Parameters},
				Target:   t.Name,
				ItemType: event.ItemFunctionCall,
			})
		case event.ToolTimer:
			set = append(set, bind(TimerLabel, TimerTool, timerSpec()))
		case event.ToolMCP:
			if srv := s.Servers[t.ServerLabel]; srv != nil {
				for _, spec := range srv.Tools {
					set = append(set, bind(t.ServerLabel, t.ServerLabel+"__"+spec.Name, spec))
				}
			}
		}
	}
	s.toolset = set
	return set
}

func bind(label, visible string, spec event.ToolSpec) BoundTool {
	itemType := spec.ItemType
	if itemType == "" {
		itemType = event.ItemMCPCall
	}
	return BoundTool{
		Tool:     model.Tool{Name: visibleName(visible), Description: spec.Description, Parameters: spec.Parameters},
		Server:   label,
		Target:   spec.Name,
		ItemType: itemType,
	}
}

// visibleName makes a name that every provider takes: [a-zA-Z0-9_-]{1,64}.
func visibleName(s string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, s)
	if len(name) > 64 {
		name = name[:55] + event.DeriveID("", name)[:9]
	}
	return name
}

func timerSpec() event.ToolSpec {
	return event.ToolSpec{
		Name:        TimerTool,
		Description: "Wait until a time or for a while, then go on. Waiting costs nothing and survives restarts.",
		Parameters: json.RawMessage(`{"type":"object","properties":{` +
			`"seconds":{"type":"number","description":"how long to wait"},` +
			`"until":{"type":"string","description":"RFC 3339 time to wait for"}},"additionalProperties":false}`),
		Class: event.Pure,
	}
}

func (s *State) boundTool(visible string) *BoundTool {
	set := s.Toolset()
	for i := range set {
		if set[i].Name == visible {
			return &set[i]
		}
	}
	return nil
}

// visibleTool is the name by which the model knows the tool that an item
// called.
func visibleTool(it *event.Item) string {
	switch it.ServerLabel {
	case "", event.EnvironmentLabel, TimerLabel:
		return visibleName(it.Name)
	}
	return visibleName(it.ServerLabel + "__" + it.Name)
}

// policy resolves how a call of a server's tool may be repeated: what the
// agent's author declared, else what the tool declares of itself, else once.
func (s *State) policy(label, name string) (event.Class, event.EffectPolicy) {
	var pol event.EffectPolicy
	var specs []event.ToolSpec
	if label == event.EnvironmentLabel {
		specs = s.EnvironmentTools
	} else {
		if srv := s.Servers[label]; srv != nil {
			specs = srv.Tools
		}
		for i := range s.Agent.Tools {
			if t := &s.Agent.Tools[i]; t.Type == event.ToolMCP && t.ServerLabel == label {
				var ok bool
				if pol, ok = t.Effects[name]; !ok {
					pol = t.Effects["*"]
				}
			}
		}
	}
	switch {
	case pol.Class != "":
		return pol.Class, pol
	case pol.Lookup != "":
		return event.Reconcilable, pol
	}
	for i := range specs {
		if specs[i].Name == name && specs[i].Class != "" {
			return specs[i].Class, pol
		}
	}
	return event.Once, pol
}
