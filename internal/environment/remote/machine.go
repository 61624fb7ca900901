package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// maxCalls is how many calls of one connection may be under way.
const maxCalls = 256

// MachineConfig says what a machine offers.
type MachineConfig struct {
	Name   string // of the machine, for people
	Folder string // of the work, for people
	Server tool.Server
	Memory *Memory
	// Began is called with each call that is begun, Ended with its end. A call that
	// comes again is not begun again. Nil is nobody to tell.
	Began func(c tool.Call)
	Ended func(c tool.Call, res tool.Result, err error, took time.Duration)
}

// Machine is the machine's end: the tools, and the calls that are under way. It
// outlives the connections that it serves, one after another.
type Machine struct {
	cfg   MachineConfig
	tools []event.ToolSpec
	pure  map[string]bool

	ctx  context.Context //nolint:containedctx // of what is under way, whatever the connection
	stop context.CancelCauseFunc
	runs sync.WaitGroup

	mu      sync.Mutex
	running map[string]*execution // by effect id
}

// Welcome is what the runtime says once it has the machine in its log.
type Welcome struct{ Session, Environment string }

// NewMachine returns a machine that offers the server's tools. Those that change
// something are offered as idempotent: a call that comes again gets what the
// first one gave.
func NewMachine(ctx context.Context, cfg MachineConfig) (*Machine, error) {
	tools, err := cfg.Server.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("list the tools: %w", err)
	}
	m := &Machine{cfg: cfg, pure: map[string]bool{}, running: map[string]*execution{}}
	for _, t := range tools {
		if t.Class == event.Pure {
			m.pure[t.Name] = true
		} else {
			t.Class = event.Idempotent
		}
		m.tools = append(m.tools, t)
	}
	m.ctx, m.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return m, nil
}

var errStopped = errors.New("it was stopped half-way, as the program that ran it was stopped on the machine")

// Close stops what is under way, and waits for it. The server and the memory are
// their owner's.
func (m *Machine) Close() {
	m.mu.Lock()
	m.stop(errStopped) // nothing is begun after it
	m.mu.Unlock()
	m.runs.Wait()
}

// Serve offers the tools on the connection until it ends, and returns why. When
// ctx ends, what is under way is stopped and the runtime told, and nothing more is
// run; the error is nil then. welcomed is called once the runtime has taken the
// machine.
func (m *Machine) Serve(ctx context.Context, conn *websocket.Conn, welcomed func(Welcome)) error {
	s := &serving{machine: m, wire: newWire(conn), calls: map[int64]*serverCall{}, welcomed: welcomed}
	life, end := context.WithCancelCause(context.WithoutCancel(ctx))
	s.life = life
	defer context.AfterFunc(ctx, func() {
		s.stop()
		m.Close()
		s.runs.Wait()
		conn.Close(websocket.StatusGoingAway, "stopped by the user") //nolint:errcheck,gosec // it is over either way
		end(nil)
	})()
	var pings sync.WaitGroup
	pings.Go(func() {
		if err := s.wire.keepAlive(life); err != nil && life.Err() == nil {
			end(err)
		}
	})
	err := s.serve(life)
	if cause := context.Cause(life); cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	end(err)
	conn.CloseNow() //nolint:errcheck,gosec // it is over either way
	pings.Wait()
	s.runs.Wait()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// serving is one connection.
type serving struct {
	machine  *Machine
	wire     *wire
	life     context.Context //nolint:containedctx // of the connection
	welcomed func(Welcome)
	runs     sync.WaitGroup

	mu      sync.Mutex
	stopped bool
	calls   map[int64]*serverCall
}

// stop has no further call begun, and ends those that no execution outlives.
func (s *serving) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for _, c := range s.calls {
		c.cancel(errStopped)
	}
}

// serverCall is a call that came by a connection.
type serverCall struct {
	body   body
	whole  bool
	cancel context.CancelCauseFunc
	ctx    context.Context //nolint:containedctx // ends with a cancel
}

func (s *serving) serve(ctx context.Context) error {
	h := hello{Version: Version, Machine: s.machine.cfg.Name, Folder: s.machine.cfg.Folder, Tools: s.machine.tools}
	if _, err := s.wire.send(ctx, typeHello, 0, h); err != nil {
		return fmt.Errorf("offer the tools: %w", err)
	}
	var greeting body
	for {
		f, err := s.wire.read(ctx)
		if err != nil {
			return err
		}
		switch f.Type {
		case typeWelcome:
			err = s.welcome(&greeting, &f)
		case typeCall:
			err = s.call(&f)
		case typeCancel:
			s.mu.Lock()
			if c := s.calls[f.Call]; c != nil {
				c.cancel(errCanceled)
			}
			s.mu.Unlock()
		default:
			err = fmt.Errorf("a %s, which is not for a machine", f.Type)
		}
		if err != nil {
			s.wire.conn.Close(websocket.StatusPolicyViolation, reason(err)) //nolint:errcheck,gosec // it is over either way
			return fmt.Errorf("the runtime sent %w", err)
		}
	}
}

var errCanceled = errors.New("it was cancelled")

// reason is an error as the reason of a close, which has at most 123 bytes.
func reason(err error) string {
	s := err.Error()
	return s[:min(len(s), 120)]
}

func (s *serving) welcome(greeting *body, f *frame) error {
	whole, err := greeting.add(f)
	if err != nil || !whole {
		return err
	}
	var w welcome
	if err := greeting.decode(&w); err != nil {
		return err
	}
	if s.welcomed != nil {
		s.welcomed(Welcome{Session: w.Session, Environment: w.Environment})
	}
	return nil
}

// call takes a piece of a call, and begins the call where it was the last.
func (s *serving) call(f *frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return nil // the connection ends, which says that it was not begun, or not here
	}
	c := s.calls[f.Call]
	if c == nil {
		if len(s.calls) == maxCalls {
			return fmt.Errorf("more than %d calls at once", maxCalls)
		}
		c = &serverCall{}
		c.ctx, c.cancel = context.WithCancelCause(s.life)
		s.calls[f.Call] = c
	}
	if c.whole {
		return fmt.Errorf("the call %d twice", f.Call)
	}
	var err error
	if c.whole, err = c.body.add(f); err != nil || !c.whole {
		return err
	}
	var asked call
	if err := c.body.decode(&asked); err != nil {
		return err
	}
	if asked.EffectID == "" {
		return errors.New("a call without the id of an effect")
	}
	c.body = body{}
	n := f.Call
	s.runs.Go(func() {
		r := s.perform(c.ctx, n, &asked)
		s.mu.Lock()
		delete(s.calls, n)
		s.mu.Unlock()
		c.cancel(nil)
		if r != nil {
			s.wire.send(s.life, typeResult, n, r) //nolint:errcheck,gosec // the connection is lost then, and the call comes again
		}
	})
	return nil
}

// perform returns the result of a call, or nil where the connection is lost and
// nobody waits for it any more.
func (s *serving) perform(ctx context.Context, n int64, asked *call) *result {
	output := func(text string) {
		for len(text) > 0 {
			cut := cutAt(text, maxOutput)
			piece := text[:cut]
			text = text[cut:]
			if s.wire.write(s.life, &frame{Type: typeOutput, Call: n, Text: piece}) != nil {
				return // the connection is lost, and the result tells all
			}
		}
	}
	c := tool.Call{EffectID: asked.EffectID, Session: asked.Session, TurnID: asked.TurnID, Name: asked.Name, Arguments: asked.Arguments, Output: output}
	if s.machine.pure[c.Name] {
		r := s.machine.run(ctx, c)
		return &r
	}
	e, known := s.machine.attach(asked, c)
	if known != nil {
		return known
	}
	stop := e.follow(output)
	defer stop()
	select {
	case <-e.done:
		return &e.result
	case <-ctx.Done():
	}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errCanceled):
		e.cancel(errCanceled)
	case !errors.Is(cause, errStopped): // by which the execution is stopped, too
		return nil
	}
	<-e.done
	return &e.result
}

// cutAt is how many bytes of the text, up to most, end with a character.
func cutAt(text string, most int) int {
	if len(text) <= most {
		return len(text)
	}
	for n := most; n > most-utf8.UTFMax; n-- {
		if utf8.RuneStart(text[n]) {
			return n
		}
	}
	return most // it is no text
}

// execution is an effect that is under way, whoever follows it.
type execution struct {
	call   string // the hash of what was asked
	cancel context.CancelCauseFunc
	done   chan struct{} // closed at the end; result is set before
	result result

	mu       sync.Mutex
	follower int // counts them
	output   func(text string)
}

// follow has the output go to the function until stop is called, or another
// follows.
func (e *execution) follow(output func(string)) (stop func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.follower++
	mine := e.follower
	e.output = output
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.follower == mine {
			e.output = nil
		}
	}
}

func (e *execution) print(text string) {
	e.mu.Lock()
	output := e.output
	e.mu.Unlock()
	if output != nil {
		output(text)
	}
}

// attach returns the execution of an effect, which it begins where it never was
// begun, or what is known of one that is over.
func (m *Machine) attach(asked *call, c tool.Call) (*execution, *result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	hash := hashOf(asked)
	if e := m.running[c.EffectID]; e != nil {
		if e.call != hash {
			return nil, anotherCall(c.EffectID)
		}
		return e, nil
	}
	if known := m.cfg.Memory.known(c.EffectID); known != nil {
		if r := recall(c.EffectID, known, hash); r != nil {
			return nil, r
		}
	}
	if m.ctx.Err() != nil {
		return nil, &result{NoAnswer: true, Error: "it was not begun: the machine's program is stopping"}
	}
	if err := m.cfg.Memory.begin(c.EffectID, hash); err != nil {
		return nil, &result{NoAnswer: true, Error: "it was not begun: " + err.Error()}
	}
	e := &execution{call: hash, done: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(m.ctx)
	e.cancel = cancel
	c.Output = e.print
	m.running[c.EffectID] = e
	m.runs.Go(func() {
		defer cancel(nil)
		m.execute(ctx, e, c)
	})
	return e, nil
}

func (m *Machine) execute(ctx context.Context, e *execution, c tool.Call) {
	e.result = m.run(ctx, c)
	if e.result.NoAnswer && e.result.Sent && errors.Is(context.Cause(ctx), errStopped) {
		// It is known what became of it, and it is not to be done again.
		e.result = result{Failed: true, Error: errStopped.Error()}
	}
	err := m.cfg.Memory.end(c.EffectID, &e.result)
	if err != nil && e.result.Failed {
		e.result.Error += " (" + err.Error() + ")"
	}
	m.mu.Lock()
	delete(m.running, c.EffectID)
	m.mu.Unlock()
	close(e.done)
}

// run makes a call.
func (m *Machine) run(ctx context.Context, c tool.Call) result {
	if m.cfg.Began != nil {
		m.cfg.Began(c)
	}
	started := time.Now()
	res, err := m.cfg.Server.Call(ctx, c)
	if m.cfg.Ended != nil {
		m.cfg.Ended(c, res, err, time.Since(started))
	}
	return resultOf(res, err)
}

// recall returns what is known of an effect that was begun before. It returns nil
// where it may be begun again, as nothing came of it.
func recall(id string, known *memory, hash string) *result {
	if known.Call != hash {
		return anotherCall(id)
	}
	unknown := &result{NoAnswer: true, Sent: true, Error: "it was begun before, and the program that ran it on the machine was ended before it noted a result. What became of it is not known; it is not run again"}
	if known.Result == nil {
		return unknown
	}
	var r result
	if err := json.Unmarshal(known.Result, &r); err != nil {
		return unknown
	}
	if r.NoAnswer && !r.Sent {
		return nil
	}
	return &r
}

func anotherCall(id string) *result {
	return &result{Failed: true, Error: fmt.Sprintf("the effect %s was begun with another call, and this one is not made", id)}
}
