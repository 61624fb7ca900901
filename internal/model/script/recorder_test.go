package script_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/model"
	"github.com/stayd/stayd/internal/model/script"
)

// fake is a model that answers what it is told to.
type fake func(*model.Request) (*model.Response, error)

func (f fake) Generate(_ context.Context, req *model.Request, _ func(model.Delta)) (*model.Response, error) {
	return f(req)
}

func record(t *testing.T, m model.Model) (*script.Recorder, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run.yaml")
	r, err := script.NewRecorder(m, path)
	if err != nil {
		t.Fatal(err)
	}
	return r, path
}

func read(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// turn runs a conversation with a model to its end: each call is answered with
// what answer says. It returns the items of the conversation.
func turn(t *testing.T, m model.Model, session, say string) []*event.Item {
	t.Helper()
	items := []*event.Item{user(say)}
	for i := 0; ; i++ {
		req := request(items...)
		req.Model, req.Instructions, req.EffectID = session, "Be brief.", fmt.Sprint(session, i)
		resp := generate(t, m, req)
		var outputs []*event.Item
		for j := range resp.Items {
			it := resp.Items[j]
			it.ID, it.TurnID = fmt.Sprint(session, i, j), session
			items = append(items, &it)
			if it.Type == event.ItemFunctionCall {
				outputs = append(outputs, output(it.CallID, "result of "+it.Name))
			}
		}
		if outputs == nil {
			return items
		}
		items = append(items, outputs...)
	}
}

func TestRecordAndReplay(t *testing.T) {
	answers := [][]event.Item{
		{
			{Type: "reasoning", Summary: []event.Content{{Type: "summary_text", Text: "Look {{it}} up."}}, Provider: json.RawMessage(`"opaque"`)},
			{Type: "message", Role: "assistant", Phase: "commentary", Content: []event.Content{{Type: "output_text", Text: "one\n  two\t\x7f\u2028"}, {Type: "output_text", Text: `\{{three`}}},
			{Type: "function_call", CallID: "call_a", Name: "f", Arguments: json.RawMessage(`{"b":1.0,"a":"{{count}}"}`)},
			{Type: "function_call", CallID: "call_b", Name: "g", Arguments: json.RawMessage(`"{broken"`)},
		},
		{{Type: "message", Role: "assistant", Content: []event.Content{{Type: "output_text", Text: "The key is sk-abcdefghijklmnopqrstuvwxyz."}}}},
	}
	n := 0
	r, path := record(t, fake(func(*model.Request) (*model.Response, error) {
		n++
		return &model.Response{Items: answers[n-1], Usage: event.Usage{InputTokens: 10, CachedTokens: 4, OutputTokens: 5, ReasoningTokens: 2}}, nil
	}))
	turn(t, r, "first", "do it, my password is hunter2")

	file := read(t, path)
	for _, secret := range []string{"hunter2", "sk-abc", "opaque", "Be brief", "result of"} {
		if strings.Contains(file, secret) {
			t.Errorf("the recording holds %q", secret)
		}
	}

	replay := parseFile(t, path)
	got := turn(t, replay, "another session", "do it, my password is hunter2")
	want := []event.Item{
		{Type: "reasoning", Summary: []event.Content{{Type: "summary_text", Text: "Look {{it}} up."}}},
		answers[0][1], answers[0][2], answers[0][3],
		*output("call_a", "result of f"), *output("call_b", "result of g"),
		{Type: "message", Role: "assistant", Content: []event.Content{{Type: "output_text", Text: "The key is [secret]."}}},
	}
	for i, it := range got[1:] {
		it.ID, it.TurnID = "", ""
		if diff := cmp.Diff(want[i], *it); diff != "" {
			t.Errorf("item %d:\n%s", i, diff)
		}
	}
	first := request(user("do it, my password is hunter2"))
	first.Instructions = "Be brief."
	if u, want := generate(t, replay, first).Usage, (event.Usage{InputTokens: 10, CachedTokens: 4, OutputTokens: 5, ReasoningTokens: 2}); u != want {
		t.Errorf("usage is %+v, recorded was %+v", u, want)
	}
}

func parseFile(t testing.TB, path string) *script.Script {
	t.Helper()
	return parse(t, read(t, path))
}

func TestReplayOfAChangedRequest(t *testing.T) {
	r, path := record(t, fake(func(req *model.Request) (*model.Response, error) {
		return &model.Response{Items: []event.Item{*assistant(fmt.Sprint("answer to ", len(req.Items)))}}, nil
	}))
	base := func() *model.Request {
		req := request(user("a"), assistant("b"), user("c"))
		req.Instructions = "Help."
		req.Tools = []model.Tool{{Name: "f", Parameters: json.RawMessage(`{"type": "object"}`)}}
		return req
	}
	generate(t, r, request(user("unrelated")))
	generate(t, r, base())
	replay := parseFile(t, path)

	spaced := base()
	spaced.Tools[0].Parameters = json.RawMessage(`{"type":"object"}`)
	spaced.EffectID, spaced.Model = "other", "other"
	if got := answer(generate(t, replay, spaced)); got != "answer to 3" {
		t.Errorf("the same request got %q", got)
	}

	for _, tc := range []struct {
		change func(*model.Request)
		want   []string
	}{
		{func(r *model.Request) { r.Instructions = "Do." }, []string{"the instructions ("}},
		{func(r *model.Request) { r.Tools[0].Description = "new" }, []string{"the tools ("}},
		{func(r *model.Request) { r.Reasoning.Effort = "high" }, []string{"the settings ("}},
		{func(r *model.Request) { r.Items[2] = user("d") }, []string{"the last item (message "}},
		{func(r *model.Request) { r.Items[0] = user("d") }, []string{"the items before the last ("}},
		{func(r *model.Request) { r.Items = append(r.Items, user("d")) }, []string{"the number of items (4, recorded 3)", "the last item (", "the items before the last ("}},
	} {
		req := base()
		tc.change(req)
		_, err := replay.Generate(t.Context(), req, nil)
		var e *model.Error
		if !errors.As(err, &e) || e.Code != "invalid_request" {
			t.Fatalf("%v: got %v", tc.want, err)
		}
		_, diff, ok := strings.Cut(e.Message, "Nearest of the recorded requests is step 2 (line 22), which differs in: ")
		if !ok {
			t.Fatalf("the message does not name the nearest step: %s", e.Message)
		}
		parts := strings.Split(strings.TrimSuffix(diff, ". Record the run again, or undo the change."), "; ")
		if len(parts) != len(tc.want) {
			t.Errorf("differences %q, want %q", parts, tc.want)
			continue
		}
		for i := range parts {
			if !strings.HasPrefix(parts[i], tc.want[i]) {
				t.Errorf("difference %q, want %q", parts[i], tc.want[i])
			}
		}
	}
}

func TestRecordConcurrentlyAndAgain(t *testing.T) {
	echo := fake(func(req *model.Request) (*model.Response, error) {
		return &model.Response{Items: []event.Item{*assistant("re: " + req.Items[0].Text())}}, nil
	})
	r, path := record(t, echo)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			if _, err := r.Generate(t.Context(), request(user(strconv.Itoa(i%20))), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := strings.Count(read(t, path), "when:"); n != 20 {
		t.Errorf("20 different requests made %d steps", n)
	}

	again, err := script.NewRecorder(echo, path)
	if err != nil {
		t.Fatal(err)
	}
	generate(t, again, request(user("7")))
	generate(t, again, request(user("new")))
	replay := parseFile(t, path)
	for _, said := range []string{"0", "19", "new"} {
		if got := answer(generate(t, replay, request(user(said)))); got != "re: "+said {
			t.Errorf("replay of %q is %q", said, got)
		}
	}
	if n := strings.Count(read(t, path), "when:"); n != 21 {
		t.Errorf("the reopened recording has %d steps, want 21", n)
	}
}

func TestRecorderRefusals(t *testing.T) {
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine.yaml")
	if err := os.WriteFile(mine, []byte("steps: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := script.NewRecorder(nil, mine); err == nil || !strings.Contains(err.Error(), "is not a recording: name one that does not exist") {
		t.Errorf("recording into a script of one's own: %v", err)
	}
	if _, err := script.NewRecorder(nil, filepath.Join(dir, "no", "such.yaml")); err == nil {
		t.Error("a recording in a directory that does not exist was opened")
	}

	failing := &model.Error{Code: "server_overloaded", Retry: true}
	r, path := record(t, fake(func(*model.Request) (*model.Response, error) { return nil, failing }))
	if _, err := r.Generate(t.Context(), request(user("x")), nil); !errors.Is(err, failing) {
		t.Errorf("the model's error became %v", err)
	}
	if strings.Contains(read(t, path), "when:") {
		t.Error("an error was recorded")
	}

	r, path = record(t, fake(func(*model.Request) (*model.Response, error) { return &model.Response{}, nil }))
	if err := os.RemoveAll(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	var e *model.Error
	if _, err := r.Generate(t.Context(), request(user("x")), nil); !errors.As(err, &e) || e.Code != "server_error" || e.Retry {
		t.Errorf("an answer that could not be written down: %v", err)
	}
}

func FuzzRecordedTextIsKept(f *testing.F) {
	for _, s := range []string{"", " a\n\n b ", "{{x}}", `\{{`, "\x00\x1b\u0085\u2029\ufeff", "日本語 😀", "- a: 'b'\n# c", "bearer of news"} {
		f.Add(s, `{"a":1}`)
	}
	f.Fuzz(func(t *testing.T, text, args string) {
		text, args = strings.ToValidUTF8(text, ""), strings.ToValidUTF8(args, "")
		args = strings.TrimRight(args, " \t\r\n")
		raw := json.RawMessage(args)
		if !json.Valid(raw) || args[0] != '{' {
			raw = event.TextOutput(args)
		}
		dir := t.TempDir()
		r, err := script.NewRecorder(fake(func(*model.Request) (*model.Response, error) {
			return &model.Response{Items: []event.Item{*assistant(text), *call("c", "f", string(raw))}}, nil
		}), filepath.Join(dir, "run.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		said := generate(t, r, request(user("x")))
		replayed := generate(t, parseFile(t, filepath.Join(dir, "run.yaml")), request(user("x")))
		if strings.Contains(answer(replayed), "[secret]") {
			return
		}
		if got, want := replayed.Items[0].Text(), said.Items[0].Text(); got != want {
			t.Errorf("text %q came back as %q", want, got)
		}
		if got, want := string(replayed.Items[1].Arguments), string(raw); got != want {
			t.Errorf("arguments %q came back as %q", want, got)
		}
	})
}
