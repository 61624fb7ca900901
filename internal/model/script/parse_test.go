package script_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/model/script"
)

func TestParseErrors(t *testing.T) {
	step := func(body string) string { return "steps:\n  - when: {always: true}\n    reply: " + body + "\n" }
	when := func(body string) string { return "steps:\n  - when: " + body + "\n    reply: x\n" }
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "test.yaml: the file is empty: it needs a list of steps"},
		{"comment only", "# nothing\n", "test.yaml: the file is empty: it needs a list of steps"},
		{"not YAML", "steps: [\n", "test.yaml:1: did not find expected node content"},
		{"two documents", "steps: []\n---\nsteps: []\n", "test.yaml:2: a second document begins here: a file holds one script"},
		{"no steps", "description: x\n", "test.yaml:1: a script needs a list of steps with at least one step"},
		{"list", "- a\n", "test.yaml:1: a script must be a mapping with any of the fields description, steps"},
		{"unknown field", "steps:\n  - wen: {}\n", `test.yaml:2: unknown field "wen" in a step; known are when, recorded, reply`},
		{"twice", "steps: []\nsteps: []\n", `test.yaml:2: a script has the field "steps" twice`},
		{"no when", "steps:\n  - reply: x\n", `test.yaml:2: a step needs "when": say under which conditions it answers, or "when: {always: true}"`},
		{"no reply", "steps:\n  - when: {always: true}\n", `test.yaml:2: a step needs "reply": say what it answers`},
		{"no condition", when("{}"), `test.yaml:2: "when" has no condition: write "always: true" for a step that always answers`},
		{"always and more", when("{always: true, count: 1}"), `test.yaml:2: "always" stands alone: with other conditions beside it, leave it out`},
		{"never", when("{always: false}"), `test.yaml:2: "always: false" would never answer: leave the step out`},
		{"not a flag", when("{always: 1}"), "test.yaml:2: always must be true or false"},
		{"regexp", when("{user: {matches: '('}}"), "test.yaml:2: matches must be a regular expression (RE2): error parsing regexp: missing closing ): `(`"},
		{"no text condition", when("{user: {}}"), "test.yaml:2: user needs contains, equals or matches"},
		{"inner unknown field", when("{output: {nam: x}}"), `test.yaml:2: unknown field "nam" in output; known are contains, equals, matches, name, failed`},
		{"negative", when("{count: -1}"), "test.yaml:2: count must be a whole number from 0"},
		{"range", when("{count: {min: 3, max: 2}}"), "test.yaml:2: count: max is less than min"},
		{"hash", when("{request: abc}"), "test.yaml:2: request must be a SHA-256 in 64 lower-case hexadecimal digits"},
		{"null text", when("{user: null}"), "test.yaml:2: user must be a text: put it in quotes"},
		{"empty reply", step("{}"), "test.yaml:3: a reply needs one of text, calls, reasoning, items and error"},
		{"template", step("'{{nme}}'"), `test.yaml:3: reply: unknown value {{nme}}; known are {{last_user}}, {{last_output}}, {{output.PATH}}, {{count}}, {{session_count}} (write \{{ for a plain "{{")`},
		{"open template", step("'a {{b'"), `test.yaml:3: reply: "{{" without "}}" (write \{{ for a plain "{{")`},
		{"no name", step("{calls: [{args: {}}]}"), "test.yaml:3: a call needs the name of a tool"},
		{"args and json", step("{calls: [{name: f, args: {}, json: '{}'}]}"), "test.yaml:3: a call has args or json, not both"},
		{"args list", step("{calls: [{name: f, args: [1]}]}"), "test.yaml:3: args must be a mapping, which becomes a JSON object"},
		{"infinite", step("{calls: [{name: f, args: {a: .inf}}]}"), `test.yaml:3: ".inf" is not a value that JSON has: put it in quotes`},
		{"args twice", step("{calls: [{name: f, args: {a: 1, a: 2}}]}"), `test.yaml:3: arguments have the field "a" twice`},
		{"alias", step("{calls: [{name: f, args: {a: &x 1, b: *x}}]}"), "test.yaml:3: arguments hold an alias: write the value out"},
		{"deep", step("{calls: [{name: f, args: {a: " + strings.Repeat("[", 200) + strings.Repeat("]", 200) + "}}]}"), "test.yaml:3: arguments are nested more than 100 deep"},
		{"items and text", step("{text: a, items: [{text: b}]}"), `test.yaml:3: "items" says all of an answer: put reasoning, text and calls into it, or leave it out`},
		{"item of two kinds", step("{items: [{text: b, reasoning: c}]}"), "test.yaml:3: an item has exactly one of reasoning, text and call"},
		{"phase of a call", step("{items: [{call: {name: f}, phase: commentary}]}"), "test.yaml:3: only a text has a phase"},
		{"error without code", step("{error: {message: x}}"), "test.yaml:3: an error needs a code such as rate_limit_exceeded, server_overloaded or invalid_request"},
		{"error for ever", step("{text: a, error: {code: x}}"), `test.yaml:3: a reply that always fails has no answer: say how many "times" the error comes first`},
		{"duration", step("{text: a, delay: 3}"), `test.yaml:3: delay must be a duration such as "200ms" or "3s"`},
		{"chunk", step("{text: a, stream: {chunk: 0}}"), "test.yaml:3: chunk must be at least 1 character"},
		{"usage", step("{text: a, usage: {tokens: 1}}"), `test.yaml:3: unknown field "tokens" in usage; known are input_tokens, cached_tokens, output_tokens, reasoning_tokens`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := script.Parse("test", []byte(tc.text))
			var syntax *script.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("got %v, want a *SyntaxError", err)
			}
			if err.Error() != tc.want {
				t.Errorf("got  %s\nwant %s", err, tc.want)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"steps: [{when: {always: true}, reply: hi}]",
		"steps: [{when: {user: a, output: {name: f, failed: true}}, reply: {text: '{{output.a.0}} {{last_user}}', calls: [{name: f, args: {a: [1, 0x1f, 1e3, ~]}}]}}]",
		"steps: [{when: {count: {min: 1}}, reply: {error: {code: a, times: 2}, text: x, usage: {input_tokens: 1}}}]",
		"steps: [{when: {always: true}, reply: {items: [{text: []}, {call: {name: f, json: '{'}}]}}]",
		"steps: &a [*a]", "a: b: c", "--- |\n x", "<<: {steps: []}",
	} {
		f.Add(s, "hello", `{"a":[1]}`)
	}
	f.Fuzz(func(t *testing.T, text, said, out string) {
		s, err := script.Parse("test", []byte(text))
		if err != nil {
			var syntax *script.SyntaxError
			if !errors.As(err, &syntax) {
				t.Fatalf("%v is not a *SyntaxError", err)
			}
			return
		}
		if strings.Contains(text, "delay") {
			return
		}
		resp, err := s.Generate(t.Context(), request(user(said), call("c", "f", `{}`), output("c", out)), nil)
		if err != nil {
			return
		}
		for i := range resp.Items {
			if a := resp.Items[i].Arguments; a != nil && !json.Valid(a) {
				t.Errorf("arguments %q are not JSON", a)
			}
		}
	})
}
