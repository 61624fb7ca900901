package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/output"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/tool"
)

// maxCommand is what the kernel takes as one argument of a program, in bytes.
const maxCommand = 128<<10 - 1

// timedOut is the exit code of a command that was stopped by its time limit, as
// timeout(1) has it.
const timedOut = 124

var errTime = errors.New("the time limit was reached")

func stopped(limit time.Duration) string {
	return fmt.Sprintf("[stopped: the time limit of %v was reached]", limit)
}

func (s *server) runCommand(ctx context.Context, c tool.Call) (tool.Result, error) {
	var args struct {
		Command        string `json:"command"`
		Cwd            string `json:"cwd"`
		TimeoutSeconds int64  `json:"timeout_seconds"`
		Stdin          string `json:"stdin"`
		Background     bool   `json:"background"`
	}
	if err := workspace.Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	limit, err := timeLimit(args.TimeoutSeconds, DefaultTimeout)
	if args.Cwd == "" {
		args.Cwd = environment.Workspace
	}
	cwd, folderErr := s.files.Folder(args.Cwd)
	switch {
	case args.Command == "":
		return tool.Failure("command is required"), nil
	case strings.ContainsRune(args.Command, 0):
		return tool.Failure("the command holds a NUL"), nil
	case len(args.Command) > maxCommand:
		return tool.Failure("the command has %d bytes, at most %d are possible; write it to a file and run that", len(args.Command), maxCommand), nil
	case err != nil:
		return tool.Failure("%v", err), nil
	case args.Background && args.TimeoutSeconds != 0:
		return tool.Failure("timeout_seconds is not for a background command; use stop_process"), nil
	case folderErr != nil:
		return tool.Failure("cwd: %v", folderErr), nil
	}
	cmd := Command{Argv: []string{s.has.Shell, "-c", args.Command}, Cwd: cwd}
	if args.Background {
		return s.startProcess(ctx, cmd, args.Stdin)
	}
	return s.runProgram(ctx, c, cmd, args.Stdin, limit)
}

// timeLimit is the limit of a call that asks for so many seconds, or for none.
func timeLimit(seconds int64, otherwise time.Duration) (time.Duration, error) {
	if seconds < 0 || seconds > int64(MaxTimeout/time.Second) {
		return 0, fmt.Errorf("timeout_seconds must be from 1 to %d", int64(MaxTimeout/time.Second))
	}
	if seconds == 0 {
		return otherwise, nil
	}
	return time.Duration(seconds) * time.Second, nil
}

func (s *server) runProgram(ctx context.Context, c tool.Call, cmd Command, stdin string, limit time.Duration) (tool.Result, error) {
	limited, cancel := context.WithTimeoutCause(ctx, limit, errTime)
	defer cancel()
	out := output.New(c.Output)
	cmd.Output = out
	p, err := s.sandbox.Start(limited, cmd)
	if err != nil && context.Cause(limited) == errTime { //nolint:errorlint // it is the cause itself
		return ended(stopped(limit), timedOut), nil
	}
	if err != nil {
		return tool.Result{}, &tool.Error{Message: c.Name + " was not started: " + err.Error(), Err: err}
	}
	stop := context.AfterFunc(limited, p.Kill)
	written := make(chan struct{})
	go func() {
		defer close(written)
		io.WriteString(p.Stdin(), stdin) //nolint:errcheck,gosec // a program need not read its input
		p.Stdin().Close()                //nolint:errcheck,gosec // a pipe
	}()
	end, err := p.Wait()
	p.Stdin().Close() //nolint:errcheck,gosec // a pipe; what still writes to it ends
	<-written
	killed := !stop()
	switch {
	case err != nil:
		return tool.Result{}, &tool.Error{Message: c.Name + " failed: " + err.Error(), Sent: true, Err: err}
	case !killed || end.Code == 0:
		return ended(note(out.String(), s.limited(end.Limit)), end.Code), nil
	case ctx.Err() != nil:
		err := context.Cause(ctx)
		return tool.Result{}, &tool.Error{Message: c.Name + " was stopped: " + err.Error(), Sent: true, Err: err}
	}
	return ended(note(out.String(), stopped(limit)), timedOut), nil
}
