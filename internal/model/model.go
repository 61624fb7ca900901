// Package model is the contract of a language model: what a request holds, what
// comes back, and which errors are worth another attempt. Providers are its
// children. It knows nothing of sessions, and keeps nothing between calls.
package model

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/stayd/stayd/internal/event"
)

// Model answers requests. Implementations are safe for use by many goroutines.
type Model interface {
	// Generate performs one attempt; it does not retry. While the answer comes
	// in, it calls emit, from one goroutine, with pieces of it; emit may be nil.
	// The response is complete and does not depend on the pieces. Errors are, or
	// wrap, *Error, or are the context's.
	Generate(ctx context.Context, req *Request, emit func(Delta)) (*Response, error)
}

// Request is everything that a model is given.
type Request struct {
	Model        string // as the provider names it
	Instructions string
	// Items is the conversation: messages, reasoning, function calls (of the type
	// function_call only, whatever they became in the session) and their outputs
	// (function_call_output), compaction summaries. They are not to be changed.
	Items           []*event.Item
	Tools           []Tool
	Reasoning       event.Reasoning
	Text            event.Text
	ServiceTier     string
	MaxOutputTokens int64 // 0 is the provider's default
	// EffectID is the same for every attempt at this call.
	EffectID string
}

// Tool is a function that the model may call.
type Tool struct {
	Name        string // matches [a-zA-Z0-9_-]{1,64}
	Description string
	Parameters  json.RawMessage // JSON Schema
}

// Response is a complete answer. Items are of the types message (role
// assistant, parts output_text), reasoning, and function_call (CallID, Name and
// Arguments set); the caller gives them their ids.
type Response struct {
	ID    string // the provider's
	Model string // the model that answered, as the provider names it
	Items []event.Item
	Usage event.Usage
}

// DeltaKind says what a piece belongs to.
type DeltaKind int

// Kinds of deltas.
const (
	TextDelta      DeltaKind = iota // text of a message
	ReasoningDelta                  // summary text of a reasoning item
)

// Delta is a piece of an answer that is still coming in.
type Delta struct {
	Kind  DeltaKind
	Index int // of the item in Response.Items
	Part  int // of the content or summary part in the item
	Text  string
}

// Error is a failed attempt.
type Error struct {
	// Code is one of the Agents API's turn error codes: rate_limit_exceeded,
	// server_overloaded, connection_failed, server_error, authentication_error,
	// invalid_request, context_length_exceeded, resource_not_found,
	// request_timeout, billing_not_active, ...
	Code    string
	Message string // may be shown to a client; holds no secret
	Status  int    // HTTP status, where there was one
	// Retry says whether the same request may succeed later, RetryAfter how long
	// the provider asked to wait (0: it did not say).
	Retry      bool
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Code, e.Message) }

func (e *Error) Unwrap() error { return e.Err }

// Price is what a model costs, in USD for a million tokens.
type Price struct {
	Input       float64 `json:"input" yaml:"input"`
	CachedInput float64 `json:"cached_input" yaml:"cached_input"` // 0: as Input
	Output      float64 `json:"output" yaml:"output"`
}

// Cost is the price of the usage in billionths of a USD.
func (p Price) Cost(u event.Usage) int64 {
	cached := p.CachedInput
	if cached == 0 {
		cached = p.Input
	}
	fresh := u.InputTokens - u.CachedTokens
	// USD for a million tokens is a thousand nano-USD for one.
	return int64(1000 * (float64(fresh)*p.Input + float64(u.CachedTokens)*cached + float64(u.OutputTokens)*p.Output))
}

// Candidate is one model that may serve a name.
type Candidate struct {
	Name  string // provider/name
	Model Model
	// ID is what the provider calls it (Request.Model).
	ID string
	// Price is nil where none is known.
	Price *Price
	// ContextTokens is the size of its context; 0 where it is not known.
	ContextTokens int64
}

// Catalog finds the models that serve a name like "openai/gpt-5": first the one
// that is meant, then its fallbacks in order. The error says what to configure.
type Catalog interface {
	Resolve(name string) ([]Candidate, error)
}
