package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/identity"
	"github.com/stayd/stayd/internal/tracing"
)

// Call is one request on its way through the server.
type Call struct {
	*http.Request
	Project string // whose resources the request is about

	Principal identity.Principal // who calls

	server *Server
	w      *response
	id     string
	route  string
	hash   string // of what was asked, once the body was read
}

type callKey struct{}

func withCall(ctx context.Context, c *Call) context.Context {
	return context.WithValue(ctx, callKey{}, c)
}

// ID is the request's id, which the answer has in X-Request-Id.
func (c *Call) ID() string { return c.id }

// Path returns a part of the path by its name in the operation.
func (c *Call) Path(name string) string { return c.PathValue(name) }

// maxKey is the length of the longest Idempotency-Key.
const maxKey = 255

// Input is what a write puts into the log to be known again by.
func (c *Call) Input() (event.Input, error) {
	key := c.Header.Get("Idempotency-Key")
	if len(key) > maxKey {
		return event.Input{}, Invalid("Idempotency-Key", fmt.Sprintf("The Idempotency-Key is longer than %d characters.", maxKey))
	}
	if key == "" {
		return event.Input{By: c.Principal.ID, TraceParent: tracing.Parent(c.Context())}, nil
	}
	if c.hash == "" {
		c.hash = c.hashOf(nil)
	}
	return event.Input{Key: key, RequestHash: c.hash, By: c.Principal.ID, TraceParent: tracing.Parent(c.Context())}, nil
}

// hashOf is the SHA-256 of the method, the path and the body, whatever the order
// of the body's fields.
func (c *Call) hashOf(body any) string {
	data, err := json.Marshal([]any{c.Method, c.URL.Path, body})
	if err != nil {
		panic(fmt.Sprintf("httpapi: encode what was decoded: %v", err))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}

// Decode reads the body into v, a pointer to the operation's body type, after
// checking it against that type's schema. An empty body is an empty object.
func (c *Call) Decode(v any) error {
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.Body, c.server.cfg.MaxBody))
	if err != nil {
		return fmt.Errorf("read the request body: %w", err)
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	tree, err := c.server.decode(data, v)
	if err != nil {
		return err
	}
	c.hash = c.hashOf(tree)
	return nil
}

// Page is which part of a list is asked for.
type Page struct {
	After string
	Limit int
	Asc   bool
}

// Pages reads limit, order and after from the query.
func (c *Call) Pages() (Page, error) { return c.PagesOf(defaultLimit, maxLimit) }

// PagesOf is Pages of a list with other limits than most have.
func (c *Call) PagesOf(fallback, highest int) (Page, error) {
	var p Page
	q := c.URL.Query()
	p.After = q.Get("after")
	var err error
	if p.Limit, err = number(q, "limit", fallback, 1, highest); err != nil {
		return p, err
	}
	switch order := q.Get("order"); order {
	case "", "desc":
	case "asc":
		p.Asc = true
	default:
		return p, Invalid("order", fmt.Sprintf("Invalid value: '%s'. Supported values are: 'asc' and 'desc'.", order))
	}
	return p, nil
}

const (
	defaultLimit = 20
	maxLimit     = 100
)

// Number reads an integer from the query.
func (c *Call) Number(name string, fallback, lowest, highest int) (int, error) {
	return number(c.URL.Query(), name, fallback, lowest, highest)
}

func number(q url.Values, name string, fallback, lowest, highest int) (int, error) {
	text := q.Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < lowest || n > highest {
		return 0, Invalid(name, fmt.Sprintf("Invalid '%s': expected an integer from %d to %d, but got '%s'.", name, lowest, highest, text))
	}
	return n, nil
}

// checkQuery refuses what the operation does not know. A name that ends in [] is
// a map, written as name[key]=value.
func (c *Call) checkQuery(params []Param) error {
	values, err := url.ParseQuery(c.URL.RawQuery)
	if err != nil {
		return &Error{Status: http.StatusBadRequest, Code: CodeValue, Message: "The query of the URL cannot be read: " + err.Error() + "."}
	}
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		i := slices.IndexFunc(params, func(p Param) bool { return p.covers(name) })
		if i < 0 {
			return &Error{Status: http.StatusBadRequest, Code: CodeUnknown, Param: name, Message: fmt.Sprintf("Unknown parameter: '%s'.", name)}
		}
		if len(values[name]) > 1 && !params[i].Repeated {
			return Invalid(name, fmt.Sprintf("The parameter '%s' is given more than once.", name))
		}
	}
	return nil
}

// Fail answers with an error, unless something was answered already.
func (c *Call) Fail(err error) {
	e := errorOf(err)
	if e.Status >= http.StatusInternalServerError && e.Err != nil && c.Context().Err() == nil {
		c.server.cfg.Log.Error("a request failed", "request_id", c.id, "route", c.route, "status", e.Status, "error", e.Err)
	}
	if c.w.status != 0 {
		return
	}
	switch {
	case e.RetryAfter > 0:
		c.w.Header().Set("Retry-After", strconv.Itoa(e.RetryAfter))
	case e.Status >= http.StatusConflict:
		// The official clients would try again by themselves, and be told the same.
		c.w.Header().Set("X-Should-Retry", "false")
	}
	c.write(e.Status, e.envelope())
}

// write answers with JSON.
func (c *Call) write(status int, v any) {
	data, err := Marshal(v)
	if err != nil {
		c.server.cfg.Log.Error("an answer cannot be encoded", "request_id", c.id, "route", c.route, "error", err)
		status, data = http.StatusInternalServerError, []byte(`{"error":{"message":"The answer could not be encoded.","type":"server_error","param":null,"code":null}}`)
	}
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)))
	c.w.WriteHeader(status)
	_, _ = c.w.Write(data) // if it fails, the client is gone
}

// Marshal encodes as JSON without escaping what HTML would need escaped, so that
// raw JSON within it keeps its bytes.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func (p Param) covers(name string) bool {
	if prefix, isMap := strings.CutSuffix(p.Name, "[]"); isMap {
		return strings.HasPrefix(name, prefix+"[") && strings.HasSuffix(name, "]")
	}
	return p.Name == name
}
