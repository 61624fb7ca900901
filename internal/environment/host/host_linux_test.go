package host_test

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
	"github.com/stayd/stayd/internal/environment/host"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// helper is the argument that makes the test binary the helper.
const helper = "host-program"

func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == helper {
		code, err := host.Supervise(os.Args[2:])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// open opens an environment in a folder of its own.
func open(t *testing.T) (tool.Server, string) {
	t.Helper()
	base := t.TempDir()
	dir, state := filepath.Join(base, "project"), filepath.Join(base, "state")
	for _, d := range []string{dir, state} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec := environment.Spec{Project: "p", Session: "s", Dir: state, Env: map[string]string{"GREETING": "hello"}}
	if err := os.Symlink(dir, spec.WorkspaceDir()); err != nil {
		t.Fatal(err)
	}
	srv, err := host.Open(t.Context(), host.Config{Helper: []string{os.Args[0], helper}, Code: js.NewEngine(js.Limits{})}, dir, spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { srv.Close() })
	return srv, dir
}

func call(t *testing.T, srv tool.Server, name string, args map[string]any) tool.Result {
	t.Helper()
	b, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	res, err := srv.Call(t.Context(), tool.Call{EffectID: "eff", Session: "s", Name: name, Arguments: b})
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestCommands(t *testing.T) {
	srv, dir := open(t)
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args map[string]any
		out  string
		code int
	}{
		{"folder", map[string]any{"command": "pwd"}, dir + "\n", 0},
		{"folder below, by its path", map[string]any{"command": "pwd", "cwd": filepath.Join(dir, "sub")}, filepath.Join(dir, "sub") + "\n", 0},
		{"folder below, as the agent sees it", map[string]any{"command": "pwd", "cwd": "/workspace/sub"}, filepath.Join(dir, "sub") + "\n", 0},
		{"both outputs in order", map[string]any{"command": "echo 1; echo 2 >&2; echo 3"}, "1\n2\n3\n", 0},
		{"exit code", map[string]any{"command": "exit 7"}, "", 7},
		{"signal", map[string]any{"command": "kill -TERM $$"}, "", 143},
		{"signal to the helper", map[string]any{"command": "kill -TERM $PPID; echo still here"}, "still here\n", 0},
		{"input", map[string]any{"command": "tr a-z A-Z", "stdin": "hi"}, "HI", 0},
		{"variable", map[string]any{"command": "echo $GREETING"}, "hello\n", 0},
		{"what it leaves running", map[string]any{"command": "sleep 600 & echo left"}, "left\n", 0},
		{"what leaves its session, too", map[string]any{"command": "setsid sh -c 'sleep 600 & sleep 600' & sleep 0.1; echo left"}, "left\n", 0},
		{"time limit", map[string]any{"command": "setsid -w sleep 600", "timeout_seconds": 1}, "[stopped: the time limit of 1s was reached]", 124},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := call(t, srv, "run_command", tt.args)
			if got := event.OutputText(res.Output); res.Failed || got != tt.out || *res.ExitCode != tt.code {
				t.Errorf("%q, exit code %v, failed %v %s; want %q, %d", got, *res.ExitCode, res.Failed, res.Error, tt.out, tt.code)
			}
		})
	}
}

// TestOrphans has nothing left of a command that has ended: not even what left its
// group and session and was orphaned.
func TestOrphans(t *testing.T) {
	srv, dir := open(t)
	res := call(t, srv, "run_command", map[string]any{
		"command": `for i in 1 2 3; do setsid sh -c 'setsid sh -c "echo \$\$ >> pids; exec sleep 600" &' ; done; until [ "$(wc -l < pids)" = 3 ]; do sleep 0.01; done`,
	})
	if *res.ExitCode != 0 {
		t.Fatalf("exit code %d: %s", *res.ExitCode, res.Output)
	}
	b, err := os.ReadFile(filepath.Join(dir, "pids"))
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(string(b))
	if len(pids) != 3 {
		t.Fatalf("the processes are %q, want three", pids)
	}
	for _, pid := range pids {
		if _, err := os.Stat("/proc/" + pid); err == nil {
			t.Errorf("process %s is still there", pid)
		}
	}
}

func TestCancel(t *testing.T) {
	srv, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan struct{})
	_, err := srv.Call(ctx, tool.Call{
		EffectID: "eff", Name: "run_command", Arguments: json.RawMessage(`{"command": "echo started; setsid -w sleep 600"}`),
		Output: func(chunk string) {
			if strings.Contains(chunk, "started") {
				close(started)
				cancel()
			}
		},
	})
	<-started
	if err == nil || !strings.Contains(err.Error(), "was stopped") {
		t.Errorf("the error is %v, want that it was stopped", err)
	}
}

// TestClose ends what runs in the background.
func TestClose(t *testing.T) {
	srv, dir := open(t)
	call(t, srv, "run_command", map[string]any{"command": "echo $$ > pid; exec sleep 600", "background": true})
	var pid string
	for end := time.Now().Add(time.Minute); pid == "" && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		b, err := os.ReadFile(filepath.Join(dir, "pid"))
		if err == nil && strings.HasSuffix(string(b), "\n") {
			pid = strings.TrimSpace(string(b))
		}
	}
	if pid == "" {
		t.Fatal("the command does not start")
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + pid); err == nil {
		t.Errorf("process %s is still there", pid)
	}
}

// TestPaths has the folder's own paths taken by the file tools, and no others.
func TestPaths(t *testing.T) {
	srv, dir := open(t)
	for _, p := range []string{filepath.Join(dir, "a.txt"), "b.txt", "/workspace/c.txt"} {
		if res := call(t, srv, "write_file", map[string]any{"path": p, "content": "x"}); res.Failed {
			t.Errorf("%s: %s", p, res.Error)
		}
	}
	for _, name := range []string{"a.txt", "b.txt", "c.txt"} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != "x" {
			t.Errorf("%s holds %q, %v", name, b, err)
		}
	}
	for _, p := range []string{dir + "2/a.txt", filepath.Dir(dir) + "/a.txt", dir + "/../a.txt"} {
		if res := call(t, srv, "write_file", map[string]any{"path": p, "content": "x"}); !res.Failed || !strings.Contains(res.Error, "is outside of /workspace") {
			t.Errorf("%s was not refused: %q", p, res.Error)
		}
	}
	tools, err := srv.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range tools {
		if spec.Name == "run_command" && (!strings.Contains(spec.Description, dir) || strings.Contains(spec.Description, "sandbox")) {
			t.Errorf("run_command does not say where it runs: %s", spec.Description)
		}
	}
}
