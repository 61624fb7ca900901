package tracing

import (
	"context"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Request tells of a request to the runtime, in the trace that its traceparent
// names. The function it returns is called when it was answered.
func (t *Tracer) Request(r *http.Request) (ctx context.Context, answered func(route string, status int)) {
	if t == nil {
		return r.Context(), func(string, int) {}
	}
	ctx = propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := t.tracer.Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer), trace.WithAttributes(attribute.String("http.request.method", r.Method)))
	return ctx, func(route string, status int) {
		if route != "" {
			span.SetName(route)
			span.SetAttributes(attribute.String("http.route", route))
		}
		span.SetAttributes(attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			failed(span, strconv.Itoa(status))
		}
		span.End()
	}
}

// Around tells of the requests to others that are part of something that is told
// of. It names the server, and neither path nor query: secrets are in both.
func (t *Tracer) Around(use string, next http.RoundTripper) http.RoundTripper {
	if t == nil {
		return next
	}
	return &traced{t, use, next}
}

type traced struct {
	*Tracer
	use  string
	next http.RoundTripper
}

// RoundTrip performs the request. Its span ends with the head of the answer.
func (t *traced) RoundTrip(r *http.Request) (*http.Response, error) {
	if !trace.SpanContextFromContext(r.Context()).IsValid() {
		return t.next.RoundTrip(r)
	}
	ctx, span := t.tracer.Start(r.Context(), r.Method, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(
		attribute.String("http.request.method", r.Method),
		attribute.String("server.address", r.URL.Hostname()),
		attribute.String("stayd.use", t.use),
	))
	defer span.End()
	resp, err := t.next.RoundTrip(r.WithContext(ctx))
	if err != nil {
		failed(span, "")
		return resp, err
	}
	span.SetAttributes(attribute.Int("http.response.status_code", resp.StatusCode))
	if resp.StatusCode >= http.StatusBadRequest {
		failed(span, strconv.Itoa(resp.StatusCode))
	}
	return resp, nil
}

// CloseIdleConnections lets http.Client close them.
func (t *traced) CloseIdleConnections() {
	if n, ok := t.next.(interface{ CloseIdleConnections() }); ok {
		n.CloseIdleConnections()
	}
}
