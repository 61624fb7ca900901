package agents_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"

	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/httpapi"
	"github.com/stayd/stayd/internal/session"
	"github.com/stayd/stayd/internal/snapshot"
)

func environmentOf(id string) string { return "env_" + strings.TrimPrefix(id, "sess_") }

func contentPath(env, path string) string {
	return "/v1/agents/environments/" + env + "/files/content?path=" + url.QueryEscape(path)
}

// idle makes a hosted session without a turn.
func (w *world) idle(fields string) string {
	w.t.Helper()
	return idOf(w.t, w.do("POST", "/v1/agents/sessions", `{"environment":{"type":"openai_hosted"`+fields+`},"agent":{"model":"test/m"}}`))
}

// badPaths are spellings of paths that are not plainly below the workspace.
var badPaths = []string{
	"", "/", "/workspace", "/workspace/", "workspace/a", "a", "/etc/passwd", "/workspacea/b", "/Workspace/a", "//workspace/a", "/workspace//a",
	"/workspace/a/", "/workspace/.", "/workspace/./a", "/workspace/..", "/workspace/../etc/passwd", "/workspace/a/../../etc/passwd", "/workspace/a/..",
	"/workspace/a/../b", "/workspace/../workspace/a", `/workspace/..\..\etc`, `/workspace\a`, `/workspace/a\b`, "/workspace/%2e%2e/etc", "/workspace/%252e%252e/etc",
	"/workspace/%2E%2e%2Fetc", "/workspace/..%2fetc", "/workspace/a%2fb", "/workspace/a%5cb", "/workspace/.. /etc", "/workspace/ ../etc", "/workspace/.../etc", "/workspace/. ./a",
	"/workspace/a\x00.txt", "/workspace/%00", "/workspace/a\nb", "/workspace/a\x1bb", "/workspace/\u2025/etc", "/workspace/\uff0e\uff0e/etc", "/workspace/\u2024\u2024/etc",
	"/workspace/..\uff0fetc", "/workspace/a\u2215b", "/workspace/.\u200b./etc", "/workspace/\u202etxt.exe", "/workspace/a\xff", "/workspace/\xc0\xae\xc0\xae/etc", "file:///workspace/a",
	"/workspace/" + strings.Repeat("a/", 2100) + "a",
}

// TestBadPaths has paths refused wherever a path is taken.
func TestBadPaths(t *testing.T) {
	w := newWorld(t)
	id := w.idle("")
	env := environmentOf(id)
	files := "/v1/agents/environments/" + env + "/files"
	refusal := func(param string) string {
		return envelope("Invalid '"+param+"': expected an absolute path under /workspace, like /workspace/notes.txt.", param, "invalid_value")
	}
	for _, p := range badPaths {
		escaped := url.QueryEscape(p)
		for _, request := range [][2]string{{"GET", files + "/content?path="}, {"PUT", files + "/content?path="}, {"DELETE", files + "?path="}, {"GET", files + "?path="}} {
			if request[1] == files+"?path=" && request[0] == "GET" && (p == "" || p == "/workspace") {
				continue // the whole workspace
			}
			if a := w.do(request[0], request[1]+escaped, ""); a.status != http.StatusBadRequest || a.body != refusal("path") {
				t.Errorf("%s %q: %d %s", request[0], p, a.status, a.body)
			}
		}
		if strings.Contains(p, "\xff") || strings.Contains(p, "\xc0") {
			continue // is no JSON
		}
		quoted, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		file := `{"type":"inline","data":"","path":` + string(quoted) + `}`
		if a := w.do("POST", files, file); a.status != http.StatusBadRequest || a.body != refusal("path") {
			t.Errorf("POST %q: %d %s", p, a.status, a.body)
		}
		for _, request := range [][2]string{
			{"/v1/agents/sessions", `{"environment":{"type":"openai_hosted","files":[` + file + `]},"agent":{"model":"test/m"}}`},
			{"/v1/agents/environments", `{"environment":{"type":"openai_hosted","files":[` + file + `]}}`},
		} {
			if a := w.do("POST", request[0], request[1]); a.status != http.StatusBadRequest || a.body != refusal("environment.files[0].path") {
				t.Errorf("%s %q: %d %s", request[0], p, a.status, a.body)
			}
		}
		if a := w.do("POST", "/v1/agents/environments/templates", `{"files":[`+file+`]}`); a.status != http.StatusBadRequest || a.body != refusal("files[0].path") {
			t.Errorf("template %q: %d %s", p, a.status, a.body)
		}
	}
	w.view(id, func(s *session.State) {
		if s.Seq != 1 {
			t.Errorf("%d records", s.Seq)
		}
	})
	for _, p := range []string{"/workspace/a b.txt", "/workspace/..a", "/workspace/100%", "/workspace/日本/ä.txt", "/workspace/a'\"&?#.txt", "/workspace/.hidden"} {
		if a := w.do("PUT", contentPath(env, p), "x"); a.status != http.StatusOK {
			t.Errorf("%q: %d %s", p, a.status, a.body)
		}
	}
}

// TestLinks has links followed nowhere.
func TestLinks(t *testing.T) {
	w := newWorld(t)
	id := w.idle("")
	env := environmentOf(id)
	root := w.linked()
	w.append(id, &event.Snapshot{Root: root, Files: 3, Bytes: 2})
	link := func(p string) string {
		return envelope("'"+p+"' is a link, and links are not followed.", "path", "path_conflict")
	}
	tests := []struct{ method, path, want string }{
		{"GET", contentPath(env, "/workspace/link"), link("/workspace/link")},
		{"GET", contentPath(env, "/workspace/folder-link/a.txt"), link("/workspace/folder-link")},
		{"PUT", contentPath(env, "/workspace/link"), link("/workspace/link")},
		{"PUT", contentPath(env, "/workspace/folder-link/new.txt"), link("/workspace/folder-link")},
		{"DELETE", "/v1/agents/environments/" + env + "/files?path=/workspace/folder-link/a.txt", link("/workspace/folder-link")},
		{"GET", "/v1/agents/environments/" + env + "/files?path=/workspace/folder-link", link("/workspace/folder-link")},
		{"GET", contentPath(env, "/workspace/folder"), envelope("'/workspace/folder' is a folder, not a file.", "path", "path_conflict")},
		{"PUT", contentPath(env, "/workspace/folder"), envelope("'/workspace/folder' cannot be a file: a folder is there, or a file where a folder would have to be.", "path", "path_conflict")},
		{"PUT", contentPath(env, "/workspace/folder/a.txt/b"), envelope("'/workspace/folder/a.txt/b' cannot be a file: a folder is there, or a file where a folder would have to be.", "path", "path_conflict")},
	}
	for _, test := range tests {
		if a := w.do(test.method, test.path, "x"); a.status != http.StatusConflict || a.body != test.want {
			t.Errorf("%s %s: %d %s\nwant %s", test.method, test.path, a.status, a.body, test.want)
		}
	}
	if a := w.do("DELETE", "/v1/agents/environments/"+env+"/files?path=/workspace/link", ""); a.status != http.StatusOK {
		t.Errorf("delete a link itself: %d %s", a.status, a.body)
	}
}

// TestEnvironmentFiles writes, lists, reads and deletes files of a session.
func TestEnvironmentFiles(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	c, err := client.Dial(w.url, "")
	if err != nil {
		t.Fatal(err)
	}
	id := w.idle(`,"files":[{"type":"inline","path":"/workspace/first.txt","data":"aGk="}]`)
	env := environmentOf(id)
	for _, p := range []string{"b/2.txt", "b/10.txt", "b-1.txt", "a.txt", "b/c/d.txt"} {
		f, err := c.PutFile(ctx, env, "/workspace/"+p, strings.NewReader("content of "+p))
		if err != nil || f.SizeBytes != int64(len("content of "+p)) || f.Path != "/workspace/"+p || f.EnvironmentID != env {
			t.Fatalf("put %+v, %v", f, err)
		}
	}
	inline, err := w.sdk.Beta.Agents.Environments.Files.New(ctx, env, openai.BetaAgentEnvironmentFileNewParams{HostedEnvironmentFileParam: openai.HostedEnvironmentFileParamOfParamInline("bmV3", "/workspace/a.txt")})
	if err != nil {
		t.Fatal(err)
	}
	requireFields(t, reflect.TypeFor[openai.EnvironmentFile](), json.RawMessage(inline.RawJSON()), "file")
	asc := []string{"a.txt", "b/10.txt", "b/2.txt", "b/c/d.txt", "b-1.txt", "first.txt"}
	var want []string
	for _, p := range asc {
		want = append(want, "/workspace/"+p)
	}
	// By the parts of paths, as the API has it: what is in b comes where b is.
	want[1], want[2], want[3], want[4] = "/workspace/b/10.txt", "/workspace/b/2.txt", "/workspace/b/c/d.txt", "/workspace/b-1.txt"
	for limit := 1; limit <= 7; limit++ {
		for _, order := range []openai.BetaAgentEnvironmentFileListParamsOrder{"asc", "desc"} {
			var got []string
			pages := w.sdk.Beta.Agents.Environments.Files.ListAutoPaging(ctx, env, openai.BetaAgentEnvironmentFileListParams{Limit: openai.Int(int64(limit)), Order: order})
			for pages.Next() {
				if order == "asc" {
					got = append(got, pages.Current().Path)
				} else {
					got = append([]string{pages.Current().Path}, got...)
				}
			}
			if pages.Err() != nil || strings.Join(got, " ") != strings.Join(want, " ") {
				t.Errorf("%d by %d: %v, %v", limit, len(got), got, pages.Err())
			}
		}
	}
	var below []string
	for f, err := range c.Files(ctx, env, "/workspace/b") {
		if err != nil {
			t.Fatal(err)
		}
		below = append(below, f.Path)
	}
	if strings.Join(below, " ") != "/workspace/b/10.txt /workspace/b/2.txt /workspace/b/c/d.txt" {
		t.Errorf("below b: %v", below)
	}
	body, err := c.File(ctx, env, "/workspace/a.txt")
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(body)
	if body.Close(); err != nil || string(data) != "new" {
		t.Errorf("read %q, %v", data, err)
	}
	if err := c.RemoveFile(ctx, env, "/workspace/b"); err != nil {
		t.Error(err)
	}
	if err := c.RemoveFile(ctx, env, "/workspace/b"); client.Status(err) != http.StatusNotFound {
		t.Errorf("removed twice: %v", err)
	}
	w.view(id, func(s *session.State) {
		if s.Seq != 8 || s.Place.Files != 3 || s.Place.Status != "" {
			t.Errorf("seq %d, place %+v", s.Seq, s.Place)
		}
	})
	early := w.do("PUT", contentPath(env, "/workspace/first.txt"), "x")
	if want := envelope("'/workspace/first.txt' is put into the workspace when the environment is set up, by the first turn. Change it after that.", "path", "path_conflict"); early.body != want {
		t.Errorf("before the set-up: %s", early.body)
	}
}

// TestFilePages has what is not the next page refused.
func TestFilePages(t *testing.T) {
	w := newWorld(t)
	id := w.idle("")
	env := environmentOf(id)
	w.append(id, &event.Snapshot{Root: w.tree(event.Hash{}, "a", "1", "b", "2", "c/d", "3", "c/e", "4"), Files: 4, Bytes: 4})
	path := "/v1/agents/environments/" + env + "/files?limit=1"
	var page struct{ Next string }
	if err := json.Unmarshal([]byte(w.do("GET", path, "").body), &page); err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	refused := envelope("This is not the next page of this listing. Give what the page before has as 'next', and keep path and order.", "page", "invalid_value")
	for _, q := range []string{"&page=x", "&page=%00", "&page=" + page.Next + "&order=asc", "&page=" + page.Next + "&path=/workspace/c"} {
		if a := w.do("GET", path+q, ""); a.status != http.StatusBadRequest || a.body != refused {
			t.Errorf("%s: %d %s", q, a.status, a.body)
		}
	}
	if a := w.do("GET", path+"&path=/workspace/x", ""); a.body != envelope("There is no file '/workspace/x'.", "path", "file_not_found") {
		t.Errorf("no folder: %s", a.body)
	}
	if a := w.do("GET", path+"&path=/workspace/a", ""); a.body != envelope("'/workspace/a' is a file, not a folder.", "path", "path_conflict") {
		t.Errorf("a file: %s", a.body)
	}
}

// TestFilesBetweenTurns has files changed while no turn runs, and a request that
// is repeated done once.
func TestFilesBetweenTurns(t *testing.T) {
	w := newWorld(t)
	id := w.hosted("")
	env := environmentOf(id)
	path := contentPath(env, "/workspace/a")
	const busy = `"code":"environment_busy"`
	for _, request := range [][3]string{
		{"PUT", path, "x"},
		{"DELETE", "/v1/agents/environments/" + env + "/files?path=/workspace/a", ""},
		{"POST", "/v1/agents/environments/" + env + "/files", `{"type":"inline","path":"/workspace/a","data":"eA=="}`},
	} {
		if a := w.do(request[0], request[1], request[2]); a.status != http.StatusConflict || !strings.Contains(a.body, busy) {
			t.Errorf("%s %s: %d %s", request[0], request[1], a.status, a.body)
		}
	}
	turn := w.turn(id)
	w.append(id, turnEnded(turn))
	one := w.do("PUT", path, "x", "Idempotency-Key", "k")
	w.mustPost(id, `{"type":"agent.session.input.message","input":[{"content":[{"type":"input_text","text":"More"}]}]}`)
	two := w.do("PUT", path, "x", "Idempotency-Key", "k")
	if one.status != http.StatusOK || one.body != two.body {
		t.Errorf("twice: %s, %s", one.body, two.body)
	}
	if a := w.do("PUT", path, "y", "Idempotency-Key", "k"); a.status != http.StatusConflict || !strings.Contains(a.body, "idempotency_key_reused") {
		t.Errorf("reused: %d %s", a.status, a.body)
	}
	w.append(id, turnEnded(w.turn(id)))
	gone := "/v1/agents/environments/" + env + "/files?path=/workspace/a"
	for range 2 {
		if a := w.do("DELETE", gone, "", "Idempotency-Key", "d"); a.status != http.StatusOK {
			t.Errorf("delete: %d %s", a.status, a.body)
		}
	}
	if a := w.do("DELETE", gone, "", "Idempotency-Key", "e"); a.status != http.StatusNotFound {
		t.Errorf("delete what is gone: %d %s", a.status, a.body)
	}
}

// TestRanges downloads parts of an artifact, and the whole of it, as nothing that
// a browser would run.
func TestRanges(t *testing.T) {
	w := newWorld(t)
	id, first, _ := w.forkable()
	ctx := t.Context()
	artifacts := w.sdk.Beta.Agents.Sessions.Artifacts
	listed, err := artifacts.List(ctx, id, openai.BetaAgentSessionArtifactListParams{EnvironmentID: openai.String(environmentOf(id))})
	if err != nil || len(listed.Data) != 1 {
		t.Fatalf("listed %v, %v", listed, err)
	}
	artifact := listed.Data[0]
	requireFields(t, reflect.TypeFor[openai.SessionArtifact](), json.RawMessage(artifact.RawJSON()), "artifact")
	if artifact.Path != "/workspace/artifacts/report.txt" || artifact.SizeBytes != 10 || artifact.TurnID != first || artifact.SessionID != id {
		t.Errorf("artifact %s", artifact.RawJSON())
	}
	none, err := artifacts.List(ctx, id, openai.BetaAgentSessionArtifactListParams{EnvironmentID: openai.String("env_x")})
	if err != nil || len(none.Data) != 0 {
		t.Errorf("of another environment: %v, %v", none, err)
	}
	resp, err := artifacts.Content(ctx, id, artifact.ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(resp.Body)
	if resp.Body.Close(); err != nil || string(data) != "the report" {
		t.Errorf("content %q, %v", data, err)
	}
	path := "/v1/agents/sessions/" + id + "/artifacts/" + artifact.ID + "/content"
	whole := w.do("GET", path, "")
	for name, want := range map[string]string{
		"Content-Type": "application/octet-stream", "X-Content-Type-Options": "nosniff", "Content-Length": "10", "Accept-Ranges": "bytes",
		"Content-Disposition": `attachment; filename="report.txt"; filename*=UTF-8''report.txt`, "Etag": `"` + artifact.ID + `"`,
	} {
		if got := whole.header.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	for _, test := range []struct {
		spec, want string
		status     int
	}{{"bytes=4-", "report", 206}, {"bytes=0-2", "the", 206}, {"bytes=-3", "ort", 206}, {"bytes=20-", "", 416}} {
		a := w.do("GET", path, "", "Range", test.spec)
		if a.status != test.status || (test.want != "" && a.body != test.want) {
			t.Errorf("%s: %d %q", test.spec, a.status, a.body)
		}
	}
	if a := w.do("GET", path, "", "If-None-Match", `"`+artifact.ID+`"`); a.status != http.StatusNotModified {
		t.Errorf("unchanged: %d", a.status)
	}
	if got, err := artifacts.Get(ctx, id, artifact.ID); err != nil || got.ID != artifact.ID {
		t.Errorf("got %v, %v", got, err)
	}
	for range 2 {
		if a := w.do("DELETE", strings.TrimSuffix(path, "/content"), "", "Idempotency-Key", "k"); a.body != `{"id":"`+artifact.ID+`","object":"agent.session.artifact.deleted","deleted":true}` {
			t.Errorf("deleted: %s", a.body)
		}
	}
	if a := w.do("GET", path, ""); a.body != envelope("No artifact found with id '"+artifact.ID+"'.", "", "not_found") {
		t.Errorf("deleted: %s", a.body)
	}
}

// TestOtherProjects has what another project has be not there.
func TestOtherProjects(t *testing.T) {
	w := newWorld(t)
	id, _, _ := w.forkable()
	env := environmentOf(id)
	prepared := idOf(t, w.do("POST", "/v1/agents/environments", `{"environment":{"type":"openai_hosted"}}`))
	up, err := w.sdk.Files.New(t.Context(), openai.FileNewParams{File: openai.File(strings.NewReader("x"), "x", "text/plain"), Purpose: "user_data"})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{
		"GET /v1/agents/environments/" + env, "GET /v1/agents/environments/" + prepared, "DELETE /v1/agents/environments/" + prepared,
		"GET /v1/agents/environments/" + env + "/files", "GET " + contentPath(env, "/workspace/a.txt"), "PUT " + contentPath(env, "/workspace/a.txt"),
		"DELETE /v1/agents/environments/" + env + "/files?path=/workspace/a.txt", "GET /v1/files/" + up.ID, "GET /v1/files/" + up.ID + "/content", "DELETE /v1/files/" + up.ID,
		"GET /v1/agents/sessions/" + id + "/artifacts", "GET /v1/agents/sessions/" + id + "/diff?with=" + id,
	} {
		method, path, _ := strings.Cut(path, " ")
		theirs := w.do(method, path, "", "OpenAI-Project", "other")
		nobodys := path
		hide := map[string]string{env: "env_x", prepared: "env_x", up.ID: "file_x", id: "sess_x"}
		for from, to := range hide {
			nobodys = strings.ReplaceAll(nobodys, from, to)
			theirs.body = strings.ReplaceAll(theirs.body, from, to)
		}
		if want := w.do(method, nobodys, "", "OpenAI-Project", "other"); theirs.status != http.StatusNotFound || theirs.body != want.body {
			t.Errorf("%s %s: %d %s, want %s", method, path, theirs.status, theirs.body, want.body)
		}
	}
}

// big gives n bytes that do not repeat soon, and knows their hash.
type big struct {
	n    int64
	seed uint64
	sum  interface{ Write([]byte) (int, error) }
	// heap is the most memory in use that was seen while it was read.
	heap uint64
	read int64
}

func (b *big) Read(p []byte) (int, error) {
	if b.n == 0 {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), b.n)]
	for i := range p {
		if i%8 == 0 {
			b.seed ^= b.seed << 13
			b.seed ^= b.seed >> 7
			b.seed ^= b.seed << 17
		}
		p[i] = byte(b.seed >> (i % 8 * 8))
	}
	b.n -= int64(len(p))
	b.sum.Write(p)
	if b.read += int64(len(p)); b.read > 32<<20 {
		b.read = 0
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.heap = max(b.heap, m.HeapInuse)
	}
	return len(p), nil
}

// TestLargeFiles sends files far larger than the memory that they may take, and
// reads them back.
func TestLargeFiles(t *testing.T) {
	const size, bound = 300 << 20, 160 << 20
	w := newWorld(t)
	env := environmentOf(w.idle(""))
	c, err := client.Dial(w.url, "")
	if err != nil {
		t.Fatal(err)
	}
	sent := sha256.New()
	source := &big{n: size, seed: 88172645463325252, sum: sent}
	f, err := c.PutFile(t.Context(), env, "/workspace/large.bin", source)
	if err != nil || f.SizeBytes != size {
		t.Fatalf("put %+v, %v", f, err)
	}
	if source.heap > bound {
		t.Errorf("%d MiB of memory were in use", source.heap>>20)
	}
	t.Logf("at most %d MiB of memory in use while %d MiB were sent", source.heap>>20, size>>20)
	body, err := c.File(t.Context(), env, "/workspace/large.bin")
	if err != nil {
		t.Fatal(err)
	}
	got := sha256.New()
	n, err := io.Copy(got, body)
	if body.Close(); err != nil || n != size || !bytes.Equal(got.Sum(nil), sent.Sum(nil)) {
		t.Errorf("read %d bytes, %s, %v", n, hex.EncodeToString(got.Sum(nil)), err)
	}
}

// linked is a tree with links in it.
func (w *world) linked() event.Hash {
	w.t.Helper()
	dir := w.t.TempDir()
	for _, err := range []error{
		os.Mkdir(filepath.Join(dir, "folder"), 0o755), os.WriteFile(filepath.Join(dir, "folder", "a.txt"), []byte("hi"), 0o600),
		os.Symlink("folder/a.txt", filepath.Join(dir, "link")), os.Symlink("folder", filepath.Join(dir, "folder-link")),
	} {
		if err != nil {
			w.t.Fatal(err)
		}
	}
	folder, err := snapshot.OpenFolder(snapshot.New(w.store.Blobs(), httpapi.DefaultProject), dir, filepath.Join(w.t.TempDir(), "index"))
	if err != nil {
		w.t.Fatal(err)
	}
	shot, err := folder.Capture(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return shot.Root
}
