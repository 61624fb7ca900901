package agentfile_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stayd/stayd/cmd/stayd/internal/agentfile"
)

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRead(t *testing.T) {
	name := write(t, `
name: analyst
model: script/weather
instructions: Look closely.
tools:
  - type: mcp
    server_label: mail
    transport: {type: http, server_url: "https://example.com/mcp"}
    identity: {scope: [mail.send]}
    effects: {send: {approval: always, on_unknown: ask}}
limits: {max_steps: 7}
environment:
  sandbox: js
  files: [{source: data.csv}, {source: data.csv, path: /workspace/in/d.csv}]
`)
	if err := os.WriteFile(filepath.Join(filepath.Dir(name), "data.csv"), []byte("a,b"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := agentfile.Read(name)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"analyst","model":"script/weather","instructions":"Look closely.","tools":[{"type":"mcp","server_label":"mail","transport":{"type":"http","server_url":"https://example.com/mcp"},"identity":{"scope":["mail.send"]},"effects":{"send":{"on_unknown":"ask","approval":"always"}}}],"limits":{"max_steps":7}}`
	if string(got) != want {
		t.Errorf("agent\n%s, want\n%s", got, want)
	}
	env, err := a.Environment.JSON()
	if err != nil {
		t.Fatal(err)
	}
	want = `{"type":"openai_hosted","sandbox":"js","files":[{"type":"inline","path":"/workspace/data.csv","data":"YSxi"},{"type":"inline","path":"/workspace/in/d.csv","data":"YSxi"}]}`
	if string(env) != want {
		t.Errorf("environment\n%s, want\n%s", env, want)
	}
}

func TestReadSaysWhatIsWrong(t *testing.T) {
	for content, want := range map[string]string{
		"":                                  "the file is empty",
		"model: a\nmodels: b":               "field models not found",
		"model: a\n---\n{}":                 "more than one document",
		"model: [":                          "line 1",
		"environment: {files: [{path: x}]}": "has no source",
	} {
		if _, err := agentfile.Read(write(t, content)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one with %q", content, err, want)
		}
	}
}

func TestEnvironmentSaysWhatIsWrong(t *testing.T) {
	for _, tc := range []struct {
		env  agentfile.Environment
		want string
	}{
		{agentfile.Environment{Type: "cloud"}, "neither none nor hosted"},
		{agentfile.Environment{Type: "none", Sandbox: "js"}, "has no sandbox"},
		{agentfile.Environment{Files: []agentfile.File{{Source: "/does/not/exist"}}}, "/does/not/exist"},
	} {
		if _, err := tc.env.JSON(); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: error %v, want one with %q", tc.env, err, tc.want)
		}
	}
}

// FuzzRead checks that a file is read, or refused with its name.
func FuzzRead(f *testing.F) {
	f.Add("name: a\nmodel: b\nenvironment: {files: [{source: x}]}")
	f.Add("a: &a [*a]")
	f.Fuzz(func(t *testing.T, content string) {
		name := filepath.Join(t.TempDir(), "agent.yaml")
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		a, err := agentfile.Read(name)
		if err != nil {
			if !strings.HasPrefix(err.Error(), name) {
				t.Errorf("error %q does not name the file", err)
			}
			return
		}
		if _, err := json.Marshal(a); err != nil {
			t.Errorf("what was read cannot be encoded: %v", err)
		}
	})
}
