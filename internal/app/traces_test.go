package app_test

import (
	"cmp"
	"compress/gzip"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// span is one that the collector was told of.
type span struct {
	trace, id, parent, name string
	attributes              map[string]string
	code                    int32
	began, ended            uint64
}

// collected is what a collector of traces was told.
type collected struct {
	*httptest.Server
	mu    sync.Mutex
	spans []span
	raw   []byte
}

func newCollector(t *testing.T) *collected {
	c := &collected{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			body, _ = gzip.NewReader(r.Body)
		}
		data, err := io.ReadAll(body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(data, &req)
		}
		if err != nil || r.URL.Path != "/v1/traces" {
			t.Errorf("the collector was asked at %s: %v", r.URL.Path, err)
		}
		c.take(data, &req)
	}))
	t.Cleanup(c.Close)
	return c
}

func (c *collected) take(data []byte, req *collector.ExportTraceServiceRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw = append(c.raw, data...)
	for _, resource := range req.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				told := span{
					trace: hex.EncodeToString(s.TraceId), id: hex.EncodeToString(s.SpanId), parent: hex.EncodeToString(s.ParentSpanId),
					name: s.Name, attributes: map[string]string{}, code: int32(s.GetStatus().GetCode()), began: s.StartTimeUnixNano, ended: s.EndTimeUnixNano,
				}
				for _, a := range s.Attributes {
					told.attributes[a.Key] = cmp.Or(a.Value.GetStringValue(), a.Value.String())
				}
				c.spans = append(c.spans, told)
			}
		}
	}
}

// of returns the spans of a session's turns and what belongs to them, by name.
func (c *collected) of(trace string) map[string][]span {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := map[string][]span{}
	for _, s := range c.spans {
		if s.trace == trace {
			found[s.name] = append(found[s.name], s)
		}
	}
	return found
}

func (c *collected) turn(session string) span {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.spans, func(s span) bool {
		return strings.HasPrefix(s.name, "invoke_agent") && s.attributes["gen_ai.conversation.id"] == session
	})
	if i < 0 {
		return span{}
	}
	return c.spans[i]
}

// A turn is one trace, below the request that began it, over a restart of the
// runtime, and no span has what was said.
func TestTraces(t *testing.T) {
	c, model := newCollector(t), newSpeaker(t, "the model")
	cfg := config(t)
	cfg.Traces, cfg.Models = c.URL, filepath.Join(t.TempDir(), "models.yaml")
	if err := os.WriteFile(cfg.Models, []byte("providers: {near: {type: openai_chat, base_url: "+model.URL+"/v1}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := start(t, cfg)
	caller := "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	var called, placed struct{ ID string }
	n.must(&called, "POST", sessions, sessionBody("near/m", "the word is xylograph", ""), "Traceparent", caller)
	n.until(called.ID, "idle")
	n.must(&placed, "POST", sessions, `{"environment":{"type":"openai_hosted","sandbox":"js"},"agent":{"model":"script/work"},"input":"publish"}`)
	n.until(placed.ID, "idle")
	asking := n.create("ask me", timerAndAsk)
	action := n.until(asking, "requires_action").RequiredActions[0]
	n.stop()
	first := len(c.spans)
	n = start(t, cfg)
	n.must(nil, "POST", sessions+"/"+asking+"/events", toolResult(action.TurnID, action.CallID, "xylograph"))
	n.until(asking, "idle")
	n.stop()

	t.Run("below a caller's span", func(t *testing.T) {
		turn := c.turn(called.ID)
		all := c.of("0af7651916cd43dd8448eb211c80319c")
		request, chat, post := all["POST /v1/agents/sessions"], all["chat near/m"], all["POST"]
		if len(request) != 1 || len(chat) != 1 || len(post) != 1 {
			t.Fatalf("the caller's trace has %v", all)
		}
		if turn.name != "invoke_agent" || request[0].parent != "b7ad6b7169203331" || turn.parent != request[0].id || chat[0].parent != turn.id || post[0].parent != chat[0].id {
			t.Errorf("they are not below each other: %v", all)
		}
		for name, want := range map[string]string{
			"gen_ai.operation.name": "chat", "gen_ai.request.model": "near/m", "gen_ai.response.model": "near/m", "gen_ai.response.id": "c1",
			"gen_ai.usage.input_tokens": "int_value:3", "gen_ai.usage.output_tokens": "int_value:4", "stayd.effect.outcome": "finished",
		} {
			if got := chat[0].attributes[name]; got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if post[0].attributes["stayd.use"] != "model" || post[0].attributes["http.response.status_code"] != "int_value:200" {
			t.Errorf("the request to the model has %v", post[0].attributes)
		}
	})
	t.Run("an environment", func(t *testing.T) {
		turn := c.turn(placed.ID)
		all := c.of(turn.trace)
		for name, times := range map[string]int{"environment": 1, "chat script/work": 2, "execute_tool write_file": 1} {
			if len(all[name]) != times || all[name][0].parent != turn.id || all[name][0].code == 2 {
				t.Errorf("%s: %v", name, all[name])
			}
		}
	})
	t.Run("over a restart", func(t *testing.T) {
		turn := c.turn(asking)
		chats := c.of(turn.trace)["chat script/work"]
		if len(chats) != 2 || chats[0].parent != turn.id || chats[1].parent != turn.id || turn.began > chats[0].began || turn.ended < chats[1].ended {
			t.Errorf("the turn %v has %v", turn, chats)
		}
		if turn.attributes["stayd.turn.status"] != "completed" {
			t.Errorf("the turn ended as %v", turn.attributes)
		}
		before := slices.ContainsFunc(c.spans[:first], func(s span) bool { return s.id == chats[0].id })
		if before == slices.ContainsFunc(c.spans[:first], func(s span) bool { return s.id == chats[1].id }) {
			t.Error("both calls of the model were told of by the same process")
		}
	})
	if strings.Contains(string(c.raw), "xylograph") {
		t.Error("what was said is in a span")
	}
}

// Turns that end together are told of, each by itself.
func TestTracesOfTurnsThatEndTogether(t *testing.T) {
	c := newCollector(t)
	cfg := config(t)
	cfg.Traces = c.URL
	cfg.Models = filepath.Join(t.TempDir(), "models.yaml")
	if err := os.WriteFile(cfg.Models, []byte("models: {script/priced: {price: {input: 10, output: 1000}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	n := start(t, cfg)
	var made struct{ ID string }
	n.must(&made, "POST", sessions, `{"environment":{"type":"none"},"agent":{"model":"script/priced"},"input":"one","spend_control":{"limit":12}}`)
	n.until(made.ID, "idle")
	one := strings.TrimSuffix(strings.TrimPrefix(message("more"), `{"events":[`), `]}`)
	n.must(nil, "POST", sessions+"/"+made.ID+"/events", `{"events":[`+one+`,`+one+`,`+one+`]}`)
	wait(t, "all turns to end", func() bool {
		turns := n.turns(made.ID)
		return len(turns) == 4 && !slices.ContainsFunc(turns, func(t turn) bool { return t.Status != "completed" && t.Status != "failed" })
	})
	n.stop()
	statuses := map[string]int{}
	for _, s := range c.spans {
		if s.name == "invoke_agent" {
			statuses[s.attributes["stayd.turn.status"]+" "+s.attributes["error.type"]]++
		}
	}
	if len(statuses) != 2 || statuses["completed "] != 1 || statuses["failed session_budget_exceeded"] != 3 {
		t.Errorf("turns ended as %v", statuses)
	}
}

// A collector that is away costs spans, and nothing else.
func TestNoCollector(t *testing.T) {
	c := newCollector(t)
	c.Close()
	cfg := config(t)
	cfg.Traces = c.URL
	n := start(t, cfg)
	if got := n.lastText(n.create("anything", "")); got != "Done." {
		t.Errorf("the agent said %q", got)
	}
	n.stop()
	for bad, want := range map[string]string{
		"127.0.0.1:4318":          `traces "127.0.0.1:4318" is not a URL like http://127.0.0.1:4318, with http or https and without user, query and fragment`,
		"http://u:p@example.com/": `traces "...@example.com/" is not a URL like http://127.0.0.1:4318, with http or https and without user, query and fragment`,
	} {
		cfg.Traces = bad
		if err := cfg.Validate(); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
}
