package session

import (
	"encoding/json"
	"strconv"
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

// Toolset lists what the model may call now: the tools of the environment, the
// agent's functions, and the tools that its servers listed. No two have the same
// name: a function has the name that the client gave it, and a tool whose name is
// taken gets another.
func (s *State) Toolset() []BoundTool {
	if s.toolset != nil {
		return s.toolset
	}
	set := make([]BoundTool, 0, len(s.Agent.Tools)+len(s.Place.Tools))
	taken := map[string]bool{}
	for i := range s.Agent.Tools {
		if t := &s.Agent.Tools[i]; t.Type == event.ToolFunction {
			taken[t.Name] = true
		}
	}
	listed := map[boundTo]bool{}
	add := func(label, visible string, spec event.ToolSpec) {
		to := boundTo{label, spec.Name}
		if listed[to] {
			return
		}
		listed[to] = true
		t := bind(label, visible, spec)
		for n := 0; taken[t.Name]; n++ {
			t.Name = otherName(t.Name, label, spec.Name, strconv.Itoa(n))
		}
		taken[t.Name] = true
		set = append(set, t)
	}
	for _, spec := range s.Place.Tools {
		add(event.EnvironmentLabel, spec.Name, spec)
	}
	if m := s.Agent.Memory; m != nil && m.Tools {
		for _, spec := range memorySpecs() {
			add(event.MemoryLabel, spec.Name, spec)
		}
	}
	functions := map[string]bool{}
	for i := range s.Agent.Tools {
		t := &s.Agent.Tools[i]
		switch t.Type {
		case event.ToolFunction:
			if functions[t.Name] {
				continue
			}
			functions[t.Name] = true
			set = append(set, BoundTool{
				Tool:     model.Tool{Name: t.Name, Description: t.Description, Parameters: t.Parameters},
				Target:   t.Name,
				ItemType: event.ItemFunctionCall,
			})
		case event.ToolTimer:
			add(TimerLabel, TimerTool, timerSpec())
		case event.ToolMCP:
			if srv := s.Servers[t.ServerLabel]; srv != nil {
				for _, spec := range srv.Tools {
					add(t.ServerLabel, t.ServerLabel+"__"+spec.Name, spec)
				}
			}
		}
	}
	s.toolset = set
	s.visible = make(map[boundTo]string, len(set))
	for i := len(set) - 1; i >= 0; i-- {
		s.visible[boundTo{set[i].Server, set[i].Target}] = set[i].Name
	}
	return set
}

// boundTo is what stands behind a tool.
type boundTo struct{ server, target string }

// toolsChanged forgets what was computed of the tools.
func (s *State) toolsChanged() {
	s.toolset, s.visible = nil, nil
	for i := s.ContextFrom; i < len(s.Items); i++ {
		s.Items[i].call, s.Items[i].output = nil, nil
	}
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

// maxName is the longest name that every provider takes.
const maxName = 64

// otherName is a name for a tool whose own is taken. It follows from what the tool
// is, so that it stays the same.
func otherName(name string, parts ...string) string {
	id := event.DeriveID("", parts...)[:9]
	return name[:min(len(name), maxName-len(id))] + id
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
	if len(name) > maxName {
		name = otherName(name, s)
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

// visibleTool is the name by which the model knows the tool that an item called,
// or would know it if it were still there.
func (s *State) visibleTool(it *event.Item) string {
	s.Toolset()
	if name, ok := s.visible[boundTo{it.ServerLabel, it.Name}]; ok {
		return name
	}
	switch it.ServerLabel {
	case "", event.EnvironmentLabel, event.MemoryLabel, TimerLabel:
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
		specs = s.Place.Tools
		var ok bool
		if pol, ok = s.Environment.Effects[name]; !ok {
			pol = s.Environment.Effects["*"]
		}
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
