package environmenttest

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/tool"
)

// The attempts see what gets through: where there is no wall, many do.
func TestEscapeSeesWhatGetsThrough(t *testing.T) {
	o := newOutside(t)
	var through []string
	for _, a := range attempts() {
		if !a.safe {
			continue
		}
		t.Run(a.group+"/"+a.name, func(t *testing.T) {
			if what := a.run(t, open{}, shell.Limits{}, o); what != "" {
				t.Log(what)
				through = append(through, a.group+"/"+a.name)
			}
		})
	}
	t.Logf("%d got through: %s", len(through), strings.Join(through, ", "))
	if len(through) < 30 {
		t.Errorf("only %d got through where there is no wall", len(through))
	}
	for _, name := range []string{
		"Files/ASecretByItsPath", "Files/ASecretBesideTheWorkspace", "Files/AnotherSession", "Files/WriteAFileBeside", "Files/WriteIntoTmp",
		"Links/FollowedByCommands", "Proc/EnvironmentOfOthers", "Proc/SelfRoot", "Processes/Kill", "Processes/Stop", "Processes/SignalToTheRuntime",
		"Network/LoopbackOfTheMachine", "Network/AbstractSocket", "Network/UDP", "Variables/OfTheLinker", "Kernel/UnshareUser",
	} {
		if os.Geteuid() == 0 || name != "Kernel/UnshareUser" {
			if !contains(through, name) {
				t.Errorf("%s did not get through", name)
			}
		}
	}
}

func contains(all []string, name string) bool {
	for _, s := range all {
		if s == name {
			return true
		}
	}
	return false
}

// open is the driver of environments without walls: programs run on the machine,
// in the folder of the workspace.
type open struct{}

func (open) Check(context.Context) error { return nil }

func (open) Open(_ context.Context, spec environment.Spec) (tool.Server, error) {
	files, err := workspace.Open(spec)
	if err != nil {
		return nil, err
	}
	return shell.New(&openSandbox{dir: spec.WorkspaceDir(), env: spec.Env}, files, js.NewEngine(js.Limits{}), spec, shell.Programs{Shell: "/bin/sh", Python: "/usr/bin/python3"}), nil
}

type openSandbox struct {
	dir string
	env map[string]string

	mu  sync.Mutex
	all []*openProcess
}

func (s *openSandbox) Limits() shell.Limits { return shell.Limits{} }

func (s *openSandbox) Start(_ context.Context, c shell.Command) (shell.Process, error) {
	argv := make([]string, len(c.Argv))
	for i, a := range c.Argv {
		argv[i] = strings.ReplaceAll(a, environment.Workspace, s.dir)
	}
	p := &openProcess{cmd: exec.Command(argv[0], argv[1:]...)} // Kill ends it
	p.cmd.Dir = filepath.Join(s.dir, strings.TrimPrefix(c.Cwd, environment.Workspace))
	p.cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + s.dir}
	for k, v := range s.env {
		p.cmd.Env = append(p.cmd.Env, k+"="+v)
	}
	p.cmd.Stdout, p.cmd.Stderr = c.Output, c.Output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.all = append(s.all, p)
	s.mu.Unlock()
	return p, nil
}

func (s *openSandbox) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.all {
		p.Kill()
	}
	return nil
}

type openProcess struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
}

func (p *openProcess) Stdin() io.WriteCloser { return p.stdin }

func (p *openProcess) Kill() { syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) } // it fails where it has ended

func (p *openProcess) Wait() (shell.End, error) {
	err := p.cmd.Wait()
	p.Kill()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return shell.End{}, err
	}
	code := p.cmd.ProcessState.ExitCode()
	if code < 0 {
		code = 137
	}
	return shell.End{Code: code}, nil
}
