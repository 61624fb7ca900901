package session

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strconv"

	"github.com/stayd/stayd/internal/event"
)

// ItemID is the id of an item of the model's next response in the turn. It
// follows from the place of the item, so that the pieces of an answer that is
// still coming in, and an answer that is asked for again after a crash, bear the
// ids that the log will have.
func ItemID(session, turnID string, step, index int) string {
	return event.DeriveID("item", session, turnID, strconv.Itoa(step), strconv.Itoa(index))
}

// Bind makes a model's answer into items of the session: it gives them their
// ids and phase, and turns each call into the item of the tool that it calls. A
// call of a tool that there is not is an item that has failed, which the model
// is shown.
func (s *State) Bind(t *Turn, answer []event.Item) []event.Item {
	calls := false
	for i := range answer {
		calls = calls || answer[i].Type == event.ItemFunctionCall
	}
	seen := map[string]bool{}
	out := make([]event.Item, len(answer))
	for i := range answer {
		it := answer[i]
		it.ID, it.TurnID = ItemID(s.ID, t.ID, t.Steps+1, i), ""
		switch it.Type {
		case event.ItemFunctionCall:
			if it.CallID == "" || seen[it.CallID] {
				it.CallID = event.DeriveID("call", it.ID)
			}
			seen[it.CallID] = true
			s.bindCall(&it)
		case event.ItemMessage:
			it.Role = event.RoleAssistant
			if it.Phase == "" {
				it.Phase = event.PhaseFinalAnswer
				if calls {
					it.Phase = event.PhaseCommentary
				}
			}
			if it.Status == "" {
				it.Status = event.StatusCompleted
			}
		default:
			if it.Status == "" {
				it.Status = event.StatusCompleted
			}
		}
		out[i] = it
	}
	return out
}

func (s *State) bindCall(it *event.Item) {
	switch {
	case len(it.Arguments) == 0:
		it.Arguments = json.RawMessage("{}")
	case !json.Valid(it.Arguments):
		// The log takes JSON only, and the model is shown what it wrote.
		it.Arguments = event.TextOutput(string(it.Arguments))
	}
	tool := s.boundTool(it.Name)
	fail := func(msg string) { it.Status, it.Error = event.StatusFailed, msg }
	if tool == nil {
		it.Type = event.ItemMCPCall
		fail("There is no tool named " + strconv.Quote(it.Name) + ".")
		return
	}
	cut := it.Status == event.StatusIncomplete
	it.Status, it.Type, it.Name, it.ServerLabel = event.StatusInProgress, tool.ItemType, tool.Target, tool.Server
	switch {
	case tool.ItemType == event.ItemFunctionCall:
		// The client sees what the model wrote, whatever it is.
	case cut:
		fail("The call was cut off: the answer reached its output limit. Nothing was done.")
	case !isObject(it.Arguments):
		fail("The arguments are not a JSON object. Nothing was done.")
	case tool.ItemType == event.ItemCommandExecution:
		it.Command, it.Cwd = commandText(it.Arguments)
	}
}

// isObject reports whether valid JSON is an object.
func isObject(valid json.RawMessage) bool {
	return bytes.HasPrefix(bytes.TrimLeft(valid, " \t\r\n"), []byte("{"))
}

// commandText is what a command_execution shows as its command and where it
// runs. A bad value is refused by the tool itself.
func commandText(arguments json.RawMessage) (command, cwd string) {
	var args map[string]json.RawMessage
	if json.Unmarshal(arguments, &args) != nil {
		return "", environmentRoot
	}
	text := func(name string) string {
		var s string
		if raw, ok := args[name]; !ok || json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return s
	}
	return cmp.Or(text("command"), text("code")), cmp.Or(text("cwd"), environmentRoot)
}

// environmentRoot is where a command runs that does not say where.
const environmentRoot = "/workspace"

// Awaits reports whether the session still waits for the outcome of the effect,
// so that an outcome that comes twice is written once.
func (s *State) Awaits(effectID string) bool {
	if effectID == SuspendEffectID(s) {
		return s.Place.Status == PlaceConnected
	}
	switch effectID {
	case KeepEffectID(s):
		return len(s.Unkept()) > 0
	case ExtractEffectID(s):
		return len(s.Unextracted()) > 0
	}
	t := s.Current()
	if t == nil {
		return false
	}
	if e := s.Effect(effectID); e != nil {
		return e.Open && e.TurnID == t.ID
	}
	switch effectID {
	case ModelEffectID(s.ID, t):
		return t.NeedsModel
	case CompactionEffectID(s):
		return true
	case EnvironmentEffectID(s.ID, t):
		return s.NeedsSetUp(t)
	case RecallEffectID(s.ID, t):
		return s.NeedsRecall(t)
	}
	for i := range s.Agent.Tools {
		if tool := &s.Agent.Tools[i]; tool.Type == event.ToolMCP && effectID == ToolsEffectID(s.ID, t, tool) {
			srv := s.Servers[tool.ServerLabel]
			return srv == nil || srv.Error != ""
		}
	}
	return false
}
