// Package failure turns what goes wrong with a provider's answer into the
// model.Error that the engine acts on: which code it has, whether another
// attempt may succeed and how long to wait for it. It knows the error forms of
// HTTP and of the providers, and nothing of what was asked.
package failure

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/outbound"
)

// The codes of the Agents API's turn errors that a provider's failure becomes.
const (
	RateLimitExceeded      = "rate_limit_exceeded"
	ServerOverloaded       = "server_overloaded"
	ServerError            = "server_error"
	ConnectionFailed       = "connection_failed"
	RequestTimeout         = "request_timeout"
	AuthenticationError    = "authentication_error"
	ResourceNotFound       = "resource_not_found"
	InvalidRequest         = "invalid_request"
	ContextLengthExceeded  = "context_length_exceeded"
	CreditBalanceExhausted = "credit_balance_exhausted"
	BillingNotActive       = "billing_not_active"
	FlexUnavailable        = "flex_unavailable"
)

// statusOverloaded is what Anthropic answers when it has no capacity.
const statusOverloaded = 529

// Refused is the error of an answer with an HTTP status that is not a success,
// or of an error that came within a stream (status 0). It is scrubbed of the
// secrets. now is what a Retry-After date is compared with.
func Refused(status int, h http.Header, d Detail, now time.Time, secrets ...string) *model.Error {
	code, retry := classify(status, d)
	msg := Scrub(d.Message, secrets...)
	switch {
	case code == AuthenticationError && status == http.StatusUnauthorized:
		// What providers say here repeats parts of the key.
		msg = "the provider refused the credentials"
	case msg == "" && status != 0:
		msg = "the provider answered " + strings.TrimSpace(strconv.Itoa(status)+" "+http.StatusText(status))
	case msg == "":
		msg = "the provider reported an error without a message"
	}
	e := &model.Error{Code: code, Message: msg, Status: status, Retry: retry}
	if retry {
		e.RetryAfter = RetryAfter(h, now)
	}
	return e
}

// classify says which code a provider's error has and whether the same request
// may succeed later. What the provider names goes before the HTTP status.
func classify(status int, d Detail) (code string, retry bool) {
	if n, err := strconv.Atoi(d.Code); err == nil && status == 0 && n >= 400 && n < 600 {
		status = n // vLLM, llama.cpp and OpenRouter name a status within a stream
	}
	name := strings.ToLower(d.Code + " " + d.Type)
	msg := strings.ToLower(d.Message)
	has := func(words ...string) bool { return containsAny(name, words) }
	switch {
	case has("insufficient_quota", "billing_hard_limit", "credit_balance", "billing_error"),
		status == http.StatusPaymentRequired,
		strings.Contains(msg, "credit balance is too low"):
		return CreditBalanceExhausted, false
	case has("billing_not_active"):
		return BillingNotActive, false
	case has("context_length_exceeded", "exceed_context_size", "request_too_large"),
		status == http.StatusRequestEntityTooLarge,
		status != http.StatusTooManyRequests && containsAny(msg, tooLong):
		return ContextLengthExceeded, false
	case has("resource_unavailable") && status == http.StatusTooManyRequests && strings.Contains(msg, "flex"):
		return FlexUnavailable, true
	case has("rate_limit", "throttling", "too_many_requests", "servicequotaexceeded"):
		return RateLimitExceeded, true
	case has("overloaded", "serviceunavailable", "service_unavailable", "modelnotready"):
		return ServerOverloaded, true
	case has("timeout"):
		return RequestTimeout, true
	}
	if status != 0 {
		return ofStatus(status)
	}
	switch {
	case has("authentication", "permission", "invalid_api_key", "accessdenied"):
		return AuthenticationError, false
	case has("not_found", "notfound"):
		return ResourceNotFound, false
	case has("invalid", "validation", "badrequest", "image", "_policy"):
		return InvalidRequest, false
	}
	return ServerError, true
}

func ofStatus(status int) (code string, retry bool) {
	switch status {
	case http.StatusTooManyRequests:
		return RateLimitExceeded, true
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return RequestTimeout, true
	case http.StatusServiceUnavailable, statusOverloaded:
		return ServerOverloaded, true
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusProxyAuthRequired:
		return AuthenticationError, false
	case http.StatusNotFound, http.StatusGone:
		return ResourceNotFound, false
	case http.StatusConflict, http.StatusTooEarly, http.StatusFailedDependency:
		// 424 is Bedrock's, for a model that failed.
		return ServerError, true
	}
	if status >= 500 {
		return ServerError, true
	}
	return InvalidRequest, false
}

// tooLong are the words, in lower case, with which servers say that a
// conversation does not fit: OpenAI and vLLM ("maximum context length",
// "maximum model length"), newer OpenAI ("context window"), llama.cpp
// ("available context size"), Ollama ("prompt too long", "context length"),
// Anthropic ("prompt is too long", "exceed context limit"), Bedrock ("input is
// too long", "too many input tokens").
var tooLong = []string{
	"maximum context length",
	"maximum model length",
	"exceeds the context window",
	"exceed context window",
	"exceeds the available context size",
	"exceeds the context length",
	"exceeds context length",
	"exceeded max context length",
	"context length exceeded",
	"context_length_exceeded",
	"exceed context limit",
	"prompt is too long",
	"prompt too long",
	"input is too long",
	"input length is too long",
	"too many input tokens",
	"exceeds the maximum number of input tokens",
}

func containsAny(s string, words []string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// Transport is the error of a request that got no answer, or an answer that
// broke off: connection_failed, or request_timeout where a time limit that is
// not the context's was reached. Once ctx is done it is the context's error. An
// err that already is a *model.Error stays as it is.
func Transport(ctx context.Context, err error, secrets ...string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var known *model.Error
	if errors.As(err, &known) {
		return known
	}
	// url.Error repeats the URL, which may hold a secret.
	var timeout net.Error
	timedOut := errors.As(err, &timeout) && timeout.Timeout()
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	// What the operator does not allow is not allowed a moment later.
	var refused *outbound.RefusedError
	again := !errors.As(err, &refused)
	if timedOut {
		return &model.Error{Code: RequestTimeout, Message: "the provider did not answer in time", Retry: true, Err: err}
	}
	return &model.Error{Code: ConnectionFailed, Message: "the connection to the provider failed: " + Scrub(err.Error(), secrets...), Retry: again, Err: err}
}

// Cut is the error of a stream that ended before the answer did.
func Cut() *model.Error {
	return &model.Error{Code: ConnectionFailed, Message: "the provider's answer broke off before its end", Retry: true}
}

// Malformed is the error of an answer that cannot be read.
func Malformed(what string, err error) *model.Error {
	return &model.Error{Code: ServerError, Message: "the provider's answer cannot be read: " + what, Retry: true, Err: err}
}

// Invalid is the error of a request that this provider cannot be asked.
func Invalid(format string, args ...any) *model.Error {
	return &model.Error{Code: InvalidRequest, Message: fmt.Sprintf(format, args...)}
}

// RetryAfter is how long the provider asked to wait, from the headers
// retry-after-ms (OpenAI) and Retry-After (seconds or a date, RFC 9110 section
// 10.2.3). It is 0 where they are absent, in the past or unreadable, and at most
// a day.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil {
		return bounded(ms / 1000)
	}
	v := h.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		return bounded(s)
	}
	if t, err := http.ParseTime(v); err == nil {
		return bounded(t.Sub(now).Seconds())
	}
	return 0
}

func bounded(seconds float64) time.Duration {
	if math.IsNaN(seconds) || seconds <= 0 {
		return 0
	}
	return time.Duration(min(seconds, 24*60*60) * float64(time.Second))
}
