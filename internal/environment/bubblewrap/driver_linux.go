package bubblewrap

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/output"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Driver is the environment.Driver of the sandbox "bubblewrap".
type Driver struct {
	cfg    Config
	groups *groups

	mu    sync.Mutex
	bwrap string // once a command ran in it
}

// New returns a driver. Whether the machine has what it needs, Check says.
func New(cfg Config) *Driver {
	cfg.Limits = cfg.Limits.orDefaults()
	return &Driver{cfg: cfg, groups: findGroups()}
}

// MemoryLimit is how memory is limited on this machine: "cgroup v1" or "cgroup
// v2" bound all the processes of a command together, "RLIMIT_AS" the address
// space of each of them.
func (d *Driver) MemoryLimit() string {
	if !d.groups.limitsMemory() {
		return "RLIMIT_AS"
	}
	return d.groups.version
}

// Check runs a command in the sandbox. Once that went well it is not repeated.
func (d *Driver) Check(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bwrap != "" {
		return nil
	}
	name := d.cfg.Path
	if name == "" {
		name = "bwrap"
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return &environment.UnavailableError{Sandbox: sandbox, Reason: "there is no " + name, Install: "install it: apt-get install bubblewrap"}
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	out := output.New(nil)
	end, err := d.run(ctx, path, command{argv: []string{"/bin/sh", "-c", "true"}}, out)
	if err == nil && end.code == 0 {
		d.bwrap = path
		return nil
	}
	said := strings.TrimSpace(out.String())
	if err != nil {
		said = strings.TrimSpace(err.Error() + " " + said)
	}
	return unavailable(said)
}

func unavailable(said string) error {
	e := &environment.UnavailableError{Sandbox: sandbox, Reason: "a command could not be run in it: " + said, Install: "see what bwrap says"}
	low := strings.ToLower(said)
	if strings.Contains(low, "namespace") || strings.Contains(low, "uid map") || strings.Contains(low, "operation not permitted") || strings.Contains(low, "permission denied") {
		e.Install = "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, or kernel.apparmor_restrict_unprivileged_userns=0; in a container, allow unshare, mount and pivot_root"
	}
	return e
}

// Open opens the session's environment. It is refused where Check fails.
func (d *Driver) Open(ctx context.Context, spec environment.Spec) (tool.Server, error) {
	if err := d.Check(ctx); err != nil {
		return nil, err
	}
	for k, v := range spec.Env {
		if k == "" || strings.ContainsAny(k, "=\x00") || strings.Contains(v, "\x00") {
			return nil, fmt.Errorf("the environment variable %q has a name or a value that cannot be set", k)
		}
	}
	w, err := workspace.Open(spec)
	if err != nil {
		return nil, err
	}
	s := &server{driver: d, files: w, env: spec.Env}
	s.ctx, s.stop = context.WithCancelCause(context.WithoutCancel(ctx))
	return s, nil
}

// server is one session's environment.
type server struct {
	driver *Driver
	files  *workspace.Workspace
	env    map[string]string

	ctx  context.Context //nolint:containedctx // ends with Close
	stop context.CancelCauseFunc

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
	err     error
}

var errClosed = errors.New("the environment was closed")

func (s *server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// Close ends the commands that run, and waits for them.
func (s *server) Close() error {
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.mu.Unlock()
	s.stop(errClosed)
	s.running.Wait()
	if first {
		s.err = s.files.Close()
	}
	return s.err
}

const runCommand = "run_command"

func (s *server) List(context.Context) ([]event.ToolSpec, error) {
	l := s.driver.cfg.Limits
	return append(workspace.Tools(), s.driver.cfg.Code.Tool(), event.ToolSpec{
		Name: runCommand, ItemType: event.ItemCommandExecution,
		Description: fmt.Sprintf("Run a shell command (sh) in a Linux sandbox. Only /workspace is kept and can be written; /tmp is private to the command. There is no network. Limits: %d MiB of memory, %d processes. The output is what it prints, standard output and error in order.", l.Memory>>20, l.Processes),
		Parameters: json.RawMessage(fmt.Sprintf(`{
			"type": "object", "additionalProperties": false, "required": ["command"], "properties": {
			"command": {"type": "string", "description": "Shell command"},
			"cwd": {"type": "string", "description": "Folder to run it in; default /workspace"},
			"timeout_seconds": {"type": "integer", "minimum": 1, "maximum": %d, "description": "Limit of wall time; default %d"},
			"stdin": {"type": "string", "description": "Standard input; default empty"}}}`,
			int64(l.MaxTimeout/time.Second), int64(l.Timeout/time.Second))),
	}), nil
}

func (s *server) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if !s.enter() {
		return tool.Result{}, &tool.Error{Message: errClosed.Error(), Err: errClosed}
	}
	defer s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(errClosed) })() //nolint:contextcheck // the call ends with the environment, too

	if res, ok, err := s.files.Call(ctx, c); ok {
		return res, err
	}
	switch c.Name {
	case runCommand:
		return s.runCommand(ctx, c)
	case s.driver.cfg.Code.Tool().Name:
		return s.driver.cfg.Code.Call(ctx, s.files, c)
	}
	return tool.Failure("the environment has no tool %q", c.Name), nil
}

// maxCommand is what the kernel takes as one argument of a program, in bytes.
const maxCommand = 128<<10 - 1

func (s *server) runCommand(ctx context.Context, c tool.Call) (tool.Result, error) {
	var args struct {
		Command        string `json:"command"`
		Cwd            string `json:"cwd"`
		TimeoutSeconds int64  `json:"timeout_seconds"`
		Stdin          string `json:"stdin"`
	}
	if err := workspace.Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	l := s.driver.cfg.Limits
	limit := l.Timeout
	if args.TimeoutSeconds != 0 {
		limit = time.Duration(args.TimeoutSeconds) * time.Second
	}
	if args.Cwd == "" {
		args.Cwd = environment.Workspace
	}
	cwd, err := s.files.Folder(args.Cwd)
	switch {
	case args.Command == "":
		return tool.Failure("command is required"), nil
	case strings.ContainsRune(args.Command, 0):
		return tool.Failure("the command holds a NUL"), nil
	case len(args.Command) > maxCommand:
		return tool.Failure("the command has %d bytes, at most %d are possible; write it to a file and run that", len(args.Command), maxCommand), nil
	case args.TimeoutSeconds < 0 || limit > l.MaxTimeout:
		return tool.Failure("timeout_seconds must be from 1 to %d", int64(l.MaxTimeout/time.Second)), nil
	case err != nil:
		return tool.Failure("cwd: %v", err), nil
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, errTime)
	defer cancel()
	out := output.New(c.Output)
	end, err := s.driver.run(limited, s.driver.bwrap, command{
		argv: []string{"/bin/sh", "-c", args.Command}, workspace: s.files.Dir(), cwd: cwd, env: s.env, stdin: args.Stdin,
	}, out)
	if err != nil {
		return tool.Result{}, &tool.Error{Message: "run_command failed: " + err.Error(), Sent: end.started, Err: err}
	}
	return s.result(end, out.String(), limit), nil
}

var errTime = errors.New("the time limit was reached")

// timedOut is the exit code of a command that was stopped by its time limit, as
// timeout(1) has it.
const timedOut = 124

func (s *server) result(end end, out string, limit time.Duration) tool.Result {
	note := ""
	switch {
	case end.timedOut:
		end.code, note = timedOut, fmt.Sprintf("[stopped: the time limit of %v was reached]", limit)
	case end.outOfMemory:
		note = fmt.Sprintf("[a process was killed: the memory limit of %d MiB was reached]", s.driver.cfg.Limits.Memory>>20)
	}
	if note != "" && out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	res := tool.Text(out + note)
	res.ExitCode = &end.code
	return res
}
