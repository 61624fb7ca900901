package extract_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/extract"
)

func day(d int) time.Time { return time.Date(2026, 5, d, 9, 0, 0, 0, time.UTC) }

// talk is two lines, the second of which came after the words of a tool.
func talk() extract.Input {
	return extract.Input{
		Strategies: []memory.Strategy{memory.Semantic, memory.Preference, memory.Summary},
		Actor:      "ana",
		Lines: []extract.Line{
			{ItemID: "i1", Who: "ana", Text: "I moved to\nLyon.", At: day(3), Origin: memory.OriginUser, RecordID: "mem_1"},
			{ItemID: "i2", Who: "assistant", Text: "The page says that Lyon has two rivers.", At: day(4), Origin: memory.OriginTool, RecordID: "mem_2"},
		},
		Known: []memory.Record{
			{ID: "mem_old", Strategy: memory.Semantic, Text: "Ana lives in Porto.", ValidFrom: day(1)},
			{ID: "mem_taste", Strategy: memory.Preference, Text: "Ana likes port."},
		},
		Summary: &memory.Record{ID: "mem_sum", Strategy: memory.Summary, Text: "They met.", Origin: memory.OriginUser},
	}
}

func TestText(t *testing.T) {
	in := talk()
	want := `The summary so far:
They met.

Known memories:
[1] 2026-05-01, Friday, Ana lives in Porto.
[2] Ana likes port.

The conversation:
1. 2026-05-03, Sunday, ana: I moved to Lyon.
2. 2026-05-04, Monday, assistant: The page says that Lyon has two rivers.
`
	if diff := cmp.Diff(want, in.Text()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	instructions := in.Instructions()
	for _, name := range []string{"- facts:", "- preferences:", "- summary:"} {
		if !strings.Contains(instructions, name) {
			t.Errorf("the instructions do not speak of %q", name)
		}
	}
	if strings.Contains(instructions, "- episodes:") {
		t.Error("the instructions ask for what is not wanted")
	}
	var schema struct {
		Properties map[string]any
		Required   []string
	}
	if err := json.Unmarshal(in.Schema(), &schema); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"facts", "preferences", "summary"}, schema.Required); diff != "" || len(schema.Properties) != 3 {
		t.Errorf("the schema requires %v of %v", schema.Required, schema.Properties)
	}
}

func TestRead(t *testing.T) {
	in := talk()
	source := func(items, records []string) memory.Source {
		return memory.Source{ItemIDs: items, RecordIDs: records, Prompt: "extract-1"}
	}
	one := source([]string{"i1"}, []string{"mem_1"})
	both := source([]string{"i1", "i2"}, []string{"mem_1", "mem_2"})
	for _, tt := range []struct {
		name, reply string
		want        []memory.Record
		dropped     int
	}{
		{
			"a fact that replaces another, with its own date",
			`{"facts":[{"text":" Ana lives in Lyon. ","lines":[1],"valid_from":"2026-04-28","replaces":1,"confidence":0.9}],"preferences":[]}`,
			[]memory.Record{{
				Strategy: memory.Semantic, Actor: "ana", Text: "Ana lives in Lyon.", Confidence: 0.9, Origin: memory.OriginUser, Source: one,
				ValidFrom: time.Date(2026, 4, 28, 0, 0, 0, 0, time.UTC), Supersedes: "mem_old",
			}},
			0,
		},
		{
			"without a date it has none, and without lines it rests on all, the worst among them",
			"Here you are:\n```json\n" + `{"facts":[{"text":"Lyon has two rivers.","lines":[2]},{"text":"They talk of Lyon."},{"text":"So they do.","lines":[0,7]}]}` + "\n```",
			[]memory.Record{
				{Strategy: memory.Semantic, Actor: "ana", Text: "Lyon has two rivers.", Origin: memory.OriginTool, Source: source([]string{"i2"}, []string{"mem_2"})},
				{Strategy: memory.Semantic, Actor: "ana", Text: "They talk of Lyon.", Origin: memory.OriginTool, Source: both},
				{Strategy: memory.Semantic, Actor: "ana", Text: "So they do.", Origin: memory.OriginTool, Source: both},
			},
			0,
		},
		{
			"a summary takes the place of the one so far",
			`{"summary":"Ana moved to Lyon."}`,
			[]memory.Record{{
				Strategy: memory.Summary, Actor: "ana", Text: "Ana moved to Lyon.", Origin: memory.OriginTool, Source: both, Supersedes: "mem_sum",
			}},
			0,
		},
		{
			"only the first replaces a memory, none one of another strategy, and nothing is said twice",
			`{"facts":[{"text":"A.","lines":[1],"replaces":1},{"text":"B.","lines":[1],"replaces":1},{"text":"A.","lines":[1]},{"text":"C.","lines":[1],"replaces":2},{"text":"D.","lines":[1],"replaces":9}]}`,
			[]memory.Record{
				{Strategy: memory.Semantic, Actor: "ana", Text: "A.", Origin: memory.OriginUser, Source: one, Supersedes: "mem_old"},
				{Strategy: memory.Semantic, Actor: "ana", Text: "B.", Origin: memory.OriginUser, Source: one},
				{Strategy: memory.Semantic, Actor: "ana", Text: "C.", Origin: memory.OriginUser, Source: one},
				{Strategy: memory.Semantic, Actor: "ana", Text: "D.", Origin: memory.OriginUser, Source: one},
			},
			0,
		},
		{
			"what cannot be read is counted, and the rest is kept",
			`{"facts":[{"text":""},"a text",{"text":"A.","lines":"1"},{"text":"B.","lines":[1],"confidence":7,"valid_from":"soon"}],"preferences":{"text":"C."},"summary":["D."],"more":1}`,
			[]memory.Record{{Strategy: memory.Semantic, Actor: "ana", Text: "B.", Confidence: 1, Origin: memory.OriginUser, Source: one}},
			5,
		},
		{"nothing is worth keeping", `{"facts":[],"preferences":[]}`, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, dropped, err := in.Read(tt.reply)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || dropped != tt.dropped {
				t.Errorf("dropped %d, want %d; drafts (-want +got):\n%s", dropped, tt.dropped, diff)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	in := talk()
	for reply, want := range map[string]string{
		"":                   "the reply has no JSON object",
		"I cannot do that.":  "the reply has no JSON object",
		`} {`:                "the reply has no JSON object",
		`{"facts":[{"text"}`: "the reply's JSON object cannot be read",
	} {
		if _, _, err := in.Read(reply); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", reply, err, want)
		}
	}
}

// FuzzRead shows that whatever a model replies gives drafts that can be kept, or
// an error.
func FuzzRead(f *testing.F) {
	f.Add(`{"facts":[{"text":"A.","lines":[1,2],"valid_from":"2026-05-01","replaces":1,"confidence":0.5}],"summary":"S."}`)
	f.Add("{\"facts\":[{\"text\":\"\\u0000\xff\",\"lines\":[-1]}]}")
	f.Fuzz(func(t *testing.T, reply string) {
		in := talk()
		drafts, dropped, err := in.Read(reply)
		if err != nil {
			return
		}
		if dropped < 0 {
			t.Errorf("%d entries were dropped", dropped)
		}
		for i := range drafts {
			r := &drafts[i]
			if r.Text == "" || strings.ContainsRune(r.Text, 0) || len(r.Text) > 8<<10 || len(r.Source.ItemIDs) == 0 || r.Origin == "" || r.Confidence < 0 || r.Confidence > 1 {
				t.Errorf("a draft that cannot be kept: %+v", r)
			}
		}
	})
}
