package memories_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const nobody = "mem_00000000000000000000000000000000"

// envelope is an error as it is on the wire.
func envelope(message, param, code string) string {
	quote := func(s string) string {
		if s == "" {
			return "null"
		}
		return `"` + s + `"`
	}
	return fmt.Sprintf(`{"error":{"message":"%s","type":"invalid_request_error","param":%s,"code":%s}}`, message, quote(param), quote(code))
}

// TestRefusals has requests that are not taken, each with the answer it gets.
func TestRefusals(t *testing.T) {
	const (
		when    = ": expected a date such as 2026-05-03 or a time such as 2026-05-03T14:00:00Z, but got "
		of      = "Supported values are: 'turn', 'semantic', 'preference', 'summary', 'episodic', 'core'."
		oneOf   = "Say one thing to forget: give one of 'memory_id', 'actor', 'session_id' and 'namespace'."
		invalid = "invalid_value"
		search  = path + "/search"
		forget  = path + "/forget"
		rules   = path + "/rules"
		imports = path + "/import"
	)
	tests := []struct {
		name, request, body  string
		message, param, code string
	}{
		{"no text", "POST " + path, `{"actor":"ann"}`, "Missing required parameter: 'text'.", "text", "missing_required_parameter"},
		{"empty text", "POST " + path, `{"actor":"ann","text":""}`, "The text is empty.", "text", invalid},
		{"long text", "POST " + path, `{"actor":"ann","text":"` + strings.Repeat("a", 32<<10+1) + `"}`, "The text has 32769 bytes, more than 32768. Split it into several memories.", "text", invalid},
		{"NUL in the text", "POST " + path, `{"actor":"ann","text":"a\u0000"}`, "The text has a NUL character.", "text", invalid},
		{"NUL beside it", "POST " + path, `{"actor":"ann","text":"a","metadata":{"k":"\u0000"}}`, "Invalid 'metadata': it has a NUL character.", "metadata", invalid},
		{"unknown field", "POST " + path, `{"actor":"ann","text":"a","user_id":"ann"}`, "Unknown parameter: 'user_id'.", "user_id", "unknown_parameter"},
		{"nowhere", "POST " + path, `{"text":"a"}`, "Say where the memory stands: give a 'namespace', or the 'actor' whom it is about.", "namespace", invalid},
		{"turn of no session", "POST " + path, `{"text":"a","actor":"ann","strategy":"turn"}`, "A memory of the strategy 'turn' stands below a session: give 'source.session_id', or a 'namespace'.", "namespace", invalid},
		{"namespace with a hole", "POST " + path, `{"text":"a","namespace":"/a//b"}`, `Namespace \"/a//b\": a segment is empty.`, "namespace", invalid},
		{"namespace with a wildcard", "POST " + path, `{"text":"a","namespace":"/a/*"}`, `Namespace \"/a/*\": the character '*' is not allowed in a namespace.`, "namespace", invalid},
		{"strategy", "POST " + path, `{"text":"a","actor":"ann","strategy":"fact"}`, "Invalid value: 'fact'. " + of, "strategy", invalid},
		{"origin", "POST " + path, `{"text":"a","actor":"ann","origin":"web"}`, "Invalid value: 'web'. Supported values are: 'client', 'user', 'agent', 'other', 'tool'.", "origin", invalid},
		{"confidence", "POST " + path, `{"text":"a","actor":"ann","confidence":2}`, "Invalid 'confidence': expected a number of at most 1, but got 2.", "confidence", invalid},
		{"no date", "POST " + path, `{"text":"a","actor":"ann","valid_from":"yesterday"}`, "Invalid 'valid_from'" + when + "'yesterday'.", "valid_from", invalid},
		{"an end before the beginning", "POST " + path, `{"text":"a","actor":"ann","valid_from":"2026-05-03","valid_to":"2026-05-02"}`, "valid_to is not after valid_from.", "valid_to", invalid},
		{"metadata that is no text", "POST " + path, `{"text":"a","actor":"ann","metadata":{"n":1}}`, "Invalid type for 'metadata.n': expected a string, but got an integer instead.", "metadata.n", "invalid_type"},
		{"drawn from nothing", "POST " + path, `{"text":"a","actor":"ann","source":{"memory_ids":["` + nobody + `"]}}`, "The memory '" + nobody + "', from which this one was drawn, is not there. It was forgotten, or never was.", "source.memory_ids", invalid},
		{"a turn that is drawn", "POST " + path, `{"text":"a","namespace":"/a","strategy":"turn","source":{"memory_ids":["` + nobody + `"]}}`, "A turn is what was said, and is not drawn from other memories.", "source.memory_ids", invalid},

		{"empty question", "POST " + search, `{"actor":"ann","text":" "}`, "Give the question, or words to look for.", "text", invalid},
		{"search nowhere", "POST " + search, `{"text":"a"}`, "Say where to search: give 'namespaces', or an 'actor'.", "namespaces", invalid},
		{"search below no namespace", "POST " + search, `{"text":"a","namespaces":["/a/.."]}`, `Namespace \"/a/..\": the segment \"..\" is not allowed.`, "namespaces", invalid},
		{"search a strategy", "POST " + search, `{"text":"a","actor":"ann","strategies":["semantic","fact"]}`, "Invalid value: 'fact'. " + of, "strategies[1]", invalid},
		{"search too much", "POST " + search, `{"text":"a","actor":"ann","limit":201}`, "Invalid 'limit': expected a number of at most 200, but got 201.", "limit", invalid},
		{"search at no time", "POST " + search, `{"text":"a","actor":"ann","known_at":"2026-13-01"}`, "Invalid 'known_at'" + when + "'2026-13-01'.", "known_at", invalid},

		{"list what", "GET " + path + "?user=ann", "", "Unknown parameter: 'user'.", "user", "unknown_parameter"},
		{"list a strategy", "GET " + path + "?strategy=fact", "", "Invalid value: 'fact'. " + of, "strategy", invalid},
		{"list or not", "GET " + path + "?superseded=yes", "", "Invalid 'superseded': expected true or false, but got 'yes'.", "superseded", invalid},
		{"list after nothing", "GET " + path + "?after=" + nobody, "", "No memory found with id '" + nobody + "'.", "after", invalid},
		{"list too much", "GET " + path + "?limit=101", "", "Invalid 'limit': expected an integer from 1 to 100, but got '101'.", "limit", invalid},
		{"list no namespace", "GET " + path + "?namespace=/a//b", "", `Namespace \"/a//b\": a segment is empty.`, "namespace", invalid},
		{"list in what order", "GET " + path + "?order=best", "", "Invalid value: 'best'. Supported values are: 'asc' and 'desc'.", "order", invalid},

		{"forget what", "POST " + forget, `{}`, oneOf, "", invalid},
		{"forget two things", "POST " + forget, `{"actor":"ann","session_id":"s"}`, oneOf, "", invalid},
		{"forget no namespace", "POST " + forget, `{"namespace":"/a//b"}`, `Namespace \"/a//b\": a segment is empty.`, "namespace", invalid},
		{"hold without a reason", "POST " + rules, `{"namespace":"/actors/ann","hold":true}`, "A hold needs a reason, which is told to whoever wants to forget something.", "reason", invalid},
		{"rule of no namespace", "POST " + rules, `{"namespace":""}`, "A namespace is a path such as /actors/alice/facts, and is not empty.", "namespace", invalid},
		{"expiry before it is there", "POST " + rules, `{"namespace":"/a","expire_after_seconds":-1}`, "Invalid 'expire_after_seconds': expected a number of at least 0, but got -1.", "expire_after_seconds", invalid},

		{"expiry in many years", "POST " + rules, `{"namespace":"/a","expire_after_seconds":9223372036854775807}`, "Invalid 'expire_after_seconds': expected at most 3155760000, which is a hundred years, but got 9223372036854775807.", "expire_after_seconds", invalid},

		{"export or not", "GET " + path + "/export?vectors=1", "", "Invalid 'vectors': expected true or false, but got '1'.", "vectors", invalid},
		{"import nothing", "POST " + imports, "", "The file cannot be imported: the file is empty: give what was exported.", "", invalid},
		{"import another format", "POST " + imports + "?format=zep", "{}", "Invalid value: 'zep'. Supported values are: 'stayd', 'mem0', 'letta', 'langgraph', 'agentcore'.", "format", invalid},
		{"import for nobody", "POST " + imports, `[{"id":"1","memory":"a"}]`, "Say whose memories these become: give one 'actor'.", "actor", invalid},
		{"import no JSON", "POST " + imports + "?actor=ann", `[{"id":"1","memory":"a"},}]`, "The file cannot be imported: line 1: this is not JSON: invalid character '}' looking for beginning of value.", "", invalid},
	}
	w := newWorld(t)
	for _, tt := range tests {
		method, path, _ := strings.Cut(tt.request, " ")
		a := w.do(method, path, tt.body)
		if want := envelope(tt.message, tt.param, tt.code); a.status != http.StatusBadRequest || a.body != want {
			t.Errorf("%s: %s\nwant 400 %s", tt.name, a, want)
		}
	}
	if l := w.list(""); len(l.Data) != 0 {
		t.Errorf("a refused request left %q", l.texts())
	}
}

// TestRefusalsOfOne has requests about one memory that are not taken.
func TestRefusalsOfOne(t *testing.T) {
	w := newWorld(t)
	m := w.keep("Ann lives in Paris.", "")
	newer := must[object](w, "POST", path+"/"+m.ID, `{"text":"Ann lives in Rome."}`)
	elsewhere := w.keep("Bob lives in Oslo.", `,"actor":"bob"`)
	must[any](w, "POST", path+"/rules", `{"namespace":"/actors/bob","hold":true,"reason":"Case 7."}`)
	for _, tt := range []struct {
		name, request, body  string
		status               int
		message, param, code string
	}{
		{"get", "GET " + path + "/" + nobody, "", 404, "No memory found with id '" + nobody + "'.", "", "not_found"},
		{"get no id", "GET " + path + "/mem_x", "", 404, "No memory found with id 'mem_x'.", "", "not_found"},
		{"history", "GET " + path + "/" + nobody + "/history", "", 404, "No memory found with id '" + nobody + "'.", "", "not_found"},
		{"update", "POST " + path + "/" + nobody, `{"text":"a"}`, 404, "No memory found with id '" + nobody + "'.", "", "not_found"},
		{"delete", "DELETE " + path + "/" + nobody, "", 404, "No memory found with id '" + nobody + "'.", "", "not_found"},
		{"forget", "POST " + path + "/forget", `{"memory_id":"` + nobody + `"}`, 404, "No memory found with id '" + nobody + "'.", "", "not_found"},
		{"update with nothing", "POST " + path + "/" + newer.ID, `{}`, 400, "Say what is otherwise: give 'text', 'metadata', 'valid_from', 'valid_to' or 'confidence'.", "", "invalid_value"},
		{"update with no text", "POST " + path + "/" + newer.ID, `{"text":""}`, 400, "The text is empty.", "text", "invalid_value"},
		{"update at no time", "POST " + path + "/" + newer.ID, `{"valid_to":"later"}`, 400, "Invalid 'valid_to': expected a date such as 2026-05-03 or a time such as 2026-05-03T14:00:00Z, but got 'later'.", "valid_to", "invalid_value"},
		{"update what was replaced", "POST " + path + "/" + m.ID, `{"text":"Ann lives in Bonn."}`, 409, "The memory '" + m.ID + "' was superseded by '" + newer.ID + "'. Change that one.", "", "memory_superseded"},
		{"delete what is held", "DELETE " + path + "/" + elsewhere.ID, "", 409, "What lies below '/actors/bob' is held and cannot be forgotten: Case 7.", "", "memory_held"},
		{"forget what is held", "POST " + path + "/forget", `{"namespace":"/"}`, 409, "What lies below '/actors/bob' is held and cannot be forgotten: Case 7.", "", "memory_held"},
	} {
		method, path, _ := strings.Cut(tt.request, " ")
		a := w.do(method, path, tt.body)
		if want := envelope(tt.message, tt.param, tt.code); a.status != tt.status || a.body != want {
			t.Errorf("%s: %s\nwant %d %s", tt.name, a, tt.status, want)
		}
	}
	if l := w.list("?superseded=true"); len(l.Data) != 3 {
		t.Errorf("what was refused left %q", l.texts())
	}
}

// TestTooBroad searches more spaces than one search reads.
func TestTooBroad(t *testing.T) {
	w := newWorld(t)
	for i := range 65 {
		w.keep("A note.", fmt.Sprintf(`,"namespace":"/notes/n%02d"`, i))
	}
	a := w.do("POST", path+"/search", `{"text":"note","namespaces":["/notes"]}`)
	want := envelope("More than 64 spaces (the first two segments of a namespace) lie below '/notes'. Search below a longer prefix.", "namespaces", "invalid_value")
	if a.status != http.StatusBadRequest || a.body != want {
		t.Errorf("%s, want %s", a, want)
	}
	if l := w.search(`{"text":"note","namespaces":["/notes/n07"]}`); len(l.Data) != 1 {
		t.Errorf("below a longer prefix: %q", l.texts())
	}
}
