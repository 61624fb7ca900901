package crashtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestCrashInCommand kills the server in the middle of a command of an
// environment. The command does not go on without it; what it had changed is
// undone; and by the class of the command it is run again, or the model is told
// that nobody knows what became of it.
func TestCrashInCommand(t *testing.T) {
	if _, err := exec.LookPath("bwrap"); err != nil && os.Getenv("CI") == "" {
		t.Skip("bwrap is not installed: apt-get install bubblewrap")
	}
	bin := *program
	if bin == "" {
		bin = build(t)
	}
	for class, want := range map[string]string{
		"idempotent": "before12\n",
		"once":       "beforecat: count.txt: No such file or directory\n",
	} {
		t.Run(class, func(t *testing.T) {
			dir := t.TempDir()
			scripts, err := filepath.Abs("testdata/scripts")
			if err != nil {
				t.Fatal(err)
			}
			srv, err := NewServer(bin, filepath.Join(dir, "server.log"), "--data", filepath.Join(dir, "data"), "--scripts", scripts)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { srv.Kill() })
			if err := srv.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			mark := fmt.Sprintf("mark_%s_%d", class, os.Getpid())
			session := post(t, srv.URL+"/v1/agents/sessions", `{"agent":{"model":"script/environment"},"input":"`+mark+`",
				"environment":{"type":"openai_hosted","sandbox":"bubblewrap","effects":{"run_command":{"class":"`+class+`"}}}}`)["id"].(string)
			count := filepath.Join(dir, "data", "workspaces", "*", session, "workspace", "count.txt")
			waitFor(t, "the command to count", func() bool { return lines(count) >= 3 })
			if err := srv.Kill(); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the command to end with the server", func() bool { return !running(mark) })
			stopped := lines(count)
			if stopped >= 12 {
				t.Fatalf("the command came to its end, with %d lines", stopped)
			}
			if err := srv.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			var said string
			waitFor(t, "the turn to end", func() bool {
				s := get(t, srv.URL+"/v1/agents/sessions/"+session)
				said = lastText(t, srv.URL, session)
				return s["status"] == "idle"
			})
			if said != want {
				t.Errorf("after %d lines and a kill the agent says %q, want %q", stopped, said, want)
			}
		})
	}
}

func lines(pattern string) int {
	found, _ := filepath.Glob(pattern)
	if len(found) == 0 {
		return 0
	}
	b, _ := os.ReadFile(found[0])
	return bytes.Count(b, []byte("\n"))
}

// running reports whether a process of this machine has the mark in its command
// line.
func running(mark string) bool {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range found {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), mark) {
			return true
		}
	}
	return false
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func post(t *testing.T, url, body string) map[string]any {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	return decode(t, resp, err)
}

func get(t *testing.T, url string) map[string]any {
	t.Helper()
	resp, err := http.Get(url)
	return decode(t, resp, err)
}

func decode(t *testing.T, resp *http.Response, err error) map[string]any {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %s %v", resp.StatusCode, b, err)
	}
	var out map[string]any
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// lastText is what the agent said last; empty while it has said nothing.
func lastText(t *testing.T, base, session string) string {
	t.Helper()
	page := get(t, base+"/v1/agents/sessions/"+session+"/items?limit=1")
	for _, it := range page["data"].([]any) {
		content, ok := it.(map[string]any)["content"].([]any)
		if ok && len(content) > 0 && it.(map[string]any)["role"] == "assistant" {
			return content[0].(map[string]any)["text"].(string)
		}
	}
	return ""
}
