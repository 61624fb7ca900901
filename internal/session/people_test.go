package session_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

func from(actor, id, text string) *event.TurnCreated {
	in := input(id, text)
	in.Actor, in.Items[0].Actor = actor, actor
	return in
}

func recalled(s *session.State, text, core string) *event.MemoryRecalled {
	t := s.Current()
	return &event.MemoryRecalled{
		EffectID: session.RecallEffectID(s.ID, t), TurnID: t.ID, Core: []event.CoreText{{Label: "human", Text: core}},
		Item: &event.Item{
			Type: event.ItemMessage, ID: "recall_" + t.ID, Role: event.RoleDeveloper, MemoryIDs: []string{"mem_" + t.ID},
			Content: []event.Content{{Type: event.PartInputText, Text: text}},
		},
	}
}

// shown is the conversation as the model is given it, a line for each item.
func shown(items []*event.Item) []string {
	var out []string
	for _, it := range items {
		parts := []string{it.Type + " " + it.Role + it.Name}
		for _, c := range it.Content {
			parts = append(parts, c.Text)
		}
		out = append(out, strings.TrimSpace(strings.Join(parts, " ")+" "+string(it.Output)))
	}
	return out
}

// TestSeveralPeople has two people speak in a session. Each reads what was said;
// what was recalled for one of them, and what memory answered in their turns, the
// other's turns do not have, nor has a summary.
func TestSeveralPeople(t *testing.T) {
	s := fold(t, session.New("sess"), &event.SessionCreated{
		Project: "proj", Environment: event.Environment{Type: event.EnvironmentNone}, Actor: "ana",
		Agent: event.Agent{Model: "m", Memory: &event.Memory{Tools: true, Core: []event.CoreBlock{{Label: "human"}}, Recall: &event.Recall{Limit: 3}}},
	})
	fold(t, s, input("t1", "Hello"))
	fold(t, s, recalled(s, "Ana is ill.", "About Ana."))
	search := event.Item{Type: event.ItemFunctionCall, CallID: "c", Name: session.MemorySearch, Arguments: json.RawMessage(`{"query":"x"}`)}
	fold(t, s, answered(s, search))
	found := s.OpenEffects()[0]
	fold(t, s, &event.EffectFinished{EffectID: found.ID, TurnID: "t1", Status: event.StatusCompleted, Output: event.TextOutput("Ana takes pills.")})
	alone := []string{"message user Hello", "message developer Ana is ill.", "function_call memory_search", `function_call_output  "Ana takes pills."`}
	if diff := cmp.Diff(alone, shown(s.Context())); diff != "" {
		t.Errorf("one person alone (-want +got):\n%s", diff)
	}
	// A summary is for all who speak later, so it has nothing of this either.
	request, _ := s.CompactionRequest(len(s.Items))
	if diff := cmp.Diff([]string{"message user Hello", "message user Write the summary now."}, shown(request.Items)); diff != "" {
		t.Errorf("a summary of one person alone (-want +got):\n%s", diff)
	}
	if s.Foreign() {
		t.Error("what a person says in a session of their own is foreign")
	}
	fold(t, s, answered(s, event.Item{Type: event.ItemMessage, Role: event.RoleAssistant, Content: []event.Content{{Type: event.PartOutputText, Text: "Hello Ana."}}}),
		&event.TurnEnded{TurnID: "t1", Status: session.TurnCompleted})

	fold(t, s, from("bob", "t2", "I am Bob"))
	if s.Speaker() != "bob" || !s.Several() || !s.Foreign() {
		t.Errorf("%q speaks, several %v, foreign %v", s.Speaker(), s.Several(), s.Foreign())
	}
	before := s.RequestHash()
	fold(t, s, recalled(s, "Bob is tall.", "About Bob."))
	bobs := []string{
		"message user [said by ana] Hello", "message assistant Hello Ana.", "message user [said by bob] I am Bob", "message developer Bob is tall.",
	}
	if diff := cmp.Diff(bobs, shown(s.Context())); diff != "" {
		t.Errorf("for Bob (-want +got):\n%s", diff)
	}
	if in := s.Request().Instructions; strings.Contains(in, "About Ana.") || !strings.Contains(in, "About Bob.") {
		t.Errorf("what is kept in mind for Bob: %s", in)
	}
	if s.RequestHash() == before {
		t.Error("what was recalled is not in the hash of the request")
	}
	summary, _ := s.CompactionRequest(len(s.Items))
	for _, line := range shown(summary.Items) {
		if strings.Contains(line, "ill") || strings.Contains(line, "tall") || strings.Contains(line, "pills") {
			t.Errorf("the summary for all is made of %q", line)
		}
	}
	fold(t, s, &event.TurnEnded{TurnID: "t2", Status: session.TurnCancelled}, input("t3", "And now?"))
	anas := []string{
		"message user [said by ana] Hello", "message developer Ana is ill.", "function_call memory_search", `function_call_output  "Ana takes pills."`,
		"message assistant Hello Ana.", "message user [said by bob] I am Bob", "message user [said by ana] And now?",
	}
	if diff := cmp.Diff(anas, shown(s.Context())); diff != "" {
		t.Errorf("for Ana again (-want +got):\n%s", diff)
	}
	// Where memory could not be asked, nothing of another person's stays in mind.
	fold(t, s, &event.MemoryRecalled{EffectID: session.RecallEffectID(s.ID, s.Current()), TurnID: "t3", Error: "away"})
	if in := s.Request().Instructions; strings.Contains(in, "About Bob.") {
		t.Errorf("what is kept in mind for Ana: %s", in)
	}
}

// TestConsentOfCall has a call wait for a person's consent, and takes it up again.
func TestConsentOfCall(t *testing.T) {
	start := func(t *testing.T, class event.Class, doubt bool) (*session.State, *session.Effect) {
		t.Helper()
		s := newSession(t, event.Agent{Model: "m", Tools: []event.Tool{{Type: event.ToolMCP, ServerLabel: "mail", Effects: map[string]event.EffectPolicy{"send": {Class: class}}}}})
		fold(t, s, input("t1", "Send it"))
		fold(t, s, &event.ToolsListed{EffectID: "list", TurnID: "t1", ServerLabel: "mail", Tools: []event.ToolSpec{{Name: "send"}}})
		fold(t, s, answered(s, event.Item{Type: event.ItemFunctionCall, CallID: "c", Name: "mail__send", Arguments: json.RawMessage(`{}`)}))
		e := s.OpenEffects()[0]
		fold(t, s, &event.EffectStarted{EffectID: e.ID, What: e.Kind, TurnID: "t1", Class: class, Attempt: 1, Epoch: 1})
		fold(t, s, &event.ConsentRequested{EffectID: e.ID, What: e.Kind, TurnID: "t1", Attempt: 1, ServerLabel: "mail", Nonce: "n", Uncertain: doubt})
		return s, s.Effect(e.ID)
	}
	s, e := start(t, event.Once, false)
	if s.Status() != session.RequiresAction || s.AwaitsConsent(e.ID, "n") == nil || s.AwaitsConsent(e.ID, "other") != nil || s.AwaitsConsent("other", "n") != nil {
		t.Errorf("it does not wait: %s", s.Status())
	}
	if _, err := s.ResolveConsent(event.ConsentResolved{EffectID: e.ID, Granted: true}, "other"); err == nil {
		t.Error("an answer by another link is taken")
	}
	answer, err := s.ResolveConsent(event.ConsentResolved{EffectID: e.ID, Granted: true}, "n")
	if err != nil {
		t.Fatal(err)
	}
	fold(t, s, answer...)
	if e := s.Effect(e.ID); e.Status != session.EffectRetrying || e.Uncertain || s.Status() != session.InProgress {
		t.Errorf("after consent: %+v, %s", e, s.Status())
	}
	if _, err := s.ResolveConsent(event.ConsentResolved{EffectID: e.ID, Granted: true}, "n"); err == nil {
		t.Error("the link is taken twice")
	}

	s, e = start(t, event.Once, false)
	fold(t, s, &event.ConsentResolved{EffectID: e.ID, TurnID: "t1"})
	en, _ := s.Item(e.ItemID)
	if e := s.Effect(e.ID); e.Status != session.EffectFailed || e.Open || en.Error != "The person who was asked did not let the runtime use the MCP server 'mail' in their name." {
		t.Errorf("after a denial: %+v, %q", e, en.Error)
	}

	// What may have taken place before the credential ran out is not said to have failed.
	s, e = start(t, event.Idempotent, true)
	fold(t, s, &event.ConsentResolved{EffectID: e.ID, TurnID: "t1"})
	en, _ = s.Item(e.ItemID)
	if e := s.Effect(e.ID); e.Status != session.EffectUnknown || en.Error != session.UnknownMessage {
		t.Errorf("after a denial of a call in doubt: %+v, %q", e, en.Error)
	}

	// The listing of a server that the agent does not have any more is not waited for.
	s = newSession(t, event.Agent{Model: "m", Tools: []event.Tool{{Type: event.ToolMCP, ServerLabel: "mail"}}})
	fold(t, s, input("t1", "Send it"))
	listing := session.ToolsEffectID(s.ID, s.Current(), &s.Agent.Tools[0])
	fold(t, s, &event.ConsentRequested{EffectID: listing, What: event.EffectToolsList, TurnID: "t1", Attempt: 1, ServerLabel: "mail", Nonce: "n"})
	if s.Status() != session.RequiresAction {
		t.Errorf("the listing does not wait: %s", s.Status())
	}
	fold(t, s, &event.SessionUpdated{Agent: &event.Agent{Model: "m"}})
	if s.Status() != session.InProgress || len(s.OpenEffects()) != 0 || s.AwaitsConsent(listing, "n") != nil {
		t.Errorf("after the server was taken away: %s, open %v", s.Status(), s.OpenEffects())
	}

	s, e = start(t, event.Once, false)
	fold(t, s, &event.TurnCancelRequested{TurnID: "t1"})
	fold(t, s, &event.TurnEnded{TurnID: "t1", Status: session.TurnCancelled})
	if s.AwaitsConsent(e.ID, "n") != nil {
		t.Error("a turn that was cancelled waits")
	}
}
