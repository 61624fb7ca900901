package session_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// fold makes a state of payloads, each in a record of its own.
func fold(tb testing.TB, s *session.State, payloads ...event.Payload) *session.State {
	tb.Helper()
	for _, p := range payloads {
		data, err := event.Encode(p)
		if err != nil {
			tb.Fatal(err)
		}
		r := &event.Record{
			Session: s.ID, Seq: s.Seq + 1, Time: time.Date(2026, 5, 3, 9, 0, int(s.Seq), 0, time.UTC), Kind: p.Kind(),
			Version: event.Version, Data: data, Salt: make([]byte, event.SaltSize),
		}
		r.Seal(s.Hash)
		if err := session.Fold(s, r); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

func newSession(tb testing.TB, a event.Agent) *session.State {
	tb.Helper()
	return fold(tb, session.New("sess"), &event.SessionCreated{Project: "proj", Agent: a, Environment: event.Environment{Type: event.EnvironmentNone}})
}

func input(id, text string) *event.TurnCreated {
	return &event.TurnCreated{TurnID: id, Items: []event.Item{{
		Type: event.ItemMessage, ID: "msg_" + id, Role: event.RoleUser, Content: []event.Content{{Type: event.PartInputText, Text: text}},
	}}}
}

func answered(s *session.State, items ...event.Item) *event.ModelResponded {
	t := s.Current()
	return &event.ModelResponded{
		EffectID: session.ModelEffectID(s.ID, t), TurnID: t.ID, Model: "m", Items: s.Bind(t, items), RequestHash: s.RequestHash(),
		Usage: event.Usage{InputTokens: 1000},
	}
}

func fn(name string) event.Item {
	return event.Item{Type: event.ItemFunctionCall, CallID: "call_" + name, Name: name, Arguments: json.RawMessage(`{"a":1}`)}
}

// TestContextOfCalls shows each kind of call, in each of its ends, as the model is
// given it.
func TestContextOfCalls(t *testing.T) {
	one := 1
	for name, c := range map[string]struct {
		call   string
		end    func(*session.State, *session.Effect) event.Payload
		output string
		status string
		err    string
	}{
		"result": {"srv__act", func(_ *session.State, e *session.Effect) event.Payload {
			return &event.EffectFinished{EffectID: e.ID, TurnID: e.TurnID, Status: event.StatusCompleted, Output: event.TextOutput("done")}
		}, "done", event.StatusCompleted, ""},
		"exit code": {"srv__act", func(_ *session.State, e *session.Effect) event.Payload {
			return &event.EffectFinished{EffectID: e.ID, TurnID: e.TurnID, Status: event.StatusCompleted, Output: event.TextOutput("no file"), ExitCode: &one}
		}, "exit code 1\nno file", event.StatusCompleted, ""},
		"failure": {"srv__act", func(_ *session.State, e *session.Effect) event.Payload {
			return &event.EffectFinished{EffectID: e.ID, TurnID: e.TurnID, Status: event.StatusFailed, Error: "no funds"}
		}, "", event.StatusFailed, "no funds"},
		"failure without a reason": {"srv__act", func(_ *session.State, e *session.Effect) event.Payload {
			return &event.EffectFinished{EffectID: e.ID, TurnID: e.TurnID, Status: event.StatusFailed}
		}, "", event.StatusFailed, "The call failed and gave no reason."},
		"given up": {"srv__act", func(_ *session.State, e *session.Effect) event.Payload {
			return &event.EffectFailed{EffectID: e.ID, What: e.Kind, TurnID: e.TurnID, Attempt: 5, Code: "connection_failed", Message: "refused"}
		}, "", event.StatusFailed, "refused"},
		"unknown": {"srv__act", func(_ *session.State, e *session.Effect) event.Payload {
			return &event.EffectUnknown{EffectID: e.ID, TurnID: e.TurnID, Reason: "crash"}
		}, "", event.StatusFailed, session.UnknownMessage},
		"turn ended": {"srv__act", func(_ *session.State, e *session.Effect) event.Payload {
			return &event.TurnEnded{TurnID: e.TurnID, Status: session.TurnCancelled}
		}, "", event.StatusFailed, "The turn ended before this call was answered."},
		"client": {"ask", func(s *session.State, e *session.Effect) event.Payload {
			p, err := s.ToolResult(event.Input{}, e.TurnID, e.CallID, event.Item{Status: event.StatusCompleted, Output: event.TextOutput("yes")})
			if err != nil {
				t.Fatal(err)
			}
			return p[0]
		}, "yes", event.StatusCompleted, ""},
		"client, turn ended": {"ask", func(_ *session.State, e *session.Effect) event.Payload {
			return &event.TurnEnded{TurnID: e.TurnID, Status: session.TurnCancelled}
		}, "", event.StatusFailed, "The turn ended before this call was answered."},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSession(t, event.Agent{Tools: []event.Tool{{Type: event.ToolMCP, ServerLabel: "srv"}, {Type: event.ToolFunction, Name: "ask"}}})
			fold(t, s, input("t1", "go"), &event.ToolsListed{TurnID: "t1", ServerLabel: "srv", Tools: []event.ToolSpec{{Name: "act"}}})
			fold(t, s, answered(s, fn(c.call)))
			fold(t, s, c.end(s, s.OpenEffects()[0]))
			items := s.Context()
			if len(items) != 3 {
				t.Fatalf("%d items, want the input, the call and its output", len(items))
			}
			call, out := items[1], items[2]
			if call.Type != event.ItemFunctionCall || call.Name != c.call || call.CallID != "call_"+c.call || string(call.Arguments) != `{"a":1}` || call.ServerLabel != "" || call.Error != "" {
				t.Errorf("the call is %+v", call)
			}
			if out.Type != event.ItemFunctionCallOutput || out.CallID != call.CallID || out.Status != c.status || event.OutputText(out.Output) != c.output || out.Error != c.err {
				t.Errorf("the output is %+v", out)
			}
			again := s.Context()
			if again[1] != call {
				t.Error("a call that did not change is made anew")
			}
		})
	}
}

// TestContextFollowsTools shows calls under the names that their tools have now.
func TestContextFollowsTools(t *testing.T) {
	agent := event.Agent{Tools: []event.Tool{{Type: event.ToolMCP, ServerLabel: "srv"}}}
	s := newSession(t, agent)
	fold(t, s, input("t1", "go"), &event.ToolsListed{TurnID: "t1", ServerLabel: "srv", Tools: []event.ToolSpec{{Name: "a.b", Class: event.Pure}}})
	fold(t, s, answered(s, fn("srv__a_b")))
	if got := s.Context()[1].Name; got != "srv__a_b" {
		t.Errorf("the call is shown as %q", got)
	}
	agent.Tools = append(agent.Tools, event.Tool{Type: event.ToolFunction, Name: "srv__a_b"})
	fold(t, s, &event.SessionUpdated{Agent: &agent})
	name := s.Context()[1].Name
	if name == "srv__a_b" || name != s.Toolset()[0].Name {
		t.Errorf("the call is shown as %q, the tool is now %q", name, s.Toolset()[0].Name)
	}
}

// TestRequestHash shows what of a request its hash covers.
func TestRequestHash(t *testing.T) {
	hash := func(change func(*event.Agent), text string) string {
		a := event.Agent{ID: "a", Model: "m", Tools: []event.Tool{{Type: event.ToolFunction, Name: "ask", Parameters: json.RawMessage(`{}`)}}}
		change(&a)
		return fold(t, newSession(t, a), input("t1", text)).RequestHash()
	}
	same := hash(func(*event.Agent) {}, "hello")
	if again := hash(func(*event.Agent) {}, "hello"); again != same {
		t.Errorf("one request has the hashes %s and %s", same, again)
	}
	text := "be short"
	for what, change := range map[string]func(*event.Agent){
		"model":        func(a *event.Agent) { a.Model = "n" },
		"instructions": func(a *event.Agent) { a.Instructions = &text },
		"effort":       func(a *event.Agent) { a.Reasoning.Effort = "low" },
		"schema":       func(a *event.Agent) { a.Text.Schema = json.RawMessage(`{"type":"object"}`) },
		"tool":         func(a *event.Agent) { a.Tools[0].Parameters = json.RawMessage(`{"type":"object"}`) },
		"description":  func(a *event.Agent) { a.Tools[0].Description = "x" },
	} {
		if hash(change, "hello") == same {
			t.Errorf("the hash does not cover the %s", what)
		}
	}
	if hash(func(*event.Agent) {}, "hallo") == same {
		t.Error("the hash does not cover the items")
	}
}

// TestCompactable shows how many items a compaction covers.
func TestCompactable(t *testing.T) {
	s := newSession(t, event.Agent{})
	for n := 1; n <= 6; n++ {
		fold(t, s, input(fmt.Sprint("t", n), "question"))
		fold(t, s, answered(s, event.Item{Type: event.ItemMessage, Content: []event.Content{{Type: event.PartOutputText, Text: "answer"}}}))
		fold(t, s, &event.TurnEnded{TurnID: fmt.Sprint("t", n), Status: session.TurnCompleted})
	}
	fold(t, s, input("t7", "question"))
	n := s.Compactable()
	if n != 5 { // of 13 items: those before the answer to the third
		t.Fatalf("a compaction covers %d items, want 5", n)
	}
	req, covers := s.CompactionRequest(n)
	if len(req.Items) != 6 || req.Items[5].Text() != "Write the summary now." || strings.Join(covers[:1], "") != "msg_t1" || covers[4] != "msg_t3" {
		t.Errorf("the request has %d items, and covers %v", len(req.Items), covers)
	}
	before := s.ContextTokens()
	fold(t, s, &event.ContextCompacted{EffectID: session.CompactionEffectID(s), TurnID: "t7", Item: event.Item{
		Type: event.ItemCompaction, ID: "sum", Covers: covers, Content: []event.Content{{Type: event.PartSummaryText, Text: "short"}},
	}})
	if after := s.ContextTokens(); before < 1000 || after >= 100 {
		t.Errorf("the context has %d tokens after and %d before the compaction", after, before)
	}
	items := s.Context()
	if len(items) != 9 || items[0].ID != "sum" || items[1].Role != event.RoleAssistant {
		t.Errorf("%d items, the first %s", len(items), items[0].ID)
	}
}

// TestCompactableOverflow has a few items be too long for the model.
func TestCompactableOverflow(t *testing.T) {
	s := newSession(t, event.Agent{Tools: []event.Tool{{Type: event.ToolMCP, ServerLabel: "srv"}}})
	fold(t, s, input("t1", "go"), &event.ToolsListed{TurnID: "t1", ServerLabel: "srv", Tools: []event.ToolSpec{{Name: "act", Class: event.Pure}}})
	for range 3 {
		fold(t, s, answered(s, fn("srv__act")))
		e := s.OpenEffects()[0]
		fold(t, s, &event.EffectFinished{EffectID: e.ID, TurnID: e.TurnID, Status: event.StatusCompleted, Output: event.TextOutput("much")})
	}
	if n := s.Compactable(); n != 0 {
		t.Errorf("a compaction covers %d of 4 items, want none", n)
	}
	fold(t, s, &event.EffectFailed{
		EffectID: session.ModelEffectID(s.ID, s.Current()), What: event.EffectModel, TurnID: "t1", Attempt: 1, Code: session.CodeContextLength,
	})
	if n := s.Compactable(); n != 2 { // all but the last two steps
		t.Errorf("where it is too long a compaction covers %d items, want 2", n)
	}
}
