package mcp_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/tool/mcp"
)

// serveStdio is the test binary as a server.
func serveStdio(mode string) {
	fmt.Fprintln(os.Stderr, "started", mode)
	if f := os.Getenv("PID_FILE"); f != "" {
		if err := os.WriteFile(f, []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
			panic(err)
		}
	}
	switch mode {
	case "idle":
		time.Sleep(time.Hour)
	case "parent":
		child := exec.Command(os.Args[0])
		child.Env, child.Stderr = append(os.Environ(), "MCP_TEST_SERVER=idle"), os.Stderr
		if err := child.Start(); err != nil {
			panic(err)
		}
	case "noisy":
		fmt.Fprintln(os.Stderr, strings.Repeat("x", 100_000))
	}
	var calls atomic.Int64
	s := newServer(&calls, nil)
	s.AddTool(&sdk.Tool{Name: "environment", InputSchema: json.RawMessage(`{"type":"object"}`)}, func(context.Context, *sdk.CallToolRequest) (*sdk.CallToolResult, error) {
		dir, err := os.Getwd()
		return &sdk.CallToolResult{Content: []sdk.Content{&sdk.TextContent{Text: strings.Join(os.Environ(), "\n") + "\ncwd=" + dir}}}, err
	})
	err := s.Run(context.Background(), &sdk.StdioTransport{})
	if mode == "stubborn" {
		signal.Ignore(syscall.SIGTERM)
		select {}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

func stdioTool(mode string) *event.Tool {
	return &event.Tool{Type: event.ToolMCP, ServerLabel: "test", Transport: &event.Transport{
		Type: "stdio", Command: os.Args[0], Env: map[string]string{"MCP_TEST_SERVER": mode},
	}}
}

func TestStdioEnvironment(t *testing.T) {
	t.Setenv("STAYD_SECRET", "secret")
	t.Setenv("NAMED", "named")
	tl := stdioTool("plain")
	tl.Transport.EnvVars = []string{"NAMED", "UNSET_VARIABLE"}
	tl.Transport.Env["OWN"] = "own"
	tl.Transport.Cwd = t.TempDir()
	var lines lineLog
	res, err := call(t, connect(t, mcp.Config{Tool: tl, Log: lines.add}), "environment")
	if err != nil || res.Failed {
		t.Fatal(err, res.Error)
	}
	got := event.OutputText(res.Output)
	for _, want := range []string{"PATH=", "NAMED=named", "OWN=own", "cwd=" + tl.Transport.Cwd} {
		if !strings.Contains("\n"+got, "\n"+want) {
			t.Errorf("there is no %q in %s", want, got)
		}
	}
	if strings.Contains(got, "secret") || strings.Contains(got, "UNSET_VARIABLE") {
		t.Errorf("the process has what it was not given: %s", got)
	}
}

// lineLog collects what a process writes to its standard error.
type lineLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *lineLog) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func TestStdioLog(t *testing.T) {
	var lines lineLog
	s, err := mcp.Connect(t.Context(), mcp.Config{Tool: stdioTool("noisy"), Log: lines.add})
	if err != nil {
		t.Fatal(err)
	}
	// Once the process was waited for, all that it wrote was read.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(lines.lines) != 2 || lines.lines[0] != "started noisy" || lines.lines[1] != strings.Repeat("x", 4096) {
		t.Errorf("%d lines: %.100q", len(lines.lines), lines.lines)
	}
}

// A process that dies in a call may have done it; the next call starts another.
func TestStdioDies(t *testing.T) {
	s := connect(t, mcp.Config{Tool: stdioTool("plain")})
	for range 2 {
		_, err := call(t, s, "die")
		mustBeSent(t, err, true)
		if res, err := call(t, s, "count"); err != nil || event.OutputText(res.Output) != "1" {
			t.Errorf("the next call: %v %s", err, res.Output)
		}
	}
}

// A process that was killed between two calls has not seen the second.
func TestStdioKilledBetweenCalls(t *testing.T) {
	tl := stdioTool("plain")
	tl.Transport.Env["PID_FILE"] = filepath.Join(t.TempDir(), "pid")
	s := connect(t, mcp.Config{Tool: tl})
	pid := readPID(t, tl)
	p, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	waitGone(t, pid)
	res, err := call(t, s, "count")
	if err == nil && event.OutputText(res.Output) == "1" {
		return
	}
	// The end may not have been noticed yet; then the call counts as sent.
	mustBeSent(t, err, true)
	if res, err := call(t, s, "count"); err != nil || event.OutputText(res.Output) != "1" {
		t.Errorf("the next call: %v %s", err, res.Output)
	}
}

func readPID(t *testing.T, tl *event.Tool) int {
	t.Helper()
	b, err := os.ReadFile(tl.Transport.Env["PID_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// waitGone waits until there is no such process; this one reaps it.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); there(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

// A process that does not end when it is told to is killed.
func TestStdioStubborn(t *testing.T) {
	tl := stdioTool("stubborn")
	tl.Transport.Env["PID_FILE"] = filepath.Join(t.TempDir(), "pid")
	s, err := mcp.Connect(t.Context(), mcp.Config{Tool: tl, Grace: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	pid := readPID(t, tl)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if there(pid) {
		t.Errorf("process %d is still there after Close", pid)
	}
}

// What a process started and left running ends with it; else its standard error
// would have no end, and Close would not return.
func TestStdioEndsWhatItStarted(t *testing.T) {
	s, err := mcp.Connect(t.Context(), mcp.Config{Tool: stdioTool("parent"), Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if res, err := call(t, s, "count"); err != nil || event.OutputText(res.Output) != "1" {
		t.Errorf("the call: %v %s", err, res.Output)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestPoolClosesIdle(t *testing.T) {
	tl := stdioTool("plain")
	tl.Transport.Env["PID_FILE"] = filepath.Join(t.TempDir(), "pid")
	p := mcp.NewPool(mcp.PoolConfig{Idle: 50 * time.Millisecond})
	s, err := p.Server(t.Context(), tool.Caller{Session: "sess_1"}, tl)
	if err != nil {
		t.Fatal(err)
	}
	res, err := s.Call(t.Context(), tool.Call{Name: "text"})
	if err != nil || res.Failed {
		t.Fatal(err, res.Error)
	}
	waitGone(t, readPID(t, tl))
	if s, err = p.Server(t.Context(), tool.Caller{Session: "sess_1"}, tl); err != nil {
		t.Fatal(err)
	}
	if res, err := s.Call(t.Context(), tool.Call{Name: "text"}); err != nil || res.Failed {
		t.Errorf("after it was closed: %v %q", err, res.Error)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}
