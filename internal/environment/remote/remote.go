// Package remote carries a session's calls to a machine that dialled in: the
// protocol between Hub, the runtime's end, and Machine, the end of the machine
// on which the tools are. It owns when a machine counts as connected, and that
// a call that comes again, after a connection was lost or an end of it was
// restarted, is not run again. It knows nothing of what the tools do.
//
// # Protocol
//
// A connection is a WebSocket that the machine opens with the environment's token
// as bearer. Each message is one Frame in JSON. The machine begins with a hello,
// which lists its tools; the runtime answers with a welcome once its log has it,
// and then sends calls and cancels. To each call the machine sends output and,
// at last, one result. Bodies that are longer than a frame come in
// pieces.
package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Version is that of the protocol. The two ends must have the same.
const Version = 1

// Bounds, in bytes.
const (
	maxFrame  = 256 << 10
	maxPiece  = 64 << 10 // of a body in a frame, before encoding
	maxOutput = 32 << 10 // of output in a frame
	maxBody   = 64 << 20
)

// A peer that does not answer a ping within pingTimeout, pings being pingEvery
// apart, is dead. So is one that takes nothing for writeTimeout.
const (
	pingEvery    = 15 * time.Second
	pingTimeout  = 10 * time.Second
	writeTimeout = 10 * time.Second
)

// The types of frames.
const (
	typeHello   = "hello"   // machine to runtime: body is hello
	typeWelcome = "welcome" // runtime to machine: body is welcome
	typeCall    = "call"    // runtime to machine: body is call
	typeCancel  = "cancel"  // runtime to machine
	typeOutput  = "output"  // machine to runtime: text
	typeResult  = "result"  // machine to runtime: body is result
)

// frame is one message.
type frame struct {
	Type string `json:"type"`
	// Call numbers the calls of a connection, from 1.
	Call int64 `json:"call,omitempty"`
	// Body is a piece of a JSON document, More whether another piece follows.
	Body []byte `json:"body,omitempty"`
	More bool   `json:"more,omitempty"`
	Text string `json:"text,omitempty"`
}

type hello struct {
	Version int              `json:"version"`
	Machine string           `json:"machine"` // its name
	Folder  string           `json:"folder"`
	Tools   []event.ToolSpec `json:"tools"`
}

type welcome struct {
	Version     int    `json:"version"`
	Session     string `json:"session"`
	Environment string `json:"environment"`
}

type call struct {
	EffectID  string          `json:"effect_id"`
	Session   string          `json:"session"`
	TurnID    string          `json:"turn_id,omitempty"`
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// result is a tool.Result, or a call without one.
type result struct {
	Output   json.RawMessage `json:"output,omitempty"`
	Failed   bool            `json:"failed,omitempty"`
	Error    string          `json:"error,omitempty"`
	ExitCode *int            `json:"exit_code,omitempty"`
	// NoAnswer is set where the call has no answer, and Error says why. Sent is then
	// whether it may have had an effect.
	NoAnswer bool `json:"no_answer,omitempty"`
	Sent     bool `json:"sent,omitempty"`
}

func resultOf(res tool.Result, err error) result {
	if err == nil {
		return result{Output: res.Output, Failed: res.Failed, Error: res.Error, ExitCode: res.ExitCode}
	}
	sent := true
	var te *tool.Error
	if errors.As(err, &te) {
		sent = te.Sent
	}
	return result{NoAnswer: true, Error: err.Error(), Sent: sent}
}

func (r *result) result() (tool.Result, error) {
	if r.NoAnswer {
		return tool.Result{}, &tool.Error{Message: r.Error, Sent: r.Sent}
	}
	return tool.Result{Output: r.Output, Failed: r.Failed, Error: r.Error, ExitCode: r.ExitCode}, nil
}

// decode reads a frame that came from the other end.
func decode(b []byte) (frame, error) {
	var f frame
	if len(b) > maxFrame {
		return f, fmt.Errorf("a frame of %d bytes: at most %d are allowed", len(b), maxFrame)
	}
	if !utf8.Valid(b) {
		return f, errors.New("a frame that is not UTF-8")
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, fmt.Errorf("a frame that is not what one is: %w", err)
	}
	numbered := f.Call > 0
	switch f.Type {
	case typeHello, typeWelcome:
		if f.Call != 0 {
			return f, fmt.Errorf("a %s with the number of a call", f.Type)
		}
	case typeCall, typeCancel, typeOutput, typeResult:
		if !numbered {
			return f, fmt.Errorf("a %s without the number of a call", f.Type)
		}
	default:
		return f, fmt.Errorf("a frame of the unknown type %.40q", f.Type)
	}
	return f, nil
}

// body gathers the pieces of a document.
type body struct{ b []byte }

// add reports whether the document is whole.
func (p *body) add(f *frame) (bool, error) {
	if len(p.b)+len(f.Body) > maxBody {
		return false, fmt.Errorf("a %s of more than %d bytes", f.Type, maxBody)
	}
	p.b = append(p.b, f.Body...)
	return !f.More, nil
}

func (p *body) decode(into any) error {
	if err := json.Unmarshal(p.b, into); err != nil {
		return fmt.Errorf("a body that is not what it has to be: %w", err)
	}
	return nil
}

// wire is a connection with frames on it.
type wire struct{ conn *websocket.Conn }

func newWire(conn *websocket.Conn) *wire {
	conn.SetReadLimit(maxFrame)
	return &wire{conn: conn}
}

func (w *wire) read(ctx context.Context) (frame, error) {
	kind, b, err := w.conn.Read(ctx)
	if err != nil {
		return frame{}, err
	}
	if kind != websocket.MessageText {
		return frame{}, errors.New("a message that is not text")
	}
	return decode(b)
}

// write sends a frame. After an error, the connection is of no use any more. The
// end of ctx does not break it off, so that a close can still be said after it.
func (w *wire) write(ctx context.Context, f *frame) error {
	b, err := json.Marshal(f)
	if err != nil {
		return fmt.Errorf("encode a frame: %w", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	return w.conn.Write(ctx, websocket.MessageText, b)
}

// send sends a document, in as many frames as it takes. last reports whether the
// last of them may have been sent.
func (w *wire) send(ctx context.Context, kind string, n int64, document any) (last bool, err error) {
	b, err := json.Marshal(document)
	if err != nil {
		return false, fmt.Errorf("encode a %s: %w", kind, err)
	}
	if len(b) > maxBody {
		return false, fmt.Errorf("a %s has %d bytes: at most %d can be sent", kind, len(b), maxBody)
	}
	for {
		f := &frame{Type: kind, Call: n, Body: b[:min(len(b), maxPiece)]}
		b = b[len(f.Body):]
		f.More = len(b) > 0
		if err := w.write(ctx, f); err != nil {
			return !f.More, err
		}
		if !f.More {
			return true, nil
		}
	}
}

// keepAlive pings until ctx ends or the other end is dead.
func (w *wire) keepAlive(ctx context.Context) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		if err := w.ping(ctx); err != nil {
			return err
		}
	}
}

var errDead = errors.New("the other end does not answer any more")

func (w *wire) ping(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	if err := w.conn.Ping(limited); err != nil {
		if ctx.Err() == nil && limited.Err() != nil {
			return errDead
		}
		return err
	}
	return nil
}
