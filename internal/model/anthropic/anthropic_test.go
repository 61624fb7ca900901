package anthropic_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/anthropic"
	"github.com/stayd/stayd/internal/model/modeltest"
)

const opus = "claude-opus-4-6"

func TestMessages(t *testing.T) {
	modeltest.Run(t, &modeltest.Wire{
		New: provider, Model: opus, Path: "/v1/messages",
		ContentType: "text/event-stream; charset=utf-8",
		Transcript:  transcript, Requests: "testdata",
		ID: "msg_1", Served: "claude-opus-4-6-20260101",
		Errors: apiErrors,
	})
}

func provider(t *testing.T, url string, client *http.Client) model.Model {
	t.Helper()
	p, err := anthropic.New(anthropic.Config{BaseURL: url, APIKey: modeltest.Key, Client: client})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func transcript(t *testing.T, scenario string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", scenario+".sse"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func stream(t *testing.T, scenario string) modeltest.Answer {
	t.Helper()
	return modeltest.Stream("text/event-stream", transcript(t, scenario))
}

// The bodies are those of Anthropic's API.
var apiErrors = []modeltest.ErrorCase{
	{
		Name: "rate limit", Status: 429, Header: map[string]string{"Retry-After": "31"},
		Body: `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 50,000 input tokens per minute."},"request_id":"req_1"}`,
		Want: model.Error{Code: "rate_limit_exceeded", Retry: true, RetryAfter: 31 * time.Second, Message: "rate limit"},
	},
	{
		Name: "overloaded", Status: 529,
		Body: `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`,
		Want: model.Error{Code: "server_overloaded", Retry: true, Message: "Overloaded"},
	},
	{
		Name: "server error", Status: 500, Header: map[string]string{"x-should-retry": "true"},
		Body: `{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`,
		Want: model.Error{Code: "server_error", Retry: true, Message: "Internal server error"},
	},
	{
		Name: "key", Status: 401,
		Body: `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`,
		Want: model.Error{Code: "authentication_error", Message: "refused the credentials"},
	},
	{
		Name: "permission", Status: 403,
		Body: `{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource."}}`,
		Want: model.Error{Code: "authentication_error", Message: "permission"},
	},
	{
		Name: "no model", Status: 404,
		Body: `{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}`,
		Want: model.Error{Code: "resource_not_found", Message: "claude-9"},
	},
	{
		Name: "too long", Status: 400,
		Body: `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 209353 tokens > 199999 maximum"}}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "209353"},
	},
	{
		Name: "too long with the answer", Status: 400,
		Body: "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"input length and `max_tokens` exceed context limit: 190000 + 32000 > 200000\"}}",
		Want: model.Error{Code: "context_length_exceeded", Message: "190000"},
	},
	{
		Name: "too large", Status: 413,
		Body: `{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum allowed number of bytes."}}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "bytes"},
	},
	{
		Name: "no credit", Status: 400,
		Body: `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`,
		Want: model.Error{Code: "credit_balance_exhausted", Message: "credit balance"},
	},
	{
		Name: "bad request with the key in it", Status: 400,
		Body: `{"type":"error","error":{"type":"invalid_request_error","message":"messages.0: bad ` + modeltest.Key + `"}}`,
		Want: model.Error{Code: "invalid_request", Message: "messages.0"},
	},
	{
		Name: "gateway's page", Status: 502, Header: map[string]string{"Content-Type": "text/html"},
		Body: `<html>Bad gateway</html>`,
		Want: model.Error{Code: "server_error", Retry: true, Message: "502 Bad Gateway"},
	},
}

func hello(name string, items ...*event.Item) *model.Request {
	return &model.Request{Model: name, Items: append([]*event.Item{
		{Type: event.ItemMessage, Role: event.RoleUser, Content: []event.Content{{Type: event.PartInputText, Text: "Hi"}}},
	}, items...)}
}

// sent returns the request body of an answered request.
func sent(t *testing.T, req *model.Request) map[string]any {
	t.Helper()
	s := modeltest.NewServer(t, stream(t, "text"))
	if _, err := provider(t, s.URL, s.Client).Generate(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
	return modeltest.Decode(t, s.Only(t).Body).(map[string]any)
}

func TestHeaders(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", "of-the-environment")
	t.Setenv("ANTHROPIC_AUTH_TOKEN", "of-the-environment")
	t.Setenv("ANTHROPIC_BASE_URL", "http://192.0.2.1/")
	for _, key := range []string{modeltest.Key, ""} {
		s := modeltest.NewServer(t, stream(t, "text"))
		p, err := anthropic.New(anthropic.Config{BaseURL: s.URL, APIKey: key, Client: s.Client})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Generate(t.Context(), hello(opus), nil); err != nil {
			t.Fatal(err)
		}
		h := s.Only(t).Header
		if got := h.Get("X-Api-Key"); got != key {
			t.Errorf("X-Api-Key = %q, want %q", got, key)
		}
		if got := h.Get("Authorization"); got != "" {
			t.Errorf("Authorization = %q, want none", got)
		}
		if got := h.Get("Anthropic-Version"); got != "2023-06-01" {
			t.Errorf("Anthropic-Version = %q, want 2023-06-01", got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]anthropic.Config{
		"no client":        {},
		"relative URL":     {Client: http.DefaultClient, BaseURL: "localhost"},
		"user in the URL":  {Client: http.DefaultClient, BaseURL: "https://" + modeltest.Key + "@host/"},
		"query in the URL": {Client: http.DefaultClient, BaseURL: "https://host/?key=" + modeltest.Key},
	} {
		_, err := anthropic.New(c)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), modeltest.Key) {
			t.Errorf("%s: the error repeats the secret: %v", name, err)
		}
	}
}

// TestThinkingGoesBack: thinking and redacted blocks, in order and unchanged, to
// the model that wrote them and to no other.
func TestThinkingGoesBack(t *testing.T) {
	s := modeltest.NewServer(t, stream(t, "redacted"))
	res, err := provider(t, s.URL, s.Client).Generate(t.Context(), hello(opus), nil)
	if err != nil {
		t.Fatal(err)
	}
	var items []*event.Item
	for i := range res.Items {
		items = append(items, &res.Items[i])
	}
	items = append(items, &event.Item{Type: event.ItemFunctionCallOutput, CallID: "call_1", Output: event.TextOutput("4 °C")})
	assistant := func(name string) any {
		return sent(t, hello(name, items...))["messages"].([]any)[1].(map[string]any)["content"]
	}
	call := map[string]any{"type": "tool_use", "id": "call_1", "name": "get_weather", "input": map[string]any{"city": "Oslo"}}
	if diff := cmp.Diff([]any{
		map[string]any{"type": "thinking", "thinking": "", "signature": "sig-1"},
		map[string]any{"type": "redacted_thinking", "data": "EmwKAhgBEgy"},
		call,
	}, assistant(opus)); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]any{call}, assistant("claude-opus-4-5")); diff != "" {
		t.Errorf("content for another model (-want +got):\n%s", diff)
	}
	// With a budget, a run of calls has to begin with thinking; this one does not.
	req := hello("claude-opus-4-5", items...)
	req.Reasoning.Effort = "high"
	if got := sent(t, req)["thinking"]; got != nil {
		t.Errorf("thinking = %v within a run of calls that began without", got)
	}
}

func TestEfforts(t *testing.T) {
	number := func(s string) json.Number { return json.Number(s) }
	for _, c := range []struct {
		model, effort string
		max           int64
		thinking      any
		output        any
	}{
		{model: opus},
		{model: opus, effort: "none", thinking: map[string]any{"type": "disabled"}},
		{model: opus, effort: "minimal", thinking: map[string]any{"type": "adaptive"}, output: map[string]any{"effort": "low"}},
		{model: "claude-fable-5", effort: "max", thinking: map[string]any{"type": "adaptive"}, output: map[string]any{"effort": "max"}},
		{model: "claude-sonnet-4-5", effort: "low", thinking: map[string]any{"type": "enabled", "budget_tokens": number("4096")}},
		{model: "claude-sonnet-4-20250514", effort: "high", thinking: map[string]any{"type": "enabled", "budget_tokens": number("16000")}},
		{model: "claude-3-7-sonnet-20250219", effort: "high", max: 4000, thinking: map[string]any{"type": "enabled", "budget_tokens": number("2000")}},
		{model: "claude-haiku-4-5", effort: "high", max: 1500},
		{model: "claude-haiku-4-5", effort: "none"},
	} {
		req := hello(c.model)
		req.Reasoning.Effort, req.MaxOutputTokens = c.effort, c.max
		body := sent(t, req)
		if diff := cmp.Diff([]any{c.thinking, c.output}, []any{body["thinking"], body["output_config"]}); diff != "" {
			t.Errorf("%s, effort %q: thinking and output_config (-want +got):\n%s", c.model, c.effort, diff)
		}
	}
}

// TestCallsWithoutTools: a request without tools still declares those that were
// called, and forbids their use.
func TestCallsWithoutTools(t *testing.T) {
	body := sent(t, hello(
		opus,
		&event.Item{Type: event.ItemFunctionCall, CallID: "chatcmpl.tool:1", Name: "now", Arguments: json.RawMessage(`{}`)},
		&event.Item{Type: event.ItemFunctionCallOutput, CallID: "chatcmpl.tool:1", Output: event.TextOutput("noon")},
	))
	if diff := cmp.Diff(map[string]any{"type": "none"}, body["tool_choice"]); diff != "" {
		t.Errorf("tool_choice (-want +got):\n%s", diff)
	}
	tools := body["tools"].([]any)
	if len(tools) != 1 || tools[0].(map[string]any)["name"] != "now" {
		t.Errorf("tools = %v, want the one that was called", tools)
	}
	// The id is not one that the API takes; call and output get the same other one.
	messages := body["messages"].([]any)
	content := func(i int) map[string]any {
		return messages[i].(map[string]any)["content"].([]any)[0].(map[string]any)
	}
	id, of := content(1)["id"].(string), content(2)["tool_use_id"].(string)
	if id != of || strings.ContainsAny(id, ".:") {
		t.Errorf("the call has the id %q and its output %q", id, of)
	}
}

func TestRefusalWithExplanation(t *testing.T) {
	s := modeltest.NewServer(t, stream(t, "refusal_explained"))
	res, err := provider(t, s.URL, s.Client).Generate(t.Context(), hello(opus), nil)
	if err != nil {
		t.Fatal(err)
	}
	want := []event.Item{{
		Type: event.ItemMessage, Status: event.StatusCompleted, Role: event.RoleAssistant,
		Content: []event.Content{{Type: event.PartOutputText, Text: "This could enable harm."}},
	}}
	if diff := cmp.Diff(want, res.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

func TestStrayDelta(t *testing.T) {
	s := modeltest.NewServer(t, stream(t, "stray_delta"))
	_, err := provider(t, s.URL, s.Client).Generate(t.Context(), hello(opus), nil)
	var e *model.Error
	ok := errors.As(err, &e)
	if !ok || e.Code != "server_error" || !e.Retry {
		t.Errorf("error is %v, want a server_error that may be retried", err)
	}
}

func TestBadRequests(t *testing.T) {
	s := modeltest.NewServer(t, modeltest.Status(500, nil, ""))
	image := func(u string) func(*model.Request) {
		return func(r *model.Request) {
			r.Items[0].Content = append(r.Items[0].Content, event.Content{Type: event.PartInputImage, ImageURL: u})
		}
	}
	for name, change := range map[string]func(*model.Request){
		"tier":           func(r *model.Request) { r.ServiceTier = "flex" },
		"effort":         func(r *model.Request) { r.Reasoning.Effort = "extreme" },
		"old model":      func(r *model.Request) { r.Model, r.Reasoning.Effort = "claude-3-5-haiku-20241022", "low" },
		"tool schema":    func(r *model.Request) { r.Tools = []model.Tool{{Name: "x", Parameters: []byte(`[1]`)}} },
		"output schema":  func(r *model.Request) { r.Text = event.Text{Format: "json_schema", Schema: []byte(`"x"`)} },
		"empty":          func(r *model.Request) { r.Items = nil },
		"not an image":   image("data:text/plain;base64,aGk="),
		"not base64":     image("data:image/png,xyz"),
		"invalid base64": image("data:image/png;base64,???"),
	} {
		req := hello(opus)
		change(req)
		_, err := provider(t, s.URL, s.Client).Generate(t.Context(), req, nil)
		var e *model.Error
		ok := errors.As(err, &e)
		if !ok || e.Code != "invalid_request" || e.Retry {
			t.Errorf("%s: error is %v, want an invalid_request", name, err)
		}
	}
	if n := len(s.Received()); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}
