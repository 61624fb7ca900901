package openai_test

import (
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
	"github.com/stayd/stayd/internal/model/modeltest"
	"github.com/stayd/stayd/internal/model/openai"
)

func TestResponses(t *testing.T) {
	modeltest.Run(t, &modeltest.Wire{
		New: constructor(openai.APIResponses), Model: "gpt-5", Path: "/v1/responses",
		ContentType: "text/event-stream; charset=utf-8",
		Transcript:  transcripts("responses"), Requests: "testdata/responses",
		ID: "resp_1", Served: "gpt-5-2025-08-07",
		Errors: openAIErrors,
	})
}

func TestChat(t *testing.T) {
	modeltest.Run(t, &modeltest.Wire{
		New: constructor(openai.APIChat), Model: "qwen3:8b", Path: "/v1/chat/completions",
		ContentType: "text/event-stream",
		Transcript:  transcripts("chat"), Requests: "testdata/chat",
		ID: "chatcmpl-1", Served: "qwen3:8b",
		Errors: append(openAIErrors, compatibleErrors...),
	})
}

func constructor(api string) func(*testing.T, string, *http.Client) model.Model {
	return func(t *testing.T, url string, client *http.Client) model.Model {
		t.Helper()
		p, err := openai.New(openai.Config{BaseURL: url + "/v1", APIKey: modeltest.Key, API: api, Client: client})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

func transcripts(folder string) func(*testing.T, string) []byte {
	return func(t *testing.T, scenario string) []byte {
		t.Helper()
		b, err := os.ReadFile(filepath.Join("testdata", folder, scenario+".sse"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
}

// The bodies are those of OpenAI's API.
var openAIErrors = []modeltest.ErrorCase{
	{
		Name: "rate limit, milliseconds", Status: 429,
		Header: map[string]string{"retry-after-ms": "1500", "Retry-After": "2"},
		Body:   `{"error":{"message":"Rate limit reached for gpt-5 on tokens per min (TPM): Limit 10000, Requested 12000.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
		Want:   model.Error{Code: "rate_limit_exceeded", Retry: true, RetryAfter: 1500 * time.Millisecond, Message: "Rate limit reached"},
	},
	{
		Name: "rate limit, seconds", Status: 429, Header: map[string]string{"Retry-After": "7"},
		Body: `{"error":{"message":"Slow down.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		Want: model.Error{Code: "rate_limit_exceeded", Retry: true, RetryAfter: 7 * time.Second, Message: "Slow down."},
	},
	{
		Name: "quota", Status: 429, Header: map[string]string{"Retry-After": "7"},
		Body: `{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`,
		Want: model.Error{Code: "credit_balance_exhausted", Message: "quota"},
	},
	{
		Name: "billing", Status: 429,
		Body: `{"error":{"message":"Your account is not active, please check your billing details.","type":"billing_not_active","param":null,"code":"billing_not_active"}}`,
		Want: model.Error{Code: "billing_not_active", Message: "not active"},
	},
	{
		Name: "key", Status: 401,
		Body: `{"error":{"message":"Incorrect API key provided: test-sec********cdef. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`,
		Want: model.Error{Code: "authentication_error", Message: "refused the credentials"},
	},
	{
		Name: "forbidden", Status: 403,
		Body: `{"error":{"message":"Country, region, or territory not supported","type":"request_forbidden","param":null,"code":"unsupported_country_region_territory"}}`,
		Want: model.Error{Code: "authentication_error", Message: "not supported"},
	},
	{
		Name: "no model", Status: 404,
		Body: `{"error":{"message":"The model 'gpt-9' does not exist or you do not have access to it.","type":"invalid_request_error","param":null,"code":"model_not_found"}}`,
		Want: model.Error{Code: "resource_not_found", Message: "gpt-9"},
	},
	{
		Name: "bad request with the key in it", Status: 400,
		Body: `{"error":{"message":"Invalid header Bearer ` + modeltest.Key + ` at https://user:pw@host/path?key=1","type":"invalid_request_error","param":"x","code":null}}`,
		Want: model.Error{Code: "invalid_request", Message: "https://host/path"},
	},
	{
		Name: "context, code", Status: 400,
		Body: `{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "context window"},
	},
	{
		Name: "server error", Status: 500,
		Body: `{"error":{"message":"The server had an error while processing your request.","type":"server_error","param":null,"code":null}}`,
		Want: model.Error{Code: "server_error", Retry: true, Message: "had an error"},
	},
	{
		Name: "overloaded", Status: 503, Header: map[string]string{"Retry-After": "1.5"},
		Body: `{"error":{"message":"Slow Down","type":"service_unavailable_error","param":null,"code":null}}`,
		Want: model.Error{Code: "server_overloaded", Retry: true, RetryAfter: 1500 * time.Millisecond, Message: "Slow Down"},
	},
	{
		Name: "gateway's page", Status: 502, Header: map[string]string{"Content-Type": "text/html"},
		Body: `<html><body>Bad gateway</body></html>`,
		Want: model.Error{Code: "server_error", Retry: true, Message: "502 Bad Gateway"},
	},
	{
		Name: "timeout", Status: 408, Body: ``,
		Want: model.Error{Code: "request_timeout", Retry: true, Message: "408"},
	},
	{
		Name: "gateway timeout", Status: 504, Body: `upstream request timeout`,
		Want: model.Error{Code: "request_timeout", Retry: true, Message: "upstream"},
	},
}

// The bodies are those of the servers that the names say.
var compatibleErrors = []modeltest.ErrorCase{
	{
		Name: "vLLM context", Status: 400,
		Body: `{"object":"error","message":"This model's maximum context length is 8192 tokens. However, you requested 9000 tokens in the messages, Please reduce the length of the messages.","type":"BadRequestError","param":null,"code":400}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "8192"},
	},
	{
		Name: "vLLM decoder prompt", Status: 400,
		Body: `{"error":{"message":"The decoder prompt (length 10127) is longer than the maximum model length of 8192.","type":"BadRequestError","param":null,"code":400}}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "8192"},
	},
	{
		Name: "llama.cpp context", Status: 400,
		Body: `{"error":{"code":400,"message":"the request exceeds the available context size. try increasing the context size or enable context shift","type":"exceed_context_size_error","n_prompt_tokens":14429,"n_ctx":8192}}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "context size"},
	},
	{
		Name: "llama.cpp loading", Status: 503,
		Body: `{"error":{"code":503,"message":"Loading model","type":"unavailable_error"}}`,
		Want: model.Error{Code: "server_overloaded", Retry: true, Message: "Loading model"},
	},
	{
		Name: "Ollama context", Status: 400,
		Body: `{"error":{"message":"prompt too long; exceeded max context length by 212 tokens","type":"invalid_request_error","param":null,"code":null}}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "212"},
	},
	{
		Name: "Ollama model", Status: 404,
		Body: `{"error":"model \"qwen9\" not found, try pulling it first"}`,
		Want: model.Error{Code: "resource_not_found", Message: "qwen9"},
	},
	{
		Name: "FastAPI", Status: 422,
		Body: `{"detail":[{"loc":["body","model"],"msg":"field required"}]}`,
		Want: model.Error{Code: "invalid_request", Message: "field required"},
	},
	{
		Name: "no credit", Status: 402,
		Body: `{"error":{"code":402,"message":"Insufficient credits"}}`,
		Want: model.Error{Code: "credit_balance_exhausted", Message: "credits"},
	},
}

// play generates once from a transcript.
func play(t *testing.T, api, scenario string, req *model.Request) (*model.Response, []model.Delta) {
	t.Helper()
	s := modeltest.NewServer(t, modeltest.Stream("text/event-stream", transcripts(api)(t, scenario)))
	var deltas []model.Delta
	res, err := constructor(api)(t, s.URL, s.Client).Generate(t.Context(), req, func(d model.Delta) { deltas = append(deltas, d) })
	if err != nil {
		t.Fatal(err)
	}
	return res, deltas
}

func hello(name string) *model.Request {
	return &model.Request{Model: name, EffectID: "eff_1", Items: []*event.Item{
		{Type: event.ItemMessage, Role: event.RoleUser, Content: []event.Content{{Type: event.PartInputText, Text: "Hi"}}},
	}}
}

func TestHeaders(t *testing.T) {
	t.Setenv("OPENAI_API_KEY", "of-the-environment")
	t.Setenv("OPENAI_BASE_URL", "http://192.0.2.1/")
	for _, key := range []string{modeltest.Key, ""} {
		s := modeltest.NewServer(t, modeltest.Stream("text/event-stream", transcripts("chat")(t, "text")))
		p, err := openai.New(openai.Config{BaseURL: s.URL + "/v1/", APIKey: key, API: openai.APIChat, Client: s.Client})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Generate(t.Context(), hello("m"), nil); err != nil {
			t.Fatal(err)
		}
		h := s.Only(t).Header
		want := ""
		if key != "" {
			want = "Bearer " + key
		}
		if got := h.Get("Authorization"); got != want {
			t.Errorf("Authorization = %q, want %q", got, want)
		}
		if got := h.Get("Idempotency-Key"); got != "eff_1" {
			t.Errorf("Idempotency-Key = %q, want the effect id", got)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]openai.Config{
		"no client":        {},
		"unknown API":      {Client: http.DefaultClient, API: "completions"},
		"relative URL":     {Client: http.DefaultClient, BaseURL: "localhost:11434/v1"},
		"user in the URL":  {Client: http.DefaultClient, BaseURL: "https://" + modeltest.Key + "@host/v1"},
		"query in the URL": {Client: http.DefaultClient, BaseURL: "https://host/v1?key=" + modeltest.Key},
	} {
		_, err := openai.New(c)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), modeltest.Key) {
			t.Errorf("%s: the error repeats the secret: %v", name, err)
		}
	}
}

// TestResponsesFailed: the response itself says that it failed.
func TestResponsesFailed(t *testing.T) {
	s := modeltest.NewServer(t, modeltest.Stream("text/event-stream", transcripts("responses")(t, "failed")))
	_, err := constructor("responses")(t, s.URL, s.Client).Generate(t.Context(), hello("gpt-5"), nil)
	want := &model.Error{Code: "rate_limit_exceeded", Message: "Rate limit reached.", Retry: true}
	if diff := cmp.Diff(error(want), err); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

// TestResponsesOpenModel: reasoning in the clear, an item that was not asked for,
// and a final event without the items.
func TestResponsesOpenModel(t *testing.T) {
	req := hello("gpt-oss")
	res, deltas := play(t, "responses", "open_model", req)
	want := []event.Item{
		{
			Type: event.ItemReasoning, Status: event.StatusCompleted,
			Summary:  []event.Content{{Type: event.PartSummaryText, Text: "Let me think."}},
			Provider: res.Items[0].Provider,
		},
		{
			Type: event.ItemMessage, Status: event.StatusCompleted, Role: event.RoleAssistant, Phase: event.PhaseFinalAnswer,
			Content: []event.Content{{Type: event.PartOutputText, Text: "Done."}},
		},
	}
	if diff := cmp.Diff(want, res.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]model.Delta{
		{Kind: model.ReasoningDelta, Index: 0, Text: "Let me think."},
		{Kind: model.TextDelta, Index: 1, Text: "Done."},
	}, deltas); diff != "" {
		t.Errorf("deltas (-want +got):\n%s", diff)
	}
}

// TestResponsesOtherModel: reasoning does not go to a model that did not write
// it, nor where nothing follows it; models that do not reason are not asked for
// any.
func TestResponsesOtherModel(t *testing.T) {
	stream := func(scenario string) modeltest.Answer {
		return modeltest.Stream("text/event-stream", transcripts("responses")(t, scenario))
	}
	s := modeltest.NewServer(t, stream("tools"), stream("text"))
	m := constructor("responses")(t, s.URL, s.Client)
	first, err := m.Generate(t.Context(), hello("gpt-5"), nil)
	if err != nil {
		t.Fatal(err)
	}
	send := func(name string, items ...*event.Item) string {
		req := hello(name)
		req.Items = append(req.Items, items...)
		if _, err := m.Generate(t.Context(), req, nil); err != nil {
			t.Fatal(err)
		}
		all := s.Received()
		return string(all[len(all)-1].Body)
	}
	if body := send("gpt-5", &first.Items[0], &first.Items[1]); !strings.Contains(body, "gAAAA-secret") {
		t.Errorf("the model was not sent its reasoning: %s", body)
	}
	if body := send("gpt-5-mini", &first.Items[0], &first.Items[1]); strings.Contains(body, "gAAAA") {
		t.Errorf("another model was sent the reasoning: %s", body)
	}
	if body := send("gpt-5", &first.Items[0]); strings.Contains(body, "gAAAA") {
		t.Errorf("reasoning was sent that nothing follows: %s", body)
	}
	if body := send("gpt-4.1"); strings.Contains(body, "include") {
		t.Errorf("a model that does not reason was asked for reasoning: %s", body)
	}
	other := modeltest.NewServer(t, stream("text"))
	req := hello("gpt-5")
	req.Items = append(req.Items, &first.Items[0], &first.Items[1])
	if _, err := constructor("responses")(t, other.URL, other.Client).Generate(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
	if body := string(other.Only(t).Body); strings.Contains(body, "gAAAA") {
		t.Errorf("another endpoint was sent the reasoning: %s", body)
	}
}

// TestChatCallsOfOtherServers: all calls with one index, and calls without ids.
func TestChatCallsOfOtherServers(t *testing.T) {
	res, _ := play(t, "chat", "same_index", hello("m"))
	var got []string
	for _, it := range res.Items {
		got = append(got, it.Type+" "+it.CallID+" "+string(it.Arguments)+it.Text())
	}
	want := []string{"reasoning  ", "function_call call_a {}", `function_call call_b {"zone":"UTC"}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	first, _ := play(t, "chat", "no_ids", hello("m"))
	again, _ := play(t, "chat", "no_ids", hello("m"))
	a, b := first.Items[0].CallID, first.Items[1].CallID
	if a == "" || a == b || a != again.Items[0].CallID {
		t.Errorf("made-up call ids are %q and %q, then %q: they must differ and stay", a, b, again.Items[0].CallID)
	}
}

// TestChatReasoningOfEarlierTurns: it goes back within its run of calls only.
func TestChatReasoningOfEarlierTurns(t *testing.T) {
	stream := func(scenario string) modeltest.Answer {
		return modeltest.Stream("text/event-stream", transcripts("chat")(t, scenario))
	}
	s := modeltest.NewServer(t, stream("tools"), stream("text"))
	m := constructor("chat")(t, s.URL, s.Client)
	first, err := m.Generate(t.Context(), hello("qwen3:8b"), nil)
	if err != nil {
		t.Fatal(err)
	}
	req := hello("qwen3:8b")
	for i := range first.Items {
		req.Items = append(req.Items, &first.Items[i])
	}
	req.Items = append(req.Items, hello("").Items...)
	if _, err := m.Generate(t.Context(), req, nil); err != nil {
		t.Fatal(err)
	}
	if body := string(s.Received()[1].Body); strings.Contains(body, "Two cities") {
		t.Errorf("reasoning of an earlier turn was sent: %s", body)
	}
}

func TestBadRequests(t *testing.T) {
	s := modeltest.NewServer(t, modeltest.Status(500, nil, ""))
	for _, api := range []string{"responses", "chat"} {
		for name, change := range map[string]func(*model.Request){
			"tool schema":   func(r *model.Request) { r.Tools = []model.Tool{{Name: "x", Parameters: []byte(`[1]`)}} },
			"output schema": func(r *model.Request) { r.Text = event.Text{Format: "json_schema", Schema: []byte(`"x"`)} },
		} {
			req := hello("m")
			change(req)
			_, err := constructor(api)(t, s.URL, s.Client).Generate(t.Context(), req, nil)
			var e *model.Error
			ok := errors.As(err, &e)
			if !ok || e.Code != "invalid_request" || e.Retry {
				t.Errorf("%s, %s: error is %v, want an invalid_request", api, name, err)
			}
		}
	}
	if n := len(s.Received()); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}
