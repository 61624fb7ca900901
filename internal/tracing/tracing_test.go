package tracing_test

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tracing"
)

// told has do tell a tracer, and returns the spans that its collector was told of.
func told(t *testing.T, do func(*tracing.Tracer)) (spans []*otlp.Span) {
	t.Helper()
	var mu sync.Mutex
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var req collector.ExportTraceServiceRequest
		if err == nil {
			err = proto.Unmarshal(body, &req)
		}
		if err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range req.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				spans = append(spans, scope.Spans...)
			}
		}
	}))
	defer s.Close()
	tracer, err := tracing.New(t.Context(), tracing.Config{Collector: s.URL, HTTP: s.Client(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	do(tracer)
	tracer.Close(t.Context())
	return spans
}

func attribute(s *otlp.Span, name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

var call = tracing.Effect{Session: "s", Turn: "t", ID: "e", What: event.EffectTool, Tool: "send", Server: "mail", Class: event.Once, Attempt: 2}

func TestOutcomes(t *testing.T) {
	later := time.Now()
	for name, tt := range map[string]struct {
		payloads []event.Payload
		outcome  string
		failed   string
	}{
		"finished":      {[]event.Payload{&event.Snapshot{}, &event.EffectFinished{Status: event.StatusCompleted}}, "finished", ""},
		"tool's error":  {[]event.Payload{&event.EffectFinished{Status: event.StatusFailed, Error: "secret"}}, "finished", "tool_error"},
		"failed":        {[]event.Payload{&event.EffectFailed{Code: "connection_failed", Message: "secret"}}, "failed", "connection_failed"},
		"tried again":   {[]event.Payload{&event.EffectFailed{Code: "connection_failed", RetryAt: &later}}, "to be tried again", "connection_failed"},
		"unknown":       {[]event.Payload{&event.EffectUnknown{Reason: "secret"}}, "unknown", "outcome_unknown"},
		"asks somebody": {[]event.Payload{&event.ConsentRequested{Nonce: "secret"}}, "waits for consent", ""},
		"stopped":       {nil, "not recorded", ""},
	} {
		t.Run(name, func(t *testing.T) {
			began, ended := time.Now(), time.Now().Add(time.Hour)
			spans := told(t, func(tr *tracing.Tracer) {
				_, a := tr.Begin(t.Context(), &call)
				a.End(ended, tt.payloads)
			})
			if len(spans) != 1 {
				t.Fatalf("%d spans", len(spans))
			}
			s := spans[0]
			if s.Name != "execute_tool send" || attribute(s, "stayd.effect.outcome") != tt.outcome || attribute(s, "error.type") != tt.failed || attribute(s, "stayd.effect.class") != "once" {
				t.Errorf("told %v", s)
			}
			if failed := s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR; failed != (tt.failed != "") || s.GetStatus().GetMessage() != tt.failed {
				t.Errorf("the status is %v", s.GetStatus())
			}
			if s.StartTimeUnixNano < uint64(began.UnixNano()) || s.EndTimeUnixNano != uint64(ended.UnixNano()) {
				t.Errorf("from %d to %d", s.StartTimeUnixNano, s.EndTimeUnixNano)
			}
		})
	}
}

// Whether a turn is told of is decided for the whole of it.
func TestSampling(t *testing.T) {
	for name, tt := range map[string]struct {
		sampler, argument, parent string
		spans                     int
	}{
		"all":                     {"", "", "", 2},
		"none":                    {"parentbased_always_off", "", "", 0},
		"a share of none":         {"parentbased_traceidratio", "0", "", 0},
		"a share of all":          {"parentbased_traceidratio", "1", "", 2},
		"not wanted by a caller":  {"", "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", 0},
		"wanted by a caller":      {"parentbased_always_off", "", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 2},
		"what is no parent is no": {"", "", "00-0-0-01", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("OTEL_TRACES_SAMPLER", tt.sampler)
			t.Setenv("OTEL_TRACES_SAMPLER_ARG", tt.argument)
			spans := told(t, func(tr *tracing.Tracer) {
				e := call
				e.Parent = tt.parent
				_, a := tr.Begin(t.Context(), &e)
				a.End(time.Now(), nil)
				tr.Turn(&tracing.Turn{Session: "s", ID: "t", Parent: tt.parent, Began: time.Now(), Ended: time.Now()})
			})
			if len(spans) != tt.spans {
				t.Fatalf("told of %d spans, want %d", len(spans), tt.spans)
			}
			if len(spans) == 2 && (string(spans[0].ParentSpanId) != string(spans[1].SpanId) || string(spans[0].TraceId) != string(spans[1].TraceId)) {
				t.Errorf("the attempt is not below its turn: %v", spans)
			}
		})
	}
}

// What belongs to no turn is a trace of its own, the same for all attempts.
func TestNoTurn(t *testing.T) {
	spans := told(t, func(tr *tracing.Tracer) {
		for range 2 {
			_, a := tr.Begin(t.Context(), &tracing.Effect{Session: "s", ID: "e", What: event.EffectKeep})
			a.End(time.Now(), nil)
		}
	})
	if len(spans) != 2 || len(spans[0].ParentSpanId)+len(spans[1].ParentSpanId) != 0 ||
		string(spans[0].TraceId) != string(spans[1].TraceId) || string(spans[0].SpanId) == string(spans[1].SpanId) {
		t.Errorf("told %v", spans)
	}
}

// A tracer that is not there is asked like one that is.
func TestNobody(t *testing.T) {
	var tr *tracing.Tracer
	ctx, a := tr.Begin(t.Context(), &call)
	a.End(time.Now(), nil)
	tr.Turn(&tracing.Turn{})
	tr.Close(ctx)
	if tracing.Parent(ctx) != "" || tr.Around("x", http.DefaultTransport) != http.DefaultTransport {
		t.Error("nobody tells")
	}
	if got := tracing.Parent(context.Background()); got != "" {
		t.Errorf("a context without a span has %q", got)
	}
}
