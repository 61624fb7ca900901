//go:build unix

package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// Open returns the tools of an environment whose workspace is the folder. The
// folder is an absolute path, and spec.WorkspaceDir leads to it.
func Open(ctx context.Context, cfg Config, folder string, spec environment.Spec) (tool.Server, error) {
	files, err := workspace.Open(spec)
	if err != nil {
		return nil, err
	}
	s := &sandbox{helper: cfg.Helper, folder: folder, env: spec.Env, programs: map[*program]bool{}}
	has, err := shell.Probe(ctx, s)
	if err != nil {
		return nil, errors.Join(err, s.Close(), files.Close())
	}
	return &server{Server: shell.New(s, files, cfg.Code, spec, has), folder: folder, shell: path.Base(has.Shell)}, nil
}

// server speaks of the machine where the tools of a sandbox speak of the sandbox.
type server struct {
	tool.Server
	folder string
	shell  string
}

// List implements tool.Server.
func (s *server) List(ctx context.Context) ([]event.ToolSpec, error) {
	tools, err := s.Server.List(ctx)
	for i := range tools {
		if tools[i].Name == "run_command" {
			tools[i].Description = fmt.Sprintf("Run a shell command (%s) on the user's own machine, as the user, in the folder %s. It is not confined: be careful. The tools that read and write files call that folder %s and reach nothing outside of it. The output is what the command prints, standard output and error in order, at most 256 KiB. Exit code 124 is the time limit. With background, the command goes on after the call, at most %d at once; without, nothing of it does.",
				s.shell, s.folder, environment.Workspace, shell.MaxProcesses)
		}
	}
	return tools, err
}

// pathArguments are the arguments that are paths of the workspace.
var pathArguments = []string{"path", "cwd"}

// Call implements tool.Server. A path below the folder is one of the workspace.
func (s *server) Call(ctx context.Context, c tool.Call) (tool.Result, error) {
	var args map[string]json.RawMessage
	if json.Unmarshal(c.Arguments, &args) != nil {
		return s.Server.Call(ctx, c) // which says what is wrong with them
	}
	changed := false
	for _, name := range pathArguments {
		var p string
		if args[name] == nil || json.Unmarshal(args[name], &p) != nil || !path.IsAbs(p) {
			continue
		}
		below, ok := strings.CutPrefix(path.Clean(p)+"/", strings.TrimSuffix(s.folder, "/")+"/")
		if !ok {
			continue
		}
		b, err := json.Marshal(path.Join(environment.Workspace, below))
		if err != nil {
			return tool.Result{}, &tool.Error{Message: "encode a path: " + err.Error(), Err: err}
		}
		args[name], changed = b, true
	}
	if changed {
		b, err := json.Marshal(args)
		if err != nil {
			return tool.Result{}, &tool.Error{Message: "encode the arguments: " + err.Error(), Err: err}
		}
		c.Arguments = b
	}
	return s.Server.Call(ctx, c)
}
