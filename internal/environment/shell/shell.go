package shell

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/output"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Limits of a call.
const (
	DefaultTimeout = time.Minute
	MaxTimeout     = time.Hour
	MaxWait        = 10 * time.Minute // of read_process
	MaxProcesses   = 16               // that run in the background at once
)

// Programs says what there is in a sandbox, as paths in it.
type Programs struct {
	Shell  string
	Python string // empty: there is none
}

// Probe looks for the programs in a sandbox.
func Probe(ctx context.Context, s Sandbox) (Programs, error) {
	out := output.New(nil)
	p, err := s.Start(ctx, Command{Argv: []string{"/bin/sh", "-c", "command -v bash || echo /bin/sh; command -v python3 || echo"}, Cwd: "/", Output: out})
	if err != nil {
		return Programs{}, fmt.Errorf("%w: %s", err, strings.TrimSpace(out.String()))
	}
	defer context.AfterFunc(ctx, p.Kill)()
	end, err := p.Wait()
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	lines := strings.Split(out.String(), "\n")
	if err != nil || end.Code != 0 || len(lines) != 3 {
		return Programs{}, errors.Join(fmt.Errorf("a shell could not be run in the sandbox: exit code %d: %s", end.Code, strings.TrimSpace(out.String())), err)
	}
	return Programs{Shell: lines[0], Python: lines[1]}, nil
}

// server is one session's environment.
type server struct {
	sandbox Sandbox
	files   *workspace.Workspace
	has     Programs
	network bool
	secrets []string // the variables that have placeholders
	code    *js.Session
	limits  js.Limits // of JavaScript
	python  python

	ctx  context.Context //nolint:containedctx // ends with Close
	stop context.CancelCauseFunc

	mu        sync.Mutex
	closed    bool
	running   sync.WaitGroup
	processes []*process
	started   int
	closing   sync.Once
	err       error
}

// New returns the tools of an environment. It owns the sandbox and the files, and
// closes them.
func New(sandbox Sandbox, files *workspace.Workspace, code *js.Engine, spec environment.Spec, has Programs) tool.Server {
	s := &server{
		sandbox: sandbox, files: files, has: has, network: spec.Proxy != nil, secrets: secrets(spec),
		code: code.NewSession(files, slices.Contains(spec.Languages, js.Language)), limits: code.Limits(),
		python: python{sandbox: sandbox, path: has.Python, lost: slices.Contains(spec.Languages, pythonLanguage), busy: make(chan struct{}, 1)},
	}
	s.ctx, s.stop = context.WithCancelCause(context.Background())
	return s
}

func secrets(spec environment.Spec) []string {
	if spec.Proxy == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(spec.Proxy.Variables()))
}

// ErrClosed says that an environment was closed before, or while, it was used.
var ErrClosed = errors.New("the environment was closed")

func (s *server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

// Close ends all programs, and waits for them.
func (s *server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.closing.Do(func() {
		s.stop(ErrClosed)
		s.running.Wait()
		s.err = errors.Join(s.code.Close(), s.sandbox.Close(), s.files.Close())
	})
	return s.err
}

// Call implements tool.Server.
func (s *server) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if !s.enter() {
		return tool.Result{}, &tool.Error{Message: ErrClosed.Error(), Err: ErrClosed}
	}
	defer s.running.Done()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.ctx, func() { cancel(ErrClosed) })() //nolint:contextcheck // the call ends with the environment, too

	if res, ok, err := s.files.Call(ctx, c); ok {
		return res, err
	}
	switch c.Name {
	case "run_command":
		return s.runCommand(ctx, c)
	case "read_process":
		return s.readProcess(ctx, c)
	case "write_process":
		return s.writeProcess(ctx, c)
	case "stop_process":
		return s.stopProcess(ctx, c)
	case js.RunCode:
		return s.runCode(ctx, c)
	}
	return tool.Failure("the environment has no tool %q", c.Name), nil
}

// List implements tool.Server.
func (s *server) List(context.Context) ([]event.ToolSpec, error) {
	// What runs in the workspace alone can be repeated, once the files are set
	// back. What reaches further cannot.
	class := event.Idempotent
	if s.network {
		class = event.Once
	}
	spec := func(name string, class event.Class, itemType, description, properties, required string) event.ToolSpec {
		return event.ToolSpec{
			Name: name, Class: class, ItemType: itemType, Description: description,
			Parameters: json.RawMessage(`{"type": "object", "additionalProperties": false, "required": [` + required + `], "properties": {` + properties + `}}`),
		}
	}
	const id = `"process_id": {"type": "string", "description": "As run_command returned it"}`
	seconds := func(t time.Duration) int64 { return int64(t / time.Second) }
	return append(workspace.Tools(),
		spec("run_command", class, event.ItemCommandExecution, s.describeCommand(), fmt.Sprintf(`
			"command": {"type": "string", "description": "Shell command, at most 128 KiB"},
			"cwd": {"type": "string", "description": "Folder to run it in; default /workspace"},
			"timeout_seconds": {"type": "integer", "minimum": 1, "maximum": %d, "description": "Limit of wall time; default %d"},
			"stdin": {"type": "string", "description": "Standard input; default empty"},
			"background": {"type": "boolean", "description": "Return at once with a process_id; default false"}`,
			seconds(MaxTimeout), seconds(DefaultTimeout)), `"command"`),
		spec("read_process", event.Pure, event.ItemMCPCall, "Read what a background process printed since it was last read, and whether it still runs. Of what was not read, the last 256 KiB are kept.",
			id+fmt.Sprintf(`, "wait_seconds": {"type": "integer", "minimum": 0, "maximum": %d, "description": "How long to wait for output or the end; default 0"}`, seconds(MaxWait)), `"process_id"`),
		spec("write_process", class, event.ItemMCPCall, "Write to the standard input of a background process.",
			id+`, "input": {"type": "string", "description": "Text; a line ends with \n"}, "close": {"type": "boolean", "description": "End the input after it; default false"}`, `"process_id"`),
		spec("stop_process", event.Idempotent, event.ItemMCPCall, "Kill a background process and all that it started, and return what it printed since it was last read.", id, `"process_id"`),
		s.describeCode(spec, class),
	), nil
}

func (s *server) describeCommand() string {
	name, network := "sh", "There is no network; programs reach each other on 127.0.0.1."
	if strings.HasSuffix(s.has.Shell, "bash") {
		name = "bash"
	}
	if s.network {
		network = "The network is reached through the proxy in http_proxy and https_proxy only; programs reach each other on 127.0.0.1."
	}
	if len(s.secrets) > 0 {
		network += fmt.Sprintf(" The variables %s hold placeholders of secrets: send them as they are, and where the host may have the secret the proxy puts it in.", strings.Join(s.secrets, ", "))
	}
	return fmt.Sprintf("Run a shell command (%s) in a Linux sandbox. Only /workspace is kept; /tmp is shared by the programs of the environment. %s Limits of all programs together: %s. The output is what it prints, standard output and error in order, at most 256 KiB. Exit code 124 is the time limit. With background, the command goes on after the call, at most %d at once; without, nothing of it does.",
		name, network, describe(s.sandbox.Limits()), MaxProcesses)
}

func describe(l Limits) string {
	var parts []string
	if l.Memory > 0 {
		parts = append(parts, fmt.Sprintf("%d MiB of memory", l.Memory>>20))
	}
	if l.Processes > 0 {
		parts = append(parts, fmt.Sprintf("%d processes and threads", l.Processes))
	}
	if l.CPUs > 0 {
		parts = append(parts, fmt.Sprintf("%g CPUs", l.CPUs))
	}
	if l.Disk > 0 {
		parts = append(parts, fmt.Sprintf("%d MiB of disk", l.Disk>>20))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func (s *server) describeCode(spec func(name string, class event.Class, itemType, description, properties, required string) event.ToolSpec, class event.Class) event.ToolSpec {
	languages, enum, required := "JavaScript. There is no Python in this environment", `["javascript"]`, `"code"`
	text := fmt.Sprintf("%s Limit: %d MiB of memory.", js.Description, s.limits.Memory>>20)
	if s.has.Python != "" {
		languages, enum, required = "Python or JavaScript", `["python", "javascript"]`, `"language", "code"`
		text = "Python is Python 3, with the packages that run_command has, and with the limits of run_command; plots go to files.\n" + text
	}
	return spec(js.RunCode, class, event.ItemCommandExecution,
		fmt.Sprintf("Run %s. The output is what the code prints and the value of its last expression, at most 256 KiB. Variables, functions and classes of the top level live on in later calls, until code is stopped by a limit or the environment is restarted; you are told.\n%s", languages, text),
		fmt.Sprintf(`
			"language": {"type": "string", "enum": %s},
			"code": {"type": "string", "description": "Source, at most 8 MiB"},
			"timeout_seconds": {"type": "integer", "minimum": 1, "maximum": %d, "description": "Limit of wall time; default %d"}`,
			enum, int64(MaxTimeout/time.Second), int64(s.limits.Timeout/time.Second)), required)
}

// limited is the note of a limit that ended a program.
func (s *server) limited(limit string) string {
	l := s.sandbox.Limits()
	switch limit {
	case "":
		return ""
	case "memory":
		return fmt.Sprintf("[a process was killed: the memory limit of %d MiB was reached]", l.Memory>>20)
	case "disk":
		return fmt.Sprintf("[the disk limit was reached: /workspace and /tmp together may have %d MiB, and the machine must keep some space; programs that go on writing are stopped, so remove files]", l.Disk>>20)
	}
	return fmt.Sprintf("[the limit of %s was reached]", limit)
}

// note adds a note to what a program printed.
func note(out, text string) string {
	if text != "" && out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	return out + text
}

func ended(out string, code int) tool.Result {
	res := tool.Text(out)
	res.ExitCode = &code
	return res
}
