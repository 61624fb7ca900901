package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/signal"
	"os/user"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"

	"github.com/cenkalti/backoff/v5"
	"github.com/coder/websocket"
	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/host"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/remote"
	"github.com/stayd/stayd/internal/tool"
)

// hostHelper is the argument with which this program is run again to run a
// program that ends whole.
const hostHelper = "host-program"

// noSandbox has programs run as the user.
const noSandbox = "none"

// tokenVariable has the token where --token is not given.
const tokenVariable = "STAYD_ENVIRONMENT_TOKEN" //nolint:gosec // the name of a variable

// execution is what the command line says.
type execution struct {
	url, token, project string
	dir, state, sandbox string
}

func newExec() *cobra.Command {
	var x execution
	cmd := &cobra.Command{
		Use:   "exec",
		Short: "Run a session's commands on this machine",
		Long: `Connect this machine to a session whose environment is self_hosted, and run there
what its agent asks for, in the folder --dir, until Ctrl-C. The session gives the
URL (remote_url) and the token when it is created; stayd sessions token gives it a
new one.

The connection goes out from this machine; nothing listens on it. When it is
lost, it is made again, and what runs goes on meanwhile. What is run and what
came of it is kept beside the folder, so that nothing is run twice, not even where
this program was killed.

By default, programs run as you, with all that you may do. --sandbox confines
them to the folder.`,
		Example: `  stayd exec --url http://127.0.0.1:8080/v1/agents/environments/env_1f3a/connect --token envtok_5c2e
  stayd exec --url URL --dir ~/project --sandbox bubblewrap    # token in ` + tokenVariable,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if x.token == "" {
				x.token = os.Getenv(tokenVariable)
			}
			// Programs do not get it from here.
			if err := os.Unsetenv(tokenVariable); err != nil {
				return err
			}
			return x.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringVar(&x.url, "url", "", "remote_url of the session's environment")
	f.StringVar(&x.token, "token", "", "token of the environment; "+tokenVariable+" is its default")
	f.StringVar(&x.dir, "dir", ".", "folder to work in")
	f.StringVar(&x.sandbox, "sandbox", noSandbox, "what programs are confined by: none, bubblewrap, gvisor or js")
	f.StringVar(&x.state, "state", "", "folder for what is known of the commands, on the file system of --dir; default .NAME.stayd beside it")
	f.StringVar(&x.project, "project", "", "project of the session, at a server without API keys")
	return cmd
}

var environmentURL = regexp.MustCompile(`/environments/(env_[A-Za-z0-9_-]+)/connect$`)

// check completes what the command line leaves out, and refuses what cannot be.
func (x *execution) check() (environment string, err error) {
	if err := canExec(); err != nil {
		return "", err
	}
	u, err := url.Parse(x.url)
	if err != nil || !slices.Contains([]string{"http", "https", "ws", "wss"}, u.Scheme) {
		return "", usage("--url has to be the remote_url of a session's environment")
	}
	id := environmentURL.FindStringSubmatch(u.Path)
	switch {
	case id == nil:
		return "", usage("--url %s is not the remote_url of an environment, which ends in /environments/ID/connect", x.url)
	case x.token == "":
		return "", usage("--token or %s is required: the session has it when it is created, and stayd sessions token gives it a new one", tokenVariable)
	}
	if x.dir, err = filepath.Abs(x.dir); err == nil {
		x.dir, err = filepath.EvalSymlinks(x.dir)
	}
	if err != nil {
		return "", usage("--dir: %v", err)
	}
	if info, err := os.Stat(x.dir); err != nil || !info.IsDir() {
		return "", usage("--dir %s is not a folder", x.dir)
	}
	if x.state == "" {
		if filepath.Dir(x.dir) == x.dir {
			return "", usage("--state is required where --dir is %s", x.dir)
		}
		x.state = filepath.Join(filepath.Dir(x.dir), "."+filepath.Base(x.dir)+".stayd")
	}
	if x.state, err = filepath.Abs(x.state); err != nil {
		return "", usage("--state: %v", err)
	}
	if below, err := filepath.Rel(x.dir, x.state); err == nil && filepath.IsLocal(below) {
		return "", usage("--state %s is in --dir, where what runs could change it", x.state)
	}
	x.state = filepath.Join(x.state, id[1])
	return id[1], nil
}

// prepare makes the folder of the state, from which a link leads to the
// workspace.
func (x *execution) prepare() error {
	if err := os.MkdirAll(x.state, 0o700); err != nil {
		return fmt.Errorf("make the folder of the state: %w; choose another with --state", err)
	}
	if err := sameFileSystem(x.dir, x.state); err != nil {
		return &coded{code: exitUsage, err: err}
	}
	return nil
}

// link has the link in the state lead to the folder. The memory's lock is held.
func (x *execution) link(name string) error {
	if to, err := os.Readlink(name); err == nil && to == x.dir {
		return nil
	}
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("make the link to the folder: %w", err)
	}
	if err := os.Symlink(x.dir, name); err != nil {
		return fmt.Errorf("make the link to the folder: %w", err)
	}
	return nil
}

// open opens the environment that the machine offers.
func (x *execution) open(ctx context.Context, id string) (tool.Server, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find this program: %w", err)
	}
	spec := environment.Spec{Project: "local", Session: id, Dir: x.state}
	if err := x.link(spec.WorkspaceDir()); err != nil {
		return nil, err
	}
	if x.sandbox == noSandbox {
		return host.Open(ctx, host.Config{Helper: []string{exe, hostHelper}, Code: js.NewEngine(js.Limits{})}, x.dir, spec)
	}
	cfg := app.Default()
	cfg.SandboxHelper = []string{exe, sandboxHelper}
	drivers, err := app.Sandboxes(&cfg)
	if err != nil {
		return nil, err
	}
	driver := drivers[x.sandbox]
	if driver == nil {
		return nil, usage("--sandbox %s is not offered: choose none, bubblewrap, gvisor or js", x.sandbox)
	}
	if err := driver.Check(ctx); err != nil {
		return nil, err
	}
	return driver.Open(ctx, spec)
}

func (x *execution) run(ctx context.Context) error {
	id, err := x.check()
	if err != nil {
		return err
	}
	if err := x.prepare(); err != nil {
		return err
	}
	memory, err := remote.OpenMemory(filepath.Join(x.state, "effects"))
	if errors.Is(err, remote.ErrInUse) {
		return &coded{code: exitInUse, err: fmt.Errorf("another stayd exec runs for this environment in %s", x.dir)}
	}
	if err != nil {
		return err
	}
	defer memory.Close() //nolint:errcheck // what was written is durable
	srv, err := x.open(ctx, id)
	if err != nil {
		return err
	}
	say := &narrator{to: os.Stderr}
	err = errors.Join(x.serve(ctx, srv, memory, say), srv.Close())
	if err == nil {
		say.line("stopped")
	}
	return err
}

// serve keeps the machine connected until a signal.
func (x *execution) serve(ctx context.Context, srv tool.Server, memory *remote.Memory, say *narrator) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	// A second signal ends the process.
	defer context.AfterFunc(ctx, func() { stop(); say.line("stopping") })()
	name, err := os.Hostname()
	if err != nil {
		name = "this machine"
	}
	m, err := remote.NewMachine(ctx, remote.MachineConfig{
		Name: name, Folder: x.dir, Server: srv, Memory: memory, Began: say.began, Ended: say.ended,
	})
	if err != nil {
		return err
	}
	defer m.Close()
	x.introduce(say, name)
	wait := &backoff.ExponentialBackOff{InitialInterval: 500 * time.Millisecond, RandomizationFactor: 0.5, Multiplier: 1.6, MaxInterval: 20 * time.Second}
	_, err = backoff.Retry(ctx, func() (struct{}, error) { return struct{}{}, x.connect(ctx, m, say, wait) },
		backoff.WithBackOff(wait), backoff.WithMaxElapsedTime(0),
		backoff.WithNotify(func(err error, d time.Duration) {
			say.line("%s; trying again in %v", lost(err), d.Round(100*time.Millisecond))
		}))
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// connect makes one connection, and serves it until it ends.
func (x *execution) connect(ctx context.Context, m *remote.Machine, say *narrator, wait *backoff.ExponentialBackOff) error {
	conn, err := remote.Dial(ctx, x.url, x.token, x.project)
	if refused := new(remote.RefusedError); errors.As(err, &refused) {
		return backoff.Permanent(err)
	}
	if err != nil {
		return err
	}
	err = m.Serve(ctx, conn, func(w remote.Welcome) {
		wait.Reset()
		say.line("connected: session %s", w.Session)
	})
	if websocket.CloseStatus(err) == websocket.StatusPolicyViolation {
		return backoff.Permanent(errors.New(lost(err)))
	}
	return err
}

// lost says in words why there is no connection.
func lost(err error) string {
	var closed websocket.CloseError
	var op *net.OpError
	switch {
	case errors.As(err, &closed) && closed.Reason != "":
		return "disconnected: " + printable(closed.Reason)
	case errors.As(err, &op) && op.Op == "dial":
		return "the server does not answer: " + op.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), errors.As(err, &op):
		return "the connection was lost"
	}
	return printable(err.Error())
}

// introduce says what the user has chosen.
func (x *execution) introduce(say *narrator, machine string) {
	as := ""
	if u, err := user.Current(); err == nil {
		as = u.Username + " "
	}
	if x.sandbox == noSandbox {
		say.line("programs run as %son %s, in %s, with NO sandbox: the agent can do whatever you can", as, machine, x.dir)
	} else {
		say.line("programs run on %s, in %s, in the %s sandbox", machine, x.dir, x.sandbox)
	}
	u, err := url.Parse(x.url)
	if err != nil {
		return
	}
	if ip := net.ParseIP(u.Hostname()); (u.Scheme == "http" || u.Scheme == "ws") && u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		say.line("warning: %s is not encrypted: the token and all that is run can be read on the way; use https", u.Scheme+"://"+u.Host)
	}
	say.line("connecting to %s; Ctrl-C stops", u.Scheme+"://"+u.Host+path.Dir(u.Path))
}

// narrator tells on the terminal what happens.
type narrator struct {
	mu sync.Mutex
	to io.Writer
}

func (n *narrator) line(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.to, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...)) //nolint:errcheck // nobody is told of it then
}

func (n *narrator) began(c tool.Call) { n.line("> %s  %s", printable(c.Name), gist(c)) }

func (n *narrator) ended(c tool.Call, res tool.Result, err error, took time.Duration) {
	how := "done"
	switch {
	case err != nil:
		how = printable(err.Error())
	case res.Failed:
		how = "refused: " + printable(res.Error)
	case res.ExitCode != nil:
		how = fmt.Sprintf("exit code %d", *res.ExitCode)
	}
	n.line("< %s  %s, %v", printable(c.Name), how, took.Round(time.Millisecond))
}

// gist is what a call is about.
func gist(c tool.Call) string {
	var a struct {
		Command   string `json:"command"`
		Code      string `json:"code"`
		Path      string `json:"path"`
		ProcessID string `json:"process_id"`
	}
	if json.Unmarshal(c.Arguments, &a) != nil {
		return ""
	}
	for _, s := range []string{a.Command, a.Code, a.Path, a.ProcessID} {
		if s != "" {
			return printable(s)
		}
	}
	return ""
}

// shownCharacters is how much of a text is shown in a line.
const shownCharacters = 200

// printable is a text in one line that does nothing to a terminal.
func printable(s string) string {
	var b strings.Builder
	n := 0
	for _, r := range strings.TrimSpace(s) {
		switch {
		case n == shownCharacters:
			return b.String() + " ..."
		case r == '\n':
			b.WriteString(" ; ")
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			b.WriteRune('\uFFFD')
		}
		n++
	}
	return b.String()
}
