package agents_test

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// view calls fn with the state of a session.
func (w *world) view(id string, fn func(*session.State)) {
	w.t.Helper()
	err := w.journal.View(w.t.Context(), httpapi.DefaultProject, id, func(s *session.State) error {
		fn(s)
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestEnvironmentSettings makes a session with all that an environment can have.
func TestEnvironmentSettings(t *testing.T) {
	w := newWorld(t)
	made, err := w.sdk.Files.New(t.Context(), openai.FileNewParams{File: openai.File(strings.NewReader("uploaded"), "up.txt", "text/plain"), Purpose: openai.FilePurposeUserData})
	if err != nil {
		t.Fatal(err)
	}
	id := w.hosted(`,"sandbox":"gvisor","env":{"LANG":"C"},"idle_timeout_seconds":60,"effects":{"run_command":{"class":"idempotent","approval":"always"}},
		"network":{"access":"restricted","allowed_domains":["Example.com","*.example.org","example.com","example.net:8443","192.0.2.1"]},
		"setup_commands":[{"command":"make secret"},{"command":"ls","cwd":"/tmp"}],
		"files":[{"type":"inline","path":"/workspace/a","data":"aGk="},{"type":"file_id","path":"/workspace/b","file_id":"` + made.ID + `"}]`)
	a := w.do("GET", "/v1/agents/sessions/"+id, "")
	for _, want := range []string{
		`"network":{"access":"restricted","allowed_domains":["example.com","*.example.org","example.net:8443","192.0.2.1"]}`, `"idle_timeout_seconds":60`,
		`"effects":{"run_command":{"class":"idempotent","approval":"always"}}`, `"path":"/workspace/a","size_bytes":2}`,
		`"file_id":"` + made.ID + `","path":"/workspace/b","size_bytes":8}`, `"sandbox":"gvisor"`,
	} {
		if !strings.Contains(a.body, want) {
			t.Errorf("no %s in %s", want, a.body)
		}
	}
	if strings.Contains(a.body, "make secret") || strings.Contains(a.body, `"LANG"`) {
		t.Errorf("what is confidential is shown: %s", a.body)
	}
	var s openai.AgentSession
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatal(err)
	}
	requireFields(t, reflect.TypeFor[openai.EnvironmentOpenAIHosted](), json.RawMessage(s.Environment.RawJSON()), "environment")
	requireFields(t, reflect.TypeFor[openai.HostedEnvironmentFileInline](), json.RawMessage(s.Environment.Files[0].RawJSON()), "inline")
	requireFields(t, reflect.TypeFor[openai.HostedEnvironmentFileID](), json.RawMessage(s.Environment.Files[1].RawJSON()), "file_id")
	w.view(id, func(s *session.State) {
		e := &s.Environment
		if len(e.Setup) != 2 || e.Setup[0].Command != "make secret" || e.Setup[1].Cwd != "/tmp" || e.Env["LANG"] != "C" || e.IdleSeconds != 60 {
			t.Errorf("environment %+v", e)
		}
		if e.Network.Access != event.NetworkRestricted || e.Effects["run_command"].Approval != "always" || e.Files[1].Tree.IsZero() {
			t.Errorf("environment %+v", e)
		}
	})
}

// TestSelfHosted makes a session whose environment is elsewhere, and has its
// token said once.
func TestSelfHosted(t *testing.T) {
	w := newWorld(t)
	const body = `{"environment":{"type":"self_hosted","workspace_directory":"/home/me/project"},"agent":{"model":"test/m"},"input":"Hi"}`
	a := w.do("POST", "/v1/agents/sessions", body, "Idempotency-Key", "k")
	var s openai.AgentSession
	if err := json.Unmarshal([]byte(a.body), &s); err != nil {
		t.Fatal(err)
	}
	env := s.Environment.AsSelfHosted()
	requireFields(t, reflect.TypeFor[openai.EnvironmentSelfHosted](), json.RawMessage(s.Environment.RawJSON()), "environment")
	if env.RemoteURL != w.url+"/v1/agents/environments/"+env.ID+"/connect" || env.WorkspaceDirectory != "/home/me/project" || s.Status != "requires_action" {
		t.Errorf("session %s", a.body)
	}
	if len(s.RequiredActions) != 1 || s.RequiredActions[0].AsEnvironmentConnection().EnvironmentID != env.ID {
		t.Errorf("actions of %s", a.body)
	}
	token := tokenOf(t, a.body)
	w.view(s.ID, func(s *session.State) {
		if s.Environment.TokenHash != sha256.Sum256([]byte(token)) {
			t.Error("the log has another token")
		}
	})
	for name, again := range map[string]answer{
		"get": w.do("GET", "/v1/agents/sessions/"+s.ID, ""), "list": w.do("GET", "/v1/agents/sessions", ""),
		"log": w.do("GET", "/v1/agents/sessions/"+s.ID+"/log", ""), "again": w.do("POST", "/v1/agents/sessions", body, "Idempotency-Key", "k"),
		"environment": w.do("GET", "/v1/agents/environments/"+env.ID, ""),
	} {
		if again.status != http.StatusOK || strings.Contains(again.body, "envtok_") {
			t.Errorf("%s: %d %s", name, again.status, again.body)
		}
	}
	fork := w.fork(s.ID, `{}`)
	if other := tokenOf(t, fork.body); other == token {
		t.Error("a fork has the same token")
	}
	w.append(s.ID, &event.EnvironmentChanged{TurnID: w.turn(s.ID), Status: session.PlaceConnected, Epoch: 1})
	if a := w.do("GET", "/v1/agents/sessions/"+s.ID, ""); !strings.Contains(a.body, `"required_actions":[]`) {
		t.Errorf("connected: %s", a.body)
	}
	files := w.do("GET", "/v1/agents/environments/"+env.ID+"/files", "")
	if want := envelope("The files of a self-hosted environment are on the machine that connects. This server does not keep them.", "", "unsupported_parameter"); files.body != want {
		t.Errorf("files %s", files.body)
	}
}

// TestRenewedToken gives an environment a new token, which is said once.
func TestRenewedToken(t *testing.T) {
	w := newWorld(t)
	made := w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"self_hosted","workspace_directory":"/w"},"agent":{"model":"test/m"},"input":"Hi"}`)
	id, first := idOf(t, made), tokenOf(t, made.body)
	env := "env_" + strings.TrimPrefix(id, "sess_")
	path := "/v1/agents/environments/" + env + "/token"
	renewed := w.do("POST", path, "", "Idempotency-Key", "k")
	var got struct {
		Environment string `json:"environment_id"`
		Object      string
		URL         string `json:"remote_url"`
		Token       string
	}
	if err := json.Unmarshal([]byte(renewed.body), &got); err != nil {
		t.Fatal(err)
	}
	if got.Environment != env || got.Object != "agent.environment.token" || got.URL != w.url+"/v1/agents/environments/"+env+"/connect" || !strings.HasPrefix(got.Token, "envtok_") || got.Token == first {
		t.Errorf("renewed: %d %s", renewed.status, renewed.body)
	}
	known := func() {
		t.Helper()
		w.view(id, func(s *session.State) {
			if s.Environment.TokenHash != sha256.Sum256([]byte(got.Token)) {
				t.Error("the log has another token")
			}
		})
	}
	known()
	for name, again := range map[string]answer{
		"again": w.do("POST", path, "{}", "Idempotency-Key", "k"), "log": w.do("GET", "/v1/agents/sessions/"+id+"/log", ""),
	} {
		if again.status != http.StatusOK || strings.Contains(again.body, "envtok_") {
			t.Errorf("%s: %d %s", name, again.status, again.body)
		}
	}
	known()
	if a := w.do("POST", "/v1/agents/sessions/"+id+"/verify", ""); !strings.Contains(a.body, `"ok":true`) {
		t.Errorf("verification %s", a.body)
	}

	hosted := idOf(t, w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"openai_hosted"},"agent":{"model":"test/m"}}`))
	prepared := idOf(t, w.do("POST", "/v1/agents/environments", `{"environment":{"type":"openai_hosted"}}`))
	for _, env := range []string{"env_" + strings.TrimPrefix(hosted, "sess_"), prepared} {
		want := envelope("The environment '"+env+"' is run by this server, and has no token. Only self-hosted environments have one.", "", "environment_not_self_hosted")
		if a := w.do("POST", "/v1/agents/environments/"+env+"/token", ""); a.status != http.StatusConflict || a.body != want {
			t.Errorf("a hosted environment: %d %s", a.status, a.body)
		}
	}
	for name, a := range map[string]answer{
		"unknown": w.do("POST", "/v1/agents/environments/env_9/token", ""), "other project": w.do("POST", path, "", "OpenAI-Project", "other"),
	} {
		if a.status != http.StatusNotFound {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
	if a := w.do("POST", path, `{"token":"mine"}`); a.status != http.StatusBadRequest {
		t.Errorf("a token of one's own: %d %s", a.status, a.body)
	}
}

func tokenOf(t *testing.T, body string) string {
	t.Helper()
	var s struct{ Environment struct{ Token string } }
	if err := json.Unmarshal([]byte(body), &s); err != nil || len(s.Environment.Token) < 64 {
		t.Fatalf("no token in %s: %v", body, err)
	}
	return s.Environment.Token
}

// TestSelfHostedStream has the token in the first event of the stream that
// creates the session, and in no other.
func TestSelfHostedStream(t *testing.T) {
	w := newWorld(t)
	stream := w.sdk.Beta.Agents.Sessions.NewStreaming(t.Context(), openai.BetaAgentSessionNewParams{
		Environment: openai.EnvironmentParamUnion{OfParamSelfHosted: &openai.EnvironmentParamSelfHosted{WorkspaceDirectory: "/w"}},
		Agent:       openai.BetaAgentSessionNewParamsAgent{Model: openai.String("test/m")},
		Input:       openai.BetaAgentSessionNewParamsInputUnion{OfString: openai.String("Hi")},
	})
	defer stream.Close()
	var kinds []string
	for len(kinds) < 7 && stream.Next() {
		e := stream.Current()
		kinds = append(kinds, strings.TrimPrefix(e.Type, "agent.session."))
		if has := strings.Contains(e.RawJSON(), "envtok_"); has != (len(kinds) == 1) {
			t.Errorf("event %d has a token: %v", len(kinds), has)
		}
	}
	want := "created environment.pending turn.created in_progress turn.in_progress turn.item.added requires_action"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("events %s, want %s, %v", got, want, stream.Err())
	}
}

// TestEnvironmentEvents has each status told once, and that an environment was
// reset.
func TestEnvironmentEvents(t *testing.T) {
	w := newWorld(t)
	id := w.hosted("")
	turn := w.turn(id)
	change := func(status string, reset int64) event.Payload {
		return &event.EnvironmentChanged{TurnID: turn, Status: status, Epoch: 1, Reset: reset}
	}
	w.append(id, change(session.PlaceReady, 0), change(session.PlaceConnected, 0), change(session.PlaceConnected, 0), change(session.PlaceConnected, 1),
		change(session.PlaceSuspended, 0), change(session.PlaceConnected, 0), change(session.PlaceDisconnected, 0), change(session.PlaceExpired, 0),
		&event.EnvironmentChanged{TurnID: turn, Status: session.PlaceFailed, Error: &event.TurnError{Code: "sandbox_error", Message: "No."}}, turnEnded(turn))
	var kinds []string
	for _, g := range w.replay(id) {
		kind, ok := strings.CutPrefix(g.kind, "agent.session.environment.")
		if !ok {
			continue
		}
		kinds = append(kinds, kind)
		requireFields(t, environmentEventTypes[kind], json.RawMessage(g.data), g.kind)
		if kind == "reset" && !strings.Contains(g.data, `"environment_id":"env_`+strings.TrimPrefix(id, "sess_")+`","reset_count":1`) {
			t.Errorf("reset %s", g.data)
		}
	}
	want := "pending ready connected reset suspended connected disconnected expired failed"
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("events %s, want %s", got, want)
	}
}

var environmentEventTypes = map[string]reflect.Type{
	"pending":      reflect.TypeFor[openai.AgentSessionEnvironmentPendingEvent](),
	"ready":        reflect.TypeFor[openai.AgentSessionEnvironmentReadyEvent](),
	"connected":    reflect.TypeFor[openai.AgentSessionEnvironmentConnectedEvent](),
	"disconnected": reflect.TypeFor[openai.AgentSessionEnvironmentDisconnectedEvent](),
	"suspended":    reflect.TypeFor[openai.AgentSessionEnvironmentSuspendedEvent](),
	"expired":      reflect.TypeFor[openai.AgentSessionEnvironmentExpiredEvent](),
	"failed":       reflect.TypeFor[openai.AgentSessionEnvironmentFailedEvent](),
	"reset":        reflect.TypeFor[openai.AgentSessionEnvironmentResetEvent](),
}

// TestPrewarmed prepares environments by the official client, and has sessions
// take them.
func TestPrewarmed(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	environments := w.sdk.Beta.Agents.Environments
	made, err := environments.New(ctx, openai.BetaAgentEnvironmentNewParams{
		IdempotencyKey: openai.String("k"),
		Environment: openai.BetaAgentEnvironmentNewParamsEnvironment{
			Env: map[string]string{"A": "b"}, Files: []openai.HostedEnvironmentFileParamUnion{openai.HostedEnvironmentFileParamOfParamInline("aGk=", "/workspace/a.txt")},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	requireFields(t, reflect.TypeFor[openai.EnvironmentInfo](), json.RawMessage(made.RawJSON()), "environment")
	if made.Status != "ready" || made.Files[0].SizeBytes != 2 {
		t.Errorf("made %s", made.RawJSON())
	}
	if _, err := environments.Files.New(ctx, made.ID, openai.BetaAgentEnvironmentFileNewParams{HostedEnvironmentFileParam: openai.HostedEnvironmentFileParamOfParamInline("bW9yZQ==", "/workspace/b/c.txt")}); err != nil {
		t.Fatal(err)
	}
	body := func(id string) string {
		return `{"environment":{"type":"openai_hosted","environment_id":"` + id + `"},"agent":{"model":"test/m"}}`
	}
	one := w.do("POST", "/v1/agents/sessions", body(made.ID), "Idempotency-Key", "s")
	two := w.do("POST", "/v1/agents/sessions", body(made.ID), "Idempotency-Key", "s")
	if one.status != http.StatusOK || one.body != two.body || !strings.Contains(one.body, `"id":"`+made.ID+`"`) {
		t.Fatalf("taken:\n%s\n%s", one.body, two.body)
	}
	w.view(idOf(t, one), func(s *session.State) {
		if s.Environment.Env["A"] != "b" || s.Place.Root.IsZero() || len(s.Environment.Files) != 0 {
			t.Errorf("environment %+v", s.Environment)
		}
	})
	taken := w.do("POST", "/v1/agents/sessions", body(made.ID))
	if want := envelope("The environment '"+made.ID+"' was taken by another session. Prepare another.", "environment.environment_id", "environment_taken"); taken.status != http.StatusConflict || taken.body != want {
		t.Errorf("taken twice: %d %s", taken.status, taken.body)
	}
	files, err := environments.Files.List(ctx, made.ID, openai.BetaAgentEnvironmentFileListParams{Order: "asc"})
	if err != nil || len(files.Data) != 2 || files.Data[1].Path != "/workspace/b/c.txt" || files.Data[1].SizeBytes != 4 {
		t.Errorf("files %s, %v", files.RawJSON(), err)
	}
	got, err := environments.Get(ctx, made.ID)
	if err != nil || got.Status != "pending" || !strings.Contains(got.RawJSON(), `"session_id":"`+idOf(t, one)+`"`) {
		t.Errorf("got %s, %v", got.RawJSON(), err)
	}
	if a := w.do("DELETE", "/v1/agents/environments/"+made.ID, ""); a.status != http.StatusConflict || !strings.Contains(a.body, "environment_taken") {
		t.Errorf("deleted: %d %s", a.status, a.body)
	}
	for range 3 {
		if _, err := environments.New(ctx, openai.BetaAgentEnvironmentNewParams{Environment: openai.BetaAgentEnvironmentNewParamsEnvironment{}}); err != nil {
			t.Fatal(err)
		}
	}
	var free []string
	n := 0
	for pages := environments.ListAutoPaging(ctx, openai.BetaAgentEnvironmentListParams{Limit: openai.Int(2)}); pages.Next(); n++ {
		if id := pages.Current().ID; id != made.ID {
			free = append(free, id)
		}
	}
	if n != 4 || len(free) != 3 {
		t.Fatalf("listed %d, %v", n, free)
	}
	if a := w.do("DELETE", "/v1/agents/environments/"+free[0], ""); a.body != `{"id":"`+free[0]+`","object":"agent.environment.deleted","deleted":true}` {
		t.Errorf("deleted: %s", a.body)
	}
	if a := w.do("DELETE", "/v1/agents/sessions/"+idOf(t, one), ""); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := w.do("GET", "/v1/agents/environments/"+made.ID, ""); a.status != http.StatusNotFound {
		t.Errorf("after its session: %d %s", a.status, a.body)
	}
}

// TestTemplates makes, changes and uses templates by the official client.
func TestTemplates(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	templates := w.sdk.Beta.Agents.Environments.Templates
	made, err := templates.New(ctx, openai.BetaAgentEnvironmentTemplateNewParams{
		Name: openai.String("base"), Env: map[string]string{"LANG": "confidential"},
		Files:   []openai.HostedEnvironmentFileParamUnion{openai.HostedEnvironmentFileParamOfParamInline("Y29uZmlkZW50aWFs", "/workspace/a.txt")},
		Network: openai.BetaAgentEnvironmentTemplateNewParamsNetwork{Access: "disabled"},
	})
	if err != nil {
		t.Fatal(err)
	}
	requireFields(t, reflect.TypeFor[openai.EnvironmentTemplate](), json.RawMessage(made.RawJSON()), "template")
	if made.Name != "base" || made.Files[0].SizeBytes != 12 || strings.Contains(made.RawJSON(), "confidential") || strings.Contains(made.RawJSON(), "Y29u") {
		t.Errorf("made %s", made.RawJSON())
	}
	session1 := w.hosted(`,"environment_template_id":"` + made.ID + `"`)
	session2 := w.hosted(`,"environment_template_id":"` + made.ID + `","env":{"B":"c"},"files":[]`)
	w.view(session1, func(s *session.State) {
		if s.Environment.Env["LANG"] != "confidential" || len(s.Environment.Files) != 1 {
			t.Errorf("environment %+v", s.Environment)
		}
	})
	w.view(session2, func(s *session.State) {
		if len(s.Environment.Env) != 1 || s.Environment.Env["B"] != "c" || len(s.Environment.Files) != 0 {
			t.Errorf("environment %+v", s.Environment)
		}
	})
	broad := w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"openai_hosted","sandbox":"gvisor","environment_template_id":"`+made.ID+`","network":{"access":"restricted"}},"agent":{"model":"test/m"}}`)
	if want := envelope("The template's network is narrower. An environment of it may have less of the network, not more.", "environment.network", "invalid_value"); broad.body != want {
		t.Errorf("broadened: %s", broad.body)
	}
	changed, err := templates.Update(ctx, made.ID, openai.BetaAgentEnvironmentTemplateUpdateParams{Name: openai.String("other"), Env: map[string]string{}})
	if err != nil || changed.Name != "other" || len(changed.Files) != 1 {
		t.Errorf("changed %s, %v", changed.RawJSON(), err)
	}
	listed, err := templates.List(ctx, openai.BetaAgentEnvironmentTemplateListParams{})
	if err != nil || len(listed.Data) != 1 || listed.Data[0].Name != "other" {
		t.Errorf("listed %v, %v", listed, err)
	}
	if a := w.do("GET", "/v1/agents/environments/templates/"+made.ID, "", "OpenAI-Project", "other"); a.body != envelope("No environment template found with id '"+made.ID+"'.", "", "not_found") {
		t.Errorf("another project's: %s", a.body)
	}
	if a := w.do("PUT", "/v1/agents/environments/templates/"+made.ID, ""); a.status != http.StatusMethodNotAllowed {
		t.Errorf("put: %d %s", a.status, a.body)
	}
	deleted, err := templates.Delete(ctx, made.ID)
	if err != nil || !deleted.Deleted {
		t.Errorf("deleted %v, %v", deleted, err)
	}
	if _, err := templates.Get(ctx, made.ID); err == nil {
		t.Error("a deleted template is still there")
	}
}

// TestTemplateNetworks compares networks with that of their template.
func TestTemplateNetworks(t *testing.T) {
	w := newWorld(t)
	const allowed = `{"access":"restricted","allowed_domains":["a.com","*.b.com"]}`
	tests := []struct {
		template, network string
		taken             bool
	}{
		{allowed, `{"access":"disabled"}`, true},
		{allowed, `{"access":"restricted"}`, true},
		{allowed, `{"access":"restricted","allowed_domains":["x.b.com","A.com"]}`, true},
		{allowed, `{"access":"restricted","allowed_domains":["b.com"]}`, false},
		{allowed, `{"access":"restricted","allowed_domains":["a.com","c.com"]}`, false},
		{allowed, `{"access":"restricted","blocked_domains":["c.com"]}`, false},
		{allowed, `{"access":"enabled"}`, false},
		{`{"access":"disabled"}`, `{"access":"restricted"}`, false},
	}
	for _, test := range tests {
		tmpl := idOf(t, w.do("POST", "/v1/agents/environments/templates", `{"sandbox":"gvisor","network":`+test.template+`}`))
		a := w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"openai_hosted","environment_template_id":"`+tmpl+`","network":`+test.network+`},"agent":{"model":"test/m"}}`)
		if (a.status == http.StatusOK) != test.taken || (!test.taken && !strings.Contains(a.body, "narrower")) {
			t.Errorf("%s of %s: %d %s", test.network, test.template, a.status, a.body)
		}
	}
}

// TestPrewarmedOfNobody has an environment that a session took which never came
// to be taken by another, but not before it is certain.
func TestPrewarmedOfNobody(t *testing.T) {
	w := newWorld(t)
	id := idOf(t, w.do("POST", "/v1/agents/environments", `{"environment":{"type":"openai_hosted"}}`))
	body := `{"environment":{"type":"openai_hosted","environment_id":"` + id + `"},"agent":{"model":"test/m"}}`
	for _, test := range []struct {
		takenAt time.Time
		status  int
	}{{start.Add(-59 * time.Second), http.StatusConflict}, {start.Add(-61 * time.Second), http.StatusOK}} {
		row, err := w.store.Object(t.Context(), httpapi.DefaultProject, store.KindEnvironment, id)
		if err != nil {
			t.Fatal(err)
		}
		var data map[string]any
		if err := json.Unmarshal(row.Data, &data); err != nil {
			t.Fatal(err)
		}
		data["session"], data["taken_at"] = "sess_never", test.takenAt
		if row.Data, err = json.Marshal(data); err != nil {
			t.Fatal(err)
		}
		row.Version++
		if err := w.store.UpdateObject(t.Context(), row); err != nil {
			t.Fatal(err)
		}
		if a := w.do("GET", "/v1/agents/environments/"+id, ""); !strings.Contains(a.body, `"status":"ready"`) {
			t.Errorf("environment %s", a.body)
		}
		if a := w.do("POST", "/v1/agents/sessions", body); a.status != test.status {
			t.Errorf("taken at %s: %d %s", test.takenAt, a.status, a.body)
		}
	}
}
