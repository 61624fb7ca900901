package agents_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// TestBoundCaller tries every operation of the OpenAPI document as somebody who
// acts for bob alone, on a session with ana and on one that is not there: there is
// no difference. What is about everybody is refused.
func TestBoundCaller(t *testing.T) {
	w := newWorld(t)
	const bob = "Bearer stayd_bob"
	create := func(key, actor string) answer {
		return w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"}`+actor+`}`, "Authorization", key)
	}
	anas := idOf(t, create("Bearer stayd_ana", ""))
	bobs := idOf(t, create(bob, ""))
	if a := create(bob, `,"actor":"ana"`); a.status != http.StatusForbidden || !strings.Contains(a.body, `"code":"actor_not_allowed"`) {
		t.Errorf("a session for ana: %d %s", a.status, a.body)
	}
	// Memory is their own, however a session is made or changed.
	const others = `"memory":{"recall":{"namespaces":["/actors/{actorId}","/actors/ana"]}}`
	for path, body := range map[string]string{
		"": `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m",` + others + `}}`, "/" + bobs: `{"agent":{` + others + `}}`, "/" + bobs + "/fork": `{"agent":{` + others + `}}`,
	} {
		if a := w.do("POST", "/v1/agents/sessions"+path, body, "Authorization", bob); a.status != http.StatusForbidden || !strings.Contains(a.body, "namespaces of memory begin with /actors/{actorId}") {
			t.Errorf("memories of ana by %q: %d %s", path, a.status, a.body)
		}
	}
	if a := w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m","memory":{"namespaces":{"semantic":"/actors/{actorId}/facts"}}}}`, "Authorization", bob); a.status != http.StatusOK {
		t.Errorf("memories of their own: %d %s", a.status, a.body)
	}
	var document struct {
		Paths map[string]map[string]struct{ OperationID string }
	}
	if err := json.Unmarshal([]byte(w.do("GET", "/openapi.json", "").body), &document); err != nil {
		t.Fatal(err)
	}
	const none = "sess_00000000000000000000000000000000"
	mine, all := 0, 0
	for path, operations := range document.Paths {
		for method, op := range operations {
			of := func(id string) answer {
				p := strings.ReplaceAll(path, "{session_id}", id)
				for _, name := range []string{"agent_id", "turn_id", "item_id", "effect_id", "environment_id", "artifact_id", "template_id", "file_id", "upload_id", "subagent_id", "environment_template_id"} {
					p = strings.ReplaceAll(p, "{"+name+"}", "x_1")
				}
				a := w.do(strings.ToUpper(method), p, "{}", "Authorization", bob)
				a.body = strings.ReplaceAll(a.body, id, "ID")
				return a
			}
			switch {
			case op.OperationID == "health" || op.OperationID == "ready" || op.OperationID == "whoami" || op.OperationID == "createSession" || op.OperationID == "listSessions":
			case strings.Contains(path, "{session_id}") && op.OperationID != "diffSessions":
				mine++
				a, missing := of(anas), of(none)
				if a.status != http.StatusNotFound || a.body != missing.body || missing.status != http.StatusNotFound {
					t.Errorf("%s of ana's: %d %s\nof none: %d %s", op.OperationID, a.status, a.body, missing.status, missing.body)
				}
			default:
				all++
				if a := of(bobs); a.status != http.StatusForbidden || !strings.Contains(a.body, `"code":"actor_not_allowed"`) {
					t.Errorf("%s: %d %s", op.OperationID, a.status, a.body)
				}
			}
		}
	}
	if mine < 15 || all < 15 {
		t.Errorf("%d operations on sessions and %d others were tried", mine, all)
	}
	// Where others have spoken too, there is what is remembered of them.
	both := idOf(t, create(bob, ""))
	w.append(both, turnEnded(w.turn(both)))
	said := `{"events":[{"type":"agent.session.input.message","actor":"ana","input":[{"role":"user","content":[{"type":"input_text","text":"x"}]}]}]}`
	if a := w.do("POST", "/v1/agents/sessions/"+both+"/events", said); a.status >= 300 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := w.do("GET", "/v1/agents/sessions/"+both+"/items", "", "Authorization", bob); a.status != http.StatusNotFound {
		t.Errorf("a session in which ana has spoken: %d %s", a.status, a.body)
	}
	a := w.do("GET", "/v1/agents/sessions", "", "Authorization", bob)
	if a.status != 200 || strings.Contains(a.body, anas) || !strings.Contains(a.body, bobs) {
		t.Errorf("the list for bob: %d %s", a.status, a.body)
	}
	for path, want := range map[string]int{"/v1/agents/sessions?actor=ana": 403, "/v1/agents/sessions/" + bobs: 200, "/v1/agents/sessions/" + bobs + "/items": 200, "/v1/agents/sessions/" + bobs + "/log": 200, "/metrics": 403} {
		if a := w.do("GET", path, "", "Authorization", bob); a.status != want {
			t.Errorf("%s: %d %s, want %d", path, a.status, a.body, want)
		}
	}
}
