package memories_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/memory"
	"github.com/stayd/stayd/internal/memory/keeper"
)

type receipts struct {
	Data    []json.RawMessage
	HasMore bool    `json:"has_more"`
	LastID  *string `json:"last_id"`
}

// receipt decodes a receipt and checks its signature.
func (w *world) receipt(raw string) keeper.Receipt {
	w.t.Helper()
	var r keeper.Receipt
	if err := json.Unmarshal([]byte(raw), &r); err != nil || !strings.HasPrefix(raw, `{"object":"memory.receipt","id":"`+r.ID) {
		w.t.Fatalf("receipt %s: %v", raw, err)
	}
	if !r.Verify() {
		w.t.Errorf("the receipt does not verify: %s", raw)
	}
	return r
}

// TestForgetting has each thing that can be forgotten, with what goes with it.
func TestForgetting(t *testing.T) {
	for _, tt := range []struct {
		name    string
		method  string
		path    string
		body    func(id string) string
		class   string
		gone    map[memory.Strategy]int
		derived int
		stays   []string
	}{
		{"a memory with what was drawn from it", "POST", path + "/forget", func(id string) string { return `{"memory_id":"` + id + `"}` }, "record", map[memory.Strategy]int{memory.Turn: 1, memory.Semantic: 2}, 2, []string{"Ann paints.", "Bob knows Ann.", "The team has a boat."}},
		{"the same by DELETE", "DELETE", path + "/", func(string) string { return "" }, "record", map[memory.Strategy]int{memory.Turn: 1, memory.Semantic: 2}, 2, []string{"Ann paints.", "Bob knows Ann.", "The team has a boat."}},
		{"an actor", "POST", path + "/forget", func(string) string { return `{"actor":"ann"}` }, "actor", map[memory.Strategy]int{memory.Turn: 1, memory.Semantic: 2, memory.Preference: 1}, 0, []string{"Bob knows Ann.", "The team has a boat."}},
		{"a session", "POST", path + "/forget", func(string) string { return `{"session_id":"s1"}` }, "session", map[memory.Strategy]int{memory.Turn: 1, memory.Semantic: 2}, 2, []string{"Ann paints.", "Bob knows Ann.", "The team has a boat."}},
		{"a namespace", "POST", path + "/forget", func(string) string { return `{"namespace":"/teams"}` }, "namespace", map[memory.Strategy]int{memory.Semantic: 1}, 0, []string{"Ann lives in Bergen.", "Ann paints.", "Bob knows Ann.", "I moved to Oslo."}},
		{"an actor whom nothing is about", "POST", path + "/forget", func(string) string { return `{"actor":"eve"}` }, "actor", map[memory.Strategy]int{}, 0, []string{"Ann lives in Bergen.", "Ann paints.", "Bob knows Ann.", "I moved to Oslo.", "The team has a boat."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			turn := w.keep("I moved to Oslo.", `,"strategy":"turn","actor":"ann","source":{"session_id":"s1"}`)
			fact := w.keep("Ann lives in Oslo.", `,"source":{"memory_ids":["`+turn.ID+`"]}`)
			must[object](w, "POST", path+"/"+fact.ID, `{"text":"Ann lives in Bergen."}`)
			w.keep("Ann paints.", `,"namespace":"/actors/ann/preferences","strategy":"preference"`)
			w.keep("Bob knows Ann.", `,"actor":"bob"`)
			w.keep("The team has a boat.", `,"namespace":"/teams/blue"`)
			request := tt.path
			if tt.method == "DELETE" {
				request += turn.ID
			}
			a := w.do(tt.method, request, tt.body(turn.ID))
			if a.status != http.StatusOK {
				t.Fatal(a)
			}
			r := w.receipt(a.body)
			if r.Class != tt.class || !maps.Equal(r.Records, tt.gone) || r.Derived != tt.derived {
				t.Errorf("receipt: %s", a)
			}
			if strings.Contains(a.body, "ann") || strings.Contains(a.body, turn.ID) || strings.Contains(a.body, "Oslo") {
				t.Errorf("the receipt says what was forgotten: %s", a)
			}
			got := w.list("?limit=100")
			texts := got.texts()
			slices.Sort(texts)
			if !slices.Equal(texts, tt.stays) {
				t.Errorf("there still are %q, want %q", texts, tt.stays)
			}
			found := w.search(`{"text":"Ann Oslo Bergen boat","namespaces":["/"],"superseded":true}`)
			for _, text := range found.texts() {
				if !slices.Contains(tt.stays, text) && text != "Ann lives in Oslo." {
					t.Errorf("found %q", text)
				}
			}
		})
	}
}

// TestReceipts lists what was forgotten, by pages, and for its project alone.
func TestReceipts(t *testing.T) {
	w := newWorld(t)
	for day := 1; day <= 3; day++ {
		w.on(fmt.Sprintf("2026-05-%02d", day))
		must[any](w, "POST", path+"/forget", fmt.Sprintf(`{"actor":"nobody","reason":"request %d"}`, day))
	}
	first := must[receipts](w, "GET", path+"/receipts?limit=2", "")
	if len(first.Data) != 2 || !first.HasMore {
		t.Fatalf("the first page is %s", first.Data)
	}
	second := must[receipts](w, "GET", path+"/receipts?limit=2&after="+*first.LastID, "")
	if len(second.Data) != 1 || second.HasMore {
		t.Fatalf("the second page is %s", second.Data)
	}
	for i, raw := range append(first.Data, second.Data...) {
		r := w.receipt(string(raw))
		if r.Reason != fmt.Sprintf("request %d", 3-i) {
			t.Errorf("receipt %d is of %q", i, r.Reason)
		}
		r.Reason = "another"
		if r.Verify() {
			t.Error("a receipt that was changed verifies")
		}
	}
	if theirs := must[receipts](w.another(), "GET", path+"/receipts", ""); len(theirs.Data) != 0 {
		t.Errorf("another project has %s", theirs.Data)
	}
}

// TestRules has an expiry and a hold set, changed and taken away.
func TestRules(t *testing.T) {
	w := newWorld(t)
	rules := func(want string) {
		t.Helper()
		a := w.do("GET", path+"/rules", "")
		if a.status != http.StatusOK || !strings.HasPrefix(a.body, `{"object":"list","data":`+want) {
			t.Errorf("the rules are %s, want %s", a, want)
		}
	}
	rules(`[]`)
	must[any](w, "POST", path+"/rules", `{"namespace":"actors/ann/","expire_after_seconds":86400}`)
	rules(`[{"object":"memory.rule","namespace":"/actors/ann","expire_after_seconds":86400}]`)
	m := w.keep("A note.", "")
	if a := w.do("GET", path+"/"+m.ID, ""); !strings.Contains(a.body, `"expires_at":"2026-05-04T09:00:00Z"`) {
		t.Errorf("a memory of a rule: %s", a)
	}
	early := w.keep("A shorter note.", `,"expires_at":"2026-05-04"`)
	if a := w.do("GET", path+"/"+early.ID, ""); !strings.Contains(a.body, `"expires_at":"2026-05-04T00:00:00Z"`) {
		t.Errorf("a memory that expires before its rule: %s", a)
	}
	must[any](w, "POST", path+"/rules", `{"namespace":"/actors/ann","hold":true,"reason":"Case 7."}`)
	rules(`[{"object":"memory.rule","namespace":"/actors/ann","hold":true,"reason":"Case 7."}]`)
	if a := w.do("DELETE", path+"/"+m.ID, ""); a.status != http.StatusConflict {
		t.Errorf("what is held is deleted: %s", a)
	}
	must[any](w, "POST", path+"/rules", `{"namespace":"/actors/ann"}`)
	rules(`[]`)
	must[any](w, "POST", path+"/rules", `{"namespace":"/actors/nobody"}`) // there was none
	must[any](w, "DELETE", path+"/"+m.ID, "")
	if a := w.do("GET", path+"/"+m.ID, ""); a.status != http.StatusNotFound {
		t.Errorf("what was deleted is there: %s", a)
	}
	w.on("2026-05-05")
	if found := w.search(`{"text":"note","actor":"ann"}`); len(found.Data) != 0 {
		t.Errorf("found after its time: %q", found.texts())
	}
}

// TestAnotherProject sees nothing, and is answered as if there were nothing.
func TestAnotherProject(t *testing.T) {
	w := newWorld(t)
	m := w.keep("Ann lives in Paris.", "")
	b := w.another()
	for _, request := range []struct{ method, path, body string }{
		{"GET", path + "/ID", ""},
		{"GET", path + "/ID/history", ""},
		{"POST", path + "/ID", `{"text":"stolen"}`},
		{"DELETE", path + "/ID", ""},
		{"POST", path + "/forget", `{"memory_id":"ID"}`},
		{"POST", path, `{"text":"a","actor":"ann","source":{"memory_ids":["ID"]}}`},
		{"GET", path + "?after=ID", ""},
	} {
		send := func(id string) answer {
			a := b.do(request.method, strings.ReplaceAll(request.path, "ID", id), strings.ReplaceAll(request.body, "ID", id))
			a.body = strings.ReplaceAll(a.body, id, "ID")
			return a
		}
		theirs, none := send(m.ID), send(nobody)
		if theirs.status != none.status || theirs.body != none.body || theirs.status < 400 {
			t.Errorf("%s %s: %s, and of nobody %s", request.method, request.path, theirs, none)
		}
	}
	for _, search := range []string{`{"text":"Ann Paris","actor":"ann"}`, `{"text":"Ann Paris","namespaces":["/"]}`} {
		if found := b.search(search); len(found.Data) != 0 || found.Context != "" {
			t.Errorf("%s finds %q", search, found.texts())
		}
	}
	must[any](b, "POST", path+"/forget", `{"namespace":"/"}`)
	if l := w.list(""); !slices.Equal(l.texts(), []string{"Ann lives in Paris."}) {
		t.Errorf("after another project's requests there are %q", l.texts())
	}
}
