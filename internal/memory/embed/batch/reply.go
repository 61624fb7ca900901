package batch

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Bound returns a body of which so much is read as the limits' largest answer
// may have, and then an error.
func (l Limits) Bound(body io.ReadCloser) io.ReadCloser {
	// A number has some 20 characters where a server writes all that it has.
	return http.MaxBytesReader(nil, body, int64(l.Texts)*(int64(l.Dimensions)*32+int64(l.Text)*6)+1<<20)
}

// maxMessage is how many bytes of an endpoint's message are repeated.
const maxMessage = 500

// Key is an API key, which may be empty, and the variable that it came from.
type Key struct{ Value, Variable string }

// Named is the variable, as errors name it.
func (k Key) Named() string { return cmp.Or(k.Variable, "the variable of the API key") }

// Unauthorized says what it means that an endpoint answered 401. What that said of
// a wrong key is left out: it may repeat parts of it.
func (k Key) Unauthorized(where string) error {
	if k.Value == "" {
		return fmt.Errorf("%s: it wants an API key and none is configured; set %s", where, k.Named())
	}
	return fmt.Errorf("%s: it refused the API key; set %s to a valid one", where, k.Named())
}

// Message returns what the body of an error says, without the secrets and not
// too long: it may be nothing. It knows the envelope of OpenAI and of most
// servers that speak its API ({"error":{"message":"..."}}), Ollama's
// ({"error":"..."}), that of vLLM and AWS ({"message":"..."}) and FastAPI's
// ({"detail":"..."}).
func Message(body []byte, secrets ...string) string {
	var env struct {
		Error   json.RawMessage `json:"error"`
		Message json.RawMessage `json:"message"`
		Detail  json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &env) != nil {
		return ""
	}
	var inner struct {
		Message json.RawMessage `json:"message"`
	}
	if json.Unmarshal(env.Error, &inner) != nil {
		inner.Message = nil
	}
	for _, raw := range []json.RawMessage{inner.Message, env.Error, env.Message, env.Detail} {
		var text string
		if json.Unmarshal(raw, &text) == nil && text != "" {
			return Clean(text, secrets...)
		}
	}
	return ""
}

// Clean makes a message fit for a log: it takes the secrets out, and cuts it.
func Clean(message string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			message = strings.ReplaceAll(message, s, "[redacted]")
		}
	}
	message = strings.TrimSpace(strings.ToValidUTF8(message, "\uFFFD"))
	if len(message) > maxMessage {
		at := maxMessage
		for !utf8.RuneStart(message[at]) {
			at--
		}
		message = message[:at] + "…"
	}
	return message
}

// Unanswered says what it means that a request to the URL got no whole answer.
func Unanswered(u *url.URL, err error) error {
	var long *http.MaxBytesError
	var outer *url.Error
	switch {
	case errors.As(err, &long):
		return fmt.Errorf("%s answered with more than %d bytes, which is no list of vectors; check the base URL", u.Host, long.Limit)
	case errors.Is(err, syscall.ECONNREFUSED) && local(u):
		return fmt.Errorf("nothing listens at %s; is Ollama, or what else should serve the model there, running? (%w)", u.Host, syscall.ECONNREFUSED)
	case errors.As(err, &outer): // it would repeat the URL
		err = outer.Err
	}
	return fmt.Errorf("the connection to %s failed: %w; check the base URL", u.Host, err)
}

// local reports whether the URL is one of this machine.
func local(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}
