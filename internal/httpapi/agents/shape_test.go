package agents_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// requireFields checks that the object has every field that the official client's
// type says it must have, null or not, and is told apart by the constants that it
// names.
func requireFields(t *testing.T, typ reflect.Type, raw json.RawMessage, path string) {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		t.Errorf("%s: %s: %v", path, raw, err)
		return
	}
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		value, there := object[name]
		constant, isConstant := f.Tag.Lookup("default")
		switch {
		case isConstant && constant == "incomplete": // only sometimes there
		case isConstant && string(value) != `"`+constant+`"`:
			t.Errorf("%s.%s is %s, want %q", path, name, value, constant)
		case f.Tag.Get("api") == "required" && !there:
			t.Errorf("%s has no %s: %s", path, name, raw)
		case there && f.Type.Kind() == reflect.Struct && string(value) != "null" && !strings.Contains(f.Type.Name(), "Union"):
			requireFields(t, f.Type, value, path+"."+name)
		}
	}
}

// TestShapes holds what is answered against the types of the official client.
func TestShapes(t *testing.T) {
	w := newWorld(t)
	a := w.do("POST", "/v1/agents", `{"model":"test/m","name":"n","tools":[
		{"type":"function","name":"f","description":"","parameters":{}},
		{"type":"mcp","server_label":"l","transport":{"type":"http","server_url":"https://example.com","headers":{"X-Team":"a"}}},
		{"type":"mcp","server_label":"s","transport":{"type":"stdio","command":"allowed-mcp","cwd":"/"}},
		{"type":"timer"}]}`)
	requireFields(t, reflect.TypeFor[openai.Agent](), json.RawMessage(a.body), "agent")
	var agent openai.Agent
	if err := json.Unmarshal([]byte(a.body), &agent); err != nil {
		t.Fatal(err)
	}
	requireFields(t, reflect.TypeFor[openai.PersistedAgentToolFunction](), json.RawMessage(agent.Tools[0].RawJSON()), "function")
	requireFields(t, reflect.TypeFor[openai.PersistedAgentToolMcp](), json.RawMessage(agent.Tools[1].RawJSON()), "mcp")
	requireFields(t, reflect.TypeFor[openai.PersistedMcpTransportHTTP](), json.RawMessage(agent.Tools[1].Transport.RawJSON()), "http")
	requireFields(t, reflect.TypeFor[openai.PersistedMcpTransportStdio](), json.RawMessage(agent.Tools[2].Transport.RawJSON()), "stdio")

	s := w.do("POST", "/v1/agents/sessions", `{"agent_id":"`+agent.ID+`","spend_control":{"limit":500},"environment":{"type":"openai_hosted","files":[{"type":"inline","path":"/workspace/a","data":"aGk="}]}}`)
	requireFields(t, reflect.TypeFor[openai.AgentSession](), json.RawMessage(s.body), "session")
	var made openai.AgentSession
	if err := json.Unmarshal([]byte(s.body), &made); err != nil {
		t.Fatal(err)
	}
	requireFields(t, reflect.TypeFor[openai.EnvironmentOpenAIHosted](), json.RawMessage(made.Environment.RawJSON()), "environment")
	if made.Environment.Files[0].SizeBytes != 2 || made.SpendControl.Limit != 500 || made.Agent.Name != "n" {
		t.Errorf("session %s", s.body)
	}

	id := w.story()
	path := "/v1/agents/sessions/" + id
	checkEach(t, w.do("GET", path+"/turns", ""), func(json.RawMessage) reflect.Type { return reflect.TypeFor[openai.Turn]() })
	items := w.do("GET", path+"/items?limit=100", "")
	checkEach(t, items, func(raw json.RawMessage) reflect.Type { return itemType(t, raw) })
	for _, g := range w.replay(id) {
		typ := eventTypes[g.kind]
		if typ == nil {
			t.Errorf("no type for %s", g.kind)
			continue
		}
		requireFields(t, typ, json.RawMessage(g.data), g.kind)
		if g.kind == "agent.session.turn.item.done" || g.kind == "agent.session.turn.item.added" {
			var e struct{ Item json.RawMessage }
			if err := json.Unmarshal([]byte(g.data), &e); err != nil {
				t.Fatal(err)
			}
			if typ := itemType(t, e.Item); typ != nil {
				requireFields(t, typ, e.Item, g.kind+".item")
			}
		}
	}
}

func checkEach(t *testing.T, a answer, typ func(json.RawMessage) reflect.Type) {
	t.Helper()
	var l struct{ Data []json.RawMessage }
	if err := json.Unmarshal([]byte(a.body), &l); err != nil || len(l.Data) == 0 {
		t.Fatalf("list %s: %v", a.body, err)
	}
	for _, raw := range l.Data {
		if typ := typ(raw); typ != nil {
			requireFields(t, typ, raw, typ.Name())
		}
	}
}

func itemType(t *testing.T, raw json.RawMessage) reflect.Type {
	t.Helper()
	var it struct{ Type string }
	if err := json.Unmarshal(raw, &it); err != nil {
		t.Fatal(err)
	}
	switch it.Type {
	case event.ItemMessage:
		return reflect.TypeFor[openai.AgentSessionMessage]()
	case event.ItemReasoning:
		return reflect.TypeFor[openai.AgentReasoningItem]()
	case event.ItemFunctionCall:
		return reflect.TypeFor[openai.AgentFunctionCallItem]()
	case event.ItemFunctionCallOutput:
		return reflect.TypeFor[openai.AgentSessionItemFunctionCallOutput]()
	case event.ItemMCPCall:
		return reflect.TypeFor[openai.AgentMcpCallItem]()
	case event.ItemCommandExecution:
		return reflect.TypeFor[openai.AgentCommandExecutionItem]()
	case event.ItemCompaction:
		return nil // Stayd's own
	}
	t.Errorf("an item of the type %q", it.Type)
	return nil
}

var eventTypes = map[string]reflect.Type{
	"agent.session.created":                           reflect.TypeFor[openai.AgentSessionCreatedEvent](),
	"agent.session.idle":                              reflect.TypeFor[openai.AgentSessionIdleEvent](),
	"agent.session.in_progress":                       reflect.TypeFor[openai.AgentSessionInProgressEvent](),
	"agent.session.requires_action":                   reflect.TypeFor[openai.AgentSessionRequiresActionEvent](),
	"agent.session.turn.created":                      reflect.TypeFor[openai.AgentSessionTurnCreatedEvent](),
	"agent.session.turn.in_progress":                  reflect.TypeFor[openai.AgentSessionTurnInProgressEvent](),
	"agent.session.turn.completed":                    reflect.TypeFor[openai.AgentSessionTurnCompletedEvent](),
	"agent.session.turn.failed":                       reflect.TypeFor[openai.AgentSessionTurnFailedEvent](),
	"agent.session.turn.cancelled":                    reflect.TypeFor[openai.AgentSessionTurnCancelledEvent](),
	"agent.session.turn.item.added":                   reflect.TypeFor[openai.AgentSessionTurnItemAddedEvent](),
	"agent.session.turn.item.done":                    reflect.TypeFor[openai.AgentSessionTurnItemDoneEvent](),
	"agent.session.turn.content_part.added":           reflect.TypeFor[openai.AgentSessionTurnContentPartAddedEvent](),
	"agent.session.turn.content_part.done":            reflect.TypeFor[openai.AgentSessionTurnContentPartDoneEvent](),
	"agent.session.turn.output_text.done":             reflect.TypeFor[openai.AgentSessionTurnOutputTextDoneEvent](),
	"agent.session.turn.reasoning_summary_part.added": reflect.TypeFor[openai.AgentSessionTurnReasoningSummaryPartAddedEvent](),
	"agent.session.turn.reasoning_summary_part.done":  reflect.TypeFor[openai.AgentSessionTurnReasoningSummaryPartDoneEvent](),
	"agent.session.turn.reasoning_summary_text.done":  reflect.TypeFor[openai.AgentSessionTurnReasoningSummaryTextDoneEvent](),
	"agent.session.environment.failed":                reflect.TypeFor[openai.AgentSessionEnvironmentFailedEvent](),
	"agent.session.turn.output_text.delta":            reflect.TypeFor[openai.AgentSessionTurnOutputTextDeltaEvent](),
	"agent.output.command_execution_output.delta":     reflect.TypeFor[openai.AgentOutputCommandExecutionOutputDeltaEvent](),
}

// TestItems has every type of item as it is listed.
func TestItems(t *testing.T) {
	w := newWorld(t)
	id := w.create()
	turn := w.turn(id)
	code := 3
	sh := call(event.ItemCommandExecution, "item_x", "run", event.EnvironmentLabel)
	sh.Command, sh.Cwd = "ls", "/workspace"
	running := sh
	running.ID, running.CallID = "item_y", "call_y"
	w.append(id, &event.ModelResponded{EffectID: "eff_1", TurnID: turn, Model: "test/m", Items: []event.Item{
		sh, running, call(event.ItemFunctionCall, "item_f", "add", ""), call(event.ItemMCPCall, "item_c", "read", "files"),
	}})
	w.append(id,
		&event.EffectFinished{EffectID: session.CallEffectID(id, "item_x"), TurnID: turn, Status: event.StatusFailed, Output: event.TextOutput("a<b"), ExitCode: &code, DurationMS: 12},
		&event.EffectFinished{EffectID: session.CallEffectID(id, "item_c"), TurnID: turn, Status: event.StatusFailed, Error: "No file."})
	w.mustPost(id, `{"type":"agent.session.input.tool_result","call_id":"call_item_f","turn_id":"`+turn+`","success":false,"error":"Too big."}`)
	got := w.do("GET", "/v1/agents/sessions/"+id+"/items?order=asc", "")
	var l struct {
		Data []json.RawMessage
	}
	if err := json.Unmarshal([]byte(got.body), &l); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`"role":"user","phase":null,"status":"completed","content":[{"type":"input_text","text":"Hi"}]}`,
		`{"type":"command_execution","id":"item_x","turn_id":"` + turn + `","command":"ls","cwd":"/workspace","duration_ms":12,"exit_code":3,"output":"a<b","status":"failed"}`,
		`{"type":"command_execution","id":"item_y","turn_id":"` + turn + `","command":"ls","cwd":"/workspace","duration_ms":null,"exit_code":null,"output":null,"status":"in_progress"}`,
		`{"type":"function_call","id":"item_f","turn_id":"` + turn + `","call_id":"call_item_f","name":"add","arguments":{"a":1},"status":"completed"}`,
		`{"type":"mcp_call","id":"item_c","turn_id":"` + turn + `","server_label":"files","name":"read","arguments":{"a":1},"output":null,"error":"No file.","status":"failed"}`,
		`"call_id":"call_item_f","output":null,"error":"Too big.","status":"failed"}`,
	}
	if len(l.Data) != len(want) {
		t.Fatalf("items %s", got.body)
	}
	for i := range want {
		if !strings.HasSuffix(string(l.Data[i]), want[i]) {
			t.Errorf("item %d is\n%s\nwant it to end in\n%s", i, l.Data[i], want[i])
		}
	}
}
