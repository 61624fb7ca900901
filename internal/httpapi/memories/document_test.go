package memories_test

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// schema is as much of a JSON schema as the document has for objects.
type schema struct {
	Ref        string `json:"$ref"`
	Properties map[string]schema
	Required   []string
	Items      *schema
}

type document struct {
	Paths map[string]map[string]struct {
		Responses map[string]struct {
			Content map[string]struct{ Schema schema }
		}
	}
	Components struct{ Schemas map[string]schema }
}

// fits checks that an answer has all fields that the schema requires, and none
// that it does not know.
func (d *document) fits(t *testing.T, at string, s schema, v any) {
	t.Helper()
	if name, isRef := strings.CutPrefix(s.Ref, "#/components/schemas/"); isRef {
		s = d.Components.Schemas[name]
	}
	switch v := v.(type) {
	case []any:
		if s.Items == nil {
			t.Errorf("%s: a list that is not documented", at)
			return
		}
		for _, e := range v {
			d.fits(t, at+"[]", *s.Items, e)
		}
	case map[string]any:
		if s.Properties == nil {
			return // a map
		}
		for _, name := range s.Required {
			if _, ok := v[name]; !ok {
				t.Errorf("%s: %s is required and not there", at, name)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(v)) {
			if _, ok := s.Properties[name]; !ok {
				t.Errorf("%s: %s is not documented", at, name)
				continue
			}
			d.fits(t, at+"."+name, s.Properties[name], v[name])
		}
	}
}

// TestDocument has every operation answer as the document says.
func TestDocument(t *testing.T) {
	w := newWorld(t)
	doc := must[document](w, "GET", "/openapi.json", "")
	turn := w.keep("I moved to Oslo.", `,"strategy":"turn","actor":"ann","origin":"user","source":{"session_id":"s1","turn_id":"t1","item_ids":["i1"],"speaker":"Ann","position":1,"external":"x"}`)
	m := w.keep("Ann lives in Oslo.", `,"confidence":0.5,"metadata":{"a":"b"},"valid_from":"2026-01-01","valid_to":"2027-01-01","expires_at":"2030-01-01","source":{"memory_ids":["`+turn.ID+`"],"label":"l"}`)
	for _, op := range []struct{ method, path, template, body string }{
		{"POST", path, path, `{"text":"Ann sails.","actor":"ann"}`},
		{"POST", path + "/" + m.ID, path + "/{memory_id}", `{"text":"Ann lives in Bergen."}`},
		{"GET", path + "/" + m.ID, path + "/{memory_id}", ""},
		{"GET", path + "/" + m.ID + "/history", path + "/{memory_id}/history", ""},
		{"GET", path + "?superseded=true", path, ""},
		{"POST", path + "/search", path + "/search", `{"text":"Oslo","actor":"ann","superseded":true}`},
		{"POST", path + "/rules", path + "/rules", `{"namespace":"/teams","expire_after_seconds":60,"hold":true,"reason":"r"}`},
		{"GET", path + "/rules", path + "/rules", ""},
		{"POST", path + "/import?actor=ann", path + "/import", `[{"id":"1","memory":"Ann rows.","hash":"x"}]`},
		{"POST", path + "/forget", path + "/forget", `{"session_id":"s1","reason":"r"}`},
		{"DELETE", path + "/" + must[object](w, "POST", path, `{"text":"Bob sails.","actor":"bob"}`).ID, path + "/{memory_id}", ""},
		{"GET", path + "/receipts", path + "/receipts", ""},
	} {
		var v any
		if err := json.Unmarshal([]byte(w.do(op.method, op.path, op.body).body), &v); err != nil {
			t.Fatal(err)
		}
		s := doc.Paths[op.template][strings.ToLower(op.method)].Responses["200"].Content["application/json"].Schema
		if s.Ref == "" {
			t.Errorf("%s %s is not documented", op.method, op.template)
		}
		doc.fits(t, op.method+" "+op.template, s, v)
	}
}

// TestTableOfRequests has all operations in docs/memory.md, and no other.
func TestTableOfRequests(t *testing.T) {
	w := newWorld(t)
	doc := must[document](w, "GET", "/openapi.json", "")
	var operations []string
	for path, methods := range doc.Paths {
		for method := range methods {
			if strings.HasPrefix(path, "/v1/memories") {
				operations = append(operations, strings.ToUpper(method)+" "+path)
			}
		}
	}
	text, err := os.ReadFile("../../../docs/memory.md")
	if err != nil {
		t.Fatal(err)
	}
	var documented []string
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` | "); ok && strings.Contains(name, " /v1/") {
			documented = append(documented, name)
		}
	}
	slices.Sort(operations)
	slices.Sort(documented)
	if !slices.Equal(documented, operations) {
		t.Errorf("documented are %q, there are %q", documented, operations)
	}
}
