// Package httpapi is the door: the frame in which the wire protocols, its
// children, serve HTTP. It authenticates requests, reads and checks their
// bodies, turns errors into answers, counts what it does, and writes the OpenAPI
// document from the operations that the protocols register. It knows nothing of
// agents and sessions beyond their errors, and never of what runs them.
package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/tracing"
)

// Config is what the frame needs to know.
type Config struct {
	Log     *slog.Logger // nil logs nothing
	Version string       // of the server, for the OpenAPI document
	// MaxBody bounds a request's body in bytes; 0 is DefaultMaxBody.
	MaxBody int64
	// Keys maps the SHA-256 of each API key that the operator set to the project
	// that it opens. With none, and without RequireKey, every request is taken whose
	// Host is a loopback address: the caller must not bind such a server to any other.
	Keys       map[[32]byte]string
	RequireKey bool
	// Callers says who holds a key that was made here. identity.ErrRefused: nobody
	// does. nil takes none.
	Callers func(ctx context.Context, shown string) (identity.Principal, error)
	// Tokens, where set, has tokens of other issuers taken; who shows neither one nor a
	// key is refused then.
	Tokens *Tokens
	// Ready reports whether requests can be served. Its error's text is shown.
	Ready func(ctx context.Context) error
	// Tracer tells of requests; nil tells nobody.
	Tracer *tracing.Tracer
	// Stopping is closed when the server stops, so that streams end.
	Stopping <-chan struct{}
}

// DefaultMaxBody is the largest request body in bytes where nothing is
// configured.
const DefaultMaxBody = 32 << 20

// Server is the frame. Operations are registered before it serves.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	before  *http.ServeMux  // what is tried before mux
	open    map[string]bool // patterns of what is served to whoever asks
	origin  *http.CrossOriginProtection
	metrics *metrics

	registry huma.Registry
	document *huma.OpenAPI
	bodies   map[reflect.Type]*huma.Schema
	spec     func() ([]byte, error)
}

// New returns a frame that serves its own paths: /healthz, /readyz, /metrics and
// /openapi.json.
func New(cfg Config) *Server {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg:      cfg,
		mux:      http.NewServeMux(),
		before:   http.NewServeMux(),
		open:     map[string]bool{"GET /openapi.json": true},
		origin:   http.NewCrossOriginProtection(),
		metrics:  newMetrics(),
		registry: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
		bodies:   map[reflect.Type]*huma.Schema{},
	}
	s.document = newDocument(cfg.Version, s.registry)
	s.spec = sync.OnceValues(s.document.MarshalJSON)
	s.own()
	s.callers()
	return s
}

// Metrics is where further metrics are registered that /metrics shows.
func (s *Server) Metrics() prometheus.Registerer { return s.metrics.registry }

// Stopping is closed when streams have to end.
func (s *Server) Stopping() <-chan struct{} { return s.cfg.Stopping }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &Call{Request: r, server: s, id: newRequestID()}
	out := &response{ResponseWriter: w}
	c.w = out
	out.Header().Set("X-Request-Id", c.id)
	done := s.metrics.begin(c, out)
	defer done()
	ctx, answered := s.tracer(r).Request(r)
	defer func() { answered(c.route, out.status) }()
	c.Request = r.WithContext(ctx)
	defer s.logged(c, time.Now())
	defer s.recovered(c)
	s.serve(c) //nolint:contextcheck // the call has the request, and the request its context
}

// tracer tells of the request, unless it is one that asks how the server is.
func (s *Server) tracer(r *http.Request) *tracing.Tracer {
	switch r.URL.Path {
	case "/healthz", "/readyz", "/metrics":
		return nil
	}
	return s.cfg.Tracer
}

func (s *Server) serve(c *Call) {
	mux := s.before
	first, pattern := mux.Handler(c.Request)
	if pattern == "" {
		var handler http.Handler
		mux = s.mux
		if handler, pattern = mux.Handler(c.Request); pattern == "" {
			c.Fail(s.noRoute(c, handler, first))
			return
		}
	}
	if err := s.admit(c, pattern); err != nil {
		c.Fail(err)
		return
	}
	c.route = pattern
	mux.ServeHTTP(c.w, c.WithContext(withCall(c.Context(), c)))
}

// logged notes a request that was answered. Its route stands for its path, which
// may have a secret in it.
func (s *Server) logged(c *Call, started time.Time) {
	s.cfg.Log.Debug("a request was answered", "request_id", c.id, "route", c.route, "status", c.w.status, "took", time.Since(started).Round(time.Microsecond),
		"project", c.Project, "principal", c.Principal.ID)
}

// noRoute says why there is nothing at the path.
func (s *Server) noRoute(c *Call, handlers ...http.Handler) error {
	e := &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("Invalid URL (%s %s)", c.Method, c.URL.Path)}
	for _, h := range handlers {
		probe := &response{ResponseWriter: discard{header: http.Header{}}}
		h.ServeHTTP(probe, c.Request)
		if allow := probe.Header().Get("Allow"); probe.status == http.StatusMethodNotAllowed {
			c.w.Header().Set("Allow", allow)
			e.Status = http.StatusMethodNotAllowed
			e.Message = fmt.Sprintf("Not allowed to %s on %s. Allowed: %s.", c.Method, c.URL.Path, allow)
		}
	}
	return e
}

// discard is a response that goes nowhere.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// recovered answers for a handler that panicked.
func (s *Server) recovered(c *Call) {
	p := recover()
	if p == nil {
		return
	}
	if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		panic(p)
	}
	s.cfg.Log.Error("a request handler panicked", "request_id", c.id, "route", c.route, "panic", p, "stack", string(debug.Stack()))
	c.Fail(&Error{Status: http.StatusInternalServerError, Message: "The server made a mistake. Its log has the details under the request id " + c.id + "."})
}

func newRequestID() string {
	var b [16]byte
	rand.Read(b[:])
	return "req_" + hex.EncodeToString(b[:])
}

// response notes what was answered.
type response struct {
	http.ResponseWriter
	status int
	stream bool
}

func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b) //nolint:gosec // what is written is JSON or events, and says so
}

// Unwrap is how http.ResponseController finds what it needs.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
