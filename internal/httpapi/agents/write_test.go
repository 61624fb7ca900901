package agents_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
)

// TestRepeatedWrites makes every write twice with one key, and once with the key
// and another body.
func TestRepeatedWrites(t *testing.T) {
	w := newWorld(t)
	reused := envelope("This Idempotency-Key was used for another request. Use a new key for a new request.", "Idempotency-Key", "idempotency_key_reused")
	agent := idOf(t, w.do("POST", "/v1/agents", `{"model":"test/m"}`))
	id := w.create()
	message := func(text string) string {
		return `{"events":[{"type":"agent.session.input.message","input":[{"role":"user","content":[{"type":"input_text","text":"` + text + `"}]}]}]}`
	}
	tests := []struct{ name, path, body, other string }{
		{"agent", "/v1/agents", `{"model":"test/m","name":"a"}`, `{"model":"test/m","name":"b"}`},
		{"agent's change", "/v1/agents/" + agent, `{"name":"a","metadata":{"x":"1","y":"2"}}`, `{"name":"b"}`},
		{"session", "/v1/agents/sessions", `{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"}}`, `{"environment":{"type":"none"},"input":"Ho","agent":{"model":"test/m"}}`},
		{"session's change", "/v1/agents/sessions/" + id, `{"metadata":{"a":"b"}}`, `{"metadata":{"a":"c"}}`},
		{"input", "/v1/agents/sessions/" + id + "/events", message("a"), message("b")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first := w.do("POST", tt.path, tt.body, "Idempotency-Key", "key "+tt.name)
			var tree any
			if err := json.Unmarshal([]byte(tt.body), &tree); err != nil {
				t.Fatal(err)
			}
			// The same request, whatever the order of its fields.
			sorted, err := json.MarshalIndent(tree, "", " ")
			if err != nil {
				t.Fatal(err)
			}
			again := w.do("POST", tt.path, string(sorted), "Idempotency-Key", "key "+tt.name)
			if first.status >= 300 || first.status != again.status || first.body != again.body {
				t.Errorf("first %d %s\nagain %d %s", first.status, first.body, again.status, again.body)
			}
			other := w.do("POST", tt.path, tt.other, "Idempotency-Key", "key "+tt.name)
			if other.status != http.StatusConflict || other.body != reused {
				t.Errorf("other: %d %s", other.status, other.body)
			}
		})
	}
	if a := w.do("GET", "/v1/agents/sessions/"+id+"/turns", ""); strings.Count(a.body, `"agent.session.turn"`) != 2 {
		t.Errorf("turns %s", a.body)
	}
	w.append(id, turnEnded(w.turn(id)), turnEnded(secondTurn(w, id)))
	for range 2 {
		if a := w.do("DELETE", "/v1/agents/sessions/"+id, "", "Idempotency-Key", "d"); a.status != http.StatusOK {
			t.Errorf("delete: %d %s", a.status, a.body)
		}
	}
	if a := w.do("DELETE", "/v1/agents/sessions/"+id, "", "Idempotency-Key", "e"); a.status != http.StatusNotFound {
		t.Errorf("deleted by another: %d %s", a.status, a.body)
	}
}

func secondTurn(w *world, id string) string {
	var l struct{ Data []struct{ ID string } }
	a := w.do("GET", "/v1/agents/sessions/"+id+"/turns?order=asc", "")
	if err := json.Unmarshal([]byte(a.body), &l); err != nil {
		w.t.Fatal(err)
	}
	return l.Data[1].ID
}

// TestNulls has what null, leaving out and a value do to each field.
func TestNulls(t *testing.T) {
	const full = `"name":"n","instructions":"i","tools":[{"type":"timer"}],"reasoning":{"effort":"low","summary":"auto"},
		"text":{"verbosity":"high","format":{"type":"json_schema","schema":{"type":"object"}}},"service_tier":"flex",
		"compaction":{"async":false,"threshold":5},"limits":{"max_steps":3},"metadata":{"a":"b"}`
	tests := []struct{ body, field, want string }{
		{`{}`, "name", `"n"`},
		{`{"name":null}`, "name", `null`},
		{`{}`, "instructions", `"i"`},
		{`{"instructions":null}`, "instructions", `null`},
		{`{"instructions":""}`, "instructions", `""`},
		{`{"tools":null}`, "tools", `[]`},
		{`{"tools":[]}`, "tools", `[]`},
		{`{"name":"m"}`, "tools", `[{"type":"timer"}]`},
		{`{"reasoning":null}`, "reasoning", `{"effort":null,"summary":null}`},
		{`{"reasoning":{"effort":null}}`, "reasoning", `{"effort":null,"summary":"auto"}`},
		{`{"reasoning":{"effort":"high"}}`, "reasoning", `{"effort":"high","summary":"auto"}`},
		{`{"text":null}`, "text", `{"format":{"type":"text"},"verbosity":"medium"}`},
		{`{"text":{"verbosity":null}}`, "text", `{"format":{"type":"json_schema","schema":{"type":"object"}},"verbosity":"medium"}`},
		{`{"text":{"format":{"type":"text"}}}`, "text", `{"format":{"type":"text"},"verbosity":"high"}`},
		{`{"service_tier":null}`, "service_tier", `"auto"`},
		{`{"compaction":null}`, "compaction", `{"async":true}`},
		{`{"compaction":{}}`, "compaction", `{"async":true}`},
		{`{"compaction":{"async":null}}`, "compaction", `{"async":true}`},
		{`{"limits":null}`, "limits", ``},
		{`{"limits":{"max_tokens":9}}`, "limits", `{"max_tokens":9}`},
		{`{}`, "metadata", `{"a":"b"}`},
		{`{"metadata":null}`, "metadata", `{}`},
		{`{"metadata":{}}`, "metadata", `{}`},
	}
	w := newWorld(t)
	for _, tt := range tests {
		t.Run(tt.body+" "+tt.field, func(t *testing.T) {
			id := idOf(t, w.do("POST", "/v1/agents", `{"model":"test/m",`+full+`}`))
			a := w.do("POST", "/v1/agents/"+id, tt.body)
			var fields map[string]json.RawMessage
			if err := json.Unmarshal([]byte(a.body), &fields); err != nil {
				t.Fatal(err)
			}
			if got := string(fields[tt.field]); got != tt.want {
				t.Errorf("%s is %s, want %s (%d)", tt.field, got, tt.want, a.status)
			}
		})
	}
}

// TestSessionUpdate changes a session's limit, metadata and agent.
func TestSessionUpdate(t *testing.T) {
	w := newWorld(t)
	path := "/v1/agents/sessions/" + w.create()
	steps := []struct{ body, want, not string }{
		{`{"spend_control":{"limit":500}}`, `"spend_control":{"consumed":0,"limit":500}`, ""},
		{`{"metadata":{"a":"b"}}`, `"metadata":{"a":"b"}`, ""},
		{`{}`, `"spend_control":{"consumed":0,"limit":500}`, ""},
		{`{"spend_control":{"limit":null}}`, `"metadata":{"a":"b"}`, "spend_control"},
		{`{"spend_control":{"limit":7}}`, `"limit":7`, ""},
		{`{"spend_control":null,"metadata":null}`, `"metadata":{}`, "spend_control"},
		{`{"agent":{"model":"test/other","reasoning":{"effort":"low"},"service_tier":"priority"}}`, `"model":"test/other"`, ""},
		{`{"agent":{"tools":null}}`, `"tools":[]`, ""},
		{`{"agent":{"compaction":{"threshold":9}}}`, `"compaction":{"async":true,"threshold":9}`, ""},
		{`{"agent":{"model":"test/m"}}`, `"threshold":9`, ""},
	}
	for _, step := range steps {
		a := w.do("POST", path, step.body)
		if a.status != http.StatusOK || !strings.Contains(a.body, step.want) || (step.not != "" && strings.Contains(a.body, step.not)) {
			t.Errorf("%s: %d %s", step.body, a.status, a.body)
		}
	}
}

// TestOverrides makes a session of a saved agent.
func TestOverrides(t *testing.T) {
	w := newWorld(t)
	id := idOf(t, w.do("POST", "/v1/agents", `{"model":"test/m","name":"clerk","instructions":"i","tools":[{"type":"timer"}]}`))
	a := w.do("POST", "/v1/agents/sessions", `{"agent_id":"`+id+`","agent":{"model":"test/big","tools":null},"environment":{"type":"none"},"input":"Hi"}`)
	want := `"agent":{"id":"` + id + `","name":"clerk","model":"test/big","instructions":"i","multi_agent":{"enabled":false,"max_concurrent_subagents":null},` +
		`"reasoning":{"effort":null,"summary":null},"service_tier":"auto","text":{"format":{"type":"text"},"verbosity":"medium"},"tools":[],` +
		`"compaction":{"async":true,"threshold":100000},"experimental":{"time_awareness":false}}`
	if a.status != http.StatusOK || !strings.Contains(a.body, want) {
		t.Errorf("got %d %s\nwant %s", a.status, a.body, want)
	}
	a = w.do("POST", "/v1/agents/sessions", `{"agent_id":"agent_nowhere","environment":{"type":"none"},"input":"Hi"}`)
	if want := envelope("No agent found with id 'agent_nowhere'.", "", "not_found"); a.status != http.StatusNotFound || a.body != want {
		t.Errorf("got %d %s", a.status, a.body)
	}
}

// TestListSessions lists by pages and filters.
func TestListSessions(t *testing.T) {
	w := newWorld(t)
	const path = "/v1/agents/sessions"
	var made []string
	for i := range 5 {
		a := w.do("POST", path, fmt.Sprintf(`{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"},"metadata":{"n":"%d","odd key":"%d"}}`, i, i%2))
		made = append(made, idOf(t, a))
	}
	list := func(query string) (ids []string, more bool) {
		t.Helper()
		a := w.do("GET", path+query, "")
		var l struct {
			Data    []struct{ ID string }
			HasMore bool `json:"has_more"`
		}
		if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.status != http.StatusOK {
			t.Fatalf("list %s: %d %s", query, a.status, a.body)
		}
		for _, o := range l.Data {
			ids = append(ids, o.ID)
		}
		return ids, l.HasMore
	}
	first, more := list("?order=asc&limit=3")
	rest, noMore := list("?order=asc&limit=3&after=" + first[2])
	if diff := cmp.Diff(made, append(first, rest...)); diff != "" || !more || noMore {
		t.Errorf("pages (-want +got):\n%s, more %v %v", diff, more, noMore)
	}
	if odd, _ := list("?order=asc&metadata%5Bodd%20key%5D=1"); !cmp.Equal(odd, []string{made[1], made[3]}) {
		t.Errorf("odd %v", odd)
	}
	if both, _ := list("?metadata[odd%20key]=1&metadata[n]=3"); !cmp.Equal(both, []string{made[3]}) {
		t.Errorf("both %v", both)
	}
	if none, _ := list("?agent_id=agent_x"); len(none) != 0 {
		t.Errorf("none %v", none)
	}
	for query, want := range map[string]string{
		"?limit=0":         envelope("Invalid 'limit': expected an integer from 1 to 100, but got '0'.", "limit", "invalid_value"),
		"?limit=101":       envelope("Invalid 'limit': expected an integer from 1 to 100, but got '101'.", "limit", "invalid_value"),
		"?limit=x":         envelope("Invalid 'limit': expected an integer from 1 to 100, but got 'x'.", "limit", "invalid_value"),
		"?order=up":        envelope("Invalid value: 'up'. Supported values are: 'asc' and 'desc'.", "order", "invalid_value"),
		"?after=x":         envelope("No agent session found with id 'x'.", "after", "invalid_value"),
		"?foo=1":           envelope("Unknown parameter: 'foo'.", "foo", "unknown_parameter"),
		"?limit=1&limit=2": envelope("The parameter 'limit' is given more than once.", "limit", "invalid_value"),
	} {
		if a := w.do("GET", path+query, ""); a.status != http.StatusBadRequest || a.body != want {
			t.Errorf("%s: %d %s", query, a.status, a.body)
		}
	}
}

// TestHistoryPages reads turns and items page by page.
func TestHistoryPages(t *testing.T) {
	w := newWorld(t)
	path := "/v1/agents/sessions/" + w.story()
	for _, what := range []string{"/items", "/turns", "/effects"} {
		whole := pageIDs(t, w.do("GET", path+what+"?limit=100&order=asc", ""))
		var pages []string
		for after := ""; ; {
			query := "?limit=1&order=asc"
			if after != "" {
				query += "&after=" + after
			}
			ids := pageIDs(t, w.do("GET", path+what+query, ""))
			if len(ids) == 0 {
				break
			}
			pages = append(pages, ids...)
			after = ids[0]
		}
		if diff := cmp.Diff(whole, pages); diff != "" || len(whole) < 2 {
			t.Errorf("%s (-whole +pages):\n%s", what, diff)
		}
	}
}

func pageIDs(t *testing.T, a answer) []string {
	t.Helper()
	var l struct{ Data []struct{ ID string } }
	if err := json.Unmarshal([]byte(a.body), &l); err != nil || a.status != http.StatusOK {
		t.Fatalf("%d %s: %v", a.status, a.body, err)
	}
	var ids []string
	for _, o := range l.Data {
		ids = append(ids, o.ID)
	}
	return ids
}

// TestLogAndVerify reads the log, checks its digests as a client would, and
// verifies it before and after it was changed.
func TestLogAndVerify(t *testing.T) {
	w := newWorld(t)
	id := w.story()
	path := "/v1/agents/sessions/" + id
	a := w.do("GET", path+"/log?after=1&limit=2", "")
	var l struct {
		Data []struct {
			Seq    int64
			Kind   event.Kind
			Data   json.RawMessage
			Salt   string
			Digest string
			Hash   string
			Erased bool
		}
		HasMore bool `json:"has_more"`
	}
	if err := json.Unmarshal([]byte(a.body), &l); err != nil {
		t.Fatal(err)
	}
	if len(l.Data) != 2 || !l.HasMore || l.Data[0].Seq != 2 || l.Data[0].Kind != event.KindTurnCreated {
		t.Fatalf("log %s", a.body)
	}
	for _, r := range l.Data {
		if sum := digestOf(t, r.Salt, r.Data); sum != r.Digest || r.Erased {
			t.Errorf("record %d has the digest %s, its data that of %s", r.Seq, r.Digest, sum)
		}
	}
	whole := w.do("POST", path+"/verify", "")
	if !strings.Contains(whole.body, `"ok":true,"records":11,"hash":"`) || !strings.HasSuffix(whole.body, `"bad_seq":null,"reason":null}`) {
		t.Errorf("verify: %d %s", whole.status, whole.body)
	}
	w.store.change = func(r *event.Record) {
		if r.Seq == 3 {
			r.Data = append([]byte(nil), r.Data...)
			r.Data[10] ^= 1
		}
	}
	broken := w.do("POST", path+"/verify", "")
	if !strings.Contains(broken.body, `"ok":false,"records":2,`) || !strings.Contains(broken.body, `"bad_seq":3,"reason":"record 3 of `+id+`: data does not match its digest`) {
		t.Errorf("verify what was changed: %d %s", broken.status, broken.body)
	}
}

// TestListWithCorruptSession lists the others beside a session whose log cannot
// be read.
func TestListWithCorruptSession(t *testing.T) {
	w := newWorld(t)
	broken, whole := w.create(), w.create()
	// A failed append drops what is cached of the session.
	w.store.onAppend = store.ErrUnavailable
	w.do("POST", "/v1/agents/sessions/"+broken, `{"metadata":{"a":"b"}}`)
	w.store.onAppend = nil
	w.store.change = func(r *event.Record) {
		if r.Session == broken {
			r.Data = []byte("{}")
		}
	}
	if a := w.do("GET", "/v1/agents/sessions/"+broken, ""); a.status != http.StatusInternalServerError || !strings.Contains(a.body, `"code":"log_corrupt"`) {
		t.Errorf("got %d %s", a.status, a.body)
	}
	a := w.do("GET", "/v1/agents/sessions", "")
	ids := pageIDs(t, a)
	if !slices.Contains(ids, whole) || !slices.Contains(ids, broken) ||
		!strings.Contains(a.body, `"error":"The log of this session is corrupt. Verify it to see where."`) {
		t.Errorf("list %s", a.body)
	}
}
