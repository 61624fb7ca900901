package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/output"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

const pythonLanguage = "python"

// maxCode is how long code may be, in bytes.
const maxCode = 8 << 20

// renewed is what code is told whose variables of earlier calls are gone.
const renewed = "[a new Python session was started: variables of earlier calls are gone; files are kept]\n"

func (s *server) runCode(ctx context.Context, c tool.Call) (tool.Result, error) {
	var args struct {
		Language       string `json:"language"`
		Code           string `json:"code"`
		TimeoutSeconds int64  `json:"timeout_seconds"`
	}
	if err := workspace.Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	limit, err := timeLimit(args.TimeoutSeconds, s.limits.Timeout)
	switch {
	case args.Code == "":
		return tool.Failure("code is required"), nil
	case len(args.Code) > maxCode:
		return tool.Failure("the code has %d bytes, at most %d are possible", len(args.Code), maxCode), nil
	case err != nil:
		return tool.Failure("%v", err), nil
	case args.Language == js.Language, args.Language == "":
		res, err := s.code.Run(ctx, args.Code, args.TimeoutSeconds, c.Output)
		return s.overDisk(res), err
	case args.Language != pythonLanguage:
		return tool.Failure("language must be python or javascript"), nil
	case s.has.Python == "":
		return tool.Failure("there is no Python in this environment; use javascript"), nil
	}
	res, err := s.python.run(ctx, args.Code, limit, output.New(c.Output), s.limited)
	return s.overDisk(res), err
}

// overDisk adds to a result that the environment takes more than it may. Of a
// program that has ended, its sandbox says so.
func (s *server) overDisk(res tool.Result) tool.Result {
	if res.Output == nil || !s.files.Disk().Over() {
		return res
	}
	text, said := event.OutputText(res.Output), s.limited("disk")
	if !strings.Contains(text, said) {
		res.Output = event.TextOutput(note(text, said))
	}
	return res
}

// python is the Python of one environment: its variables live on between the
// runs. One piece of code runs at a time.
type python struct {
	sandbox Sandbox
	path    string        // of the interpreter, in the sandbox
	busy    chan struct{} // holds it while code runs
	kernel  *kernel       // nil until there is code
	lost    bool          // there were variables, and they are gone
}

func (p *python) run(ctx context.Context, code string, limit time.Duration, out *output.Capture, describe func(limit string) string) (tool.Result, error) {
	limited, cancel := context.WithTimeoutCause(ctx, limit, errTime)
	defer cancel()
	select {
	case p.busy <- struct{}{}:
		defer func() { <-p.busy }()
	case <-limited.Done():
		if ctx.Err() == nil {
			return ended("[not started: other code ran for the whole time limit]", timedOut), nil
		}
		err := context.Cause(ctx)
		return tool.Result{}, &tool.Error{Message: "run_code was not started: " + err.Error(), Err: err}
	}
	if err := p.ready(limited, out); err != nil {
		return tool.Result{}, &tool.Error{Message: "run_code was not started: " + err.Error(), Err: err}
	}
	exit, err := p.kernel.run(limited, code, out)
	if err == nil {
		return ended(out.String(), exit), nil
	}
	k := p.kernel
	k.close()
	p.kernel, p.lost = nil, true
	switch {
	case ctx.Err() != nil:
		err := context.Cause(ctx)
		return tool.Result{}, &tool.Error{Message: "run_code was stopped: " + err.Error(), Sent: true, Err: err}
	case errors.Is(err, errTime):
		return ended(note(out.String(), stopped(limit)+"\n[the Python session ended with it]"), timedOut), nil
	case !errors.Is(err, errKernelEnded):
		return tool.Result{}, &tool.Error{Message: "run_code failed: " + err.Error(), Sent: true, Err: err}
	case k.err != nil:
		return tool.Result{}, &tool.Error{Message: "run_code failed: " + k.err.Error(), Sent: true, Err: k.err}
	}
	what := fmt.Sprintf("[the Python session ended with exit code %d]", k.end.Code)
	if l := describe(k.end.Limit); l != "" {
		what = l + "\n" + what
	}
	return ended(note(out.String(), what), max(k.end.Code, 1)), nil
}

// ready starts the kernel where there is none that runs.
func (p *python) ready(ctx context.Context, out io.Writer) error {
	if p.kernel != nil {
		select {
		case <-p.kernel.ended: // between two calls, of a limit say
			p.kernel.close()
			p.kernel, p.lost = nil, true
		default:
			return nil
		}
	}
	k, err := startKernel(ctx, p.sandbox, p.path)
	if err != nil {
		return err
	}
	p.kernel = k
	if p.lost {
		p.lost = false
		fmt.Fprint(out, renewed) //nolint:errcheck // it never fails
	}
	return nil
}
