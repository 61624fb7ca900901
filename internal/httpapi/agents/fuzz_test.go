package agents_test

import (
	"encoding/json"
	"net/http"
	"testing"
)

// FuzzBodies sends any body to what takes the most. Whatever it is, the answer is
// a success or says what is wrong with the body.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{"environment":{"type":"none"},"input":"Hi","agent":{"model":"test/m"}}`,
		`{"environment":{"type":"openai_hosted","files":[{"type":"inline","path":"/workspace/a","data":"aGk="}],"network":{"access":"disabled"}},"agent":{"model":"test/m","tools":[{"type":"mcp","server_label":"l","transport":{"type":"http","server_url":"https://x","headers":{}},"effects":{"*":{"class":"once"}}}]}}`,
		`{"events":[{"type":"agent.session.input.tool_result","call_id":"c","turn_id":"t","success":true,"output":[{"type":"input_text","text":"x"}]}]}`,
		`{"events":[{"type":"agent.session.input.message","input":[{"type":"message","role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,AA=="}]}]}]}`,
		`{"model":"test/m","text":{"format":{"type":"json_schema","schema":{"a":[1,2.5e3,null,true]}}},"metadata":{"a":"b"}}`,
		`{"a":{"a":{}},"a":1}`, `[[[[`, `{"model":"\ud800"}`, "\x00", `nul`,
	} {
		f.Add(seed)
	}
	w := newWorld(f)
	id := w.create()
	f.Fuzz(func(t *testing.T, body string) {
		w := *w
		w.t = t
		for _, path := range []string{"/v1/agents", "/v1/agents/sessions", "/v1/agents/sessions/" + id, "/v1/agents/sessions/" + id + "/events"} {
			a := w.do("POST", path, body)
			if a.status < http.StatusMultipleChoices {
				continue
			}
			var e struct {
				Error struct {
					Message, Type string
					Param, Code   *string
				}
			}
			if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.status >= http.StatusInternalServerError || e.Error.Message == "" || e.Error.Type != invalid {
				t.Errorf("%s %q: %d %s", path, body, a.status, a.body)
			}
		}
	})
}
