package oidc

import (
	"fmt"
	"time"
)

// Codes of tokens that are not taken.
const (
	CodeInvalid       = "invalid_token"
	CodeExpired       = "token_expired"
	CodeNotYet        = "token_not_yet_valid"
	CodeAudience      = "wrong_audience"
	CodeUnknownIssuer = "unknown_issuer"
	CodeSignature     = "invalid_signature"
)

// RefusedError is a token that is not taken. Its text is for whoever showed it.
type RefusedError struct {
	Code    string
	Message string
}

func (e *RefusedError) Error() string { return e.Message }

func refused(code, format string, args ...any) error {
	return &RefusedError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// NoProjectError is a token that is good, of somebody who has no place here. Its
// text is for whoever showed it.
type NoProjectError struct{ Message string }

func (e *NoProjectError) Error() string { return e.Message }

// UnavailableError is an issuer whose keys cannot be had now.
type UnavailableError struct {
	Issuer string
	// After is when to ask again.
	After time.Duration
	Err   error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("The issuer %s cannot be asked for its keys now, so its tokens cannot be verified. Try again.", e.Issuer)
}

func (e *UnavailableError) Unwrap() error { return e.Err }
