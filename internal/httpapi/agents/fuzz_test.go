package agents_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"path"
	"strings"
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
		`{"at":{"turn":"t"},"turn":"cancel","metadata":null,"input":[{"content":[{"type":"input_text","text":"x"}]}]}`,
		`{"name":null,"network":{"access":"restricted","allowed_domains":["*.a.b:1","[::1]:2"]},"sandbox":"gvisor","setup_commands":[{"command":"a","cwd":"/b"}],"files":[{"type":"file_id","path":"/workspace/%2e","file_id":"f"}]}`,
		`{"environment":{"type":"openai_hosted","effects":{"*":{"class":"pure"}},"idle_timeout_seconds":11}}`, `{"type":"inline","path":"/workspace/a","data":"AA=="}`,
		`{"a":{"a":{}},"a":1}`, `[[[[`, `{"model":"\ud800"}`, "\x00", `nul`,
	} {
		f.Add(seed)
	}
	w := newWorld(f)
	id := w.create()
	env := environmentOf(w.idle(""))
	f.Fuzz(func(t *testing.T, body string) {
		w := *w
		w.t = t
		for _, path := range []string{"/v1/agents", "/v1/agents/sessions", "/v1/agents/sessions/" + id, "/v1/agents/sessions/" + id + "/events", "/v1/agents/sessions/" + id + "/fork", "/v1/agents/environments", "/v1/agents/environments/templates", "/v1/agents/environments/" + env + "/files"} {
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

// FuzzPaths asks for any path in the workspace. What is taken lies below it, as
// everybody reads the path, and is found there again.
func FuzzPaths(f *testing.F) {
	for _, p := range badPaths {
		f.Add(p)
	}
	for _, p := range []string{"/workspace/a", "/workspace/a/b.c", "/workspace/..a/b", "/workspace/100%", "/workspace/é"} {
		f.Add(p)
	}
	w := newWorld(f)
	env := environmentOf(w.idle(""))
	f.Fuzz(func(t *testing.T, p string) {
		w := *w
		w.t = t
		put := w.do("PUT", contentPath(env, p), "content")
		if put.status != http.StatusOK {
			if put.status >= http.StatusInternalServerError {
				t.Errorf("%q: %d %s", p, put.status, put.body)
			}
			return
		}
		decoded := p
		for range 10 {
			if strings.Contains(decoded, "..") && path.Clean(decoded) != decoded || !strings.HasPrefix(path.Clean(decoded), "/workspace/") {
				t.Errorf("%q was taken, which is %q", p, decoded)
			}
			next, err := url.PathUnescape(decoded)
			if err != nil || next == decoded {
				break
			}
			decoded = next
		}
		if got := w.do("GET", contentPath(env, p), ""); got.body != "content" {
			t.Errorf("%q: %d %s", p, got.status, got.body)
		}
		if a := w.do("DELETE", "/v1/agents/environments/"+env+"/files?path="+url.QueryEscape(p), ""); a.status != http.StatusOK {
			t.Errorf("%q: %d %s", p, a.status, a.body)
		}
	})
}
