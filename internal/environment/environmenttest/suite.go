// Package environmenttest is the suite that every environment driver must pass.
// It uses nothing of a driver but its contract.
package environmenttest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Run runs the suite against the driver.
func Run(t *testing.T, d environment.Driver) {
	t.Helper()
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]func(*testing.T, *Session){
		"List":                testList,
		"ReadAndWrite":        testReadAndWrite,
		"ReadInPieces":        testReadInPieces,
		"Edit":                testEdit,
		"ListFiles":           testListFiles,
		"BadArguments":        testBadArguments,
		"Paths":               testPaths,
		"Links":               testLinks,
		"HardLink":            testHardLink,
		"SpecialFiles":        testSpecialFiles,
		"Limits":              testLimits,
		"Reopen":              testReopen,
		"CloseTwice":          testCloseTwice,
		"Code":                testCode,
		"CodeFiles":           testCodeFiles,
		"CodeState":           testCodeState,
		"CodeDeclarations":    testCodeDeclarations,
		"CodeRenewed":         testCodeRenewed,
		"CodeClose":           testCodeClose,
		"CodeTimeout":         testCodeTimeout,
		"CodeMemory":          testCodeMemory,
		"CodeCancel":          testCodeCancel,
		"CodeOutput":          testCodeOutput,
		"CodeConfined":        testCodeConfined,
		"CodeDeepRecursion":   testCodeDeepRecursion,
		"Concurrent":          testConcurrent,
		"CommandIfThereIsOne": testCommand,
		"ManyEnvironments":    testMany,
	} {
		t.Run(name, func(t *testing.T) { test(t, New(t, d)) })
	}
	runPrograms(t, d)
}

// Session is an environment of its own, for one test.
type Session struct {
	Driver environment.Driver
	Spec   environment.Spec
	Server tool.Server
	n      int
}

// New opens an environment that ends with the test. Its workspace has
// /workspace/given.txt, and beside the session's folder there is a file that
// nobody in the environment may reach.
func New(t *testing.T, d environment.Driver) *Session {
	t.Helper()
	base := t.TempDir()
	if err := os.WriteFile(filepath.Join(base, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Session{Driver: d, Spec: environment.Spec{
		Project: "proj_1", Session: "sess_1", Dir: filepath.Join(base, "session"),
		Env: map[string]string{"GREETING": "hello"},
	}}
	s.Fill(t)
	s.Open(t)
	t.Cleanup(func() { s.Server.Close() })
	return s
}

// Fill puts the given files into the workspace, which is not open.
func (s *Session) Fill(t *testing.T) {
	t.Helper()
	w, err := workspace.Open(s.Spec)
	if err != nil {
		t.Fatal(err)
	}
	for p, content := range map[string]string{"/workspace/given.txt": "given\n", "/workspace/in/deep/data.csv": "a,b\n1,2\n"} {
		if err := w.Write(p, strings.NewReader(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Open opens the environment anew, as after a restart.
func (s *Session) Open(t *testing.T) {
	t.Helper()
	if s.Server != nil {
		if err := s.Server.Close(); err != nil {
			t.Fatal(err)
		}
	}
	srv, err := s.Driver.Open(t.Context(), s.Spec)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = srv
}

// Host is the path on this machine of a file of the workspace.
func (s *Session) Host(name string) string { return filepath.Join(s.Spec.Dir, "workspace", name) }

// Args are the arguments of a call.
type Args map[string]any

// Try performs a call under an effect id; an empty one is made up.
func (s *Session) Try(ctx context.Context, t *testing.T, effect, name string, a Args) (tool.Result, error) {
	t.Helper()
	raw, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	if effect == "" {
		s.n++
		effect = event.DeriveID("eff", t.Name(), string(rune('a'+s.n%26)), strings.Repeat("i", s.n/26))
	}
	return s.Server.Call(ctx, tool.Call{EffectID: effect, Session: "sess_1", TurnID: "turn_1", Name: name, Arguments: raw})
}

// OK performs a call that must succeed, and returns its text.
func (s *Session) OK(t *testing.T, name string, a Args) string {
	t.Helper()
	res, err := s.Try(t.Context(), t, "", name, a)
	return mustSucceed(t, name, res, err)
}

func mustSucceed(t *testing.T, name string, res tool.Result, err error) string {
	t.Helper()
	if err != nil || res.Failed || (res.ExitCode != nil && *res.ExitCode != 0) {
		t.Fatalf("%s: error %v, failed %v %q, exit code %s, output %s", name, err, res.Failed, res.Error, exit(res), res.Output)
	}
	return event.OutputText(res.Output)
}

// Fails performs a call that must be answered by a failure which speaks of what.
func (s *Session) Fails(t *testing.T, name string, a Args, what string) {
	t.Helper()
	res, err := s.Try(t.Context(), t, "", name, a)
	if err != nil || !res.Failed || !strings.Contains(res.Error, what) {
		t.Errorf("%s %v: error %v, failed %v %q, output %.200s; want a failure with %q", name, a, err, res.Failed, res.Error, res.Output, what)
	}
	if strings.Contains(strings.ReplaceAll(res.Error, fmt.Sprint(a["path"]), ""), s.Spec.Dir) {
		t.Errorf("the failure names a folder of this machine: %s", res.Error)
	}
}

// Exits performs a run that must end with the exit code, and returns its output.
func (s *Session) Exits(t *testing.T, name string, a Args, code int) string {
	t.Helper()
	res, err := s.Try(t.Context(), t, "", name, a)
	if err != nil || res.Failed || res.ExitCode == nil || *res.ExitCode != code {
		t.Fatalf("%s %.200v: error %v, failed %v %q, exit code %s, output %.500s; want exit code %d", name, a, err, res.Failed, res.Error, exit(res), res.Output, code)
	}
	return event.OutputText(res.Output)
}

func exit(res tool.Result) string {
	if res.ExitCode == nil {
		return "none"
	}
	b, _ := json.Marshal(*res.ExitCode) //nolint:errchkjson // an int
	return string(b)
}

// Content is what a file of the workspace holds, as this machine sees it.
func (s *Session) Content(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(s.Host(name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Has reports whether the driver offers the tool.
func (s *Session) Has(t *testing.T, name string) bool {
	t.Helper()
	specs, err := s.Server.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range specs {
		if spec.Name == name {
			return true
		}
	}
	return false
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// within fails the test if fn takes longer than a time that only a hang takes.
func within(t *testing.T, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); fn() }()
	select {
	case <-done:
	case <-time.After(10 * time.Minute):
		t.Fatal("it hangs")
	}
}
