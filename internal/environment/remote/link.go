package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Bounds of what a machine offers.
const (
	maxTools       = 128
	maxDescription = 16 << 10 // bytes
	maxParameters  = 64 << 10 // bytes
)

// link is the runtime's end of one connection. wire and hello are set when ready
// is closed.
type link struct {
	key   key
	token event.Hash // by which it was admitted
	from  string     // address
	since time.Time
	life  context.Context //nolint:containedctx // of the connection
	end   context.CancelCauseFunc
	wire  *wire
	hello hello
	ready chan struct{} // closed once calls may be made
	gone  chan struct{} // closed when nothing of it is left

	mu    sync.Mutex
	lost  bool
	calls map[int64]*pending
	last  int64 // number of a call
}

func newLink(ctx context.Context, k key, token event.Hash, from string) *link {
	l := &link{key: k, token: token, from: from, since: time.Now(), ready: make(chan struct{}), gone: make(chan struct{}), calls: map[int64]*pending{}}
	l.life, l.end = context.WithCancelCause(ctx)
	return l
}

// pending is a call that waits for its result.
type pending struct {
	body body

	mu     sync.Mutex
	over   bool
	output func(string)

	done   chan struct{} // closed at the end; result is set before, or nil where the connection was lost
	result *result
}

// print hands output on while somebody waits.
func (p *pending) print(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.over && p.output != nil {
		p.output(text)
	}
}

// leave ends the waiting: no output is handed on after it.
func (p *pending) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.over = true
}

// name is the machine's, for people.
func (l *link) name() string {
	if !l.isReady() {
		return l.from
	}
	return fmt.Sprintf("%s (%s)", l.hello.Machine, l.from)
}

func (l *link) isReady() bool {
	select {
	case <-l.ready:
		return true
	default:
		return false
	}
}

func (l *link) close(code websocket.StatusCode, why string) {
	l.wire.conn.Close(code, why) //nolint:errcheck,gosec // it is over either way
}

// greet reads the machine's hello.
func (l *link) greet() error {
	ctx, cancel := context.WithTimeout(l.life, greetTimeout)
	defer cancel()
	var b body
	for {
		f, err := l.wire.read(ctx)
		if err != nil {
			return err
		}
		if f.Type != typeHello {
			return fmt.Errorf("a %s before a hello", f.Type)
		}
		whole, err := b.add(&f)
		if err != nil {
			return err
		}
		if whole {
			break
		}
	}
	if err := b.decode(&l.hello); err != nil {
		return err
	}
	if err := l.hello.check(); err != nil {
		return err
	}
	close(l.ready)
	return nil
}

var toolName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// check refuses what a session could not live with.
func (h *hello) check() error {
	if h.Version != Version {
		return fmt.Errorf("protocol version %d, and this runtime speaks %d: use the same release at both ends", h.Version, Version)
	}
	if len(h.Tools) == 0 || len(h.Tools) > maxTools {
		return fmt.Errorf("%d tools: from 1 to %d can be offered", len(h.Tools), maxTools)
	}
	seen := map[string]bool{}
	for i := range h.Tools {
		t := &h.Tools[i]
		var object map[string]json.RawMessage
		switch {
		case !toolName.MatchString(t.Name) || seen[t.Name]:
			return fmt.Errorf("the tool name %.70q, which is none or is taken", t.Name)
		case t.Class != event.Pure && t.Class != event.Idempotent && t.Class != event.Once:
			return fmt.Errorf("the class %.40q of the tool %s", t.Class, t.Name)
		case t.ItemType != event.ItemMCPCall && t.ItemType != event.ItemCommandExecution:
			return fmt.Errorf("the item type %.40q of the tool %s", t.ItemType, t.Name)
		case len(t.Description) > maxDescription || len(t.Parameters) > maxParameters:
			return fmt.Errorf("the tool %s, whose description or parameters are too long", t.Name)
		case json.Unmarshal(t.Parameters, &object) != nil:
			return fmt.Errorf("parameters of the tool %s that are no JSON Schema", t.Name)
		}
		seen[t.Name] = true
	}
	h.Machine, h.Folder = short(h.Machine), short(h.Folder)
	return nil
}

// short bounds what is shown and logged.
func short(s string) string { return s[:cutAt(s, 200)] }

// serve speaks with the machine until the connection ends, and returns why.
func (l *link) serve(w welcome) error {
	var pings sync.WaitGroup
	pings.Go(func() {
		if err := l.wire.keepAlive(l.life); err != nil && l.life.Err() == nil {
			l.end(err)
		}
	})
	// A close frame is sent before the reading, whose context it is, ends.
	defer context.AfterFunc(l.life, func() {
		switch cause := context.Cause(l.life); {
		case errors.Is(cause, errDeleted):
			l.close(websocket.StatusNormalClosure, errDeleted.Error())
		case errors.Is(cause, errRenewed):
			l.close(websocket.StatusPolicyViolation, errRenewed.Error())
		case errors.Is(cause, context.Canceled):
			l.close(websocket.StatusServiceRestart, errShutdown.Error())
		default:
			l.wire.conn.CloseNow() //nolint:errcheck,gosec // it is over either way
		}
	})()
	_, err := l.wire.send(l.life, typeWelcome, 0, w)
	if err == nil {
		err = l.read(context.WithoutCancel(l.life))
	}
	if cause := context.Cause(l.life); cause != nil {
		err = cause
	}
	l.end(err)
	pings.Wait()
	return err
}

func (l *link) read(ctx context.Context) error {
	for {
		f, err := l.wire.read(ctx)
		if err != nil {
			return err
		}
		if f.Type != typeOutput && f.Type != typeResult {
			l.close(websocket.StatusPolicyViolation, "a "+f.Type+" is not for a runtime")
			return fmt.Errorf("the machine sent a %s", f.Type)
		}
		l.mu.Lock()
		p := l.calls[f.Call]
		l.mu.Unlock()
		if p == nil {
			continue // of a call that nobody waits for any more
		}
		if f.Type == typeOutput {
			p.print(f.Text)
			continue
		}
		if err := l.took(p, &f); err != nil {
			l.close(websocket.StatusPolicyViolation, reason(err))
			return fmt.Errorf("the machine sent %w", err)
		}
	}
}

// took takes a piece of a result.
func (l *link) took(p *pending, f *frame) error {
	whole, err := p.body.add(f)
	if err != nil || !whole {
		return err
	}
	var r result
	if err := p.body.decode(&r); err != nil {
		return err
	}
	l.mu.Lock()
	delete(l.calls, f.Call)
	l.mu.Unlock()
	p.result = &r
	close(p.done)
	return nil
}

// lose fails the calls that are under way, and all that come.
func (l *link) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = true
	for _, p := range l.calls {
		close(p.done)
	}
	clear(l.calls)
}

// begin numbers a call.
func (l *link) begin(output func(string)) (*pending, int64, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost {
		return nil, 0, false
	}
	l.last++
	p := &pending{output: output, done: make(chan struct{})}
	l.calls[l.last] = p
	return p, l.last, true
}

func (l *link) forget(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.calls, n)
}

// server is the environment of a session.
type server struct {
	hub *Hub
	key key
}

var errNotConnected = errors.New("no machine is connected to the environment")

// open returns the session's connection.
func (s *server) open() (*link, error) {
	l := s.hub.link(s.key)
	if l == nil {
		s.hub.missing(s.key)
		return nil, &tool.Error{Message: errNotConnected.Error(), Err: errNotConnected}
	}
	if !l.isReady() {
		return nil, &tool.Error{Message: errNotConnected.Error() + " yet", Err: errNotConnected}
	}
	return l, nil
}

// List implements tool.Server.
func (s *server) List(context.Context) ([]event.ToolSpec, error) {
	l, err := s.open()
	if err != nil {
		return nil, err
	}
	return l.hello.Tools, nil
}

// cancelWait is how long a machine may take to end a call that is cancelled.
const cancelWait = 10 * time.Second

var errLost = errors.New("the connection with the machine was lost while the call was made")

// Call implements tool.Server.
func (s *server) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	l, err := s.open()
	if err != nil {
		return tool.Result{}, err
	}
	p, n, ok := l.begin(c.Output)
	if !ok {
		return tool.Result{}, &tool.Error{Message: errNotConnected.Error(), Err: errNotConnected}
	}
	defer l.forget(n)
	defer p.leave()
	sent, err := l.wire.send(l.life, typeCall, n, call{EffectID: c.EffectID, Session: c.Session, TurnID: c.TurnID, Name: c.Name, Arguments: c.Arguments})
	if err != nil {
		return tool.Result{}, &tool.Error{Message: "the call could not be sent to the machine: " + err.Error(), Sent: sent, Err: err}
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		if !s.cancel(ctx, l, n, p) {
			err := context.Cause(ctx)
			return tool.Result{}, &tool.Error{Message: "the call was stopped: " + err.Error(), Sent: true, Err: err}
		}
	}
	if p.result == nil {
		return tool.Result{}, &tool.Error{Message: errLost.Error(), Sent: true, Err: errLost}
	}
	return p.result.result()
}

// cancel has the machine stop a call, and reports whether its end is known. A
// call that ends because this process stops goes on.
func (s *server) cancel(ctx context.Context, l *link, n int64, p *pending) bool {
	if stopping := s.hub.cfg.Stopping; stopping != nil && errors.Is(context.Cause(ctx), stopping) {
		return false
	}
	if l.wire.write(l.life, &frame{Type: typeCancel, Call: n}) != nil {
		return false
	}
	t := time.NewTimer(cancelWait)
	defer t.Stop()
	select {
	case <-p.done:
		return p.result != nil
	case <-t.C:
		return false
	}
}

// Close implements tool.Server: the connection is the hub's.
func (s *server) Close() error { return nil }
