// Package modeltest is the suite that every model provider passes: the same
// scenarios, told in each provider's own wire format, must give the same answers,
// deltas and errors. A provider's test hands in transcripts and a constructor.
package modeltest

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
)

// Key is the credential that the suite uses. No error may repeat it.
const Key = "test-secret-0123456789abcdef"

// Wire is one provider's wire format.
type Wire struct {
	// New returns the model over a server at the URL.
	New func(t *testing.T, url string, client *http.Client) model.Model
	// Model is the name that is asked for.
	Model string
	// Path is where the requests must arrive.
	Path string
	// ContentType is that of a streamed answer.
	ContentType string
	// Transcript returns the stream of a scenario. The scenarios are: text,
	// tools, incomplete, incomplete_empty, refusal, overloaded, malformed.
	Transcript func(t *testing.T, scenario string) []byte
	// Requests is the folder with the expected request bodies: full.json,
	// roundtrip.json and schema.json.
	Requests string
	// Errors are the provider's own error answers.
	Errors []ErrorCase

	// ID and Served are what the transcripts say in text; empty where the
	// provider says nothing.
	ID, Served string
	// NoReasoningCount is set where the provider does not count reasoning tokens.
	NoReasoningCount bool
	// SchemaModel is asked for in the schema request; empty is Model.
	SchemaModel string
}

// ErrorCase is an answer that is an error.
type ErrorCase struct {
	Name   string
	Status int
	Header map[string]string
	Body   string
	Want   model.Error // Message is compared as a part
}

// Run runs the suite.
func Run(t *testing.T, w *Wire) {
	t.Helper()
	t.Run("Text", w.text)
	t.Run("ToolsAndReasoning", w.tools)
	t.Run("Incomplete", w.incomplete)
	t.Run("Refusal", w.refusal)
	t.Run("FullRequest", w.fullRequest)
	t.Run("StructuredOutput", w.schema)
	t.Run("Errors", w.errors)
	t.Run("ErrorWithinStream", w.overloaded)
	t.Run("Malformed", w.malformed)
	t.Run("Cut", w.cut)
	t.Run("NoConnection", w.noConnection)
	t.Run("ClientTimeout", w.clientTimeout)
	t.Run("Cancelled", w.cancelled)
	t.Run("NotAStream", w.notAStream)
	t.Run("ManyAtOnce", w.manyAtOnce)
}

func (w *Wire) stream(t *testing.T, scenario string) Answer {
	t.Helper()
	return Stream(w.ContentType, w.Transcript(t, scenario))
}

// hello is a request with one user's message.
func (w *Wire) hello() *model.Request {
	return &model.Request{
		Model: w.Model, EffectID: "eff_1",
		Items: []*event.Item{userText("Hi")},
	}
}

func userText(s string) *event.Item {
	return &event.Item{
		Type: event.ItemMessage, Role: event.RoleUser,
		Content: []event.Content{{Type: event.PartInputText, Text: s}},
	}
}

// generate asks a new server once.
func (w *Wire) generate(t *testing.T, answer Answer, req *model.Request) (*model.Response, []model.Delta, *Server) {
	t.Helper()
	s := NewServer(t, answer)
	res, deltas := w.ask(t, s, req)
	return res, deltas, s
}

// ask generates and collects the deltas.
func (w *Wire) ask(t *testing.T, s *Server, req *model.Request) (*model.Response, []model.Delta) {
	t.Helper()
	before := encode(t, req)
	var deltas []model.Delta
	res, err := w.New(t, s.URL, s.Client).Generate(t.Context(), req, func(d model.Delta) { deltas = append(deltas, d) })
	if err != nil {
		t.Fatalf("Generate: %v", err)
	}
	if after := encode(t, req); after != before {
		t.Errorf("the request was changed:\nbefore %s\nafter  %s", before, after)
	}
	return res, deltas
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (w *Wire) text(t *testing.T) {
	res, deltas, s := w.generate(t, w.stream(t, "text"), w.hello())
	served := w.Served
	if served == "" {
		served = w.Model
	}
	want := &model.Response{
		ID: w.ID, Model: served,
		Items: []event.Item{message("Hello, world.", event.StatusCompleted)},
		Usage: event.Usage{InputTokens: 20, CachedTokens: 8, OutputTokens: 5},
	}
	diff(t, "response", want, res)
	diff(t, "deltas", []model.Delta{
		{Kind: model.TextDelta, Text: "Hello"},
		{Kind: model.TextDelta, Text: ", world."},
	}, deltas)
	got := s.Only(t)
	if got.Path != w.Path {
		t.Errorf("the request went to %s, want %s", got.Path, w.Path)
	}
	if _, err := w.New(t, s.URL, s.Client).Generate(t.Context(), w.hello(), nil); err != nil {
		t.Errorf("Generate without emit: %v", err)
	}
}

func message(text, status string) event.Item {
	return event.Item{
		Type: event.ItemMessage, Status: status, Role: event.RoleAssistant,
		Content: []event.Content{{Type: event.PartOutputText, Text: text}},
	}
}

func call(id, arguments, status string) event.Item {
	return event.Item{
		Type: event.ItemFunctionCall, Status: status, CallID: id, Name: "get_weather", Arguments: json.RawMessage(arguments),
	}
}

// tools has a model think, speak and call twice, and then checks that what it
// said goes back as the provider wants it.
func (w *Wire) tools(t *testing.T) {
	req := w.hello()
	req.Tools = []model.Tool{weather}
	s := NewServer(t, w.stream(t, "tools"), w.stream(t, "text"))
	res, deltas := w.ask(t, s, req)
	want := []event.Item{
		{Type: event.ItemReasoning, Status: event.StatusCompleted, Summary: []event.Content{{Type: event.PartSummaryText, Text: "Two cities, two calls."}}},
		message("Looking it up.", event.StatusCompleted),
		call("call_1", `{"city":"Paris"}`, event.StatusCompleted),
		call("call_2", `{}`, event.StatusCompleted),
	}
	if diff := cmp.Diff(want, res.Items, cmpopts.IgnoreFields(event.Item{}, "Provider")); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	usage := event.Usage{InputTokens: 50, OutputTokens: 30, ReasoningTokens: 10}
	if w.NoReasoningCount {
		usage.ReasoningTokens = 0
	}
	diff(t, "usage", usage, res.Usage)
	diff(t, "deltas", []model.Delta{
		{Kind: model.ReasoningDelta, Index: 0, Text: "Two cities, "},
		{Kind: model.ReasoningDelta, Index: 0, Text: "two calls."},
		{Kind: model.TextDelta, Index: 1, Text: "Looking it up."},
	}, deltas)

	for i := range res.Items {
		req.Items = append(req.Items, &res.Items[i])
	}
	// Answers come in another order than calls.
	req.Items = append(
		req.Items,
		&event.Item{Type: event.ItemFunctionCallOutput, CallID: "call_2", Status: event.StatusFailed, Error: "no city"},
		&event.Item{Type: event.ItemFunctionCallOutput, CallID: "call_1", Status: event.StatusCompleted, Output: event.TextOutput("18 °C")},
	)
	w.ask(t, s, req)
	w.compare(t, "roundtrip.json", s.Received()[1].Body)
}

var weather = model.Tool{
	Name: "get_weather", Description: "The weather in a city.",
	Parameters: json.RawMessage(`{"type":"object","properties":{"city":{"type":"string"}},"required":["city"],"additionalProperties":false}`),
}

func (w *Wire) incomplete(t *testing.T) {
	res, _, _ := w.generate(t, w.stream(t, "incomplete"), w.hello())
	diff(t, "items", []event.Item{call("call_1", `"{\"city\":\"Pa"`, event.StatusIncomplete)}, res.Items)

	res, _, _ = w.generate(t, w.stream(t, "incomplete_empty"), w.hello())
	diff(t, "items", []event.Item{{Type: event.ItemMessage, Role: event.RoleAssistant, Status: event.StatusIncomplete}}, res.Items)
}

func (w *Wire) refusal(t *testing.T) {
	res, _, _ := w.generate(t, w.stream(t, "refusal"), w.hello())
	diff(t, "items", []event.Item{message("I can't help with that.", event.StatusCompleted)}, res.Items)
}

func (w *Wire) compare(t *testing.T, file string, got []byte) {
	t.Helper()
	want, err := os.ReadFile(filepath.Join(w.Requests, file))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(Decode(t, want), Decode(t, got)); diff != "" {
		t.Errorf("%s: request (-want +got):\n%s\n%s", file, diff, got)
	}
}

// fullRequest has everything in it that a conversation may have.
func (w *Wire) fullRequest(t *testing.T) {
	_, _, s := w.generate(t, w.stream(t, "text"), FullRequest(w.Model))
	w.compare(t, "full.json", s.Only(t).Body)
}

func (w *Wire) schema(t *testing.T) {
	req := w.hello()
	if w.SchemaModel != "" {
		req.Model = w.SchemaModel
	}
	req.Text = event.Text{
		Format:    "json_schema",
		Schema:    json.RawMessage(`{"type":"object","properties":{"b":{"type":"integer"},"a":{"type":"string"}},"required":["b","a"],"additionalProperties":false}`),
		Verbosity: "low",
	}
	req.Reasoning = event.Reasoning{Effort: "high", Summary: "auto"}
	req.ServiceTier = "default"
	req.MaxOutputTokens = 4000
	_, _, s := w.generate(t, w.stream(t, "text"), req)
	body := s.Only(t).Body
	w.compare(t, "schema.json", body)
	// Models write properties in the order of the schema, so it must arrive.
	text := strings.ReplaceAll(string(body), `\"`, `"`)
	if b, a := strings.Index(text, `"b":{`), strings.Index(text, `"a":{`); b < 0 || a < b {
		t.Errorf("the schema's properties lost their order: %s", body)
	}
}

// fails asks once and returns the error, which must be a *model.Error.
func (w *Wire) fails(t *testing.T, answer Answer) (*model.Error, *Server) {
	t.Helper()
	s := NewServer(t, answer)
	_, err := w.New(t, s.URL, s.Client).Generate(t.Context(), w.hello(), nil)
	var e *model.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T %v, want a *model.Error", err, err)
	}
	if strings.Contains(err.Error(), Key) || strings.Contains(e.Message, s.URL) {
		t.Errorf("the error says too much: %v", err)
	}
	return e, s
}

func (w *Wire) errors(t *testing.T) {
	for _, c := range w.Errors {
		t.Run(c.Name, func(t *testing.T) {
			got, s := w.fails(t, Status(c.Status, c.Header, c.Body))
			s.Only(t) // no attempt but the first
			check(t, got, c.Want)
			if got.Status != c.Status {
				t.Errorf("Status = %d, want %d", got.Status, c.Status)
			}
		})
	}
}

func check(t *testing.T, got *model.Error, want model.Error) {
	t.Helper()
	if got.Code != want.Code || got.Retry != want.Retry || got.RetryAfter != want.RetryAfter {
		t.Errorf("got %s (retry %t after %s): %s; want %s (retry %t after %s)",
			got.Code, got.Retry, got.RetryAfter, got.Message, want.Code, want.Retry, want.RetryAfter)
	}
	if !strings.Contains(got.Message, want.Message) || got.Message == "" {
		t.Errorf("Message = %q, want %q in it", got.Message, want.Message)
	}
}

func (w *Wire) overloaded(t *testing.T) {
	got, _ := w.fails(t, w.stream(t, "overloaded"))
	check(t, got, model.Error{Code: "server_overloaded", Retry: true, Message: "overloaded"})
}

func (w *Wire) malformed(t *testing.T) {
	got, _ := w.fails(t, w.stream(t, "malformed"))
	check(t, got, model.Error{Code: "server_error", Retry: true})
}

func (w *Wire) cut(t *testing.T) {
	whole := w.Transcript(t, "tools")
	half := whole[:len(whole)/2]
	want := model.Error{Code: "connection_failed", Retry: true}
	for name, answer := range map[string]Answer{
		"connection broken": CutStream(w.ContentType, half),
		"stream ended":      Stream(w.ContentType, half),
		"nothing came":      Stream(w.ContentType, nil),
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := w.fails(t, answer)
			check(t, got, want)
		})
	}
}

func (w *Wire) noConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = w.New(t, url, &http.Client{}).Generate(t.Context(), w.hello(), nil)
	var e *model.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T %v, want a *model.Error", err, err)
	}
	check(t, e, model.Error{Code: "connection_failed", Retry: true})
}

func (w *Wire) clientTimeout(t *testing.T) {
	s := NewServer(t, HeldStream(w.ContentType, nil))
	client := &http.Client{Transport: s.Client.Transport, Timeout: 50 * time.Millisecond}
	_, err := w.New(t, s.URL, client).Generate(t.Context(), w.hello(), nil)
	var e *model.Error
	if !errors.As(err, &e) {
		t.Fatalf("error is %T %v, want a *model.Error", err, err)
	}
	check(t, e, model.Error{Code: "request_timeout", Retry: true})
}

// cancelled gives up while the answer comes in.
func (w *Wire) cancelled(t *testing.T) {
	whole := w.Transcript(t, "tools")
	s := NewServer(t, HeldStream(w.ContentType, whole[:len(whole)*3/4]))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := w.New(t, s.URL, s.Client).Generate(ctx, w.hello(), func(model.Delta) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}

func (w *Wire) notAStream(t *testing.T) {
	for name, answer := range map[string]Answer{
		"page": func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", "text/html; charset=utf-8")
			rw.Write([]byte("<html><body>Welcome</body></html>"))
		},
		"object": Status(http.StatusOK, nil, `{"hello":"world"}`),
	} {
		t.Run(name, func(t *testing.T) {
			got, _ := w.fails(t, answer)
			check(t, got, model.Error{Code: "server_error", Retry: true})
		})
	}
}

// manyAtOnce: answers that come in at the same time do not mix.
func (w *Wire) manyAtOnce(t *testing.T) {
	tools, text := w.stream(t, "tools"), w.stream(t, "text")
	s := NewServer(t, func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Want") == "tools" {
			tools(rw, r)
		} else {
			text(rw, r)
		}
	})
	wants := map[string]string{"text": "Hello, world.", "tools": `Looking it up.{"city":"Paris"}{}`}
	models := map[string]model.Model{}
	for scenario := range wants {
		models[scenario] = w.New(t, s.URL, &http.Client{Transport: marked{s.Client.Transport, scenario}})
	}
	var wg sync.WaitGroup
	for scenario, want := range wants {
		for range 8 {
			wg.Go(func() {
				res, err := models[scenario].Generate(t.Context(), FullRequest(w.Model), func(model.Delta) {})
				if err != nil {
					t.Errorf("Generate: %v", err)
					return
				}
				var got strings.Builder
				for i := range res.Items {
					got.WriteString(res.Items[i].Text())
					got.Write(res.Items[i].Arguments)
				}
				if got.String() != want {
					t.Errorf("%s: got %s, want %s", scenario, got.String(), want)
				}
			})
		}
	}
	wg.Wait()
}

// marked says in a header which scenario is wanted.
type marked struct {
	http.RoundTripper
	scenario string
}

func (m marked) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Want", m.scenario)
	return m.RoundTripper.RoundTrip(r)
}

func diff(t *testing.T, what string, want, got any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}
