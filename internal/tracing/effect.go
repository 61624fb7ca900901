package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/stayd/stayd/internal/event"
)

// Effect is one attempt of an effect.
type Effect struct {
	Project, Session, Turn string
	Parent                 string // the traceparent of the request that began the turn; may be empty
	ID                     string
	What                   event.EffectKind
	Class                  event.Class
	Attempt                int
	Model                  string // of a model call, as the agent has it
	Tool, Call, Server     string // of a tool call
}

// Attempt is under way.
type Attempt struct{ span trace.Span }

// Begin tells that an attempt begins. What is done with the context belongs to it.
func (t *Tracer) Begin(ctx context.Context, e *Effect) (context.Context, *Attempt) {
	if t == nil {
		return ctx, nil
	}
	of := e.Turn
	if of == "" {
		of = e.ID // it belongs to no turn, and is a trace of its own
	}
	at := place(e.Session, of, e.Parent)
	ctx = trace.ContextWithRemoteSpanContext(ctx, t.turnSpan(&at))
	if e.Turn == "" {
		ctx = context.WithValue(trace.ContextWithSpanContext(ctx, trace.SpanContext{}), wantedKey{}, wanted{trace: at.trace})
	}
	name, kind, attrs := e.told()
	ctx, span := t.tracer.Start(ctx, name, trace.WithSpanKind(kind), trace.WithAttributes(attrs...))
	return context.WithValue(ctx, wantedKey{}, wanted{}), &Attempt{span: span}
}

// turnSpan is the span of a turn that is told of when it has ended. Whether it will
// be depends on what a sampler says of its trace, which is the same each time.
func (t *Tracer) turnSpan(at *where) trace.SpanContext {
	ctx := context.WithValue(at.parent, wantedKey{}, wanted{at.trace, at.span})
	_, asked := t.tracer.Start(ctx, turnName) // it is not ended, and so not told of
	return asked.SpanContext().WithRemote(true)
}

func (e *Effect) told() (name string, kind trace.SpanKind, attrs []attribute.KeyValue) {
	attrs = []attribute.KeyValue{
		attribute.String("gen_ai.conversation.id", e.Session),
		attribute.String("stayd.project", e.Project),
		attribute.String("stayd.turn.id", e.Turn),
		attribute.String("stayd.effect.id", e.ID),
		attribute.String("stayd.effect.kind", string(e.What)),
		attribute.String("stayd.effect.class", string(e.Class)),
		attribute.Int("stayd.effect.attempt", e.Attempt),
	}
	switch e.What {
	case event.EffectModel, event.EffectCompaction, event.EffectExtract:
		return "chat " + e.Model, trace.SpanKindClient, append(attrs,
			attribute.String("gen_ai.operation.name", "chat"), attribute.String("gen_ai.request.model", e.Model))
	case event.EffectTool:
		return "execute_tool " + e.Tool, trace.SpanKindInternal, append(attrs,
			attribute.String("gen_ai.operation.name", "execute_tool"), attribute.String("gen_ai.tool.name", e.Tool),
			attribute.String("gen_ai.tool.call.id", e.Call), attribute.String("stayd.server.label", e.Server))
	case event.EffectToolsList:
		return "tools/list " + e.Server, trace.SpanKindClient, append(attrs, attribute.String("stayd.server.label", e.Server))
	default:
		return string(e.What), trace.SpanKindInternal, attrs
	}
}

// End tells what came of the attempt: what the log has of it, or that it has
// nothing. at is when it was over.
func (a *Attempt) End(at time.Time, payloads []event.Payload) {
	if a == nil {
		return
	}
	if len(payloads) == 0 {
		a.span.SetAttributes(attribute.String("stayd.effect.outcome", "not recorded"))
	}
	for _, p := range payloads {
		a.outcome(p)
	}
	a.span.End(trace.WithTimestamp(at))
}

func (a *Attempt) outcome(p event.Payload) {
	outcome := "finished"
	switch p := p.(type) {
	case *event.ModelResponded:
		a.span.SetAttributes(
			attribute.String("gen_ai.response.model", p.Model), attribute.String("gen_ai.response.id", p.ResponseID), attribute.Int64("stayd.cost.nano_usd", p.CostNanoUSD))
		a.span.SetAttributes(usage(p.Usage)...)
	case *event.ContextCompacted:
		a.span.SetAttributes(attribute.String("gen_ai.response.model", p.Model), attribute.Int64("stayd.cost.nano_usd", p.CostNanoUSD))
		a.span.SetAttributes(usage(p.Usage)...)
	case *event.EffectFinished:
		if p.Status == event.StatusFailed {
			failed(a.span, "tool_error")
		}
	case *event.EffectFailed:
		outcome = "failed"
		if p.RetryAt != nil {
			outcome = "to be tried again"
		}
		failed(a.span, p.Code)
	case *event.EffectUnknown:
		outcome = "unknown"
		failed(a.span, "outcome_unknown")
	case *event.ConsentRequested:
		outcome = "waits for consent"
	case *event.Snapshot, *event.Egress:
		return // written along with an outcome
	default: // what a kind of effect finishes with
	}
	a.span.SetAttributes(attribute.String("stayd.effect.outcome", outcome))
}
