package agents_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

const withServer = `{"environment":{"type":"none"},"input":"Hi","vault_ids":["vault_1","vault_1"],"actor":"ana","agent":{"model":"test/m","tools":[` +
	`{"type":"mcp","server_label":"mail","transport":{"type":"http","server_url":"https://mail.example.com/mcp"},"credential_id":"cred_1"},` +
	`{"type":"mcp","server_label":"own","transport":{"type":"http","server_url":"https://own.example.com"},"identity":{"audience":"own","scope":["a","b"]}}]}}`

// asked has a session wait for ana's consent.
func (w *world) asked() (id, effectID string) {
	w.t.Helper()
	id, effectID = idOf(w.t, w.do("POST", "/v1/agents/sessions", withServer)), "eff_list"
	w.append(id, &event.ConsentRequested{
		EffectID: effectID, What: event.EffectToolsList, TurnID: w.turn(id), Attempt: 1, ServerLabel: "mail",
		ServerURL: "https://mail.example.com/mcp", Actor: "ana", Nonce: "n0nce", Scope: "mail.read",
	})
	return id, effectID
}

type shownSession struct {
	Status   string
	VaultIDs []string        `json:"vault_ids"`
	Actions  json.RawMessage `json:"required_actions"`
	Agent    struct {
		Tools []struct {
			CredentialID *string `json:"credential_id"`
			Identity     *struct {
				Audience string
				Scope    []string
			}
		}
	}
}

func (w *world) shown(id string) (s shownSession) {
	w.t.Helper()
	if err := json.Unmarshal([]byte(w.do("GET", "/v1/agents/sessions/"+id, "").body), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// TestConsent shows what a client sees of a session that waits for a person to
// consent, and what it may decide in their place.
func TestConsent(t *testing.T) {
	w := newWorld(t)
	id, effectID := w.asked()
	s := w.shown(id)
	want := `[{"type":"consent","effect_id":"eff_list","turn_id":"` + w.turn(id) + `","server_label":"mail","server_url":"https://mail.example.com/mcp",` +
		`"scope":"mail.read","actor":"ana","url":"http://test/consent/default/` + id + `/eff_list/n0nce"}]`
	if s.Status != "requires_action" || string(s.Actions) != want {
		t.Errorf("%s %s\nwant %s", s.Status, s.Actions, want)
	}
	if tools := s.Agent.Tools; len(s.VaultIDs) != 1 || s.VaultIDs[0] != "vault_1" || *tools[0].CredentialID != "cred_1" || tools[0].Identity != nil ||
		tools[1].CredentialID != nil || tools[1].Identity.Audience != "own" || len(tools[1].Identity.Scope) != 2 {
		t.Errorf("the session shows %+v", s)
	}
	const path = "/v1/agents/sessions/"
	if a := w.do("POST", path+id+"/effects/"+effectID+"/resolve", `{"decision":"approve"}`); a.status != 409 || !strings.Contains(a.body, "waits for a person's consent: decide 'deny', or 'retry'") {
		t.Errorf("approved: %d %s", a.status, a.body)
	}
	if a := w.do("POST", path+id+"/effects/"+effectID+"/resolve", `{"decision":"retry"}`); a.status != 200 {
		t.Errorf("tried again: %d %s", a.status, a.body)
	}
	if s := w.shown(id); s.Status != "in_progress" || string(s.Actions) != "[]" {
		t.Errorf("after it is tried again: %s %s", s.Status, s.Actions)
	}

	id, effectID = w.asked()
	if a := w.do("POST", path+id+"/effects/"+effectID+"/resolve", `{"decision":"deny","reason":"not today"}`); a.status != 200 {
		t.Errorf("denied: %d %s", a.status, a.body)
	}
	w.view(id, func(s *session.State) {
		srv := s.Servers["mail"]
		if srv == nil || srv.Error != "The person who was asked did not let the runtime use the MCP server 'mail' in their name. Reason: not today" || s.Status() != session.InProgress {
			t.Errorf("after the denial: %+v, %s", srv, s.Status())
		}
	})
}

// TestSpeakers shows who said what where several people speak in a session.
func TestSpeakers(t *testing.T) {
	w := newWorld(t)
	id := idOf(t, w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"none"},"input":"Hi","actor":"ana","agent":{"model":"test/m"}}`))
	w.append(id, turnEnded(w.turn(id)))
	for _, who := range []string{"bob", "ana", ""} {
		actor := `,"actor":"` + who + `"`
		if who == "" {
			actor = ""
		}
		body := `{"events":[{"type":"agent.session.input.message"` + actor + `,"input":[{"role":"user","content":[{"type":"input_text","text":"I am ` + who + `"}]}]}]}`
		if a := w.do("POST", "/v1/agents/sessions/"+id+"/events", body); a.status >= 300 {
			t.Fatalf("%d %s", a.status, a.body)
		}
		w.append(id, turnEnded(w.turn(id)))
	}
	var items struct{ Data []struct{ Actor string } }
	a := w.do("GET", "/v1/agents/sessions/"+id+"/items?order=asc", "")
	if err := json.Unmarshal([]byte(a.body), &items); err != nil {
		t.Fatal(err)
	}
	var who []string
	for _, it := range items.Data {
		who = append(who, it.Actor)
	}
	if got := strings.Join(who, ","); got != ",bob,," {
		t.Errorf("actors of the messages %q, want only bob's to be named", got)
	}
	if a := w.do("POST", "/v1/agents/sessions/"+id+"/events", `{"events":[{"type":"agent.session.input.message","actor":"a\u0000","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]}]}]}`); a.status != 400 || !strings.Contains(a.body, `"param":"events[0].actor"`) {
		t.Errorf("an actor with a NUL: %d %s", a.status, a.body)
	}
}
