// Package js is the environment that needs nothing of the machine: a workspace
// with file tools, and JavaScript that runs in this process. The code reaches
// the workspace and nothing else. Its variables live on from one call to the next,
// for as long as the environment is open and its interpreter is sound.
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
	"fmt"
	"slices"
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
	Disk       int64         // bytes of the workspace of an environment of this package; default 2 GiB
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
	if l.Disk == 0 {
		l.Disk = 2 << 30
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
	w.SetDisk(workspace.NewDisk(d.engine.limits.Disk, w.Dir()))
	return &server{files: w, code: d.engine.NewSession(w, slices.Contains(spec.Languages, Language))}, nil
}

type server struct {
	files *workspace.Workspace
	code  *Session
	close sync.Once
	err   error
}

func (s *server) List(context.Context) ([]event.ToolSpec, error) {
	return append(workspace.Tools(), s.code.engine.tool()), nil
}

func (s *server) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	if res, ok, err := s.files.Call(ctx, c); ok {
		return res, err
	}
	if c.Name != RunCode {
		return tool.Failure("the environment has no tool %q", c.Name), nil
	}
	var args struct {
		Language       string `json:"language"`
		Code           string `json:"code"`
		TimeoutSeconds int64  `json:"timeout_seconds"`
	}
	if err := workspace.Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	if args.Language != "" && args.Language != Language {
		return tool.Failure("language: there is only %s in this environment", Language), nil
	}
	return s.code.Run(ctx, args.Code, args.TimeoutSeconds, c.Output)
}

func (s *server) Close() error {
	s.close.Do(func() { s.err = errors.Join(s.code.Close(), s.files.Close()) })
	return s.err
}

// RunCode is the name of the tool that runs code, and Language what it calls
// JavaScript.
const (
	RunCode  = "run_code"
	Language = "javascript"
)

// Description tells the model what JavaScript can do.
const Description = `JavaScript is ES2023 with top-level await. console.log prints. Files are below /workspace, as text of at most 64 MiB: fs.readFile(path), fs.readLines(path), fs.writeFile(path, text), fs.appendFile(path, text), fs.listFiles(path) (names; folders end in "/"), fs.exists(path), fs.mkdir(path), fs.remove(path). parseCSV(text, {header: true}) returns rows as objects, without header as arrays. It has no network, no timers and no require.`

// Limits are those of the engine's code.
func (e *Engine) Limits() Limits { return e.limits }

func (e *Engine) tool() event.ToolSpec {
	return event.ToolSpec{
		Name: RunCode, Class: event.Idempotent, ItemType: event.ItemCommandExecution,
		Description: fmt.Sprintf("Run JavaScript. The output is what it prints and the value of its last expression. Variables, functions and classes of the top level live on in later calls. Limits: %d MiB of memory, %d MiB of disk, 256 KiB of output.\n%s", e.limits.Memory>>20, e.limits.Disk>>20, Description),
		Parameters: json.RawMessage(fmt.Sprintf(`{
			"type": "object", "additionalProperties": false, "required": ["code"], "properties": {
			"language": {"type": "string", "enum": ["javascript"], "description": "Default javascript"},
			"code": {"type": "string", "description": "JavaScript source"},
			"timeout_seconds": {"type": "integer", "minimum": 1, "maximum": %d, "description": "Time limit; default %d"}}}`,
			int64(e.limits.MaxTimeout/time.Second), int64(e.limits.Timeout/time.Second))),
	}
}
