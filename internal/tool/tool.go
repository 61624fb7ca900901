// Package tool is the contract of what a session's calls reach: servers that
// offer tools. MCP servers and environments are such servers. It knows nothing
// of the log; which call may be repeated is decided by its callers.
package tool

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/stayd/stayd/internal/event"
)

// Server offers tools to one session. It is safe for use by many goroutines.
type Server interface {
	// List says what it offers.
	List(ctx context.Context) ([]event.ToolSpec, error)
	// Call performs one call, once; it does not retry. A tool that reports its
	// own failure returns a Result with Failed set and no error. An error is a
	// call of which no answer came back, and is, or wraps, *Error; a context that
	// ended is such an error too.
	Call(ctx context.Context, c Call) (Result, error)
	Close() error
}

// Call is one call of a tool.
type Call struct {
	// EffectID is the same over every attempt, restart and node. It is handed to
	// the tool as its idempotency key.
	EffectID  string
	Session   string
	TurnID    string
	Name      string
	Arguments json.RawMessage // a JSON object
	// Output, where it is not nil, is called with what the call prints while it
	// runs.
	Output func(chunk string)
}

// Result is the answer of a tool.
type Result struct {
	Output   json.RawMessage // a JSON string, or an array of content parts
	Failed   bool
	Error    string // why, where Failed
	ExitCode *int   // of a command
}

// Text returns a successful result.
func Text(s string) Result { return Result{Output: event.TextOutput(s)} }

// Failure returns the result of a tool that says it failed.
func Failure(format string, args ...any) Result {
	return Result{Failed: true, Error: fmt.Sprintf(format, args...)}
}

// Error is a call without an answer.
type Error struct {
	Message string // may be shown to a client and to the model
	// Sent says whether the call may have reached the tool. Where it did not,
	// nothing happened, and any call may be made again.
	Sent bool
	Err  error
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }
