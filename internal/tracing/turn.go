package tracing

import (
	"context"
	"crypto/sha256"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/session"
)

// Turn is a turn that ended.
type Turn struct {
	Project, Session, ID string
	Parent               string // the traceparent of the request that began it; may be empty
	AgentID, AgentName   string
	Model                string
	Began, Ended         time.Time
	Status               string
	Code                 string // of why it failed
	Steps                int
	Usage                event.Usage
	CostNanoUSD          int64
}

// TurnOf takes from a session what its turn is told by.
func TurnOf(s *session.State, t *session.Turn) Turn {
	told := Turn{
		Project: s.Project, Session: s.ID, ID: t.ID, Parent: t.TraceParent, AgentID: s.Agent.ID, Model: s.Agent.Model,
		Began: t.CreatedAt, Ended: t.CompletedAt, Status: t.Status, Steps: t.Steps, Usage: t.Usage, CostNanoUSD: t.CostNanoUSD,
	}
	if s.Agent.Name != nil {
		told.AgentName = *s.Agent.Name
	}
	if t.Error != nil {
		told.Code = t.Error.Code
	}
	return told
}

// turnName is what the span of a turn is called, with the agent's name behind it.
const turnName = "invoke_agent"

// Turn tells of a turn. Its span is the parent of those of its effects, which were
// told of before.
func (t *Tracer) Turn(turn *Turn) {
	if t == nil {
		return
	}
	at := place(turn.Session, turn.ID, turn.Parent)
	ctx := context.WithValue(at.parent, wantedKey{}, wanted{at.trace, at.span})
	name := turnName
	if turn.AgentName != "" {
		name += " " + turn.AgentName
	}
	_, span := t.tracer.Start(ctx, name, trace.WithTimestamp(turn.Began), trace.WithSpanKind(trace.SpanKindInternal), trace.WithAttributes(
		attribute.String("gen_ai.operation.name", turnName),
		attribute.String("gen_ai.agent.id", turn.AgentID),
		attribute.String("gen_ai.agent.name", turn.AgentName),
		attribute.String("gen_ai.conversation.id", turn.Session),
		attribute.String("gen_ai.request.model", turn.Model),
		attribute.String("stayd.project", turn.Project),
		attribute.String("stayd.turn.id", turn.ID),
		attribute.String("stayd.turn.status", turn.Status),
		attribute.Int("stayd.turn.steps", turn.Steps),
		attribute.Int64("stayd.cost.nano_usd", turn.CostNanoUSD),
	))
	span.SetAttributes(usage(turn.Usage)...)
	if turn.Status == session.TurnFailed {
		failed(span, turn.Code)
	}
	span.End(trace.WithTimestamp(turn.Ended))
}

// where is where a turn's span belongs.
type where struct {
	parent context.Context // of the turn's span
	trace  trace.TraceID
	span   trace.SpanID
}

// place finds it. The ids are functions of the log's, so that whoever takes up the
// turn after a crash goes on with the same trace.
func place(sessionID, turnID, traceparent string) where {
	sum := sha256.Sum256([]byte(sessionID + "\x00" + turnID))
	w := where{parent: context.Background(), trace: trace.TraceID(sum[:16]), span: trace.SpanID(sum[16:24])}
	if ctx := remote(traceparent); ctx != nil {
		w.parent, w.trace = ctx, trace.SpanContextFromContext(ctx).TraceID()
	}
	return w
}

// remote is a context in the span that a W3C traceparent names, or nil.
func remote(traceparent string) context.Context {
	carrier := propagation.MapCarrier{"traceparent": traceparent}
	ctx := propagation.TraceContext{}.Extract(context.Background(), carrier)
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return nil
	}
	return ctx
}

// Parent is the W3C traceparent of the context's span; empty where there is none.
func Parent(ctx context.Context) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	return carrier["traceparent"]
}

func usage(u event.Usage) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.Int64("gen_ai.usage.input_tokens", u.InputTokens),
		attribute.Int64("gen_ai.usage.output_tokens", u.OutputTokens),
	}
}

// failed marks a span by a code. Messages may repeat what was said, and stay in
// the log.
func failed(span trace.Span, code string) {
	if code == "" {
		code = "_OTHER"
	}
	span.SetAttributes(attribute.String("error.type", code))
	span.SetStatus(codes.Error, code)
}
