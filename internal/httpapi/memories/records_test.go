package memories_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestAMemory has a memory as the wire has it, with all that can be said of one
// and with nothing.
func TestAMemory(t *testing.T) {
	w := newWorld(t)
	first := w.keep("Ann moved to Lisbon.", "")
	a := w.do("POST", path, `{"text":"Ann lives in Lisbon.","namespace":"actors/ann/homes/","strategy":"episodic","actor":"ann","origin":"tool","confidence":0.9,
		"metadata":{"city":"Lisbon"},"valid_from":"2026-04-01","valid_to":"2027-04-01T12:00:00+02:00","expires_at":"2030-01-01",
		"source":{"session_id":"sess_1","turn_id":"turn_1","item_ids":["item_1"],"memory_ids":["`+first.ID+`"],"speaker":"registry","position":3,"label":"home","external":"x-1"}}`)
	var made object
	if err := json.Unmarshal([]byte(a.body), &made); err != nil {
		t.Fatal(err)
	}
	want := `{"id":"` + made.ID + `","object":"memory","namespace":"/actors/ann/homes","strategy":"episodic","actor":"ann","text":"Ann lives in Lisbon.","origin":"tool","foreign":true,` +
		`"confidence":0.9,"metadata":{"city":"Lisbon"},"source":{"session_id":"sess_1","turn_id":"turn_1","item_ids":["item_1"],"memory_ids":["` + first.ID +
		`"],"speaker":"registry","position":3,"label":"home","external":"x-1"},"valid_from":"2026-04-01T00:00:00Z","valid_to":"2027-04-01T10:00:00Z",` +
		`"recorded_at":"2026-05-03T09:00:00Z","superseded_at":null,"superseded_by":null,"supersedes":null,"expires_at":"2030-01-01T00:00:00Z","vector_model":"static/1@100","uses":0,"used_at":null}`
	if a.status != http.StatusOK || a.body != want {
		t.Errorf("%s\nwant %s", a, want)
	}
	if got := w.do("GET", path+"/"+made.ID, ""); got.body != want {
		t.Errorf("read back: %s\nwant %s", got, want)
	}
	want = `{"id":"` + first.ID + `","object":"memory","namespace":"/actors/ann/facts","strategy":"semantic","actor":"ann","text":"Ann moved to Lisbon.","origin":"client","foreign":false,` +
		`"confidence":null,"metadata":{},"source":{},"valid_from":null,"valid_to":null,"recorded_at":"2026-05-03T09:00:00Z","superseded_at":null,"superseded_by":null,"supersedes":null,` +
		`"expires_at":null,"vector_model":"static/1@100","uses":0,"used_at":null}`
	if got := w.do("GET", path+"/"+first.ID, ""); got.body != want {
		t.Errorf("read back: %s\nwant %s", got, want)
	}
}

// TestWhereItStands has the namespace and the actor that follow from each other.
func TestWhereItStands(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ fields, namespace, actor string }{
		{`,"actor":"ann"`, "/actors/ann/facts", "ann"},
		{`,"actor":"ann","strategy":"preference"`, "/actors/ann/preferences", "ann"},
		{`,"actor":"ann","strategy":"turn","source":{"session_id":"s1"}`, "/actors/ann/sessions/s1", "ann"},
		{`,"actor":"ann","strategy":"summary","source":{"session_id":"s1"}`, "/actors/ann/summaries/s1", "ann"},
		{`,"actor":"ann","strategy":"episodic"`, "/actors/ann/episodes", "ann"},
		{`,"actor":"ann","strategy":"core","source":{"label":"human"}`, "/actors/ann/core", "ann"},
		{`,"actor":"a/b {c}"`, "/actors/a%2Fb %7Bc%7D/facts", "a/b {c}"},
		{`,"namespace":"/actors/a%2Fb/notes"`, "/actors/a%2Fb/notes", "a/b"},
		{`,"namespace":"/actors/50%"`, "/actors/50%", "50%"},
		{`,"namespace":"/teams/blue","actor":"ann"`, "/teams/blue", "ann"},
		{`,"namespace":"/teams/blue"`, "/teams/blue", ""},
	} {
		if m := w.keep("A note.", tt.fields); m.Namespace != tt.namespace || m.Actor != tt.actor {
			t.Errorf("%s stands at %s, about %q; want %s, %q", tt.fields, m.Namespace, m.Actor, tt.namespace, tt.actor)
		}
	}
}

// TestSearch has the question and every filter.
func TestSearch(t *testing.T) {
	w := newWorld(t)
	w.keep("The dog is called Bruno.", `,"metadata":{"pet":"dog"},"valid_from":"2026-01-10"`)
	w.keep("The dog likes long walks.", `,"strategy":"preference","origin":"tool"`)
	w.keep("My dog barked all night.", `,"strategy":"turn","source":{"session_id":"s1","speaker":"user"},"valid_from":"2026-03-10"`)
	w.keep("The dog of Bob is called Rex.", `,"actor":"bob"`)
	w.keep("The dog house of the team is green.", `,"namespace":"/teams/blue"`)
	for _, tt := range []struct {
		fields string
		want   []string
	}{
		{`"actor":"ann"`, []string{"My dog barked all night.", "The dog is called Bruno.", "The dog likes long walks."}},
		{`"namespaces":["/actors/ann/preferences","/teams/blue"]`, []string{"The dog house of the team is green.", "The dog likes long walks."}},
		{`"namespaces":["/"],"actor":"bob"`, []string{"The dog of Bob is called Rex."}},
		{`"actor":"ann","strategies":["turn","preference"]`, []string{"My dog barked all night.", "The dog likes long walks."}},
		{`"actor":"ann","session_id":"s1"`, []string{"My dog barked all night."}},
		{`"actor":"ann","metadata":{"pet":"dog"}`, []string{"The dog is called Bruno."}},
		{`"actor":"ann","exclude_foreign":true`, []string{"My dog barked all night.", "The dog is called Bruno."}},
		{`"actor":"ann","since":"2026-02-01"`, []string{"My dog barked all night."}},
		{`"actor":"ann","since":"2026-01-10","until":"2026-03-10"`, []string{"The dog is called Bruno."}},
		{`"actor":"ann","valid_at":"2026-02-01","strategies":["semantic","turn"]`, []string{"The dog is called Bruno."}},
		{`"actor":"eve"`, []string{}},
	} {
		found := w.search(`{"text":"dog",` + tt.fields + `}`)
		got := found.texts()
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s finds %q, want %q", tt.fields, got, tt.want)
		}
	}
	found := w.search(`{"text":"What is the dog called?","actor":"ann","limit":1}`)
	if want := "[1] 2026-01-10 The dog is called Bruno.\n"; len(found.Data) != 1 || found.Data[0].Citation != 1 || found.Context != want {
		t.Errorf("%+v, want the context %q", found, want)
	}
	if found := w.search(`{"text":"dog","actor":"ann","max_tokens":12}`); strings.Count(found.Context, "\n") != 1 || len(found.Data) != 3 {
		t.Errorf("a short context is %q of %q", found.Context, found.texts())
	}
}

// TestTwoTimes has a memory that was replaced: what is believed now, what was
// believed then, and what is true when.
func TestTwoTimes(t *testing.T) {
	w := newWorld(t)
	paris := w.keep("Ann lives in Paris.", `,"metadata":{"by":"mail"}`)
	w.on("2026-06-01")
	a := w.do("POST", path+"/"+paris.ID, `{"text":"Ann lives in Rome.","valid_from":"2026-05-20"}`)
	var rome object
	if err := json.Unmarshal([]byte(a.body), &rome); err != nil || rome.Supersedes != paris.ID || rome.Metadata["by"] != "mail" {
		t.Fatalf("%s: %v", a, err)
	}
	for fields, want := range map[string][]string{
		``:                             {"Ann lives in Rome."},
		`,"known_at":"2026-05-04"`:     {"Ann lives in Paris."},
		`,"known_at":"2026-05-03"`:     {},
		`,"valid_at":"2026-05-19"`:     {},
		`,"valid_at":"2026-05-20"`:     {"Ann lives in Rome."},
		`,"superseded":true,"limit":5`: {"Ann lives in Paris.", "Ann lives in Rome."},
	} {
		found := w.search(`{"text":"Where does Ann live?","actor":"ann"` + fields + `}`)
		got := found.texts()
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s finds %q, want %q", fields, got, want)
		}
	}
	for _, id := range []string{paris.ID, rome.ID} {
		versions := must[list](w, "GET", path+"/"+id+"/history", "")
		if !slices.Equal(versions.texts(), []string{"Ann lives in Paris.", "Ann lives in Rome."}) || versions.Data[0].SupersededBy != rome.ID || versions.HasMore {
			t.Errorf("history: %+v", versions)
		}
	}
	if got := w.list(""); !slices.Equal(got.texts(), []string{"Ann lives in Rome."}) {
		t.Errorf("listed: %q", got.texts())
	}
	w.on("2026-07-01")
	must[object](w, "POST", path+"/"+rome.ID, `{"valid_from":"","valid_to":"2026-06-30","metadata":{},"confidence":0.5}`)
	a = w.do("GET", path+"?limit=1", "")
	if !strings.Contains(a.body, `"confidence":0.5,"metadata":{},`) || !strings.Contains(a.body, `"valid_from":null,"valid_to":"2026-06-30T00:00:00Z"`) {
		t.Errorf("the third version is %s", a)
	}
}

// TestKeys has requests that come again.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	body := `{"text":"Ann likes tea.","actor":"ann","metadata":{"a":"b"}}`
	first := must[object](w, "POST", path, body, "Idempotency-Key", "k1")
	again := must[object](w, "POST", path, `{"actor":"ann","metadata":{"a":"b"},"namespace":"/actors/ann/facts","text":"Ann likes tea."}`, "Idempotency-Key", "k1")
	other := must[object](w, "POST", path, body, "Idempotency-Key", "k2")
	theirs := must[object](w.another(), "POST", path, body, "Idempotency-Key", "k1")
	if first.ID != again.ID || first.ID == other.ID || first.ID == theirs.ID {
		t.Errorf("ids %s, again %s, with another key %s, in another project %s", first.ID, again.ID, other.ID, theirs.ID)
	}
	update := `{"text":"Ann likes coffee."}`
	newer := must[object](w, "POST", path+"/"+first.ID, update, "Idempotency-Key", "k1")
	if again := must[object](w, "POST", path+"/"+first.ID, update, "Idempotency-Key", "k1"); again.ID != newer.ID {
		t.Errorf("an update is %s, and again %s", newer.ID, again.ID)
	}
	want := envelope("This Idempotency-Key was used for another request. Use a new key for a new request.", "Idempotency-Key", "idempotency_key_reused")
	for request, body := range map[string]string{
		path: `{"text":"Ann likes tea.","actor":"ann","metadata":{"a":"c"}}`, path + "/" + first.ID: `{"text":"Ann likes milk."}`,
	} {
		if a := w.do("POST", request, body, "Idempotency-Key", "k1"); a.status != http.StatusConflict || a.body != want {
			t.Errorf("POST %s %s: %s, want 409 %s", request, body, a, want)
		}
	}
	if l := w.list(""); !slices.Equal(l.texts(), []string{"Ann likes coffee.", "Ann likes tea."}) && !slices.Equal(l.texts(), []string{"Ann likes tea.", "Ann likes coffee."}) {
		t.Errorf("there are %q", l.texts())
	}
}

// TestList has pages, orders and filters.
func TestList(t *testing.T) {
	w := newWorld(t)
	for day := 1; day <= 5; day++ {
		w.on(fmt.Sprintf("2026-05-%02d", day))
		w.keep(fmt.Sprintf("Note %d.", day), `,"metadata":{"odd":"`+strconv.Itoa(day%2)+`"},"source":{"session_id":"s`+strconv.Itoa(day)+`"}`)
	}
	w.keep("Bob's note.", `,"actor":"bob","strategy":"preference"`)
	for query, want := range map[string][]string{
		"?limit=2":                          {"Bob's note.", "Note 5."},
		"?order=asc&limit=1":                {"Note 1."},
		"?actor=ann&limit=2":                {"Note 5.", "Note 4."},
		"?namespace=/actors/bob":            {"Bob's note."},
		"?namespace=/":                      {"Bob's note.", "Note 5.", "Note 4.", "Note 3.", "Note 2.", "Note 1."},
		"?strategy=preference":              {"Bob's note."},
		"?session_id=s3":                    {"Note 3."},
		"?metadata[odd]=1&limit=2":          {"Note 5.", "Note 3."},
		"?metadata[odd]=1&metadata[even]=1": {},
		"?namespace=/actors/b":              {},
	} {
		l := w.list(query)
		got := l.texts()
		if query == "?limit=2" || query == "?namespace=/" {
			slices.Sort(got[:2]) // two of the same time
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s lists %q, want %q", query, got, want)
		}
	}
	var texts []string
	for after, more := "", true; more; {
		l := w.list("?actor=ann&order=asc&limit=2" + after)
		texts = append(texts, l.texts()...)
		if more = l.HasMore; more {
			after = "&after=" + *l.LastID
		}
	}
	if want := []string{"Note 1.", "Note 2.", "Note 3.", "Note 4.", "Note 5."}; !slices.Equal(texts, want) {
		t.Errorf("by pages there are %q, want %q", texts, want)
	}
}
