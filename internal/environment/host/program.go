//go:build unix

package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/shell"
)

// sandbox is the shell.Sandbox of one environment.
type sandbox struct {
	helper []string
	folder string
	env    map[string]string

	mu       sync.Mutex
	closed   bool
	programs map[*program]bool
	running  sync.WaitGroup
}

var errClosed = errors.New("the environment was closed")

// Limits implements shell.Sandbox: there are none.
func (s *sandbox) Limits() shell.Limits { return shell.Limits{} }

// Start implements shell.Sandbox.
func (s *sandbox) Start(ctx context.Context, c shell.Command) (shell.Process, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	p := &program{done: make(chan struct{})}
	if err := p.start(s, c); err != nil {
		return nil, err
	}
	s.programs[p] = true
	s.running.Go(func() {
		p.wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.programs, p)
	})
	return p, nil
}

// Close implements shell.Sandbox.
func (s *sandbox) Close() error {
	s.mu.Lock()
	s.closed = true
	for p := range s.programs {
		p.Kill()
	}
	s.mu.Unlock()
	s.running.Wait()
	return nil
}

// local is the folder on this machine that the agent means.
func (s *sandbox) local(cwd string) string {
	if below, ok := strings.CutPrefix(cwd+"/", environment.Workspace+"/"); ok {
		return filepath.Join(s.folder, below)
	}
	if cwd == "" {
		return s.folder
	}
	return cwd
}

// program is a program, and the helper that has it and all that it starts as its
// descendants.
type program struct {
	cmd    *exec.Cmd
	stdin  *os.File
	output *os.File
	copied chan error

	kill    sync.Once
	control *os.File // its closing has the helper end the program

	done chan struct{} // closed at the end; end and err are set before
	end  shell.End
	err  error
}

// Stdin implements shell.Process.
func (p *program) Stdin() io.WriteCloser { return p.stdin }

// Kill implements shell.Process.
func (p *program) Kill() {
	p.kill.Do(func() { p.control.Close() }) //nolint:errcheck,gosec // a pipe
}

// Wait implements shell.Process.
func (p *program) Wait() (shell.End, error) {
	<-p.done
	return p.end, p.err
}

func (p *program) start(s *sandbox, c shell.Command) (err error) {
	var theirs, ours []*os.File
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	inR, inW := pipe()
	outR, outW := pipe()
	controlR, controlW := pipe()
	theirs, ours = []*os.File{inR, outW, controlR}, []*os.File{inW, outR, controlW}
	if err == nil {
		argv := append(append([]string{}, s.helper...), c.Argv...)
		p.cmd = exec.Command(argv[0], argv[1:]...) //nolint:gosec,noctx // to run what it is given is what it is for; Kill ends it
		p.cmd.Dir = s.local(c.Cwd)
		p.cmd.Env = os.Environ()
		for k, v := range s.env {
			p.cmd.Env = append(p.cmd.Env, k+"="+v)
		}
		p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = inR, outW, outW
		p.cmd.ExtraFiles = []*os.File{controlR}
		p.cmd.SysProcAttr = ownGroup()
		err = p.cmd.Start()
	}
	closeAll(theirs)
	if err != nil {
		closeAll(ours)
		return fmt.Errorf("start the program: %w", err)
	}
	p.stdin, p.output, p.control = inW, outR, controlW
	p.copied = make(chan error, 1)
	go func() {
		_, err := io.Copy(c.Output, p.output)
		p.copied <- err
	}()
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close() //nolint:errcheck,gosec // a pipe, or nil
	}
}

// wait waits until the helper has ended, and with it everything.
func (p *program) wait() {
	defer close(p.done)
	waited := p.cmd.Wait()
	if err := <-p.copied; err != nil {
		p.err = fmt.Errorf("read the output: %w", err)
	}
	p.output.Close() //nolint:errcheck,gosec // a pipe that was read
	p.Kill()         // which by now only closes the pipe
	var exit *exec.ExitError
	switch {
	case errors.As(waited, &exit) && exit.Exited():
		p.end.Code = exit.ExitCode()
	case waited != nil && p.err == nil:
		p.err = fmt.Errorf("the helper of the program: %w", waited)
	}
}
