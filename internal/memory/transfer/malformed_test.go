package transfer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/transfer"
)

func TestMalformed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		format     transfer.Format
		file, want string
	}{
		{"", "", "the file is empty"},
		{"", "hello", "this is no export that is known"},
		{"", `{"a": 1}`, "this is no export that is known"},
		{"", "[]", "this is no export that is known"},
		{"csv", "a", `there is no format "csv"`},
		{transfer.Mem0, "{\n\"results\": [\n{\"id\": }]}", "line 3: this is not JSON: "},
		{transfer.Mem0, "{\"results\": [\n{\"id\": \"1\", \"memory\": \"x", "line 2: the JSON ends before it is complete"},
		{transfer.Mem0, "{\n\"results\": [\n{\"id\": \"\xff\"}]}", "line 3: these are not characters of UTF-8"},
		{transfer.Mem0, `{"results": {"id": "1"}}`, "the document: a memory has an id"},
		{transfer.Mem0, `{"results": ["x"]}`, "results[0] is text, where an object"},
		{transfer.Mem0, `[{"id": "1", "memory": ["x"]}]`, `entry[0]: field "memory" is a list, where text is expected`},
		{transfer.Mem0, `[{"id": "1", "memory": "x", "created_at": "soon"}]`, `entry[0]: field "created_at" is "soon": not a time such as`},
		{transfer.Mem0, `[{"id": "1", "memory": "x", "metadata": 3}]`, `entry[0]: field "metadata" is a number, where an object`},
		{transfer.Mem0, `[{"memory": "x"}]`, "entry[0]: a memory has an id"},
		{transfer.Mem0, `[{"memory_id": "1", "event": "MERGE", "new_memory": "x"}]`, `entry[0]: the event is "MERGE"`},
		{transfer.Mem0, `{"memory_id": "1", "event": "ADD", "new_memory": "x"}` + "\n" + `{}`, "line 1: entries of a history belong together"},
		{transfer.Letta, `{"name": "x"}`, "the document has neither agents nor core_memory"},
		{transfer.Letta, `{"agents": [{"name": "a", "messages": [{"role": "user", "content": [3]}]}]}`, "agents[0], messages[0].content[0] is a number"},
		{transfer.Letta, `{"core_memory": [{"value": "x"}]}`, "core_memory[0]: a block has a label"},
		{transfer.LangGraph, `{"namespace": "a", "key": "k", "value": {}}`, `the document: field "namespace" is "a", where a list of texts`},
		{transfer.LangGraph, `{"namespace": ["a"], "key": "k"}`, "the document: an item of a store has"},
		{transfer.LangGraph, "{\"namespace\": [\"alice\"], \"key\": \"k\", \"value\": {\"text\": \"x\"}}\n{\"namespace\": ", "line 2: the JSON ends before it is complete"},
		{transfer.AgentCore, `{"events": [{"payload": []}]}`, "events[0]: an event has an eventId"},
		{transfer.AgentCore, `{"events": [{"eventId": "0#a", "payload": [7]}]}`, "events[0].payload[0] is a number"},
		{transfer.AgentCore, `{"events": [{"eventId": "0#a", "eventTimestamp": 1e300}]}`, `events[0]: field "eventTimestamp" is 1e300: not a time in seconds`},
		{transfer.AgentCore, `{"memoryRecordSummaries": [{"content": {"text": "x"}}]}`, "memoryRecordSummaries[0]: a memory record has a memoryRecordId"},
	} {
		_, _, err := readAll(c.file, transfer.Options{Format: c.format, Actor: "alice"})
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("the error is %v\nwant %s\nof %q", err, c.want, c.file)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		opts transfer.Options
		want string
	}{
		{transfer.Options{}, "whose memories these become is not said"},
		{transfer.Options{Actor: transfer.Everybody}, "whose memories these become is not said"},
		{transfer.Options{Actor: "alice", Namespaces: map[memory.Strategy]string{"hunch": "/a"}}, `there is no strategy "hunch"`},
		{transfer.Options{Actor: "alice", Namespaces: map[memory.Strategy]string{memory.Semantic: "/a/{teamId}"}}, "entry[0]: placing it: "},
	} {
		_, _, err := readAll(`[{"id": "1", "memory": "x"}]`, c.opts)
		if err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("the error is %v, want %s", err, c.want)
		}
	}
}

func TestWhatIsAskedForIsTaken(t *testing.T) {
	t.Parallel()
	const file = `[{"id": "1", "memory": "x", "user_id": "u-17"}, {"id": "2", "memory": "y", "user_id": "u-18"}, {"id": "3", "memory": "z"}]`
	for _, c := range []struct {
		from string
		want int
	}{{"", 1}, {"u-17", 2}, {transfer.Everybody, 3}} {
		opts := transfer.Options{Actor: "al/ice", From: c.from, Namespaces: map[memory.Strategy]string{memory.Semantic: "/teams/{actorId}"}}
		got, _, err := readAll(file, opts)
		if err != nil || len(got) != c.want {
			t.Errorf("from %q: %d drafts, %v; want %d", c.from, len(got), err, c.want)
		}
		for _, r := range got {
			if r.Namespace != "/teams/al%2Fice" || r.Actor != "al/ice" {
				t.Errorf("the draft stands in %s, of %s", r.Namespace, r.Actor)
			}
		}
	}
}

func TestOrderOfPages(t *testing.T) {
	t.Parallel()
	page := func(id, when string) string {
		return `{"events": [{"actorId": "alice", "sessionId": "s", "eventId": "` + id + `", "eventTimestamp": ` + when +
			`, "payload": [{"conversational": {"content": {"text": "x"}, "role": "USER"}}]}]}`
	}
	got, report, err := readAll("["+page("2#a", "20")+","+page("1#a", "10")+"]", transfer.Options{Actor: "alice"})
	if err != nil || len(got) != 2 || got[0].Source.External != "1#a" || len(report.Lost) != 0 {
		t.Errorf("in one document: %+v, %+v, %v", got, report, err)
	}
	_, report, err = readAll(page("2#a", "20")+"\n"+page("1#a", "10"), transfer.Options{Actor: "alice"})
	if err != nil || len(report.Lost) != 1 || report.Lost[0].Kind != "order" || report.Lost[0].Examples[0] != "line 2, events[0].payload[0]" {
		t.Errorf("one a line: %+v, %v", report, err)
	}
}

func TestReadErrors(t *testing.T) {
	t.Parallel()
	broken := errors.New("the line broke")
	for _, start := range []string{"", `{"results": [`, `{"results": []}` + "\n"} {
		r := io.MultiReader(strings.NewReader(start), iotest.ErrReader(broken))
		_, err := transfer.Import(r, transfer.Options{Actor: "alice"}, func(memory.Record) error { return nil })
		if !errors.Is(err, broken) {
			t.Errorf("after %q the error is %v", start, err)
		}
	}
}

// endless is a JSON text that never ends.
type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	for _, start := range []string{`[{"id": "1", "memory": "`, "[\n\""} {
		r := io.MultiReader(strings.NewReader(start), endless{})
		_, err := transfer.Import(r, transfer.Options{Format: transfer.Mem0, Actor: "alice"}, func(memory.Record) error { return nil })
		if err == nil || !strings.Contains(err.Error(), "more than 64 MiB: split it") {
			t.Errorf("the error is %v", err)
		}
	}
}

// Each value of each fixture is replaced by each odd one: that is an error or a
// draft, and never a panic.
func TestOddValues(t *testing.T) {
	t.Parallel()
	odd := []any{nil, 3, -1e18, "", "x", "{\"type\": 1}", true, []any{}, []any{nil}, []any{"x", 3}, map[string]any{}, map[string]any{"": nil, "id": []any{}}}
	for _, format := range []transfer.Format{transfer.Mem0, transfer.Letta, transfer.LangGraph, transfer.AgentCore} {
		files, err := filepath.Glob("testdata/" + string(format) + "*.*")
		if err != nil || len(files) == 0 {
			t.Fatal(files, err)
		}
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for dec := json.NewDecoder(bytes.NewReader(b)); dec.More(); {
				var tree any
				if err := dec.Decode(&tree); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				visit(tree, func(replace func(any)) {
					for _, v := range odd {
						replace(v)
						changed, err := json.Marshal(tree)
						if err != nil {
							t.Fatal(err)
						}
						_, report, err := readAll(string(changed), transfer.Options{Format: format, Actor: "alice"})
						if err == nil && report.Read == 0 && report.Kept > 0 {
							t.Errorf("drafts of nothing, of %s", changed)
						}
					}
				})
			}
		}
	}
}

// visit calls f for each value below v, with a function that replaces it until f
// returns.
func visit(v any, f func(replace func(any))) {
	switch v := v.(type) {
	case map[string]any:
		for k, old := range v {
			f(func(n any) { v[k] = n })
			v[k] = old
			visit(old, f)
		}
	case []any:
		for i, old := range v {
			f(func(n any) { v[i] = n })
			v[i] = old
			visit(old, f)
		}
	}
}

func FuzzImport(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for i := range transfer.Formats() {
			f.Add(b, byte(i))
		}
	}
	f.Add([]byte(`{"format":"stayd-memory","version":1,"exported_at":"2025-06-01T00:00:00Z"}`+"\n"+
		`{"id":"mem_x","namespace":"/a","strategy":"turn","text":"x","origin":"tool"}`), byte(0))
	f.Fuzz(func(t *testing.T, b []byte, n byte) {
		formats := append(transfer.Formats(), "")
		opts := transfer.Options{Format: formats[int(n)%len(formats)], Actor: "alice"}
		kept := 0
		report, err := transfer.Import(bytes.NewReader(b), opts, func(r memory.Record) error {
			kept++
			if ns, err := memory.ParseNamespace(r.Namespace); err != nil || ns != r.Namespace || r.Text == "" || r.ID == "" || !utf8.ValidString(r.Text) {
				t.Errorf("a draft that no record can be: %+v", r)
			}
			if y := r.RecordedAt.Year(); y < 1 || y > 9999 {
				t.Errorf("a draft of the year %d", y)
			}
			if id := transfer.Place("p", opts.Format, r).ID; !strings.HasPrefix(id, "mem_") {
				t.Errorf("the id %q", id)
			}
			return nil
		})
		if kept != report.Kept {
			t.Errorf("%d drafts, and the report says %d (%v)", kept, report.Kept, err)
		}
		for _, l := range report.Lost {
			if l.Count < 1 || l.Kind == "" || l.What == "" || len(l.Examples) == 0 {
				t.Errorf("a loss that says nothing: %+v", l)
			}
		}
	})
}
