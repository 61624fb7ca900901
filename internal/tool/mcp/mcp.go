// Package mcp calls the tools of MCP servers, over streamable HTTP and over the
// standard input and output of a process. It owns the connections; above all it
// knows, of a call that failed, whether it can have reached the server. It knows
// nothing of sessions' logs, and decides nothing about repeating a call.
package mcp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Keys of a call's _meta that carry the effect id, for a server that does what
// it is told once for each.
const (
	MetaEffectID       = "stayd/effect_id"
	MetaIdempotencyKey = "idempotencyKey"
)

// Config is what a connection needs.
type Config struct {
	Tool *event.Tool  // the server's configuration; its type is mcp
	HTTP *http.Client // for the transport http; required there
	// Authorize returns the value of the header Authorization for a request to the
	// server over HTTP; empty is none. It is asked again with what the server said to
	// the one that it was shown. nil shows none.
	Authorize func(ctx context.Context, ch *tool.Challenge) (string, error)
	// Log is called with each line that a process writes to its standard error;
	// nil drops them.
	Log func(line string)
	// Grace is how long a process may take to end before it is told to, and then
	// killed; 0 is 5 seconds.
	Grace time.Duration
}

// Connect connects to the server. The error is, or wraps, *tool.Error: no tool
// was called.
func Connect(ctx context.Context, cfg Config) (tool.Server, error) {
	if cfg.Grace == 0 {
		cfg.Grace = 5 * time.Second
	}
	meta, err := requestMetadata(cfg.Tool.RequestMetadata)
	if err != nil {
		return nil, notSent(cfg.Tool.ServerLabel, err)
	}
	s := &server{cfg: cfg, meta: meta}
	s.ctx, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn, err = s.dial(ctx); err != nil {
		s.stop(err)
		return nil, notSent(cfg.Tool.ServerLabel, err)
	}
	return s, nil
}

func requestMetadata(raw json.RawMessage) (map[string]any, error) {
	meta := map[string]any{}
	if len(raw) == 0 {
		return meta, nil
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, fmt.Errorf("request_metadata is not a JSON object: %w", err)
	}
	return meta, nil
}

// server is a tool.Server that connects again when the connection was lost.
type server struct {
	cfg  Config
	meta map[string]any

	ctx     context.Context //nolint:containedctx // ends with Close
	stop    context.CancelCauseFunc
	calls   sync.WaitGroup
	counter atomic.Int64

	mu     sync.Mutex // held while it connects
	conn   *conn      // nil: connect before the next call
	closed bool
	err    error
}

var errClosed = errors.New("the connection was closed")

// connection returns the connection that is there, or makes one. The caller must
// call s.calls.Done when it is done with it.
func (s *server) connection(ctx context.Context) (*conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if s.conn != nil && s.conn.lost() {
		if err := s.conn.close(); err != nil {
			s.err = err
		}
		s.conn = nil
	}
	if s.conn == nil {
		c, err := s.dial(ctx)
		if err != nil {
			return nil, err
		}
		s.conn = c
	}
	s.calls.Add(1)
	return s.conn, nil
}

// Close ends the calls that run, and waits for them and for the process.
func (s *server) Close() error {
	s.stop(errClosed)
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.calls.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if first && s.conn != nil {
		s.err = errors.Join(s.err, s.conn.close())
		s.conn = nil
	}
	return s.err
}

// bound ends with the call and with the server.
func (s *server) bound(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(s.ctx, func() { cancel(errClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// maxTools bounds what one server may offer.
const maxTools = 10_000

// List returns the tools of all pages that the configuration allows. It is asked
// again where the connection was lost.
func (s *server) List(ctx context.Context) ([]event.ToolSpec, error) {
	ctx, cancel := s.bound(ctx)
	defer cancel()
	var last error
	var why string
	for range 2 {
		c, err := s.connection(ctx)
		if err != nil {
			return nil, notSent(s.cfg.Tool.ServerLabel, err)
		}
		a := &attempt{}
		specs, err := s.list(withAttempt(ctx, a), c)
		err = a.reason(err)
		lost := err != nil && c.noteLoss(err)
		s.calls.Done()
		if err == nil {
			for i := range specs {
				spec := &specs[i]
				spec.Name, spec.Description, spec.Parameters = a.mask(spec.Name), a.mask(spec.Description), []byte(a.mask(string(spec.Parameters)))
			}
			return specs, nil
		}
		last, why = err, a.mask(s.reason(err))
		if !lost || ctx.Err() != nil {
			break
		}
	}
	return nil, &tool.Error{Message: fmt.Sprintf("the MCP server '%s' did not list its tools: %s", s.cfg.Tool.ServerLabel, why), Sent: true, Err: last}
}

func (s *server) list(ctx context.Context, c *conn) ([]event.ToolSpec, error) {
	allowed := map[string]bool{}
	for _, n := range s.cfg.Tool.AllowedTools {
		allowed[n] = true
	}
	var specs []event.ToolSpec
	n := 0
	for t, err := range c.session.Tools(ctx, nil) {
		if err != nil {
			return nil, err
		}
		if n++; n > maxTools {
			return nil, fmt.Errorf("it has more than %d tools", maxTools)
		}
		if s.cfg.Tool.AllowedTools != nil && !allowed[t.Name] {
			continue
		}
		spec, err := toolSpec(t)
		if err != nil {
			return nil, err
		}
		specs = append(specs, spec)
	}
	return specs, nil
}

// Call performs one call. Where the connection turns out to be lost before the
// call can have been sent, it connects again and sends it then.
func (s *server) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if len(c.Arguments) > 0 && !json.Valid(c.Arguments) {
		return tool.Failure("the arguments are not valid JSON"), nil
	}
	ctx, cancel := s.bound(ctx)
	defer cancel()
	for again := true; ; again = false {
		conn, err := s.connection(ctx)
		if err != nil {
			return tool.Result{}, notSent(s.cfg.Tool.ServerLabel, err)
		}
		a := &attempt{}
		res, err := s.call(ctx, conn, a, c)
		err = a.reason(err)
		lost := err != nil && (conn.noteLoss(err) || a.sessionGone())
		if lost {
			conn.gone.Store(true)
		}
		s.calls.Done()
		if err == nil {
			return a.result(res)
		}
		if answered := answer(err); answered != nil {
			return tool.Failure("%s", a.mask(answered.Message)), nil
		}
		sent := a.mayHaveArrived()
		if lost && !sent && again && ctx.Err() == nil {
			continue
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return tool.Result{}, &tool.Error{Message: fmt.Sprintf("the call of '%s' on the MCP server '%s' was not answered: %s", c.Name, s.cfg.Tool.ServerLabel, a.mask(s.reason(err))), Sent: sent, Err: err}
	}
}

func (s *server) call(ctx context.Context, conn *conn, a *attempt, c tool.Call) (*sdk.CallToolResult, error) {
	params := &sdk.CallToolParams{Meta: sdk.Meta{}, Name: c.Name}
	if len(c.Arguments) > 0 {
		params.Arguments = c.Arguments
	}
	maps.Copy(params.Meta, s.meta)
	if c.EffectID != "" {
		params.Meta[MetaEffectID] = c.EffectID
		params.Meta[MetaIdempotencyKey] = c.EffectID
	}
	if c.Output != nil {
		token := fmt.Sprintf("%s.%d", c.EffectID, s.counter.Add(1))
		params.SetProgressToken(token)
		conn.progress.Store(token, func(chunk string) { c.Output(a.mask(chunk)) })
		defer conn.progress.Delete(token)
	}
	return conn.session.CallTool(withAttempt(ctx, a), params)
}

// answer returns the error that the server answered with, which is an answer as
// good as a result. It is nil for the errors that the library makes of a
// connection's, in the same type.
func answer(err error) *jsonrpc.Error {
	if errors.Is(err, sdk.ErrConnectionClosed) || errors.Is(err, sdk.ErrSessionMissing) {
		return nil
	}
	return said(err)
}

// codeRejected is what the library answers for a request that its transport
// could not deliver. It may be joined with what the server said.
const codeRejected = -32005

// said looks for a server's error in a tree of errors.
func said(err error) *jsonrpc.Error {
	switch x := err.(type) { //nolint:errorlint // this walks the tree itself
	case *jsonrpc.Error:
		if x.Code != codeRejected {
			return x
		}
	case interface{ Unwrap() error }:
		return said(x.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range x.Unwrap() {
			if found := said(e); found != nil {
				return found
			}
		}
	}
	return nil
}

func notSent(label string, err error) error {
	return &tool.Error{Message: fmt.Sprintf("the MCP server '%s' could not be reached: %s", label, reason(err)), Err: err}
}

// reason is an error in words that name no credential.
func (s *server) reason(err error) string {
	text := reason(err)
	if tr := s.cfg.Tool.Transport; tr != nil && tr.ServerURL != "" {
		text = strings.ReplaceAll(text, tr.ServerURL, "the server's URL")
	}
	return text
}

// reason leaves out the URL, which may hold a key.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}
