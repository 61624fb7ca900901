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

// Caller says for whom a server is called, and which credentials may be shown to
// it.
type Caller struct {
	Project string
	Session string
	Agent   string   // id of the agent
	Version int64    // of the saved agent; 0 is one that was not saved
	Actor   string   // who speaks in the turn; empty is nobody in particular
	By      string   // the principal that made the session
	Vaults  []string // ids, of the session
}

// Challenge is a server's answer that it takes no call without a credential, or
// not with the one that it was shown.
type Challenge struct {
	Refused      string   // the value of the header Authorization; empty where there was none
	Authenticate []string // the values of the header WWW-Authenticate
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

// ConsentError is a call that was not made because a person has to let the
// runtime use the server in their name first.
type ConsentError struct {
	Server   string // URL
	Metadata string // URL of the server's description of its protection (RFC 9728); may be empty
	Scope    string // what the server asked for; may be empty
}

func (e *ConsentError) Error() string { return "a person has to consent to the use of this server" }

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }
