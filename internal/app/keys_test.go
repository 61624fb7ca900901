package app_test

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestKeys has who may make, see and change which keys, and what the others are
// answered.
func TestKeys(t *testing.T) {
	cfg := config(t)
	cfg.Keys = map[string]string{"operator": "a"}
	n := start(t, cfg)
	operator := n.as("operator")
	type key struct{ ID, Key, Scope, Project string }
	made := func(by *node, body string) (k key) {
		by.must(&k, "POST", "/v1/keys", body)
		return k
	}
	admin := made(operator, `{"name":"admin","scope":"admin"}`)
	reader := made(operator, `{"name":"reader","scope":"read"}`)
	if k := made(operator, `{"name":"of the default scope"}`); k.Scope != "write" || k.Project != "a" || !strings.HasPrefix(k.Key, "stayd_") {
		t.Errorf("made: %+v", k)
	}
	past := time.Now().Add(-time.Minute).Unix()
	for _, tt := range []struct {
		name, key, method, path, body string
		status                        int
		want                          string
	}{
		{"no key", "", "GET", "/v1/keys", "", 401, "You didn't provide an API key."},
		{"none of ours", "stayd_bm9ib2R5.x", "GET", "/v1/keys", "", 401, "Incorrect API key provided."},
		{"a reader looks", reader.Key, "GET", sessions, "", 200, `"data":[]`},
		{"a reader searches", reader.Key, "POST", "/v1/memories/search", `{"actor":"ana","text":"x"}`, 200, `"data":[]`},
		{"a reader writes", reader.Key, "POST", "/v1/memories", `{"actor":"ana","text":"x"}`, 403, "This needs an API key with the scope 'write', and the one provided has 'read'."},
		{"a reader makes a key", reader.Key, "POST", "/v1/keys", `{"name":"x","scope":"read"}`, 403, "with the scope 'admin'"},
		{"an admin makes an owner", admin.Key, "POST", "/v1/keys", `{"name":"x","scope":"owner"}`, 403, "makes keys of its own project that are for no more than itself"},
		{"an admin makes a key of another project", admin.Key, "POST", "/v1/keys", `{"name":"x","project":"b"}`, 403, `"insufficient_scope"`},
		{"another project is asked for", admin.Key, "GET", "/v1/keys", "", 401, `"mismatched_project"`},
		{"no name", admin.Key, "POST", "/v1/keys", `{"name":""}`, 400, "A key has a name of 1 to 128 characters."},
		{"no scope", admin.Key, "POST", "/v1/keys", `{"name":"x","scope":"all"}`, 400, "scope"},
		{"expired already", admin.Key, "POST", "/v1/keys", `{"name":"x","expires_at":` + strconv.FormatInt(past, 10) + `}`, 400, "The key would have expired already."},
		{"no key to rotate", admin.Key, "POST", "/v1/keys/key_none/rotate", `{}`, 404, "No API key found with id 'key_none'."},
		{"a long overlap", admin.Key, "POST", "/v1/keys/" + reader.ID + "/rotate", `{"overlap_seconds":99999999}`, 400, "overlap_seconds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var headers []string
			if tt.name == "another project is asked for" {
				headers = []string{"OpenAI-Project", "b"}
			}
			if a := n.as(tt.key).do(tt.method, tt.path, tt.body, headers...); a.status != tt.status || !strings.Contains(a.body, tt.want) {
				t.Errorf("%s, want %d %s", a, tt.status, tt.want)
			}
		})
	}

	// A request that is repeated does not tell the text again.
	operator.must(nil, "POST", "/v1/keys", `{"name":"once"}`, "Idempotency-Key", "k")
	if a := operator.do("POST", "/v1/keys", `{"name":"once"}`, "Idempotency-Key", "k"); a.status != 409 || !strings.Contains(a.body, "Its text is not told again") {
		t.Errorf("repeated: %s", a)
	}
	// A key that was revoked is none from the next request on.
	n.as(reader.Key).must(nil, "GET", sessions, "")
	n.as(admin.Key).must(nil, "DELETE", "/v1/keys/"+reader.ID, "")
	if a := n.as(reader.Key).do("GET", sessions, ""); a.status != 401 || !strings.Contains(a.body, "Incorrect API key provided.") {
		t.Errorf("a revoked key: %s", a)
	}
}
