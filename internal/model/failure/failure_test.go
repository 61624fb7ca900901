package failure_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/failure"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		header, value string
		want          time.Duration
	}{
		{"Retry-After", "", 0},
		{"Retry-After", "20", 20 * time.Second},
		{"Retry-After", "0.25", 250 * time.Millisecond},
		{"Retry-After", "-3", 0},
		{"Retry-After", "NaN", 0},
		{"Retry-After", "1e300", 24 * time.Hour},
		{"Retry-After", "Tue, 24 Nov 2026 12:01:30 GMT", 90 * time.Second},
		{"Retry-After", "Tue, 24 Nov 2026 11:00:00 GMT", 0},
		{"Retry-After", "soon", 0},
		{"Retry-After-Ms", "1500", 1500 * time.Millisecond},
		{"retry-after-ms", "+Inf", 24 * time.Hour},
	} {
		h := http.Header{}
		h.Set(c.header, c.value)
		if got := failure.RetryAfter(h, now); got != c.want {
			t.Errorf("%s: %s is %s, want %s", c.header, c.value, got, c.want)
		}
	}
	if got := failure.RetryAfter(nil, now); got != 0 {
		t.Errorf("without headers it is %s, want 0", got)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		detail failure.Detail
		code   string
		retry  bool
	}{
		{"a request too large for the minute is no long context", 429, failure.Detail{Message: "Request too large: maximum context length"}, "rate_limit_exceeded", true},
		{"flex has no room", 429, failure.Detail{Code: "resource_unavailable", Message: "Flex capacity is not available"}, "flex_unavailable", true},
		{"conflict", 409, failure.Detail{}, "server_error", true},
		{"gone", 410, failure.Detail{}, "resource_not_found", false},
		{"teapot", 418, failure.Detail{}, "invalid_request", false},
		{"unknown failure of a server", 599, failure.Detail{}, "server_error", true},
		{"in a stream, authentication", 0, failure.Detail{Type: "authentication_error"}, "authentication_error", false},
		{"in a stream, not found", 0, failure.Detail{Type: "not_found_error"}, "resource_not_found", false},
		{"in a stream, bad prompt", 0, failure.Detail{Code: "invalid_prompt"}, "invalid_request", false},
		{"in a stream, policy", 0, failure.Detail{Code: "bio_policy"}, "invalid_request", false},
		{"in a stream, nothing known", 0, failure.Detail{}, "server_error", true},
		{"in a stream, a status", 0, failure.Detail{Code: "429"}, "rate_limit_exceeded", true},
		{"in a stream, a number", 0, failure.Detail{Code: "1234"}, "server_error", true},
		{"in a stream, timeout", 0, failure.Detail{Code: "vector_store_timeout"}, "request_timeout", true},
	} {
		e := failure.Refused(c.status, nil, c.detail, now)
		if e.Code != c.code || e.Retry != c.retry || e.Status != c.status || e.Message == "" {
			t.Errorf("%s: %+v, want %s (retry %t)", c.name, e, c.code, c.retry)
		}
	}
}

type slow struct{}

func (slow) Error() string   { return "slow" }
func (slow) Timeout() bool   { return true }
func (slow) Temporary() bool { return false }

func TestTransport(t *testing.T) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	known := failure.Cut()
	secret := &url.Error{Op: "Post", URL: "https://host/?key=secret", Err: errors.New("connection reset")}
	for _, c := range []struct {
		name string
		ctx  context.Context
		err  error
		want string
	}{
		{"the context ended", ended, errors.New("x"), "context canceled"},
		{"known", context.Background(), fmt.Errorf("send: %w", known), known.Error()},
		{"timeout", context.Background(), &url.Error{Op: "Post", URL: "u", Err: slow{}}, "request_timeout: the provider did not answer in time"},
		{"URL", context.Background(), secret, "connection_failed: the connection to the provider failed: connection reset"},
		{"key", context.Background(), errors.New("bad k-123"), "connection_failed: the connection to the provider failed: bad [redacted]"},
	} {
		if got := failure.Transport(c.ctx, c.err, "k-123").Error(); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	if e := failure.Transport(context.Background(), secret); strings.Contains(fmt.Sprint(errors.Unwrap(e)), "secret") {
		t.Errorf("the wrapped error repeats the URL: %v", errors.Unwrap(e))
	}
}

func TestParseDetail(t *testing.T) {
	for body, want := range map[string]failure.Detail{
		`{"error":{"code":"c","type":"t","message":"m"}}`:  {Code: "c", Type: "t", Message: "m"},
		`{"error":{"code":400,"type":null,"message":"m"}}`: {Code: "400", Message: "m"},
		`{"error":"m"}`:                       {Message: "m"},
		`{"message":"m","type":"t","code":7}`: {Code: "7", Type: "t", Message: "m"},
		`{"detail":"m"}`:                      {Message: "m"},
		`{"detail":[1]}`:                      {Message: "[1]"},
		`{"type":"error","error":{"type":"t","message":1}}`: {Type: "t", Message: "1"},
		`{}`:                   {},
		`[]`:                   {},
		``:                     {},
		` no upstream `:        {Message: "no upstream"},
		`<html>a page</html>`:  {},
		`{"error":{"code":"c"`: {},
	} {
		if got := failure.ParseDetail([]byte(body)); got != want {
			t.Errorf("%s: %+v, want %+v", body, got, want)
		}
	}
}

func TestScrub(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                              "plain",
		"the key k-12345":                    "the key [redacted]",
		"at https://u:p@host:8/a/b?key=1#f.": "at https://host:8/a/b",
		"Incorrect API key provided: sk-abcdef123456": "Incorrect API key provided: [redacted]",
		"sent Bearer eyJhbGciOi.x":                    "sent [redacted]",
		"task-management is no key":                   "task-management is no key",
		"bad\xffbytes":                                "bad\uFFFDbytes",
		strings.Repeat("é", 600):                      strings.Repeat("é", 500) + "…",
	} {
		if got := failure.Scrub(in, "k-12345", ""); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// FuzzError: whatever a server answers, the error is one that can be stored and
// shown, and repeats no secret.
func FuzzError(f *testing.F) {
	const secret = "super-secret-value"
	for _, s := range []string{
		`{"error":{"code":"c","type":"t","message":"m"}}`, `{"error":"m"}`, `{"detail":[{"msg":"x"}]}`,
		`{"message":"https://a:b@c/?d#e"}`, `<html>`, `{"error":{"message":"` + secret + `"}}`, "\xff\xfe", `{"error":null}`,
	} {
		f.Add(400, []byte(s))
	}
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		e := failure.Refused(status, nil, failure.ParseDetail(body), now, secret)
		if e.Code == "" || e.Message == "" || !utf8.ValidString(e.Message) || len(e.Message) > 1100 {
			t.Errorf("%+v", e)
		}
		if strings.Contains(e.Message, secret) {
			t.Errorf("the message repeats the secret: %q", e.Message)
		}
		if failure.HasError(body) && !json.Valid(body) {
			t.Errorf("HasError of what is no JSON")
		}
		var asError error = e
		var back *model.Error
		if !errors.As(asError, &back) {
			t.Errorf("%T is no *model.Error", asError)
		}
	})
}
