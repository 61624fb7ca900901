// Package js is the environment that needs nothing of the machine: a workspace
// with file tools, and JavaScript that runs in this process. The code reaches
// the workspace and nothing else. What it writes is put in place when it has
// ended well, all of it or nothing, and once for an effect id, so that running it
// again after a crash is safe.
//
// The interpreter's time limit is checked between the steps of the program. A
// single built-in operation that takes very long (a search in huge strings) is
// not interrupted by it: the call ends in time, and its interpreter goes on
// until the operation is over. There can be at most MaxAbandoned such
// interpreters; then the driver refuses to run more. Code that is hostile, and
// not only wrong, belongs into the bubblewrap environment's commands.
package js

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Limits are those of one run. Zero values are the defaults.
type Limits struct {
	Timeout    time.Duration // default 30 s; what a call may ask for is MaxTimeout
	MaxTimeout time.Duration // default 1 h
	Memory     int64         // bytes; default 128 MiB
}

func (l Limits) orDefaults() Limits {
	if l.Timeout == 0 {
		l.Timeout = 30 * time.Second
	}
	if l.MaxTimeout == 0 {
		l.MaxTimeout = time.Hour
	}
	if l.Memory == 0 {
		l.Memory = 128 << 20
	}
	return l
}

// MaxAbandoned is how many interpreters that could not be stopped may be there
// before no more code is run.
const MaxAbandoned = 2

// Engine runs code. It is safe for use by many goroutines.
type Engine struct {
	limits    Limits
	abandoned atomic.Int32
}

// NewEngine returns an engine with these limits.
func NewEngine(l Limits) *Engine { return &Engine{limits: l.orDefaults()} }

// Abandoned is how many interpreters could not be stopped and still run.
func (e *Engine) Abandoned() int { return int(e.abandoned.Load()) }

// Driver is the environment.Driver of the sandbox "js".
type Driver struct {
	engine *Engine
}

// New returns a driver whose code runs in the engine.
func New(e *Engine) *Driver { return &Driver{engine: e} }

// Check never fails: there is nothing to install.
func (d *Driver) Check(context.Context) error { return nil }

// Open opens the session's environment.
func (d *Driver) Open(_ context.Context, spec environment.Spec) (tool.Server, error) {
	w, err := workspace.Open(spec)
	if err != nil {
		return nil, err
	}
	return &server{engine: d.engine, files: w}, nil
}

type server struct {
	engine *Engine
	files  *workspace.Workspace
	close  sync.Once
	err    error
}

func (s *server) List(context.Context) ([]event.ToolSpec, error) {
	return append(workspace.Tools(), s.engine.Tool()), nil
}

func (s *server) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if res, ok, err := s.files.Call(ctx, c); ok {
		return res, err
	}
	if c.Name != RunCode {
		return tool.Failure("the environment has no tool %q", c.Name), nil
	}
	return s.engine.Call(ctx, s.files, c)
}

func (s *server) Close() error {
	s.close.Do(func() { s.err = s.files.Close() })
	return s.err
}

// RunCode is the name of the tool that runs JavaScript.
const RunCode = "run_code"

// Tool describes run_code. It is idempotent: see Call.
func (e *Engine) Tool() event.ToolSpec {
	return event.ToolSpec{
		Name: RunCode, Class: event.Idempotent, ItemType: event.ItemCommandExecution,
		Description: `Run JavaScript (ES2023, top-level await). What it prints with console.log and the value of its last expression are the output.
Files are below /workspace, as text: fs.readFile(path), fs.readLines(path), fs.writeFile(path, text), fs.appendFile(path, text), fs.listFiles(path) (names; folders end in "/"), fs.exists(path), fs.mkdir(path), fs.remove(path). parseCSV(text, {header: true}) returns rows as objects, without header as arrays.
Changes to files are kept only if the code ends without an error. There is no network, no timers and no require.`,
		Parameters: json.RawMessage(`{
			"type": "object", "additionalProperties": false, "required": ["code"], "properties": {
			"code": {"type": "string", "description": "JavaScript source"},
			"timeout_seconds": {"type": "integer", "minimum": 1, "maximum": 3600, "description": "Time limit; default 30"}}}`),
	}
}

// answer is what is kept of a run that changed files.
type answer struct {
	Output string `json:"output"`
}

// Call performs a call of run_code in the workspace. The exit code is 0, or 1
// for code that failed or was stopped by a limit; then no file was changed.
// With an effect id whose changes were decided before, nothing runs: what is
// missing of the changes is put in place, and the output of then is returned.
func (e *Engine) Call(ctx context.Context, w *workspace.Workspace, c tool.Call) (tool.Result, error) {
	var args struct {
		Code           string `json:"code"`
		TimeoutSeconds int64  `json:"timeout_seconds"`
	}
	if err := workspace.Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	limit := e.limits.Timeout
	if args.TimeoutSeconds != 0 {
		limit = time.Duration(args.TimeoutSeconds) * time.Second
	}
	switch {
	case args.Code == "":
		return tool.Failure("code is required"), nil
	case args.TimeoutSeconds < 0 || args.TimeoutSeconds > int64(e.limits.MaxTimeout/time.Second):
		return tool.Failure("timeout_seconds must be from 1 to %d", int64(e.limits.MaxTimeout/time.Second)), nil
	case e.Abandoned() >= MaxAbandoned:
		err := errors.New("code that could not be stopped keeps the machine busy; no more JavaScript is run until it ends or the runtime is restarted")
		return tool.Result{}, &tool.Error{Message: err.Error(), Err: err}
	}
	files, saved, err := w.Begin(ctx, c.EffectID)
	if err != nil {
		return tool.Result{}, &tool.Error{Message: "run_code was not started: " + err.Error(), Err: err}
	}
	if files == nil {
		return repeated(saved)
	}
	res, err := e.run(ctx, files, args.Code, limit, c.Output)
	if err != nil {
		return tool.Result{}, &tool.Error{Message: "run_code failed: " + err.Error(), Sent: true, Err: err}
	}
	return res, nil
}

func repeated(saved json.RawMessage) (tool.Result, error) {
	var a answer
	if err := json.Unmarshal(saved, &a); err != nil {
		return tool.Result{}, &tool.Error{Message: "the saved output cannot be read", Sent: true, Err: err}
	}
	return ended(a.Output, 0), nil
}

func ended(output string, code int) tool.Result {
	res := tool.Text(output)
	res.ExitCode = &code
	return res
}
