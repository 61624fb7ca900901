package httpapi

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/stayd/stayd/internal/blob"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/store"
)

// Error is an answer that is an error, in the envelope of the OpenAI API.
type Error struct {
	Status  int
	Type    string // where empty, it follows from Status
	Code    string // null where empty
	Param   string // null where empty
	Message string
	// RetryAfter is in seconds; 0 says nothing.
	RetryAfter int
	Err        error // for the log only
}

func (e *Error) Error() string { return e.Message }

func (e *Error) Unwrap() error { return e.Err }

// Codes of errors in requests, as the OpenAI API has them.
const (
	CodeUnknown     = "unknown_parameter"
	CodeMissing     = "missing_required_parameter"
	CodeType        = "invalid_type"
	CodeValue       = "invalid_value"
	CodeUnsupported = "unsupported_parameter"
	CodeJSON        = "invalid_json"
	CodeTooLarge    = "request_too_large"
	CodeIncomplete  = "incomplete_body"
	CodeKeyReused   = session.CodeKeyReused
	CodeCorrupt     = "log_corrupt"
	CodeFull        = "storage_full"
	CodeUnavailable = "service_unavailable"
)

// Invalid is the error of a parameter with a value that it cannot have.
func Invalid(param, message string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeValue, Param: param, Message: message}
}

// Unsupported is the error of a parameter that is known and not served.
func Unsupported(param, message string) *Error {
	return &Error{Status: http.StatusBadRequest, Code: CodeUnsupported, Param: param, Message: message}
}

// NotFound is the error of an id that the project does not have.
func NotFound(what, id string) *Error {
	return &Error{Status: http.StatusNotFound, Code: "not_found", Message: "No " + what + " found with id '" + id + "'."}
}

// retrySoon is how many seconds a client is asked to wait for the store.
const retrySoon = 1

// errorOf says how an error is answered.
func errorOf(err error) *Error {
	var e *Error
	var refusal *session.Refusal
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &refusal):
		return refused(refusal)
	case errors.As(err, &tooLarge):
		return &Error{
			Status: http.StatusRequestEntityTooLarge, Code: CodeTooLarge,
			Message: "The request body is larger than the limit of " + strconv.FormatInt(tooLarge.Limit, 10) + " bytes.",
		}
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, blob.ErrCorrupt), errors.Is(err, blob.ErrNotFound):
		return &Error{
			Status: http.StatusInternalServerError, Code: CodeCorrupt, Err: err,
			Message: "What is stored is not what was written: it was changed or damaged. Nothing was done.",
		}
	case errors.Is(err, store.ErrFull):
		return &Error{
			Status: http.StatusInsufficientStorage, Code: CodeFull, Err: err,
			Message: "The disk of the store is full. Nothing was written. Make room and try again.",
		}
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrFenced), errors.Is(err, store.ErrConflict):
		return &Error{
			Status: http.StatusServiceUnavailable, Code: CodeUnavailable, RetryAfter: retrySoon, Err: err,
			Message: "The store cannot take this now. Try again, with the same Idempotency-Key if there was one.",
		}
	case errors.Is(err, store.ErrNotFound):
		return &Error{Status: http.StatusNotFound, Code: "not_found", Message: "There is no such resource."}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return &Error{
			Status: http.StatusServiceUnavailable, Code: CodeUnavailable, RetryAfter: retrySoon, Err: err,
			Message: "The request was ended before it was answered.",
		}
	}
	return &Error{Status: http.StatusInternalServerError, Err: err, Message: "The server could not do this. Its log says why."}
}

func refused(r *session.Refusal) *Error {
	e := &Error{Status: http.StatusBadRequest, Code: r.Code, Param: r.Param, Message: r.Message}
	switch {
	case r.State, r.Code == session.CodeKeyReused:
		e.Status = http.StatusConflict
	case r.Code == session.CodeUnknownEffect:
		e.Status = http.StatusNotFound
	}
	return e
}

// envelope is an error on the wire.
type envelope struct {
	Error errorBody `json:"error"`
}

type errorBody struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

func (e *Error) envelope() envelope {
	b := errorBody{Message: e.Message, Type: e.Type, Param: optional(e.Param), Code: optional(e.Code)}
	if b.Type == "" {
		b.Type = "invalid_request_error"
		if e.Status >= http.StatusInternalServerError {
			b.Type = "server_error"
		}
	}
	return envelope{Error: b}
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
