// Package tracing tells an OpenTelemetry collector what took how long: requests,
// turns, the attempts of their effects, and what these asked of others. A turn is
// one trace, whichever processes it ran in: its ids come from those of the log. A
// span has names, ids, counts and codes, and nothing that was said. It owns what
// spans are called; what it is told of, it does not change.
//
// Names of attributes are those of OpenTelemetry's semantic conventions, for
// generative AI too; what these do not have is below "stayd.".
package tracing

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config says where traces go.
type Config struct {
	// Collector is the URL of a collector that takes OTLP over HTTP. One without a
	// path is asked at /v1/traces.
	Collector string
	HTTP      *http.Client
	Version   string // of the runtime
	Instance  string // which process of it this is
	Log       *slog.Logger
}

// Tracer tells of spans. A nil one tells nobody. It is safe for use by many
// goroutines.
type Tracer struct {
	provider *sdktrace.TracerProvider
	tracer   trace.Tracer
}

// CheckCollector reports what is wrong with a Collector.
func CheckCollector(s string) error {
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || strings.ContainsAny(s, "?#") {
		return errors.New("is not a URL like http://127.0.0.1:4318, with http or https and without user, query and fragment")
	}
	return nil
}

// New returns a tracer. Spans are sent in batches, in the background, until Close;
// those that the collector does not take in time are lost. Of the variables that
// OpenTelemetry defines, those for samplers, resources, batches, and an exporter's
// headers and compression hold.
func New(ctx context.Context, c Config) (*Tracer, error) {
	u, err := url.Parse(c.Collector)
	if err != nil {
		return nil, fmt.Errorf("collector %s: %w", c.Collector, err)
	}
	if strings.Trim(u.Path, "/") == "" {
		u.Path = "/v1/traces"
	}
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(u.String()), otlptracehttp.WithHTTPClient(c.HTTP))
	if err != nil {
		return nil, fmt.Errorf("collector %s: %w", c.Collector, err)
	}
	res, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithAttributes(
		attribute.String("service.name", "stayd"),
		attribute.String("service.version", c.Version),
		attribute.String("service.instance.id", c.Instance),
	), resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("what the environment says of this service: %w", err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(&reported{SpanExporter: exporter, log: c.Log}),
		sdktrace.WithResource(res), sdktrace.WithIDGenerator(ids{}),
	)
	return &Tracer{provider: provider, tracer: provider.Tracer("github.com/stayd/stayd")}, nil
}

// closeGrace is how long the last spans may take to be sent.
const closeGrace = 3 * time.Second

// Close sends what is left, for a short time.
func (t *Tracer) Close(ctx context.Context) {
	if t == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, closeGrace)
	defer cancel()
	t.provider.Shutdown(ctx) //nolint:errcheck,gosec // what was not sent was logged
}

// reported logs that spans are lost, at the first of failures in a row.
type reported struct {
	sdktrace.SpanExporter
	log    *slog.Logger
	failed bool // ExportSpans is called once at a time
}

// ExportSpans sends them.
func (r *reported) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := r.SpanExporter.ExportSpans(ctx, spans)
	if err != nil && !r.failed {
		r.log.Warn("traces are not taken by the collector, and lost until they are", "error", err)
	}
	r.failed = err != nil
	return nil
}

// ids makes the ids that the context wants, and random ones else.
type ids struct{}

type wantedKey struct{}

// wanted are the ids of the next span. One that is not valid is random.
type wanted struct {
	trace trace.TraceID
	span  trace.SpanID
}

// NewIDs returns those of a span without a parent.
func (ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	w, _ := ctx.Value(wantedKey{}).(wanted)
	for !w.trace.IsValid() {
		rand.Read(w.trace[:])
	}
	return w.trace, ids{}.NewSpanID(ctx, w.trace)
}

// NewSpanID returns that of a span with a parent.
func (ids) NewSpanID(ctx context.Context, _ trace.TraceID) trace.SpanID {
	w, _ := ctx.Value(wantedKey{}).(wanted)
	for !w.span.IsValid() {
		binary.NativeEndian.PutUint64(w.span[:], random())
	}
	return w.span
}

func random() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.NativeEndian.Uint64(b[:])
}
