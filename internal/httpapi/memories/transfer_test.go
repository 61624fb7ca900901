package memories_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

type report struct {
	Object, Format    string
	Read, Kept        int
	Written, Repeated int
	NotKept           []loss `json:"not_kept"`
}

type loss struct {
	Kind, What string
	Count      int
	Examples   []string
}

func (w *world) importFile(query, body string) report {
	w.t.Helper()
	return must[report](w, "POST", path+"/import"+query, body, "Content-Type", "application/octet-stream")
}

// export is what an export has after its first line.
func (w *world) export(query string) string {
	w.t.Helper()
	a := w.do("GET", path+"/export"+query, "")
	if a.status != http.StatusOK || !strings.Contains(a.header.Get("Content-Disposition"), `filename="memories.jsonl"`) {
		w.t.Fatal(a)
	}
	_, lines, _ := strings.Cut(a.body, "\n")
	return lines
}

// ids replaces the ids of memories by the order in which they come.
func ids(lines string) string {
	for n := 1; ; n++ {
		i := strings.Index(lines, "mem_")
		if i < 0 {
			return lines
		}
		lines = strings.ReplaceAll(lines, lines[i:i+36], fmt.Sprintf("<%d>", n))
	}
}

// TestOutAndIn exports memories with all that they have, and imports them into
// another project, where they are the same but for their ids.
func TestOutAndIn(t *testing.T) {
	w := newWorld(t)
	turn := w.keep("I moved to Oslo.", `,"actor":"ann","strategy":"turn","origin":"user","source":{"session_id":"s1","speaker":"Ann","position":1}`)
	w.on("2026-05-04")
	fact := w.keep("Ann lives in Oslo.", `,"confidence":0.7,"metadata":{"city":"Oslo"},"valid_from":"2026-05-01","expires_at":"2036-01-01","source":{"memory_ids":["`+turn.ID+`"]}`)
	w.on("2026-05-05")
	must[object](w, "POST", path+"/"+fact.ID, `{"text":"Ann lives in Bergen."}`)
	w.on("2026-05-06")
	w.keep("Bob sails.", `,"actor":"bob"`)
	w.on("2026-05-07")
	w.keep("Somebody in Oslo sails.", `,"namespace":"/teams/blue","source":{"memory_ids":["`+turn.ID+`"]}`)

	file := w.do("GET", path+"/export", "").body
	b := w.another()
	if got := b.importFile("", file); got.Object != "memory.import" || got.Format != "stayd" || got.Read != 5 || got.Kept != 5 || got.Written != 5 || got.Repeated != 0 || len(got.NotKept) != 0 {
		t.Errorf("import: %+v", got)
	}
	theirs, ours := b.export(""), w.export("")
	if ids(theirs) != ids(ours) || theirs == ours {
		t.Errorf("here\n%s\nthere\n%s", ours, theirs)
	}
	for _, search := range []string{`{"text":"Where does Ann live?","actor":"ann"}`, `{"text":"Where does Ann live?","actor":"ann","known_at":"2026-05-05"}`} {
		if got, want := b.search(search).Context, w.search(search).Context; got != want {
			t.Errorf("%s finds there %q, here %q", search, got, want)
		}
	}
	for _, w := range []*world{w, b} { // the same again, and where it came from
		if got := w.importFile("", file); got.Written != 0 || got.Repeated != 5 {
			t.Errorf("again: %+v", got)
		}
	}
	must[any](b, "POST", path+"/forget", `{"session_id":"s1"}`)
	if l := b.list("?superseded=true"); !slices.Equal(l.texts(), []string{"Bob sails."}) {
		t.Errorf("what was drawn from a turn is, after that is forgotten, %q", l.texts())
	}
}

// TestPartOut exports some, and with vectors.
func TestPartOut(t *testing.T) {
	w := newWorld(t)
	w.keep("Ann sails.", "")
	w.keep("Bob sails.", `,"actor":"bob"`)
	w.keep("All sail.", `,"namespace":"/teams/blue"`)
	for query, want := range map[string][]string{
		"?actor=ann": {"Ann"}, "?namespace=/teams": {"All"}, "?namespace=/": {"Ann", "Bob", "All"}, "?namespace=/actors/a": nil, "?actor=ann&namespace=/teams": nil,
	} {
		lines := w.export(query)
		for _, who := range []string{"Ann", "Bob", "All"} {
			if got := strings.Contains(lines, who+" sail"); got != slices.Contains(want, who) {
				t.Errorf("%s: %s", query, lines)
			}
		}
	}
	file := w.do("GET", path+"/export?vectors=true", "").body
	if !strings.Contains(file, `"vector_model":"static/1@100"`) || strings.Contains(w.export(""), "vector") {
		t.Errorf("vectors: %s", file)
	}
	b := w.another()
	if got := b.importFile("?actor=bob", file); got.Written != 2 || got.NotKept[0].Kind != "other_actor" || got.NotKept[0].Count != 1 {
		t.Errorf("one actor of a file: %+v", got)
	}
	l := b.list("")
	texts := l.texts()
	slices.Sort(texts)
	if !slices.Equal(texts, []string{"All sail.", "Bob sails."}) { // what is about nobody is taken
		t.Errorf("there are %q", texts)
	}
}

// TestForeignFiles imports a file of each other system; how they are read is the
// business of the package transfer.
func TestForeignFiles(t *testing.T) {
	for format, tt := range map[string]struct {
		file       string
		texts      []string
		lost       string
		superseded bool
	}{
		"mem0": {
			`{"results":[{"id":"m1","memory":"Lives in Ghent","hash":"x","created_at":"2025-01-05T08:00:00Z","updated_at":"2025-02-10T08:00:00Z","user_id":"alice"}],
			"history":[{"id":"h1","memory_id":"m1","old_memory":null,"new_memory":"Lives in Lille","event":"ADD","created_at":"2025-01-05T08:00:00Z"},
			{"id":"h2","memory_id":"m1","old_memory":"Lives in Lille","new_memory":"Lives in Ghent","event":"UPDATE","created_at":"2025-01-05T08:00:00Z","updated_at":"2025-02-10T08:00:00Z"}]}`,
			[]string{"Lives in Ghent", "Lives in Lille"},
			"hash", true,
		},
		"letta": {
			`{"agents":[{"id":"agent-0","name":"gardener","agent_type":"letta_v1_agent","llm_config":{"model":"small"},"block_ids":["block-0"],"messages":[
			{"type":"message","role":"user","content":[{"type":"text","text":"The quince has brown spots."}],"id":"message-1","created_at":"2025-05-04T07:01:00+00:00"}]}],
			"blocks":[{"id":"block-0","label":"human","value":"Has a walled garden."}]}`,
			[]string{"Has a walled garden.", "The quince has brown spots."},
			"agent_setting", false,
		},
		"langgraph": {
			`{"items":[{"namespace":["alice","notes"],"key":"a","value":{"text":"The spare key is with the baker"},"created_at":"2025-02-01T08:00:00Z","updated_at":"2025-02-01T08:00:00Z","score":0.5}]}`,
			[]string{"The spare key is with the baker"},
			"score", false,
		},
		"agentcore": {
			`{"events":[{"memoryId":"m-1","actorId":"alice","sessionId":"s-1","eventId":"1#a","eventTimestamp":1740000300,"payload":[
			{"conversational":{"content":{"text":"When does the ferry leave?"},"role":"USER"}},{"blob":{"state":"open"}}]}]}`,
			[]string{"When does the ferry leave?"},
			"blob", false,
		},
	} {
		t.Run(format, func(t *testing.T) {
			w := newWorld(t)
			got := w.importFile("?actor=alice", tt.file)
			if got.Format != format || got.Written != len(tt.texts) || got.Kept != len(tt.texts) || !slices.ContainsFunc(got.NotKept, func(l loss) bool { return l.Kind == tt.lost }) {
				t.Errorf("report: %+v", got)
			}
			l := w.list("?superseded=true&actor=alice")
			texts := l.texts()
			slices.Sort(texts)
			if !slices.Equal(texts, tt.texts) {
				t.Errorf("there are %q, want %q", texts, tt.texts)
			}
			if again := w.importFile("?actor=alice&format="+format, tt.file); again.Written != 0 || again.Repeated != len(tt.texts) {
				t.Errorf("again: %+v", again)
			}
			if current := w.list(""); tt.superseded != (len(current.Data) < len(texts)) {
				t.Errorf("believed now: %q", current.texts())
			}
		})
	}
}

// line is a memory in our own format.
func line(n int, text, fields string) string {
	return fmt.Sprintf(`{"id":"mem_%032d","namespace":"/actors/ann/facts","strategy":"semantic","actor":"ann","text":"%s","origin":"user","recorded_at":"2026-01-01T00:00:00Z"%s}`+"\n", n, text, fields)
}

func id(n int) string { return fmt.Sprintf("mem_%032d", n) }

const header = `{"format":"stayd-memory","version":1,"exported_at":"2026-05-03T09:00:00Z"}` + "\n"

// TestWhatDoesNotFit imports memories that cannot be kept as they are, beside
// one that can.
func TestWhatDoesNotFit(t *testing.T) {
	w := newWorld(t)
	file := header + line(1, "Ann sails.", "") + line(2, strings.Repeat("a", 40_000), "") + line(3, `\u0000`, "") +
		line(4, "Ann swims.", `,"metadata":{"k":"\u0000"}`) + line(5, "Ann rows.", `,"supersedes":"`+id(2)+`"`) +
		line(6, "Ann ran.", `,"valid_from":"2026-01-02T00:00:00Z","valid_to":"2026-01-01T00:00:00Z","source":{"external":"x-6"}`)
	got := w.importFile("", file)
	want := []loss{
		{"refused", "memories that cannot be kept as they are", 4, nil},
		{"older_version", "versions without their older one: that they replaced it is not kept", 1, nil},
	}
	if got.Read != 6 || got.Kept != 2 || got.Written != 2 || len(got.NotKept) != 2 {
		t.Fatalf("report: %+v", got)
	}
	for i := range want {
		if l := got.NotKept[i]; l.Kind != want[i].Kind || l.What != want[i].What || l.Count != want[i].Count {
			t.Errorf("not kept: %+v, want %+v", l, want[i])
		}
	}
	if e := got.NotKept[0].Examples; len(e) != 3 || !strings.HasSuffix(e[0], ": Invalid 'metadata': it has a NUL character.") {
		t.Errorf("examples: %q", e)
	}
	l := w.list("")
	texts := l.texts()
	slices.Sort(texts)
	if !slices.Equal(texts, []string{"Ann rows.", "Ann sails."}) {
		t.Errorf("there are %q", texts)
	}
}

// TestVersionsApart imports versions in an order in which the newer ones come
// long before the older ones, and one whose older one is nowhere.
func TestVersionsApart(t *testing.T) {
	w := newWorld(t)
	var file strings.Builder
	file.WriteString(header)
	file.WriteString(line(3, "Third.", `,"supersedes":"`+id(2)+`"`))
	for n := range 2450 {
		file.WriteString(line(10_000+n, fmt.Sprintf("Note %d.", n), ""))
	}
	file.WriteString(line(2, "Second.", `,"supersedes":"`+id(1)+`"`))
	file.WriteString(line(9, "Ninth.", `,"supersedes":"`+id(8)+`"`))
	file.WriteString(line(1, "First.", ""))
	got := w.importFile("", file.String())
	if got.Written != 2454 || len(got.NotKept) != 1 || got.NotKept[0].Kind != "older_version" || got.NotKept[0].Count != 1 {
		t.Fatalf("report: %+v", got)
	}
	found := w.search(`{"text":"Third","actor":"ann","limit":1}`)
	versions := must[list](w, "GET", path+"/"+found.Data[0].ID+"/history", "")
	if !slices.Equal(versions.texts(), []string{"First.", "Second.", "Third."}) {
		t.Errorf("history: %q", versions.texts())
	}
	if found := w.search(`{"text":"First Second Ninth","actor":"ann","limit":1}`); !slices.Equal(found.texts(), []string{"Ninth."}) {
		t.Errorf("found %q", found.texts())
	}
}

// TestOtherBeliefs imports versions of a memory that has another newer version
// here: they are left out, with what took their places.
func TestOtherBeliefs(t *testing.T) {
	w := newWorld(t)
	w.importFile("", header+line(1, "Ann lives in Paris.", ""))
	mine := w.list("").Data[0].ID
	must[object](w, "POST", path+"/"+mine, `{"text":"Ann lives in Rome."}`)
	file := header + line(1, "Ann lives in Nice.", `,"superseded_by":"`+id(2)+`","superseded_at":"2026-02-01T00:00:00Z"`) +
		line(2, "Ann lives in Oslo.", `,"supersedes":"`+id(1)+`"`) + line(3, "Ann lives in Bergen.", `,"supersedes":"`+id(2)+`"`)
	got := w.importFile("", file)
	if got.Written != 0 || got.Repeated != 1 || len(got.NotKept) != 2 || got.NotKept[0].Kind != "other_version" || got.NotKept[0].Count != 2 || got.NotKept[1].Kind != "other_text" {
		t.Errorf("report: %+v", got)
	}
	if l := w.list("?superseded=true&order=asc"); !slices.Equal(l.texts(), []string{"Ann lives in Paris.", "Ann lives in Rome."}) {
		t.Errorf("there are %q", l.texts())
	}
}

// TestFaultInTheMiddle keeps what stands before a fault, and says so.
func TestFaultInTheMiddle(t *testing.T) {
	w := newWorld(t)
	var file strings.Builder
	file.WriteString(header)
	for n := range 1250 {
		file.WriteString(line(n, fmt.Sprintf("Note %d.", n), ""))
	}
	good := file.String()
	a := w.do("POST", path+"/import", good+"{}\n")
	want := envelope(`The file cannot be imported: line 1252: a namespace is a path such as /actors/alice/facts, and is not empty. 1000 memories before that are there; when it is mended, the whole file can be imported again.`, "", "invalid_value")
	if a.status != http.StatusBadRequest || a.body != want {
		t.Errorf("%s, want %s", a, want)
	}
	if got := w.importFile("", good); got.Written != 250 || got.Repeated != 1000 {
		t.Errorf("mended: %+v", got)
	}
}

// TestStrangeFiles has files that no system exports: none of them is answered
// with an error of the server.
func TestStrangeFiles(t *testing.T) {
	w := newWorld(t)
	for _, file := range []string{
		header, header + header, "\ufeff" + header + line(1, "a", ""), `[]`, `{}`, `null`, `"text"`, "[[[", "\xff\xfe", "{\"results\":null}", `{"agents":[]}`, `{"items":[null]}`,
		header + line(1, "a", `,"supersedes":"`+id(1)+`"`), // replaces itself
		header + line(1, "a", `,"supersedes":"`+id(2)+`"`) + line(2, "b", `,"supersedes":"`+id(1)+`"`),
		header + line(3, "a", `,"superseded_by":"nonsense"`) + line(4, "b", `,"source":{"memory_ids":["nonsense"]}`),
		header + line(5, "a", "") + line(5, "b", ""),
	} {
		if a := w.do("POST", path+"/import?actor=ann", file); a.status != http.StatusOK && a.status != http.StatusBadRequest {
			t.Errorf("%q: %s", file, a)
		}
	}
}

// TestSourceThatStays imports what was drawn from a memory that is not in the
// file, but in the project: they are forgotten together.
func TestSourceThatStays(t *testing.T) {
	w := newWorld(t)
	turn := w.keep("I moved to Oslo.", `,"actor":"ann","strategy":"turn","source":{"session_id":"s1"}`)
	fact := w.keep("Somebody in Oslo sails.", `,"namespace":"/teams/blue","source":{"memory_ids":["`+turn.ID+`"]}`)
	file := w.do("GET", path+"/export?namespace=/teams", "").body
	must[any](w, "DELETE", path+"/"+fact.ID, "")
	if got := w.importFile("", file); got.Written != 1 {
		t.Fatalf("import: %+v", got)
	}
	must[any](w, "DELETE", path+"/"+turn.ID, "")
	if l := w.list(""); len(l.Data) != 0 {
		t.Errorf("there are %q", l.texts())
	}
}
