package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// longest bounds every wait. It is long, so that no test fails on a slow machine.
const longest = 2 * time.Minute

// wait asks until the answer is yes.
func wait(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for end := time.Now().Add(longest); !ready(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %v for %s", longest, what)
		}
	}
}

// lines is the output of a process, as far as it has come.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// process is a stayd of its own.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *lines
	done chan struct{}
}

func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command("stayd", args...), said: &lines{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	p.cmd.WaitDelay = longest
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("stayd %s said:\n%s", args[0], p.said)
		}
	})
	return p
}

// end sends the signal, and returns the exit code; -1 is an end by the signal.
func (p *process) end(s syscall.Signal) int {
	p.cmd.Process.Signal(s)
	return p.ended()
}

func (p *process) ended() int {
	select {
	case <-p.done:
	case <-time.After(longest):
		p.t.Fatalf("stayd %s does not end", p.cmd.Args[1])
	}
	return p.cmd.ProcessState.ExitCode()
}

// says waits for the n-th time that the process has printed the text.
func (p *process) says(text string, n int) {
	p.t.Helper()
	wait(p.t, fmt.Sprintf("stayd to say %q for the %d. time", text, n), func() bool {
		select {
		case <-p.done:
			if strings.Count(p.said.String(), text) < n {
				p.t.Fatalf("stayd %s ended", p.cmd.Args[1])
			}
		default:
		}
		return strings.Count(p.said.String(), text) >= n
	})
}

// runtimeNode is a server, and a proxy before it that can cut the connections.
type runtimeNode struct {
	t      *testing.T
	data   string
	server *process
	proxy  net.Listener

	mu     sync.Mutex
	target string
	conns  map[net.Conn]bool
}

func serveRuntime(t *testing.T) *runtimeNode {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &runtimeNode{t: t, data: t.TempDir(), proxy: l, conns: map[net.Conn]bool{}}
	n.start()
	go n.accept()
	t.Cleanup(func() {
		l.Close()
		n.cut()
	})
	return n
}

// start starts the server, anew on the same data.
func (n *runtimeNode) start() {
	n.t.Helper()
	os.Remove(filepath.Join(n.data, urlFile))
	n.server = launch(n.t, nil, "serve", "--listen", "127.0.0.1:0", "--data", n.data, "--scripts", "testdata/exec", "--lease-ttl", "1s")
	n.server.says("listening on", 1)
	m := regexp.MustCompile(`listening on http://(\S+)`).FindStringSubmatch(n.server.said.String())
	n.mu.Lock()
	n.target = m[1]
	n.mu.Unlock()
}

func (n *runtimeNode) accept() {
	for {
		c, err := n.proxy.Accept()
		if err != nil {
			return
		}
		n.mu.Lock()
		target := n.target
		n.conns[c] = true
		n.mu.Unlock()
		go func() {
			defer c.Close()
			up, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			defer up.Close()
			go func() {
				io.Copy(up, c)
				up.Close()
			}()
			io.Copy(c, up)
		}()
	}
}

// cut ends all connections that go through the proxy.
func (n *runtimeNode) cut() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c := range n.conns {
		c.Close()
	}
	clear(n.conns)
}

func (n *runtimeNode) do(out any, method, path string, body any) {
	n.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		n.t.Fatal(err)
	}
	n.mu.Lock()
	url := "http://" + n.target + path
	n.mu.Unlock()
	req, err := http.NewRequestWithContext(n.t.Context(), method, url, bytes.NewReader(b))
	if err != nil {
		n.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("OpenAI-Beta", "agents=v1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		n.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		n.t.Fatalf("%s %s: %s %s %v", method, path, resp.Status, answer, err)
	}
	if err := json.Unmarshal(answer, out); err != nil {
		n.t.Fatal(err)
	}
}

// hosted is a session whose environment is on a machine of the user's.
type hosted struct {
	n          *runtimeNode
	id         string
	url, token string
	dir        string
}

func (n *runtimeNode) create(input string) *hosted {
	n.t.Helper()
	dir := filepath.Join(n.t.TempDir(), "project")
	if err := os.Mkdir(dir, 0o755); err != nil {
		n.t.Fatal(err)
	}
	var made struct {
		ID          string
		Environment struct {
			ID, Token string
			RemoteURL string `json:"remote_url"`
		}
	}
	n.do(&made, "POST", "/v1/agents/sessions", map[string]any{
		"agent": map[string]any{"model": "script/machine"}, "input": input,
		"environment": map[string]any{"type": "self_hosted", "workspace_directory": dir},
	})
	url := made.Environment.RemoteURL
	path := "/v1/agents/environments/" + made.Environment.ID + "/connect"
	if !strings.HasSuffix(url, path) {
		n.t.Fatalf("remote_url is %s, want one that ends in %s", url, path)
	}
	return &hosted{
		n: n, id: made.ID, dir: dir, token: made.Environment.Token,
		url: "http://" + n.proxy.Addr().String() + path,
	}
}

func (h *hosted) exec(args ...string) *process {
	h.n.t.Helper()
	return launch(h.n.t, []string{tokenVariable + "=" + h.token}, append([]string{"exec", "--url", h.url, "--dir", h.dir}, args...)...)
}

type sessionObject struct {
	Status          string
	RequiredActions []struct {
		Type          string
		EnvironmentID string `json:"environment_id"`
	} `json:"required_actions"`
}

func (h *hosted) until(status string) (s sessionObject) {
	h.n.t.Helper()
	wait(h.n.t, "the session to be "+status, func() bool {
		h.n.do(&s, "GET", "/v1/agents/sessions/"+h.id, nil)
		return s.Status == status
	})
	return s
}

// answer is the last message of the session, which is idle.
func (h *hosted) answer() string {
	h.n.t.Helper()
	h.until("idle")
	var items struct {
		Data []struct {
			Type    string
			Content []struct{ Text string }
		}
	}
	h.n.do(&items, "GET", "/v1/agents/sessions/"+h.id+"/items?limit=1&order=desc", nil)
	if len(items.Data) != 1 || items.Data[0].Type != "message" || len(items.Data[0].Content) != 1 {
		h.n.t.Fatalf("the last item is %+v, want a message", items.Data)
	}
	return items.Data[0].Content[0].Text
}

// statuses are those that the log has for the environment.
func (h *hosted) statuses() string {
	h.n.t.Helper()
	var page struct {
		Data []struct {
			Kind string
			Data struct{ Status string }
		}
	}
	h.n.do(&page, "GET", "/v1/agents/sessions/"+h.id+"/log?limit=1000", nil)
	var all []string
	for _, r := range page.Data {
		if r.Kind == "environment.changed" {
			all = append(all, r.Data.Status)
		}
	}
	return strings.Join(all, " ")
}

func (h *hosted) file(name string) string {
	b, err := os.ReadFile(filepath.Join(h.dir, name))
	if err != nil {
		return ""
	}
	return string(b)
}

// goOn lets the command long end.
func (h *hosted) goOn() {
	h.n.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, "go"), nil, 0o600); err != nil {
		h.n.t.Fatal(err)
	}
}

// long is a command that notes that it was begun, and waits for the file go.
const long = `echo begun | tee -a begun; until [ -e go ]; do sleep 0.02; done; echo finished`

// TestExec has the turn wait for a machine, and go on once there is one.
func TestExec(t *testing.T) {
	n := serveRuntime(t)
	h := n.create(`pwd; echo $0 | wc -l; echo to stderr >&2; exit 3`)
	s := h.until("requires_action")
	if len(s.RequiredActions) != 1 || s.RequiredActions[0].Type != "environment_connection" || !strings.HasSuffix(h.url, s.RequiredActions[0].EnvironmentID+"/connect") {
		t.Errorf("required actions are %+v, want one connection of the environment", s.RequiredActions)
	}
	p := h.exec()
	if got, want := h.answer(), "It said: exit code 3\n"+h.dir+"\n1\nto stderr\n"; got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
	p.says("exit code 3", 1)
	for _, want := range []string{"NO sandbox", "in " + h.dir, "connected: session " + h.id, "> run_command  pwd; echo"} {
		if !strings.Contains(p.said.String(), want) {
			t.Errorf("stayd exec does not say %q", want)
		}
	}
	if code := p.end(syscall.SIGINT); code != 0 {
		t.Errorf("after Ctrl-C the exit code is %d, want 0", code)
	}
	wait(t, "the log to say so", func() bool { return h.statuses() == "connected disconnected" })
	if strings.Contains(p.said.String(), h.token) {
		t.Error("stayd exec shows the token")
	}
}

// TestExecFiles has files written, edited and read on the machine.
func TestExecFiles(t *testing.T) {
	n := serveRuntime(t)
	h := n.create("files")
	h.exec()
	if got, want := h.answer(), "It holds: one three"; got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
	if got := h.file("notes/a.txt"); got != "one three" {
		t.Errorf("the file holds %q", got)
	}
}

// TestExecOutput has what a command prints handed to who follows the session,
// while it runs.
func TestExecOutput(t *testing.T) {
	n := serveRuntime(t)
	h := n.create(long)
	h.until("requires_action")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.target+"/v1/agents/sessions/"+h.id+"/events", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("OpenAI-Beta", "agents=v1")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h.exec()
	in := bufio.NewScanner(resp.Body)
	found := false
	for !found && in.Scan() {
		found = strings.Contains(in.Text(), `"delta":"begun`)
	}
	if !found {
		t.Fatalf("the stream ended without the output: %v", in.Err())
	}
	h.goOn()
	if got, want := h.answer(), "It said: begun\nfinished\n"; got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
}

// TestExecCut cuts the connection while a command runs: it is run once, and its
// result comes by the next connection.
func TestExecCut(t *testing.T) {
	n := serveRuntime(t)
	h := n.create(long)
	p := h.exec()
	wait(t, "the command", func() bool { return h.file("begun") != "" })
	for i := range 2 {
		n.cut()
		p.says("connected: session", i+2)
	}
	h.goOn()
	if got, want := h.answer(), "It said: begun\nfinished\n"; got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
	if got := h.file("begun"); got != "begun\n" {
		t.Errorf("the command ran %d times", strings.Count(got, "begun"))
	}
	if got, want := h.statuses(), "connected disconnected connected disconnected connected"; got != want {
		t.Errorf("the environment was %s, want %s", got, want)
	}
}

// TestExecRestartedServer kills the server while a command runs.
func TestExecRestartedServer(t *testing.T) {
	n := serveRuntime(t)
	h := n.create(long)
	p := h.exec()
	wait(t, "the command", func() bool { return h.file("begun") != "" })
	n.server.end(syscall.SIGKILL)
	h.goOn() // it ends while there is no server
	p.says("exit code 0", 1)
	n.start()
	if got, want := h.answer(), "It said: begun\nfinished\n"; got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
	if got := h.file("begun"); got != "begun\n" {
		t.Errorf("the command ran %d times", strings.Count(got, "begun"))
	}
}

// TestExecStoppedServer stops the server while a command runs, which goes on.
func TestExecStoppedServer(t *testing.T) {
	n := serveRuntime(t)
	h := n.create(long)
	p := h.exec()
	wait(t, "the command", func() bool { return h.file("begun") != "" })
	n.server.end(syscall.SIGTERM)
	n.start()
	p.says("connected: session", 2)
	h.goOn()
	if got, want := h.answer(), "It said: begun\nfinished\n"; got != want {
		t.Errorf("the answer is %q, want %q", got, want)
	}
	if got := h.file("begun"); got != "begun\n" {
		t.Errorf("the command ran %d times", strings.Count(got, "begun"))
	}
}

// TestExecKilled kills the machine's end while a command runs. The command ends
// with it, is not run again, and the session is told that nobody knows.
func TestExecKilled(t *testing.T) {
	n := serveRuntime(t)
	h := n.create(long)
	p := h.exec()
	wait(t, "the command", func() bool { return h.file("begun") != "" })
	p.end(syscall.SIGKILL)
	h.until("requires_action")
	h.exec()
	got := h.answer()
	if !strings.Contains(got, "unknown") && !strings.Contains(got, "not known") {
		t.Errorf("the answer is %q, want that the outcome is unknown", got)
	}
	if got := h.file("begun"); got != "begun\n" {
		t.Errorf("the command ran %d times", strings.Count(got, "begun"))
	}
}

// TestExecStopped stops the machine's end by Ctrl-C while a command runs: the
// session is told what became of it.
func TestExecStopped(t *testing.T) {
	n := serveRuntime(t)
	h := n.create(long)
	p := h.exec()
	wait(t, "the command", func() bool { return h.file("begun") != "" })
	if code := p.end(syscall.SIGTERM); code != 0 {
		t.Errorf("the exit code is %d, want 0", code)
	}
	h.exec()
	if got := h.answer(); !strings.Contains(got, "it was stopped half-way") {
		t.Errorf("the answer is %q, want that the command was stopped", got)
	}
	if got := h.file("begun"); got != "begun\n" {
		t.Errorf("the command ran %d times", strings.Count(got, "begun"))
	}
}

// TestExecRefused has the server refuse a wrong token, an environment that does
// not exist, in the same words, and a second machine.
func TestExecRefused(t *testing.T) {
	n := serveRuntime(t)
	h := n.create("true")
	const unknown = "401 Unauthorized: There is no such environment, or it has another token."
	wrong := *h
	wrong.token = "envtok_wrong"
	other := *h
	other.url = strings.Replace(h.url, "env_", "env_0", 1)
	for _, x := range []*hosted{&wrong, &other} {
		p := x.exec()
		if code := p.ended(); code != 1 || !strings.Contains(p.said.String(), unknown) {
			t.Errorf("the exit code is %d, want 1 and %q", code, unknown)
		}
	}
	p := h.exec()
	p.says("connected: session", 1)
	second := h.exec("--state", filepath.Join(t.TempDir(), "state"))
	if code := second.ended(); code != 1 || !strings.Contains(second.said.String(), "409 Conflict: Another machine is connected to this environment") {
		t.Errorf("a second machine: the exit code is %d, want 1 and why", code)
	}
	third := h.exec()
	if code := third.ended(); code != exitInUse {
		t.Errorf("a second stayd exec in the same folder: the exit code is %d, want %d", code, exitInUse)
	}
	h.answer()
}

// TestExecRenewed gives the environment a new token while a command runs under the
// one before: the machine is told, and the command is not run again.
func TestExecRenewed(t *testing.T) {
	n := serveRuntime(t)
	h := n.create(long)
	p := h.exec()
	wait(t, "the command", func() bool { return h.file("begun") != "" })
	renew := launch(t, nil, "sessions", "token", h.id, "--data", n.data)
	if code := renew.ended(); code != 0 {
		t.Fatalf("the exit code is %d", code)
	}
	m := regexp.MustCompile(`^stayd exec --url \S+/connect --token (envtok_\w+)\n$`).FindStringSubmatch(renew.said.String())
	if m == nil {
		t.Fatalf("stayd sessions token said %q", renew.said)
	}
	if code := p.ended(); code != 1 || !strings.Contains(p.said.String(), "the environment has another token now") {
		t.Errorf("the exit code is %d, want 1 and why", code)
	}
	old := h.exec()
	if code := old.ended(); code != 1 || !strings.Contains(old.said.String(), "or it has another token") {
		t.Errorf("the old token: the exit code is %d, want 1 and why", code)
	}
	h.token = m[1]
	h.exec()
	if got := h.answer(); !strings.Contains(got, "it was stopped half-way") {
		t.Errorf("the answer is %q, want that the command was stopped", got)
	}
	if got := h.file("begun"); got != "begun\n" {
		t.Errorf("the command ran %d times", strings.Count(got, "begun"))
	}
}

// TestExecUsage has wrong command lines refused.
func TestExecUsage(t *testing.T) {
	dir := t.TempDir()
	url := "http://127.0.0.1:1/v1/agents/environments/env_1/connect"
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"no url", []string{"--token", "x"}, "--url has to be the remote_url"},
		{"another url", []string{"--token", "x", "--url", "http://127.0.0.1:1/v1"}, "is not the remote_url of an environment"},
		{"no token", []string{"--url", url}, "--token or STAYD_ENVIRONMENT_TOKEN is required"},
		{"no folder", []string{"--url", url, "--token", "x", "--dir", filepath.Join(dir, "none")}, "--dir"},
		{"state in the folder", []string{"--url", url, "--token", "x", "--dir", dir, "--state", filepath.Join(dir, "s")}, "where what runs could change it"},
		{"sandbox", []string{"--url", url, "--token", "x", "--dir", dir, "--sandbox", "jail"}, "--sandbox jail is not offered"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := launch(t, []string{tokenVariable + "="}, append([]string{"exec"}, tt.args...)...)
			if code := p.ended(); code != exitUsage || !strings.Contains(p.said.String(), tt.want) {
				t.Errorf("the exit code is %d and it says %q, want %d and %q", code, p.said, exitUsage, tt.want)
			}
		})
	}
}
