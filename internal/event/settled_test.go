package event_test

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
)

// FuzzSettled shows that a payload which is said to be settled is what its data
// decodes to.
func FuzzSettled(f *testing.F) {
	for _, s := range []string{`"text"`, `{"a": 1}`, `{"a":" b\" "}`, `[1,2]`, `"\\"`, ` "x"`, `{"a":"\u00e9\ufffd"}`, `""`} {
		f.Add(s, "plain")
		f.Add(s, "bad \xff text")
		f.Add(s, `a real \ufffd`)
	}
	f.Fuzz(func(t *testing.T, raw, text string) {
		if !json.Valid([]byte(raw)) {
			return
		}
		for _, p := range []event.Payload{
			&event.EffectFinished{EffectID: "e", TurnID: "t", Status: "completed", Output: json.RawMessage(raw), Error: text},
			&event.ModelResponded{EffectID: "e", Items: []event.Item{{Type: "message", ID: text, Arguments: json.RawMessage(raw), Content: []event.Content{{Type: text, Text: text}}}}},
			&event.TurnEnded{TurnID: text, Status: "failed", Error: &event.TurnError{Message: text}},
		} {
			data, err := event.Encode(p)
			if err != nil {
				t.Fatal(err)
			}
			decoded, err := event.Decode(&event.Record{Kind: p.Kind(), Version: event.Version, Data: data, Salt: []byte{1}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(decoded, p); event.Settled(p, data) && diff != "" {
				t.Errorf("settled, and not the same:\n%s", diff)
			}
		}
	})
}

// TestSettled shows which payloads are settled.
func TestSettled(t *testing.T) {
	for raw, want := range map[string]bool{
		`"text with spaces"`: true, `{"a":1,"b":[true,"x y"]}`: true, `{"a": 1}`: false, `"a" `: false, `"quote \" and \\ "`: true, "[1,\n2]": false,
	} {
		p := &event.EffectFinished{Output: json.RawMessage(raw)}
		data, err := event.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := event.Settled(p, data); got != want {
			t.Errorf("%s: settled is %v", raw, got)
		}
	}
}
