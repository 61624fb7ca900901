package failure

import (
	"bytes"
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Detail is what a provider says of an error.
type Detail struct {
	Code    string
	Type    string
	Message string
}

// ParseDetail reads the body of an error answer. It knows the envelope of
// OpenAI, Anthropic and most compatible servers ({"error":{...}}), Ollama's
// ({"error":"..."}), vLLM's older one (the fields at the top) and FastAPI's
// ({"detail":...}). Of anything else that is text and not a page, the message is
// the text.
func ParseDetail(body []byte) Detail {
	var env struct {
		fields
		Error  json.RawMessage `json:"error"`
		Detail json.RawMessage `json:"detail"`
	}
	if json.Unmarshal(body, &env) != nil {
		text := strings.TrimSpace(string(body))
		if strings.HasPrefix(text, "<") || strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
			return Detail{}
		}
		return Detail{Message: text}
	}
	var inner fields
	var text string
	switch {
	case json.Unmarshal(env.Error, &text) == nil && text != "":
		return Detail{Message: text, Code: scalar(env.Code)}
	case json.Unmarshal(env.Error, &inner) == nil && !inner.empty():
		return inner.detail()
	case json.Unmarshal(env.Detail, &text) == nil && text != "":
		return Detail{Message: text}
	case !env.empty():
		return env.detail()
	case len(env.Detail) > 0:
		return Detail{Message: string(env.Detail)}
	}
	return Detail{}
}

type fields struct {
	Code    json.RawMessage `json:"code"`
	Type    json.RawMessage `json:"type"`
	Message json.RawMessage `json:"message"`
}

func (f *fields) empty() bool {
	return scalar(f.Message) == "" && scalar(f.Code) == "" && scalar(f.Type) == ""
}

func (f *fields) detail() Detail {
	return Detail{Code: scalar(f.Code), Type: scalar(f.Type), Message: scalar(f.Message)}
}

// scalar is the text of a string, or of a number: llama.cpp and vLLM have HTTP
// statuses as codes.
func scalar(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var n json.Number
	if json.Unmarshal(raw, &n) == nil {
		return n.String()
	}
	return ""
}

// HasError reports whether the body is a JSON object with an error in it, which
// some servers send with the status of a success.
func HasError(body []byte) bool {
	var env struct {
		Error json.RawMessage `json:"error"`
	}
	return json.Unmarshal(body, &env) == nil && len(env.Error) > 0 && !bytes.Equal(env.Error, []byte("null"))
}

const maxMessage = 1000 // bytes

var (
	urlPattern = regexp.MustCompile(`[a-zA-Z][a-zA-Z0-9+.-]*://[^\s"'<>]+`)
	keyPattern = regexp.MustCompile(`(?i)\b(?:(?:sk|pk|rk|key)-|bearer\s+)[A-Za-z0-9_*.\-/+=]{6,}`)
)

// Scrub makes a message fit to be shown: the secrets, and what looks like a key,
// are taken out, URLs lose user names and queries, and it is cut at 1000 bytes.
func Scrub(msg string, secrets ...string) string {
	for _, s := range secrets {
		if s != "" {
			msg = strings.ReplaceAll(msg, s, "[redacted]")
		}
	}
	msg = urlPattern.ReplaceAllStringFunc(msg, func(raw string) string {
		u, err := url.Parse(raw)
		if err != nil {
			return "[redacted]"
		}
		u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
		return u.String()
	})
	msg = keyPattern.ReplaceAllString(msg, "[redacted]")
	msg = strings.TrimSpace(strings.ToValidUTF8(msg, "\uFFFD"))
	if len(msg) > maxMessage {
		cut := maxMessage
		for !utf8.RuneStart(msg[cut]) {
			cut--
		}
		msg = msg[:cut] + "…"
	}
	return msg
}
