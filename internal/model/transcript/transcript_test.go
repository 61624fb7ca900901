package transcript_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model/transcript"
)

// story writes items as words: u and a are messages, r reasoning, k a
// compaction, c1 a call and o1 its output.
func story(words string) []*event.Item {
	var items []*event.Item
	for _, w := range strings.Fields(words) {
		it := &event.Item{ID: w}
		switch w[0] {
		case 'u':
			it.Type, it.Role = event.ItemMessage, event.RoleUser
		case 'a':
			it.Type, it.Role = event.ItemMessage, event.RoleAssistant
		case 'r':
			it.Type = event.ItemReasoning
		case 'k':
			it.Type = event.ItemCompaction
		case 'c':
			it.Type, it.CallID = event.ItemFunctionCall, w[1:]
		case 'o':
			it.Type, it.CallID, it.Output = event.ItemFunctionCallOutput, w[1:], event.TextOutput("out")
		default:
			it.Type = "unknown"
		}
		items = append(items, it)
	}
	return items
}

// told is the reverse of story, turns in brackets; ! is an output that was
// missing, ? one without a call.
func told(turns []transcript.Turn) string {
	var out []string
	for _, turn := range turns {
		words := []string{turn.Role[:1] + ":"}
		for _, it := range turn.Items {
			switch {
			case it.ID != "":
				words = append(words, it.ID)
			case it.Type == event.ItemFunctionCallOutput:
				words = append(words, "!"+it.CallID)
			default:
				words = append(words, "?"+it.Content[1].Text)
			}
		}
		out = append(out, "["+strings.Join(words, " ")+"]")
	}
	return strings.Join(out, " ")
}

func TestTurns(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "",
		"u a u":                "[u: u] [a: a] [u: u]",
		"k u1 u2 r a":          "[u: k u1 u2] [a: r a]",
		"u r c1 c2 o2 o1 a":    "[u: u] [a: r c1 c2] [u: o1 o2] [a: a]",
		"u c1 o1 u c2 o2":      "[u: u] [a: c1] [u: o1 u] [a: c2] [u: o2]",
		"u c1 u2":              "[u: u] [a: c1] [u: !1 u2]",
		"u c1":                 "[u: u] [a: c1] [u: !1]",
		"u c1 u2 o1":           "[u: u] [a: c1] [u: o1 u2]",
		"k o1 u":               "[u: k ?out u]",
		"o1 c1":                "[u: ?out] [a: c1] [u: !1]",
		"u c0 o0 a u2 c0 o0 a": "[u: u] [a: c0] [u: o0] [a: a] [u: u2] [a: c0] [u: o0] [a: a]",
		"u c1 o1 o1":           "[u: u] [a: c1] [u: o1 ?out]", //nolint:dupword // an output given twice
		"u x a":                "[u: u] [a: a]",
	} {
		if got := told(transcript.Turns(story(in))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// FuzzTurns: turns alternate, no item is lost or told twice, and every call is
// answered in the next turn.
func FuzzTurns(f *testing.F) {
	for _, s := range []string{"u a", "c1 o1", "o1 c1 o1 c1", "k u r a c1 c2 u o2"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, words string) {
		items := story(words)
		turns := transcript.Turns(items)
		calls, messages := 0, 0
		for i, turn := range turns {
			if i > 0 && turns[i-1].Role == turn.Role {
				t.Fatalf("two turns of the %s: %s", turn.Role, told(turns))
			}
			var open, answered []string
			for _, it := range turn.Items {
				switch it.Type {
				case event.ItemFunctionCall:
					calls++
					open = append(open, it.CallID)
				case event.ItemMessage, event.ItemCompaction, event.ItemReasoning:
					messages++
				}
			}
			if len(open) == 0 {
				continue
			}
			if i+1 == len(turns) {
				t.Fatalf("calls are not answered: %s", told(turns))
			}
			for _, it := range turns[i+1].Items {
				if it.Type == event.ItemFunctionCallOutput {
					answered = append(answered, it.CallID)
				}
			}
			if diff := cmp.Diff(open, answered); diff != "" {
				t.Fatalf("calls and answers differ: %s\n%s", told(turns), diff)
			}
		}
		wantCalls, others := 0, 0
		for _, it := range items {
			switch it.Type {
			case event.ItemFunctionCall:
				wantCalls++
			case event.ItemMessage, event.ItemCompaction, event.ItemReasoning:
				others++
			}
		}
		if calls != wantCalls || messages < others {
			t.Fatalf("%d calls of %d and %d others of %d: %s", calls, wantCalls, messages, others, told(turns))
		}
	})
}

func TestOutput(t *testing.T) {
	text := func(s string) event.Content { return event.Content{Type: event.PartInputText, Text: s} }
	image := event.Content{Type: event.PartInputImage, ImageURL: "data:,x"}
	for _, c := range []struct {
		item   event.Item
		want   []event.Content
		failed bool
	}{
		{item: event.Item{}},
		{item: event.Item{Output: json.RawMessage(`"a"`)}, want: []event.Content{text("a")}},
		{item: event.Item{Output: json.RawMessage(`[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"data:,x"}]`)}, want: []event.Content{text("a"), image}},
		{item: event.Item{Output: json.RawMessage(`[{"type":"video"}]`)}, want: []event.Content{text(`[{"type":"video"}]`)}},
		{item: event.Item{Output: json.RawMessage(`{"a":1}`)}, want: []event.Content{text(`{"a":1}`)}},
		{item: event.Item{Status: event.StatusFailed}, want: []event.Content{text("The call failed.")}, failed: true},
		{item: event.Item{Status: event.StatusFailed, Error: "why", Output: json.RawMessage(`"log"`)}, want: []event.Content{text("why"), text("log")}, failed: true},
	} {
		got, failed := transcript.Output(&c.item)
		if diff := cmp.Diff(c.want, got); diff != "" || failed != c.failed {
			t.Errorf("%+v: failed %t, parts (-want +got):\n%s", c.item, failed, diff)
		}
	}
}

func TestArguments(t *testing.T) {
	for written, want := range map[string]string{
		"":                 `{}`,
		"  ":               `{}`,
		` {"a": 1} `:       `{"a": 1}`,
		`{"a":`:            `"{\"a\":"`,
		`[1]`:              `"[1]"`,
		`null`:             `"null"`,
		`"quoted"`:         `"\"quoted\""`,
		"{\"a\":\"\xff\"}": "{\"a\":\"\xff\"}", // encoding/json takes it for valid
	} {
		if got := string(transcript.Arguments(written)); got != want && utf8.ValidString(written) {
			t.Errorf("Arguments(%q) = %s, want %s", written, got, want)
		}
	}
	for arguments, want := range map[string]string{
		``:         `{}`,
		`{"a":1}`:  `{"a":1}`,
		`"{\"a\""`: `{"invalid_arguments":"{\"a\""}`,
		`[1]`:      `{"invalid_arguments":"[1]"}`,
		`{`:        `{"invalid_arguments":"{"}`,
	} {
		if got := string(transcript.Object(json.RawMessage(arguments))); got != want {
			t.Errorf("Object(%s) = %s, want %s", arguments, got, want)
		}
	}
}

// FuzzArguments: whatever a model writes can be stored as JSON, comes back as it
// was, and can be sent as an object.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{"", "{}", `{"a":1}`, `{"a"`, "[1]", "\xff", "{\".\xabaa\":1}", `"x"`, " {} "} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, written string) {
		arguments := transcript.Arguments(written)
		if !json.Valid(arguments) || !utf8.Valid(arguments) {
			t.Fatalf("Arguments(%q) = %s, which is no JSON", written, arguments)
		}
		var object map[string]json.RawMessage
		if err := json.Unmarshal(transcript.Object(arguments), &object); err != nil {
			t.Fatalf("Object(%s): %v", arguments, err)
		}
		if back := transcript.Written(arguments); utf8.ValidString(written) && strings.TrimSpace(back) != strings.TrimSpace(written) && strings.TrimSpace(written) != "" {
			t.Fatalf("Written = %q, want %q", back, written)
		}
	})
}

func TestParseDataURL(t *testing.T) {
	for in, want := range map[string]string{
		"data:image/png;base64,aGk=":             "image/png hi",
		"DATA:image/jpg;BASE64,aGk":              "image/jpeg hi",
		"data:image/webp;charset=x;base64,aGk=":  "image/webp hi",
		"data:image/svg+xml;base64,aGk=":         "",
		"data:image/png,hi":                      "",
		"data:image/png;base64":                  "",
		"data:image/png;base64,":                 "",
		"data:image/png;base64,a*":               "",
		"data:;base64,aGk=":                      "",
		"https://example.com/data:image/png,aGk": "",
	} {
		img, err := transcript.ParseDataURL(in)
		got := ""
		if err == nil {
			got = img.MediaType + " " + string(img.Data)
		}
		if got != want {
			t.Errorf("%s: %q (%v), want %q", in, got, err, want)
		}
	}
}

func FuzzParseDataURL(f *testing.F) {
	f.Add("data:image/png;base64,aGk=")
	f.Add("data:,")
	f.Fuzz(func(t *testing.T, u string) {
		img, err := transcript.ParseDataURL(u)
		if err == nil && (len(img.Data) == 0 || !strings.HasPrefix(img.MediaType, "image/")) {
			t.Errorf("%q gives %+v", u, img)
		}
	})
}

func TestSchemas(t *testing.T) {
	got, err := transcript.ObjectSchema(json.RawMessage(`{"required":["b"]}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(got)
	if err != nil || string(b) != `{"properties":{},"required":["b"],"type":"object"}` {
		t.Errorf("ObjectSchema = %s, %v", b, err)
	}
	for _, bad := range []string{`[]`, `"x"`, `{`, `1`} {
		if _, err := transcript.Schema(json.RawMessage(bad)); err == nil {
			t.Errorf("Schema(%s): no error", bad)
		}
	}
}

func TestOutputSchema(t *testing.T) {
	for _, text := range []event.Text{{}, {Format: "text", Verbosity: "low"}} {
		if m, err := transcript.OutputSchema(&text); m != nil || err != nil {
			t.Errorf("%+v: %v, %v, want neither", text, m, err)
		}
	}
	if m, err := transcript.OutputSchema(&event.Text{Format: "json_schema", Schema: json.RawMessage(`{"type":"object"}`)}); len(m) != 1 || err != nil {
		t.Errorf("json_schema: %v, %v", m, err)
	}
	for _, text := range []event.Text{{Format: "json_object"}, {Format: "json_schema"}, {Format: "json_schema", Schema: json.RawMessage(`1`)}} {
		if _, err := transcript.OutputSchema(&text); err == nil {
			t.Errorf("%+v: no error", text)
		}
	}
}

func TestCalled(t *testing.T) {
	items := []*event.Item{
		{Type: event.ItemFunctionCall, Name: "b"},
		{Type: event.ItemFunctionCall, Name: "a"},
		{Type: event.ItemFunctionCallOutput, Name: "c"},
		{Type: event.ItemFunctionCall, Name: "b"},
	}
	if diff := cmp.Diff([]string{"b", "a"}, transcript.Called(items)); diff != "" {
		t.Errorf("Called (-want +got):\n%s", diff)
	}
}

func TestSafeCallID(t *testing.T) {
	for _, id := range []string{"call_1", "toolu_01-X"} {
		if got := transcript.SafeCallID(id, 64); got != id {
			t.Errorf("SafeCallID(%q) = %q", id, got)
		}
	}
	for _, id := range []string{"", "a.b", "é", strings.Repeat("x", 65)} {
		got := transcript.SafeCallID(id, 64)
		if got == id || len(got) > 64 || strings.ContainsAny(got, ".é") {
			t.Errorf("SafeCallID(%q) = %q", id, got)
		}
	}
}
