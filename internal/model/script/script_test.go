package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/script"
)

// The conversation's parts.

func user(text string) *event.Item {
	return &event.Item{Type: event.ItemMessage, Role: event.RoleUser, Content: []event.Content{{Type: event.PartInputText, Text: text}}}
}

func assistant(text string) *event.Item {
	return &event.Item{Type: event.ItemMessage, Role: event.RoleAssistant, Content: []event.Content{{Type: event.PartOutputText, Text: text}}}
}

func call(id, name, args string) *event.Item {
	return &event.Item{Type: event.ItemFunctionCall, CallID: id, Name: name, Arguments: json.RawMessage(args)}
}

func output(id, text string) *event.Item {
	return &event.Item{Type: event.ItemFunctionCallOutput, CallID: id, Status: event.StatusCompleted, Output: event.TextOutput(text)}
}

func failed(id, reason string) *event.Item {
	return &event.Item{Type: event.ItemFunctionCallOutput, CallID: id, Status: event.StatusFailed, Error: reason}
}

func request(items ...*event.Item) *model.Request {
	return &model.Request{Model: "test", EffectID: "eff_1", Items: items}
}

func parse(t testing.TB, text string) *script.Script {
	t.Helper()
	s, err := script.Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func generate(t testing.TB, m model.Model, req *model.Request) *model.Response {
	t.Helper()
	resp, err := m.Generate(t.Context(), req, nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// answer is a response in one line: texts, and calls as name(arguments).
func answer(resp *model.Response) string {
	var parts []string
	for i := range resp.Items {
		switch it := &resp.Items[i]; it.Type {
		case event.ItemFunctionCall:
			parts = append(parts, fmt.Sprintf("%s(%s)", it.Name, it.Arguments))
		case event.ItemReasoning:
			parts = append(parts, "<"+it.Summary[0].Text+">")
		default:
			parts = append(parts, it.Text())
		}
	}
	return strings.Join(parts, " | ")
}

func TestSteps(t *testing.T) {
	const weather = `
description: looks up the weather
steps:
  - when: {output: {name: get_weather, failed: true, contains: unknown}}
    reply: I do not know whether the lookup took place.
  - when: {output: {failed: true}}
    reply: {text: "It failed: {{last_output}}"}
  - when: {output: {name: get_weather}}
    reply: {text: "It is {{output.now.celsius}} degrees; call {{count}} of {{session_count}}, {{output.days.1}}."}
  - when: {user: {contains: [weather, Oslo]}, count: 0}
    reply:
      reasoning: A lookup is needed.
      text: I look.
      calls:
        - {name: get_weather, args: {city: Oslo, days: 2, exact: 1.50, deep: [true, null, {a: "{{last_user}}"}]}}
        - {name: get_time}
  - when: {user: {equals: again}, called: get_time}
    reply: unreachable, since nothing was called in this turn
  - when: {user: {matches: '(?i)^BYE\b'}, session_count: {min: 1}}
    reply: Goodbye.
  - when: {instructions: Summarise}
    reply: A summary.
  - when: {session_count: {min: 7, max: 8}}
    reply: Seven or eight.
`
	weatherCalls := []*event.Item{user("weather in Oslo"), call("c1", "get_weather", `{}`), call("c2", "get_time", `{}`)}
	after := func(more ...*event.Item) *model.Request {
		return request(append(append([]*event.Item{}, weatherCalls...), more...)...)
	}
	long := []*event.Item{user("a")}
	for i := range 7 {
		long = append(long, call(strconv.Itoa(i), "x", `{}`), output(strconv.Itoa(i), "y"))
	}
	long = append(long, user("more"))
	summary := request(user("whatever"))
	summary.Instructions = "Summarise the conversation"

	for _, tc := range []struct {
		name string
		req  *model.Request
		want string
	}{
		{
			"calls", request(user("what is the weather in Oslo?")),
			`<A lookup is needed.> | I look. | get_weather({"city":"Oslo","days":2,"exact":1.50,"deep":[true,null,{"a":"what is the weather in Oslo?"}]}) | get_time({})`,
		},
		{
			"values of the output that the condition chose", after(output("c1", `{"now":{"celsius":4.50},"days":["wet","dry"]}`), output("c2", "noon")),
			"It is 4.50 degrees; call 1 of 1, dry.",
		},
		{"an unknown outcome", after(failed("c1", "outcome unknown"), output("c2", "noon")), "I do not know whether the lookup took place."},
		{"a failure of another tool", after(output("c1", `{}`), failed("c2", "broken clock")), "It failed: broken clock"},
		{"regular expression", request(user("hello"), assistant("hi"), user("bye now")), "Goodbye."},
		{"instructions", summary, "A summary."},
		{"range", request(long...), "Seven or eight."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := parse(t, weather)
			got := generate(t, s, tc.req)
			if answer(got) != tc.want {
				t.Errorf("got  %s\nwant %s", answer(got), tc.want)
			}
			if got.Model != "script/test" {
				t.Errorf("model is %q", got.Model)
			}
			if diff := cmp.Diff(got, generate(t, parse(t, weather), tc.req)); diff != "" {
				t.Errorf("the same request got another answer:\n%s", diff)
			}
		})
	}
}

func TestResponse(t *testing.T) {
	s := parse(t, `
steps:
  - when: {always: true}
    reply:
      items:
        - {text: [one, two], phase: commentary}
        - {call: {name: f, id: call_7, json: '{"broken'}}
        - {call: {name: g, args: {n: "{{count}}", s: "n={{count}}", plain: '\{{count}}'}}}
        - {reasoning: [because]}
      usage: {input_tokens: 1000, cached_tokens: 200, reasoning_tokens: 30}
`)
	got := generate(t, s, request(user("hi")))
	ids := map[string]bool{got.ID: true, got.Items[2].CallID: true, "": true}
	if len(ids) != 3 {
		t.Errorf("ids are missing or not unique: %v", ids)
	}
	got.ID, got.Items[2].CallID = "", ""
	want := &model.Response{Model: "script/test", Items: []event.Item{
		{Type: "message", Role: "assistant", Phase: "commentary", Content: []event.Content{{Type: "output_text", Text: "one"}, {Type: "output_text", Text: "two"}}},
		{Type: "function_call", CallID: "call_7", Name: "f", Arguments: json.RawMessage(`"{\"broken"`)},
		{Type: "function_call", Name: "g", Arguments: json.RawMessage(`{"n":0,"s":"n=0","plain":"{{count}}"}`)},
		{Type: "reasoning", Summary: []event.Content{{Type: "summary_text", Text: "because"}}},
		// 61 bytes: 6 of text, 1+11 and 1+35 of calls, 7 of reasoning.
	}, Usage: event.Usage{InputTokens: 1000, CachedTokens: 200, OutputTokens: 16, ReasoningTokens: 30}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUsageIsEstimated(t *testing.T) {
	req := request(user("12345678"), call("c", "tool", `{"a":1}`), output("c", "1234"))
	req.Instructions = "123"
	req.Tools = []model.Tool{{Name: "tool", Description: "four", Parameters: json.RawMessage(`{}`)}}
	got := generate(t, parse(t, "steps: [{when: {always: true}, reply: '123456789'}]"), req).Usage
	// 3 + 8 + 4+7 + 6 (the output with its quotes) + 4+4+2 = 38 bytes in, 9 out.
	if want := (event.Usage{InputTokens: 10, OutputTokens: 3}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestErrors(t *testing.T) {
	s := parse(t, `
steps:
  - when: {user: flaky}
    reply: {text: at last, error: {code: server_overloaded, message: busy, status: 529, retry: true, retry_after: 2s, times: 2}}
  - when: {user: falls through}
    reply: {error: {code: rate_limit_exceeded, retry: true, times: 1}}
  - when: {user: falls}
    reply: from the next step
  - when: {user: dead}
    reply: {error: {code: authentication_error, message: no}}
`)
	attempt := func(text, effect string) string {
		req := request(user(text))
		req.EffectID = effect
		resp, err := s.Generate(t.Context(), req, nil)
		var e *model.Error
		switch {
		case errors.As(err, &e):
			return fmt.Sprintf("%s %s %d %t %s", e.Code, e.Message, e.Status, e.Retry, e.RetryAfter)
		case err != nil:
			t.Fatal(err)
		}
		return answer(resp)
	}
	busy := "server_overloaded busy 529 true 2s"
	for i, tc := range []struct{ text, effect, want string }{
		{"flaky", "a", busy},
		{"flaky", "b", busy},
		{"flaky", "a", busy},
		{"flaky", "a", "at last"},
		{"flaky", "a", "at last"},
		{"flaky", "b", busy},
		{"flaky", "b", "at last"},
		{"falls through", "c", "rate_limit_exceeded the script says so 0 true 0s"},
		{"falls through", "c", "from the next step"},
		{"dead", "d", "authentication_error no 0 false 0s"},
		{"dead", "d", "authentication_error no 0 false 0s"},
	} {
		if got := attempt(tc.text, tc.effect); got != tc.want {
			t.Errorf("attempt %d (%s, %s): got %q, want %q", i, tc.text, tc.effect, got, tc.want)
		}
	}
}

func TestNoMatch(t *testing.T) {
	s := parse(t, `steps:
  - when: {user: weather}
    reply: no
  - when:
      user: {contains: news}
      output: {name: search, contains: results}
    reply: no
  - when: {output: {name: search, contains: totals}, count: 1}
    reply: "{{output.total}}"
`)
	_, err := s.Generate(t.Context(), request(user("the news"), call("c", "search", `{}`), output("c", "nothing found")), nil)
	var e *model.Error
	if !errors.As(err, &e) || e.Code != "invalid_request" || e.Retry {
		t.Fatalf("got %v", err)
	}
	want := `script/test: no step answers this request (a script only plays what its file says). Last user message: "the news". ` +
		`Last tool output: "nothing found". Model calls so far: 1 in this turn, 1 in the session; items: 3. ` +
		`Nearest is step 2 (line 4), where this does not hold: a tool output is of search and contains "results". ` +
		`Add a step for it to the file, or a last one with "when: {always: true}".`
	if e.Message != want {
		t.Errorf("got  %s\nwant %s", e.Message, want)
	}

	_, err = s.Generate(t.Context(), request(user("x"), call("c", "search", `{}`), output("c", "totals")), nil)
	if want := `invalid_request: script/test: step 3 (line 8): {{output.total}}: the last output is not JSON: "totals"`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	_, err = s.Generate(t.Context(), request(user("x"), call("c", "search", `{}`), output("c", `{"totals":1}`)), nil)
	if want := `invalid_request: script/test: step 3 (line 8): {{output.total}}: "total" is not there in the last output, "{\"totals\":1}"`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestStreamAndDelay(t *testing.T) {
	s := parse(t, `
steps:
  - when: {always: true}
    reply:
      reasoning: abc
      text: "äöü!"
      calls: [{name: f}]
      delay: 1s
      stream: {chunk: 3, delay: 100ms}
`)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var got []string
		_, err := s.Generate(t.Context(), request(user("hi")), func(d model.Delta) {
			got = append(got, fmt.Sprintf("%s kind %d item %d part %d %q", time.Since(start), d.Kind, d.Index, d.Part, d.Text))
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []string{`1.1s kind 1 item 0 part 0 "abc"`, `1.2s kind 0 item 1 part 0 "äöü"`, `1.3s kind 0 item 1 part 0 "!"`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}

		ctx, cancel := context.WithTimeout(t.Context(), 1150*time.Millisecond)
		defer cancel()
		if _, err := s.Generate(ctx, request(user("hi")), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a call whose time is up ended with %v", err)
		}
	})
}

func TestNoDeltasWithoutText(t *testing.T) {
	s := parse(t, "steps: [{when: {always: true}, reply: {text: '', calls: [{name: f}]}}]")
	_, err := s.Generate(t.Context(), request(user("hi")), func(d model.Delta) { t.Errorf("delta %+v", d) })
	if err != nil {
		t.Fatal(err)
	}
}
