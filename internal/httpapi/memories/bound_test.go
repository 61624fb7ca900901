package memories_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// nobodysID is that of a memory that is not there.
const nobodysID = "mem_00000000000000000000000000000000"

// bound speaks for somebody who may act for ann alone.
func (w *world) bound() *world {
	ann := *w
	ann.key = keyAnn
	return &ann
}

// TestBoundCaller shows what somebody has who acts for ann alone: all that lies in
// her place, and of the rest nothing, neither what it says nor whether it is there.
func TestBoundCaller(t *testing.T) {
	w := newWorld(t)
	ann := w.bound()
	hers := must[object](w, "POST", path, `{"text":"Ann lives in Oslo.","actor":"ann"}`)
	his := must[object](w, "POST", path, `{"text":"Bob lives in Oslo.","actor":"bob"}`)
	alike := must[object](w, "POST", path, `{"text":"Anna lives in Oslo.","actor":"anna"}`)
	team := must[object](w, "POST", path, `{"text":"The team lives in Oslo.","namespace":"/teams/oslo","actor":"ann"}`)

	w.on("2026-05-04")
	made := must[object](ann, "POST", path, `{"text":"Ann has a boat in Oslo.","source":{"memory_ids":["`+hers.ID+`"]}}`)
	if made.Namespace != "/actors/ann/facts" || made.Actor != "ann" {
		t.Errorf("written to %+v", made)
	}
	w.on("2026-05-05")
	must[object](ann, "POST", path, `{"text":"Ann likes Oslo.","namespace":"actors/ann/likes/","actor":"ann"}`)
	texts := func(l list) string {
		var all []string
		for _, m := range l.Data {
			all = append(all, m.Text)
		}
		return strings.Join(all, " ")
	}
	const all = "Ann lives in Oslo. Ann has a boat in Oslo. Ann likes Oslo."
	for _, query := range []string{"", "&namespace=/actors/ann", "&actor=ann", "&actor=ann&namespace=/actors/ann/"} {
		if got := texts(must[list](ann, "GET", path+"?order=asc"+query, "")); got != all {
			t.Errorf("listed by %q: %s", query, got)
		}
	}
	if got := texts(must[list](ann, "GET", path+"?order=asc&after="+hers.ID, "")); got != "Ann has a boat in Oslo. Ann likes Oslo." {
		t.Errorf("after her first: %s", got)
	}
	for _, body := range []string{`{"text":"Oslo"}`, `{"text":"Oslo","actor":"ann"}`, `{"text":"Oslo","namespaces":["/actors/ann"]}`, `{"text":"Oslo","namespaces":["/actors/ann/likes","actors/ann/facts"]}`} {
		found := must[list](ann, "POST", path+"/search", body)
		if len(found.Data) != 3 {
			t.Errorf("%s finds %s", body, texts(found))
		}
	}
	for _, query := range []string{"", "?namespace=/actors/ann", "?actor=ann"} {
		a := ann.do("GET", path+"/export"+query, "")
		if a.status != http.StatusOK || strings.Count(a.body, "Ann") < 3 || strings.Contains(a.body, "Bob") || strings.Contains(a.body, "Anna") || strings.Contains(a.body, "team") {
			t.Errorf("exported by %q: %s", query, a)
		}
	}
	if got := must[object](ann, "GET", path+"/"+hers.ID, ""); got.Text != hers.Text {
		t.Errorf("read: %+v", got)
	}
	newer := must[object](ann, "POST", path+"/"+hers.ID, `{"text":"Ann lives in Bergen."}`)
	if got := texts(must[list](ann, "GET", path+"/"+newer.ID+"/history", "")); got != "Ann lives in Oslo. Ann lives in Bergen." {
		t.Errorf("her history: %s", got)
	}
	must[any](ann, "DELETE", path+"/"+made.ID, "")

	// What is another's is as what is not there.
	for _, id := range []string{his.ID, alike.ID, team.ID} {
		for what, c := range map[string]struct{ method, path, body string }{
			"read": {"GET", path + "/ID", ""}, "history": {"GET", path + "/ID/history", ""}, "changed": {"POST", path + "/ID", `{"text":"x"}`}, "forgotten": {"DELETE", path + "/ID", ""},
			"after": {"GET", path + "?after=ID", ""}, "drawn from": {"POST", path, `{"text":"x","source":{"memory_ids":["` + newer.ID + `","ID"]}}`},
		} {
			of := func(id string) answer {
				a := ann.do(c.method, strings.ReplaceAll(c.path, "ID", id), strings.ReplaceAll(c.body, "ID", id))
				a.body = strings.ReplaceAll(a.body, id, "ID")
				return a
			}
			got, none := of(id), of(nobodysID)
			if got.status != none.status || got.body != none.body || got.status < 400 {
				t.Errorf("%s %s: %s\nof none: %s", id, what, got, none)
			}
		}
	}
	// Where another is named, it is refused.
	for what, c := range map[string]struct{ method, path, body string }{
		"written about bob":      {"POST", path, `{"text":"x","actor":"bob"}`},
		"written to bob":         {"POST", path, `{"text":"x","namespace":"/actors/bob/facts"}`},
		"written to anna":        {"POST", path, `{"text":"x","namespace":"/actors/anna"}`},
		"written to the team":    {"POST", path, `{"text":"x","namespace":"/teams/oslo"}`},
		"written above":          {"POST", path, `{"text":"x","namespace":"/actors"}`},
		"listed of bob":          {"GET", path + "?actor=bob", ""},
		"listed below bob":       {"GET", path + "?namespace=/actors/bob", ""},
		"listed below anna":      {"GET", path + "?namespace=/actors/anna", ""},
		"listed of all":          {"GET", path + "?namespace=/", ""},
		"listed above":           {"GET", path + "?namespace=/actors", ""},
		"searched of bob":        {"POST", path + "/search", `{"text":"Oslo","actor":"bob"}`},
		"searched below bob":     {"POST", path + "/search", `{"text":"Oslo","namespaces":["/actors/ann","/actors/bob"]}`},
		"searched everywhere":    {"POST", path + "/search", `{"text":"Oslo","namespaces":["/"]}`},
		"exported of bob":        {"GET", path + "/export?actor=bob", ""},
		"exported below bob":     {"GET", path + "/export?namespace=/actors/bob", ""},
		"exported everywhere":    {"GET", path + "/export?namespace=/", ""},
		"imported":               {"POST", path + "/import?actor=ann", "{}"},
		"forgotten at once":      {"POST", path + "/forget", `{"actor":"ann"}`},
		"the receipts":           {"GET", path + "/receipts", ""},
		"the rules":              {"GET", path + "/rules", ""},
		"a rule":                 {"POST", path + "/rules", `{"namespace":"/actors/ann","hold":true,"reason":"x"}`},
		"searched, escaped dots": {"POST", path + "/search", `{"text":"Oslo","namespaces":["/actors/ann%2F..%2Fbob"]}`},
	} {
		if a := ann.do(c.method, c.path, c.body); a.status != http.StatusForbidden || !strings.Contains(a.body, `"code":"actor_not_allowed"`) || strings.Contains(a.body, "Oslo.") {
			t.Errorf("%s: %s", what, a)
		}
	}
	if a := ann.do("POST", path, `{"text":"x","namespace":"/actors/ann/../bob"}`); a.status != http.StatusBadRequest {
		t.Errorf("by dots: %s", a)
	}
	// Nothing of it was done.
	for _, m := range []object{his, alike, team} {
		if got := must[object](w, "GET", path+"/"+m.ID, ""); got.Text != m.Text || got.SupersededBy != "" {
			t.Errorf("of others is there %+v", got)
		}
	}
	if got := len(must[list](w, "GET", path+"?namespace=/&limit=100", "").Data); got != 5 {
		t.Errorf("%d memories are there, want 5", got)
	}
}

// TestBoundCallerHeld shows that whose memory cannot be forgotten, as what was drawn
// from it is held elsewhere, is not told where.
func TestBoundCallerHeld(t *testing.T) {
	w := newWorld(t)
	ann := w.bound()
	hers := must[object](ann, "POST", path, `{"text":"Ann lives in Oslo."}`)
	must[object](w, "POST", path, `{"text":"Bob knows Ann.","actor":"bob","source":{"memory_ids":["`+hers.ID+`"]}}`)
	must[any](w, "POST", path+"/rules", `{"namespace":"/actors/bob","hold":true,"reason":"Case 7."}`)
	a := ann.do("DELETE", path+"/"+hers.ID, "")
	if a.status != http.StatusConflict || strings.Contains(a.body, "bob") || strings.Contains(a.body, "Case") || !strings.Contains(a.body, "memory_held") {
		t.Errorf("held elsewhere: %s", a)
	}
	must[any](w, "POST", path+"/rules", `{"namespace":"/actors/ann","hold":true,"reason":"Case 8."}`)
	own := must[object](ann, "POST", path, `{"text":"Ann sails."}`)
	if a := ann.do("DELETE", path+"/"+own.ID, ""); a.status != http.StatusConflict || !strings.Contains(a.body, "Case 8.") {
		t.Errorf("held: %s", a)
	}
}

// TestBoundCallerNames shows that names which look like paths are places of their
// own.
func TestBoundCallerNames(t *testing.T) {
	for _, name := range []string{"a/b", "..", ".", "a%2Fb", "*", "ünal", "a\\b", "{actorId}", " "} {
		w := newWorldOf(t, name)
		ann := w.bound()
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		must[object](w, "POST", path, `{"text":"Another's.","namespace":"/actors/a/b"}`)
		own := must[object](ann, "POST", path, `{"text":"Their own."}`)
		if own.Actor != name {
			t.Errorf("%q: written about %q", name, own.Actor)
		}
		must[object](w, "POST", path, `{"text":"Their own too.","actor":`+string(quoted)+`}`)
		if got := must[list](ann, "GET", path, ""); len(got.Data) != 2 {
			t.Errorf("%q: listed are %d", name, len(got.Data))
		}
		if got := must[list](ann, "POST", path+"/search", `{"text":"own another"}`); len(got.Data) != 2 {
			t.Errorf("%q: found are %d", name, len(got.Data))
		}
	}
}
