package memories_test

import (
	"net/http"
	"testing"
)

// FuzzRequests sends bodies to the operations that take one: none is answered
// with an error of the server.
func FuzzRequests(f *testing.F) {
	for _, body := range []string{
		`{"text":"Ann moved to Oslo on 3 May 2026.","actor":"a/b","strategy":"turn","source":{"session_id":"..","memory_ids":["` + nobody + `"]},"valid_from":"2026-05-03","confidence":0.5}`,
		`{"text":"what of tomorrow","namespaces":["/"],"known_at":"0001-01-01","valid_at":"9999-12-31T23:59:59Z","limit":200,"max_tokens":1,"metadata":{"":""}}`,
		`{"actor":"a","reason":"` + "\u2028" + `"}`, `{"memory_id":"` + nobody + `"}`, `{"namespace":"/","expire_after_seconds":9223372036854775807,"hold":true,"reason":"r"}`,
		header + line(1, "Ann rows.", `,"supersedes":"`+id(2)+`","source":{"memory_ids":["`+id(3)+`"]},"expires_at":"0001-01-01T00:00:01Z"`),
		`[{"id":"1","memory":"a","created_at":"9999-12-31T23:59:59+00:00","metadata":{"a":1e400}}]`,
		`{"memoryRecordId":"1","content":{"text":"a"},"createdAt":-62135596801}`,
	} {
		f.Add(body)
	}
	w := newWorld(f)
	f.Fuzz(func(t *testing.T, body string) {
		w := *w
		w.t = t
		for _, request := range []string{path, path + "/search", path + "/" + nobody, path + "/forget", path + "/rules", path + "/import?actor=ann", path + "/import?actor=ann&format=agentcore"} {
			if a := w.do("POST", request, body); a.status >= http.StatusInternalServerError {
				t.Errorf("POST %s %q: %s", request, body, a)
			}
		}
	})
}
