package app_test

import (
	"slices"
	"strings"
	"testing"
)

// ids are those of resources of one project, by the names that paths have for
// them.
type ids map[string]string

// nowhere are ids that no project has.
var nowhere = ids{
	"call_id": "call_nowhere", "item_id": "item_nowhere", "agent_id": "agent_nowhere", "session_id": "sess_nowhere", "turn_id": "turn_nowhere", "effect_id": "eff_nowhere",
	"environment_id": "env_nowhere", "environment_template_id": "envtmpl_nowhere", "artifact_id": "artifact_nowhere", "file_id": "file_nowhere",
	"memory_id": "mem_" + strings.Repeat("0", 32), "key_id": "key_nowhere",
	"vault_id": "vault_nowhere", "credential_id": "cred_nowhere",
}

// in is the path with the ids put into it.
func (i ids) in(path string) string {
	for name, id := range i {
		path = strings.ReplaceAll(path, "{"+name+"}", id)
	}
	return path
}

// hide replaces the ids by their names.
func (i ids) hide(body string) string {
	for name, id := range i {
		body = strings.ReplaceAll(body, id, "<"+name+">")
	}
	return body
}

// bodies of the operations on a resource.
var bodies = map[string]string{
	"updateAgent":   `{"name":"stolen"}`,
	"updateSession": `{"metadata":{"a":"stolen"}}`,
	"postEvents":    `{"events":[{"type":"agent.session.input.cancel"}]}`,
	"verifyLog":     `{}`,
	"resolveEffect": `{"decision":"deny"}`,
	"forkSession":   `{}`,

	"updateEnvironmentTemplate": `{"name":"stolen"}`,
	"renewEnvironmentToken":     `{}`,
	"createEnvironmentFile":     `{"type":"inline","path":"/workspace/x","data":"c3RvbGVu"}`,
	"putEnvironmentFileContent": `stolen`,
	"updateMemory":              `{"text":"stolen"}`,
	"rotateKey":                 `{}`,
	"updateVault":               `{"name":"stolen"}`,
	"createSessionToken":        `{"audience":"https://mcp.example.com"}`,
	"createVaultCredential":     `{"name":"stolen","auth":{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":"stolen"}}`,
	"updateVaultCredential":     `{"metadata":{"a":"stolen"}}`,
	"answerConsent":             `decision=allow`,
}

// queries of the operations that cannot do without.
var queries = map[string]string{
	"diffSessions":              "?with={session_id}",
	"deleteEnvironmentFile":     "?path=/workspace/x",
	"getEnvironmentFileContent": "?path=/workspace/x",
	"putEnvironmentFileContent": "?path=/workspace/x",
}

// without are the operations whose paths name no resource.
var without = []string{
	"createAgent", "createEnvironment", "createEnvironmentTemplate", "createKey", "createMemory", "createSession", "createVault", "exchangeToken", "exportMemories", "finishConsent", "forgetMemories",
	"getAuthorizationServer", "getIdentity", "getKeySet", "getOpenIDConfiguration", "health",
	"importMemories", "listAgents", "listEnvironmentTemplates", "listEnvironments", "listFiles", "listKeys", "listMemories", "listMemoryReceipts",
	"listMemoryRules", "listSessions", "listVaults", "ready", "rewrapVaultKeys", "rotateIdentityKey", "searchMemories", "setMemoryRule", "uploadFile", "whoami",
}

// TestProjects shows that what one project has is for another not there: on every
// path that there is, an id of the other project is answered as one that does not
// exist.
func TestProjects(t *testing.T) {
	cfg := config(t)
	cfg.Keys = map[string]string{"key-a": "a", "key-b": "b"}
	n := start(t, cfg)
	a, b := n.as("key-a"), n.as("key-b")
	theirs, own := a.resources(), b.resources()
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			RequestBody any    `json:"requestBody"`
		}
	}
	n.must(&doc, "GET", "/openapi.json", "")
	var plain []string
	checked := 0
	for path, methods := range doc.Paths {
		for method, op := range methods {
			body := bodies[op.OperationID]
			switch {
			case !strings.Contains(path, "{"):
				plain = append(plain, op.OperationID)
				continue
			case (op.RequestBody != nil) != (body != ""):
				t.Errorf("say in bodies what %s takes", op.OperationID)
				continue
			}
			method = strings.ToUpper(method)
			path := path + queries[op.OperationID]
			b.alike(method, path, body, theirs, nowhere)
			checked++
			// What belongs to a session is not found by way of another either.
			if strings.Contains(path, "{turn_id}") || strings.Contains(path, "{effect_id}") || strings.Contains(path, "{artifact_id}") {
				path = strings.ReplaceAll(path, "{session_id}", own["session_id"])
				b.alike(method, path, body, theirs, nowhere)
			}
		}
	}
	slices.Sort(plain)
	if !slices.Equal(plain, without) {
		t.Errorf("the operations without a resource are %q, this test knows %q", plain, without)
	}
	t.Logf("%d operations answered alike", checked)

	// Ids in queries and bodies.
	b.alike("GET", "/v1/agents?after={agent_id}", "", theirs, nowhere)
	b.alike("GET", sessions+"?after={session_id}", "", theirs, nowhere)
	b.alike("GET", sessions+"?agent_id={agent_id}", "", theirs, nowhere)
	for _, what := range []string{"turns?after={turn_id}", "items?after={item_id}", "effects?after={effect_id}"} {
		b.alike("GET", sessions+"/"+own["session_id"]+"/"+what, "", theirs, nowhere)
	}
	b.alike("POST", sessions, `{"environment":{"type":"none"},"agent_id":"{agent_id}","input":"hello"}`, theirs, nowhere)
	for _, env := range []string{
		`"environment_id":"{environment_id}"`, `"environment_template_id":"{environment_template_id}"`,
		`"files":[{"type":"file_id","file_id":"{file_id}","path":"/workspace/x"}]`,
	} {
		b.alike("POST", sessions, `{"environment":{"type":"openai_hosted",`+env+`},"agent":{"model":"script/work"},"input":"hello"}`, theirs, nowhere)
	}
	b.alike("GET", sessions+"/"+own["session_id"]+"/diff?with={session_id}", "", theirs, nowhere)
	for _, what := range []string{"environments?after={environment_id}", "environments/templates?after={environment_template_id}"} {
		b.alike("GET", "/v1/agents/"+what, "", theirs, nowhere)
	}
	b.alike("GET", "/v1/files?after={file_id}", "", theirs, nowhere)
	b.alike("GET", "/v1/vaults?after={vault_id}", "", theirs, nowhere)
	for method, body := range map[string]string{"GET": "", "POST": bodies["updateVaultCredential"], "DELETE": ""} {
		b.alike(method, "/v1/vaults/"+own["vault_id"]+"/credentials/{credential_id}", body, theirs, nowhere)
	}
	b.alike("GET", "/v1/vaults/"+own["vault_id"]+"/credentials?after={credential_id}", "", theirs, nowhere)
	b.alike("GET", "/v1/memories?after={memory_id}", "", theirs, nowhere)
	b.alike("GET", "/v1/keys?after={key_id}", "", theirs, nowhere)
	b.alike("POST", "/v1/memories/forget", `{"memory_id":"{memory_id}"}`, theirs, nowhere)
	for _, search := range []string{`{"text":"mother's cake","actor":"alice"}`, `{"text":"mother's cake","namespaces":["/"]}`} {
		got := b.do("POST", "/v1/memories/search", search)
		if got.status != 200 || theirs.hide(got.body) != got.body || !strings.Contains(got.body, own["memory_id"]) {
			t.Errorf("search %s: %s, want the project's own memory alone", search, got)
		}
	}
	for i, forget := range []string{`{"actor":"alice"}`, `{"namespace":"/actors/alice"}`, `{"namespace":"/"}`} {
		want := `"records":{}`
		if i == 0 {
			want = `"records":{"semantic":1}` // the project's own
		}
		if got := b.do("POST", "/v1/memories/forget", forget); got.status != 200 || !strings.Contains(got.body, want) {
			t.Errorf("forget %s: %s, want %s", forget, got, want)
		}
	}
	b.alike("POST", sessions+"/"+own["session_id"]+"/events", toolResult("{turn_id}", "{call_id}", "stolen"), theirs, nowhere)
	for _, path := range []string{
		"/v1/agents?limit=100", sessions + "?limit=100", "/v1/files?limit=100", "/v1/agents/environments?limit=100", "/v1/agents/environments/templates?limit=100", "/v1/vaults?limit=100",
		"/v1/memories?limit=100", "/v1/memories/export", "/v1/memories/receipts", "/v1/memories/rules",
	} {
		if got := b.do("GET", path, "").body; theirs.hide(got) != got {
			t.Errorf("GET %s shows what is another project's: %s", path, got)
		}
	}

	// A key of idempotency is a project's own.
	var first, second struct{ ID string }
	a.must(&first, "POST", sessions, sessionBody("script/work", "hello", ""), "Idempotency-Key", "same")
	b.must(&second, "POST", sessions, sessionBody("script/work", "hello", ""), "Idempotency-Key", "same")
	if first.ID == second.ID {
		t.Errorf("two projects got the same session %s for the same Idempotency-Key", first.ID)
	}

	// Nothing was done to what is the other's.
	if s := a.session(theirs["session_id"]); s.Status != "requires_action" {
		t.Errorf("the session is %s", s.Status)
	}
	for _, path := range []string{"/v1/agents/{agent_id}", sessions + "/{session_id}", sessions + "/{session_id}/turns/{turn_id}", sessions + "/{session_id}/items", "/v1/memories/{memory_id}", "/v1/vaults/{vault_id}", "/v1/vaults/{vault_id}/credentials/{credential_id}"} {
		if got := a.do("GET", theirs.in(path), ""); got.status != 200 || strings.Contains(got.body, "stolen") {
			t.Errorf("GET %s by its owner: %s", path, got)
		}
	}
	a.verify(theirs["session_id"])
}

// resources makes one of each kind.
func (n *node) resources() ids {
	n.t.Helper()
	var agent struct{ ID string }
	n.must(&agent, "POST", "/v1/agents", `{"model":"script/work"`+timerAndAsk+`}`)
	var made session
	n.must(&made, "POST", sessions, `{"environment":{"type":"none"},"agent_id":"`+agent.ID+`","input":"ask me"}`)
	action := n.until(made.ID, "requires_action").RequiredActions[0]
	effects := all[struct{ ID string }](n, sessions+"/"+made.ID+"/effects?limit=100")
	items := n.items(made.ID)
	var template, file struct{ ID string }
	n.must(&template, "POST", "/v1/agents/environments/templates", `{"name":"t"}`)
	const border = "border"
	n.must(&file, "POST", "/v1/files", "--"+border+"\r\nContent-Disposition: form-data; name=\"purpose\"\r\n\r\nuser_data\r\n--"+border+
		"\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f.txt\"\r\n\r\ncontent\r\n--"+border+"--\r\n", "Content-Type", "multipart/form-data; boundary="+border)
	var place struct {
		ID          string
		Environment struct{ ID string }
	}
	n.must(&place, "POST", sessions, `{"environment":{"type":"openai_hosted","sandbox":"js"},"agent":{"model":"script/work"},"input":"publish"}`)
	n.until(place.ID, "idle")
	artifacts := all[struct{ ID string }](n, sessions+"/"+place.ID+"/artifacts?limit=100")
	if len(artifacts) != 1 {
		n.t.Fatalf("there are %d artifacts, want 1", len(artifacts))
	}
	var known struct{ ID string }
	n.must(&known, "POST", "/v1/memories", `{"text":"My mother's cake has walnuts.","actor":"alice"}`)
	var key struct{ ID string }
	n.must(&key, "POST", "/v1/keys", `{"name":"robot"}`)
	var box, credential struct{ ID string }
	n.must(&box, "POST", "/v1/vaults", `{}`)
	n.must(&credential, "POST", "/v1/vaults/"+box.ID+"/credentials", `{"name":"c","auth":{"type":"static_bearer","mcp_server_url":"https://mcp.example.com","token":"t"}}`)
	return ids{
		"vault_id": box.ID, "credential_id": credential.ID,
		"memory_id": known.ID, "key_id": key.ID,
		"environment_id": place.Environment.ID, "environment_template_id": template.ID, "file_id": file.ID, "artifact_id": artifacts[0].ID,
		"agent_id": agent.ID, "session_id": made.ID, "turn_id": action.TurnID, "call_id": action.CallID,
		"effect_id": effects[0].ID, "item_id": items[0].ID,
	}
}

// alike sends the request with the ids of another project and with ids that
// nobody has. Both have to be refused in the same words, or answered alike.
func (n *node) alike(method, path, body string, theirs, nowhere ids) {
	n.t.Helper()
	named := strings.Contains(path, "_id}/") || strings.HasSuffix(strings.SplitN(path, "?", 2)[0], "_id}")
	got := n.do(method, theirs.in(path), theirs.in(body))
	want := n.do(method, nowhere.in(path), nowhere.in(body))
	if got.status != want.status || theirs.hide(got.body) != nowhere.hide(want.body) || got.header.Get("Content-Type") != want.header.Get("Content-Type") {
		n.t.Errorf("%s %s\nof another project: %s\nof nobody:          %s", method, path, got, want)
	}
	if named && want.status != 404 {
		n.t.Errorf("%s %s of nobody: %s, want 404", method, path, want)
	}
}
