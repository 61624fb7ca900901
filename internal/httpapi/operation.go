package httpapi

import (
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stayd/stayd/internal/identity"
)

// Operation is a method on a path.
type Operation struct {
	Method  string
	Path    string // with {names} for its parts
	ID      string // of the operation in the OpenAPI document
	Summary string
	// Before has the path tried before all others: it has a word where one of them
	// has a name, and a name where that has a word.
	Before bool
	Query  []Param
	// AnyQuery has what is not in Query not looked at, rather than refused.
	AnyQuery bool
	Body     any // zero value of the body's type; nil where there is none
	Result   any // zero value of the result's type; nil where the body is empty
	Status   int // of success; 0 is 200
	// Scope is what the caller's key has to be for. Empty is read for GET, and else
	// write.
	Scope identity.Scope
	// Open is set where nobody has to show who they are.
	Open bool
	// Bound is set where a caller who acts for one actor alone may ask: the operation
	// shows and changes only what is theirs.
	Bound bool
	// Stream is set where the answer is, or may be, a stream of events.
	Stream bool
	// Upload is the media type of a body that is read piece by piece. Body then
	// only says in the document what it is; nil is bytes.
	Upload string
	// Download is set where the answer is bytes: a *Content.
	Download bool
	// Do performs the operation. Its result is written as JSON, unless it is a
	// Stream, a *Content or a Raw, which write themselves.
	Do func(c *Call) (any, error)
}

// Param is a parameter of a query.
type Param struct {
	Name string // with [] at its end, a map
	Doc  string
	Type string // "integer", or else a string
	// Repeated is set where it may be given more than once.
	Repeated bool
}

// Raw is a result that writes itself: a page, a redirect, or JSON in the form of
// another standard.
type Raw func(w http.ResponseWriter)

// Stream is a result that writes itself as server-sent events.
type Stream func(w *EventWriter)

// PageParams are the parameters of a paginated list.
func PageParams() []Param {
	return []Param{
		{Name: "after", Doc: "Return what comes after the resource with this id."},
		{Name: "limit", Doc: "How many to return, from 1 to 100. Defaults to 20.", Type: huma.TypeInteger},
		{Name: "order", Doc: "asc or desc, by time of creation. Defaults to desc."},
	}
}

// Register adds an operation to the server and to its document.
func (s *Server) Register(op Operation) {
	if op.Status == 0 {
		op.Status = http.StatusOK
	}
	if op.Scope == "" {
		op.Scope = identity.Write
		if op.Method == http.MethodGet {
			op.Scope = identity.Read
		}
	}
	if op.Body != nil {
		t := reflect.TypeOf(op.Body)
		s.bodies[t] = s.registry.Schema(t, true, op.ID+"Body")
	}
	s.document.AddOperation(s.describe(&op))
	mux := s.mux
	if op.Before {
		mux = s.before
	}
	if op.Open {
		s.open[op.Method+" "+op.Path] = true
	}
	handle(mux, op.Method+" "+op.Path, func(c *Call) {
		if err := errors.Join(c.allow(op.Scope), c.unbound(&op)); err != nil {
			c.Fail(err)
			return
		}
		if err := c.checkQuery(op.Query); err != nil && !op.AnyQuery {
			c.Fail(err)
			return
		}
		result, err := op.Do(c)
		if err != nil {
			c.Fail(err)
			return
		}
		switch result := result.(type) {
		case Stream:
			c.stream(result)
		case *Content:
			c.content(result)
		case Raw:
			result(c.w)
		case nil:
			c.w.WriteHeader(op.Status)
		default:
			c.write(op.Status, result)
		}
	})
}

func handle(mux *http.ServeMux, pattern string, fn func(*Call)) {
	mux.HandleFunc(pattern, func(_ http.ResponseWriter, r *http.Request) {
		c := r.Context().Value(callKey{}).(*Call)
		c.Request = r
		fn(c)
	})
}

// own registers the paths of the server itself.
func (s *Server) own() {
	handle(s.mux, "GET /metrics", func(c *Call) {
		if err := c.unbound(&Operation{}); err != nil {
			c.Fail(err)
			return
		}
		s.metrics.handler().ServeHTTP(c.w, c.Request)
	})
	handle(s.mux, "GET /openapi.json", func(c *Call) {
		spec, err := s.spec()
		if err != nil {
			c.Fail(err)
			return
		}
		c.w.Header().Set("Content-Type", "application/json")
		_, _ = c.w.Write(spec) // if it fails, the client is gone
	})
	s.Register(Operation{
		Method: http.MethodGet, Path: "/healthz", ID: "health", Open: true, Summary: "Whether the process answers", Result: Health{},
		Do: func(*Call) (any, error) { return Health{Status: "ok"}, nil },
	})
	s.Register(Operation{
		Method: http.MethodGet, Path: "/readyz", ID: "ready", Open: true, Summary: "Whether requests can be served", Result: Health{},
		Do: func(c *Call) (any, error) {
			if s.cfg.Ready != nil {
				if err := s.cfg.Ready(c.Context()); err != nil {
					return nil, &Error{Status: http.StatusServiceUnavailable, Code: "not_ready", RetryAfter: retrySoon, Message: "Not ready: " + err.Error()}
				}
			}
			return Health{Status: "ok"}, nil
		},
	})
}

// Health is the answer of /healthz and /readyz.
type Health struct {
	Status string `json:"status" enum:"ok"`
}

func newDocument(version string, registry huma.Registry) *huma.OpenAPI {
	return &huma.OpenAPI{
		OpenAPI: "3.1.0",
		Info: &huma.Info{
			Title: "Stayd", Version: version,
			Description: "A stateful runtime for AI agents. Paths under /v1/agents follow the OpenAI Agents API.",
		},
		Components: &huma.Components{
			Schemas:         registry,
			SecuritySchemes: map[string]*huma.SecurityScheme{"bearer": {Type: "http", Scheme: "bearer"}},
		},
		Security: []map[string][]string{{"bearer": {}}, {}},
	}
}

// describe is the operation in the document.
func (s *Server) describe(op *Operation) *huma.Operation {
	d := &huma.Operation{Method: op.Method, Path: op.Path, OperationID: op.ID, Summary: op.Summary, Responses: map[string]*huma.Response{}}
	for part := range strings.SplitSeq(op.Path, "/") {
		if name, ok := strings.CutPrefix(part, "{"); ok {
			d.Parameters = append(d.Parameters, &huma.Param{
				Name: strings.TrimSuffix(name, "}"), In: "path", Required: true, Schema: &huma.Schema{Type: huma.TypeString},
			})
		}
	}
	for _, p := range op.Query {
		d.Parameters = append(d.Parameters, p.describe())
	}
	if op.Method != http.MethodGet {
		d.Parameters = append(d.Parameters, &huma.Param{
			Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: huma.TypeString},
			Description: "A request that is repeated with the same key is done once.",
		})
	}
	d.RequestBody = s.requestBody(op)
	success := &huma.Response{Description: http.StatusText(op.Status), Content: map[string]*huma.MediaType{}}
	if op.Result != nil {
		success.Content = jsonContent(s.registry.Schema(reflect.TypeOf(op.Result), true, op.ID+"Result"))
	}
	if op.Download {
		success.Content[MediaBytes] = &huma.MediaType{Schema: bytesSchema()}
	}
	if op.Stream {
		success.Content["text/event-stream"] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString}}
	}
	d.Responses[strconv.Itoa(op.Status)] = success
	d.Responses["default"] = &huma.Response{
		Description: "An error", Content: jsonContent(s.registry.Schema(reflect.TypeFor[envelope](), true, "Error")),
	}
	return d
}

func (s *Server) requestBody(op *Operation) *huma.RequestBody {
	var content map[string]*huma.MediaType
	switch {
	case op.Body != nil:
		content = jsonContent(s.bodies[reflect.TypeOf(op.Body)])
		if op.Upload != "" {
			content = map[string]*huma.MediaType{op.Upload: content["application/json"]}
		}
	case op.Upload != "":
		content = map[string]*huma.MediaType{op.Upload: {Schema: bytesSchema()}}
	default:
		return nil
	}
	return &huma.RequestBody{Required: true, Content: content}
}

func bytesSchema() *huma.Schema { return &huma.Schema{Type: huma.TypeString, Format: "binary"} }

func jsonContent(schema *huma.Schema) map[string]*huma.MediaType {
	return map[string]*huma.MediaType{"application/json": {Schema: schema}}
}

func (p Param) describe() *huma.Param {
	d := &huma.Param{Name: p.Name, In: "query", Description: p.Doc, Schema: &huma.Schema{Type: huma.TypeString}}
	if p.Type != "" {
		d.Schema.Type = p.Type
	}
	if name, isMap := strings.CutSuffix(p.Name, "[]"); isMap {
		d.Name, d.Style = name, "deepObject"
		d.Schema = &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString}}
	}
	return d
}
