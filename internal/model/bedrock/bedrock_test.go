package bedrock_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/protocol/eventstream"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/bedrock"
	"github.com/stayd/stayd/internal/model/modeltest"
)

const (
	opus      = "us.anthropic.claude-opus-4-6-v1:0"
	mediaType = "application/vnd.amazon.eventstream"
)

func TestConverse(t *testing.T) {
	modeltest.Run(t, &modeltest.Wire{
		New: provider, Model: opus, Path: "/model/us.anthropic.claude-opus-4-6-v1%3A0/converse-stream",
		ContentType: mediaType,
		Transcript:  transcript, Requests: "testdata",
		NoReasoningCount: true,
		Errors:           apiErrors,
	})
}

func provider(t *testing.T, url string, client *http.Client) model.Model {
	t.Helper()
	p, err := bedrock.New(bedrock.Config{
		Region: "us-east-1", BaseURL: url, Client: client,
		Credentials: credentials.NewStaticCredentialsProvider("AKIDEXAMPLE", modeltest.Key, ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// transcript returns a scenario's events in the binary form that AWS sends.
func transcript(t *testing.T, scenario string) []byte {
	t.Helper()
	b, err := encode(read(t, scenario))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func read(tb testing.TB, scenario string) []byte {
	tb.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", scenario+".events"))
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// encode takes events, one a line: the type, which is that of an exception where
// a ! stands before it, and the payload.
func encode(text []byte) ([]byte, error) {
	var b bytes.Buffer
	for line := range strings.Lines(string(text)) {
		name, payload, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		kind := "event"
		if exception, ok := strings.CutPrefix(name, "!"); ok {
			kind, name = "exception", exception
		}
		msg := eventstream.Message{Payload: []byte(payload)}
		msg.Headers.Set(":message-type", eventstream.StringValue(kind))
		msg.Headers.Set(":"+kind+"-type", eventstream.StringValue(name))
		msg.Headers.Set(":content-type", eventstream.StringValue("application/json"))
		if err := eventstream.NewEncoder().Encode(&b, msg); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// encoding turns answers that are events as text into the binary form.
type encoding struct{ next http.RoundTripper }

func (e encoding) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := e.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	binary, err := encode(text)
	if err != nil {
		binary = text // too long a name for a header: bytes in no form
	}
	res.Body = io.NopCloser(bytes.NewReader(binary))
	return res, nil
}

func stream(t *testing.T, scenario string) modeltest.Answer {
	t.Helper()
	return modeltest.Stream(mediaType, transcript(t, scenario))
}

func named(code string) map[string]string {
	return map[string]string{"X-Amzn-ErrorType": code + ":http://internal.amazon.com/coral/com.amazon.bedrock/"}
}

// The bodies are those of Bedrock.
var apiErrors = []modeltest.ErrorCase{
	{
		Name: "throttled", Status: 429, Header: named("ThrottlingException"),
		Body: `{"message":"Too many requests, please wait before trying again."}`,
		Want: model.Error{Code: "rate_limit_exceeded", Retry: true, Message: "Too many requests"},
	},
	{
		Name: "throttled for a while", Status: 429, Header: map[string]string{"X-Amzn-ErrorType": "ThrottlingException", "Retry-After": "3"},
		Body: `{"message":"Too many tokens."}`,
		Want: model.Error{Code: "rate_limit_exceeded", Retry: true, RetryAfter: 3 * time.Second, Message: "Too many tokens"},
	},
	{
		Name: "quota", Status: 400, Header: named("ServiceQuotaExceededException"),
		Body: `{"message":"Quota."}`,
		Want: model.Error{Code: "rate_limit_exceeded", Retry: true, Message: "Quota."},
	},
	{
		Name: "unavailable", Status: 503, Header: named("ServiceUnavailableException"),
		Body: `{"message":"Bedrock is unable to process your request."}`,
		Want: model.Error{Code: "server_overloaded", Retry: true, Message: "unable"},
	},
	{
		Name: "not ready", Status: 429, Header: named("ModelNotReadyException"),
		Body: `{"message":"Model is not ready for inference."}`,
		Want: model.Error{Code: "server_overloaded", Retry: true, Message: "not ready"},
	},
	{
		Name: "timeout", Status: 408, Header: named("ModelTimeoutException"),
		Body: `{"message":"The model took too long."}`,
		Want: model.Error{Code: "request_timeout", Retry: true, Message: "took too long"},
	},
	{
		Name: "model error", Status: 424, Header: named("ModelErrorException"),
		Body: `{"message":"The model failed.","originalStatusCode":500}`,
		Want: model.Error{Code: "server_error", Retry: true, Message: "The model failed."},
	},
	{
		Name: "internal", Status: 500, Header: named("InternalServerException"),
		Body: `{"message":"The system encountered an unexpected error."}`,
		Want: model.Error{Code: "server_error", Retry: true, Message: "unexpected"},
	},
	{
		Name: "denied", Status: 403, Header: named("AccessDeniedException"),
		Body: `{"message":"You don't have access to the model with the specified model ID."}`,
		Want: model.Error{Code: "authentication_error", Message: "access"},
	},
	{
		Name: "token", Status: 403, Header: named("UnrecognizedClientException"),
		Body: `{"message":"The security token included in the request is invalid."}`,
		Want: model.Error{Code: "authentication_error", Message: "security token"},
	},
	{
		Name: "no model", Status: 404, Header: named("ResourceNotFoundException"),
		Body: `{"message":"Model not found."}`,
		Want: model.Error{Code: "resource_not_found", Message: "Model not found."},
	},
	{
		Name: "too long", Status: 400, Header: named("ValidationException"),
		Body: `{"message":"Input is too long for requested model."}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "too long"},
	},
	{
		Name: "too long, Claude", Status: 400, Header: named("ValidationException"),
		Body: `{"message":"The model returned the following errors: prompt is too long: 903884 tokens > 200000 maximum"}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "903884"},
	},
	{
		Name: "too long, Nova", Status: 400, Header: named("ValidationException"),
		Body: `{"message":"Too many input tokens. Max input tokens: 128000, request input token count: 130000"}`,
		Want: model.Error{Code: "context_length_exceeded", Message: "130000"},
	},
	{
		Name: "bad request", Status: 400, Header: named("ValidationException"),
		Body: `{"message":"The text field in the ContentBlock object is blank."}`,
		Want: model.Error{Code: "invalid_request", Message: "blank"},
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

func play(t *testing.T, scenario string, req *model.Request) (*model.Response, error) {
	t.Helper()
	s := modeltest.NewServer(t, stream(t, scenario))
	return provider(t, s.URL, s.Client).Generate(t.Context(), req, nil)
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

func TestAuthentication(t *testing.T) {
	t.Setenv("AWS_BEARER_TOKEN_BEDROCK", "of-the-environment")
	signed := modeltest.NewServer(t, stream(t, "text"))
	if _, err := provider(t, signed.URL, signed.Client).Generate(t.Context(), hello(opus), nil); err != nil {
		t.Fatal(err)
	}
	got := signed.Only(t).Header.Get("Authorization")
	if !strings.HasPrefix(got, "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/") || !strings.Contains(got, "/us-east-1/bedrock/aws4_request") {
		t.Errorf("Authorization = %q, want a signature for bedrock in us-east-1", got)
	}

	got = ""
	answer := transcript(t, "text")
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		modeltest.Stream(mediaType, answer)(w, r)
	}))
	defer s.Close()
	p, err := bedrock.New(bedrock.Config{Region: "us-east-1", APIKey: modeltest.Key, BaseURL: s.URL, Client: s.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = p.Generate(t.Context(), hello(opus), nil); err != nil {
		t.Fatal(err)
	}
	if got != "Bearer "+modeltest.Key {
		t.Errorf("Authorization = %q, want the key", got)
	}
}

func TestNoCredentials(t *testing.T) {
	s := modeltest.NewServer(t, stream(t, "text"))
	p, err := bedrock.New(bedrock.Config{
		Region: "us-east-1", BaseURL: s.URL, Client: s.Client,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{}, errors.New("the metadata service does not answer")
		}),
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Generate(t.Context(), hello(opus), nil)
	var e *model.Error
	ok := errors.As(err, &e)
	if !ok || e.Code != "authentication_error" || !e.Retry || !strings.Contains(e.Message, "metadata service") {
		t.Errorf("error is %v, want an authentication_error that may be retried", err)
	}
	if n := len(s.Received()); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}

func TestNewRefuses(t *testing.T) {
	creds := credentials.NewStaticCredentialsProvider("a", "b", "")
	for name, c := range map[string]bedrock.Config{
		"no client":       {Region: "us-east-1", Credentials: creds},
		"no region":       {Client: http.DefaultClient, Credentials: creds},
		"no credentials":  {Client: http.DefaultClient, Region: "us-east-1"},
		"key over http":   {Client: http.DefaultClient, Region: "us-east-1", APIKey: modeltest.Key, BaseURL: "http://127.0.0.1:1"},
		"relative URL":    {Client: http.DefaultClient, Region: "us-east-1", Credentials: creds, BaseURL: "localhost"},
		"user in the URL": {Client: http.DefaultClient, Region: "us-east-1", Credentials: creds, BaseURL: "https://" + modeltest.Key + "@host/"},
	} {
		_, err := bedrock.New(c)
		if err == nil {
			t.Errorf("%s: no error", name)
		} else if strings.Contains(err.Error(), modeltest.Key) {
			t.Errorf("%s: the error repeats the secret: %v", name, err)
		}
	}
}

func TestErrorsWithinStream(t *testing.T) {
	for scenario, want := range map[string]model.Error{
		"throttled":          {Code: "rate_limit_exceeded", Retry: true},
		"model_stream_error": {Code: "server_error", Retry: true},
		"too_long":           {Code: "context_length_exceeded"},
		"malformed_tool":     {Code: "server_error", Retry: true},
		"no_form":            {Code: "server_error", Retry: true},
		"stray_input":        {Code: "server_error", Retry: true},
	} {
		_, err := play(t, scenario, hello(opus))
		var e *model.Error
		ok := errors.As(err, &e)
		if !ok || e.Code != want.Code || e.Retry != want.Retry {
			t.Errorf("%s: error is %v, want %s (retry %t)", scenario, err, want.Code, want.Retry)
		}
	}
}

// TestCorruptStream: a checksum that is wrong.
func TestCorruptStream(t *testing.T) {
	b := transcript(t, "text")
	b[len(b)-1] ^= 0xff
	s := modeltest.NewServer(t, modeltest.Stream(mediaType, b))
	_, err := provider(t, s.URL, s.Client).Generate(t.Context(), hello(opus), nil)
	var e *model.Error
	ok := errors.As(err, &e)
	if !ok || e.Code != "server_error" || !e.Retry {
		t.Errorf("error is %v, want a server_error that may be retried", err)
	}
}

func TestSilentGuardrail(t *testing.T) {
	res, err := play(t, "guardrail_silent", hello(opus))
	if err != nil {
		t.Fatal(err)
	}
	want := []event.Item{{
		Type: event.ItemMessage, Status: event.StatusCompleted, Role: event.RoleAssistant,
		Content: []event.Content{{Type: event.PartOutputText, Text: "A guardrail blocked the answer."}},
	}}
	if diff := cmp.Diff(want, res.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
}

// TestReasoningGoesBack: what is signed or encrypted, to the model that wrote
// it, and nothing else.
func TestReasoningGoesBack(t *testing.T) {
	answer := func(scenario, name string) any {
		res, err := play(t, scenario, hello(opus))
		if err != nil {
			t.Fatal(err)
		}
		req := hello(name)
		for i := range res.Items {
			req.Items = append(req.Items, &res.Items[i])
		}
		req.Items = append(req.Items, &event.Item{Type: event.ItemFunctionCallOutput, CallID: "call_1", Output: event.TextOutput("")})
		return sent(t, req)["messages"].([]any)[1].(map[string]any)["content"]
	}
	call := map[string]any{"toolUse": map[string]any{"toolUseId": "call_1", "name": "get_weather", "input": map[string]any{"city": "Oslo"}}}
	redacted := map[string]any{"reasoningContent": map[string]any{"redactedContent": "AQID"}}
	for _, c := range []struct {
		scenario, model string
		want            []any
	}{
		{"redacted", opus, []any{redacted, call}},
		{"redacted", "anthropic.claude-sonnet-4-6", []any{call}},
		{"unsigned", opus, []any{call}},
	} {
		if diff := cmp.Diff(any(c.want), answer(c.scenario, c.model)); diff != "" {
			t.Errorf("%s to %s (-want +got):\n%s", c.scenario, c.model, diff)
		}
	}
}

func TestFamilies(t *testing.T) {
	n := func(s string) json.Number { return json.Number(s) }
	thinking := func(kv map[string]any) any { return map[string]any{"thinking": kv} }
	for _, c := range []struct {
		model, effort string
		fields, out   any
	}{
		{model: opus},
		{model: opus, effort: "none", fields: thinking(map[string]any{"type": "disabled"})},
		{model: opus, effort: "minimal", fields: thinking(map[string]any{"type": "adaptive"}), out: map[string]any{"effort": "low"}},
		{model: "anthropic.claude-sonnet-4-5-20250929-v1:0", effort: "low", fields: thinking(map[string]any{"type": "enabled", "budget_tokens": n("4096")})},
		{model: "openai.gpt-oss-120b-1:0", effort: "max", fields: map[string]any{"reasoning_effort": "high"}},
		{model: "amazon.nova-2-lite-v1:0", effort: "medium", out: map[string]any{"effort": "medium"}},
		{model: "amazon.nova-2-lite-v1:0", effort: "none"},
	} {
		req := hello(c.model)
		req.Reasoning.Effort = c.effort
		body := sent(t, req)
		if diff := cmp.Diff([]any{c.fields, c.out}, []any{body["additionalModelRequestFields"], body["outputConfig"]}); diff != "" {
			t.Errorf("%s, effort %q: fields and outputConfig (-want +got):\n%s", c.model, c.effort, diff)
		}
	}
}

// TestOtherFamilies: no cache points, limits or statuses that a model may not
// know; tools that were called are declared.
func TestOtherFamilies(t *testing.T) {
	items := []*event.Item{
		{Type: event.ItemFunctionCall, CallID: "c:1", Name: "now", Arguments: json.RawMessage(`{}`)},
		{Type: event.ItemFunctionCallOutput, CallID: "c:1", Status: event.StatusFailed, Error: "late"},
	}
	req := hello("meta.llama4-scout-17b-instruct-v1:0", items...)
	req.Instructions, req.ServiceTier = "Be kind.", "auto"
	body := sent(t, req)
	id := body["messages"].([]any)[1].(map[string]any)["content"].([]any)[0].(map[string]any)["toolUse"].(map[string]any)["toolUseId"].(string)
	if strings.Contains(id, ":") {
		t.Errorf("toolUseId = %q, which the API refuses", id)
	}
	want := map[string]any{
		"system": []any{map[string]any{"text": "Be kind."}},
		"toolConfig": map[string]any{"tools": []any{map[string]any{"toolSpec": map[string]any{
			"name": "now", "inputSchema": map[string]any{"json": map[string]any{"type": "object", "properties": map[string]any{}}},
		}}}},
		"messages": []any{
			map[string]any{"role": "user", "content": []any{map[string]any{"text": "Hi"}}},
			map[string]any{"role": "assistant", "content": []any{map[string]any{"toolUse": map[string]any{"toolUseId": id, "name": "now", "input": map[string]any{}}}}},
			map[string]any{"role": "user", "content": []any{map[string]any{"toolResult": map[string]any{
				"toolUseId": id, "content": []any{map[string]any{"text": "Error:"}, map[string]any{"text": "late"}},
			}}}},
		},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
}

func TestImageInS3(t *testing.T) {
	req := hello(opus)
	req.Items[0].Content = []event.Content{{Type: event.PartInputImage, ImageURL: "s3://bucket/a.JPG"}}
	got := sent(t, req)["messages"].([]any)[0].(map[string]any)["content"].([]any)[0]
	want := map[string]any{"image": map[string]any{"format": "jpeg", "source": map[string]any{"s3Location": map[string]any{"uri": "s3://bucket/a.JPG"}}}}
	if diff := cmp.Diff(any(want), got); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
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
		"tier":           func(r *model.Request) { r.ServiceTier = "fast" },
		"effort":         func(r *model.Request) { r.Reasoning.Effort = "extreme" },
		"old model":      func(r *model.Request) { r.Model, r.Reasoning.Effort = "anthropic.claude-3-haiku-20240307-v1:0", "low" },
		"always reasons": func(r *model.Request) { r.Model, r.Reasoning.Effort = "openai.gpt-oss-20b-1:0", "none" },
		"tool schema":    func(r *model.Request) { r.Tools = []model.Tool{{Name: "x", Parameters: []byte(`[1]`)}} },
		"empty property": func(r *model.Request) {
			r.Tools = []model.Tool{{Name: "x", Parameters: []byte(`{"properties":{"":{}}}`)}}
		},
		"output schema":      func(r *model.Request) { r.Text = event.Text{Format: "json_schema", Schema: []byte(`"x"`)} },
		"no output schema":   func(r *model.Request) { r.Text = event.Text{Format: "json_schema"} },
		"empty":              func(r *model.Request) { r.Items = nil },
		"image by URL":       image("https://example.com/a.png"),
		"image of no format": image("s3://bucket/a"),
		"not an image":       image("data:text/plain;base64,aGk="),
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
