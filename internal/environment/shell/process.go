package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/stayd/stayd/internal/environment/output"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/tool"
)

// keptProcesses is how many processes are known at once, those that have ended
// among them.
const keptProcesses = 64

// writeTime is how long a process may take to read what is written to it.
const writeTime = 10 * time.Second

// process is a command in the background.
type process struct {
	id      string
	program Process
	unread  *unread
	writing chan struct{} // holds the input while something is written
	ended   chan struct{} // closed at the end; end and err are set before
	end     End
	err     error
}

func (s *server) startProcess(ctx context.Context, cmd Command, stdin string) (tool.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.runningProcesses(); n >= MaxProcesses {
		return tool.Failure("%d processes run in the background, which is the most there may be; stop one with stop_process", n), nil
	}
	p := &process{unread: newUnread(), writing: make(chan struct{}, 1), ended: make(chan struct{})}
	cmd.Output = p.unread
	program, err := s.sandbox.Start(ctx, cmd)
	if err != nil {
		return tool.Result{}, &tool.Error{Message: "run_command was not started: " + err.Error(), Err: err}
	}
	s.started++
	p.id, p.program = fmt.Sprintf("p%d", s.started), program
	s.processes = append(s.forgetOldest(), p)
	go func() {
		p.end, p.err = program.Wait()
		close(p.ended)
		program.Stdin().Close() //nolint:errcheck,gosec // a pipe
		p.unread.wake()
	}()
	if stdin != "" {
		p.write(stdin, false)
	}
	return tool.Text(fmt.Sprintf("[started in the background; process_id: %s]", p.id)), nil
}

func (p *process) isEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

// Busy reports whether programs run in the background.
func (s *server) Busy() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.runningProcesses() > 0
}

func (s *server) runningProcesses() int {
	n := 0
	for _, p := range s.processes {
		if !p.isEnded() {
			n++
		}
	}
	return n
}

// forgetOldest leaves out the oldest process that has ended, where there are many.
func (s *server) forgetOldest() []*process {
	for i, p := range s.processes {
		if len(s.processes) >= keptProcesses && p.isEnded() {
			return append(s.processes[:i:i], s.processes[i+1:]...)
		}
	}
	return s.processes
}

// process returns the process, or why there is none.
func (s *server) process(id string) (*process, error) {
	if id == "" {
		return nil, errors.New("process_id is required")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.processes {
		if p.id == id {
			return p, nil
		}
	}
	return nil, fmt.Errorf("there is no process %s: processes end when the environment is suspended or restarted; files are kept", id)
}

// write writes to the process's input, and reports through the channel when that
// is done. It returns nil while something else is written.
func (p *process) write(input string, closing bool) <-chan error {
	select {
	case p.writing <- struct{}{}:
	default:
		return nil
	}
	done := make(chan error, 1)
	go func() {
		_, err := io.WriteString(p.program.Stdin(), input)
		if closing && err == nil {
			err = p.program.Stdin().Close()
		}
		<-p.writing
		done <- err
	}()
	return done
}

func (s *server) writeProcess(ctx context.Context, c tool.Call) (tool.Result, error) {
	var args struct {
		ProcessID string `json:"process_id"`
		Input     string `json:"input"`
		Close     bool   `json:"close"`
	}
	if err := workspace.Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	p, err := s.process(args.ProcessID)
	switch {
	case err != nil:
		return tool.Failure("%v", err), nil
	case args.Input == "" && !args.Close:
		return tool.Failure("input or close is required"), nil
	case p.isEnded():
		return tool.Failure("%s has ended", p.id), nil
	}
	stuck := tool.Failure("%s does not read its input; what it has not read is still to come", p.id)
	done := p.write(args.Input, args.Close)
	if done == nil {
		return stuck, nil
	}
	select {
	case err := <-done:
		if err != nil {
			return tool.Failure("%s does not take input any more", p.id), nil //nolint:nilerr // the model is told
		}
		return tool.Text(fmt.Sprintf("wrote %d bytes to %s", len(args.Input), p.id)), nil
	case <-time.After(writeTime):
		return stuck, nil
	case <-ctx.Done():
		err := context.Cause(ctx)
		return tool.Result{}, &tool.Error{Message: "write_process was stopped: " + err.Error(), Sent: true, Err: err}
	}
}

func (s *server) readProcess(ctx context.Context, c tool.Call) (tool.Result, error) {
	var args struct {
		ProcessID   string `json:"process_id"`
		WaitSeconds int64  `json:"wait_seconds"`
	}
	if err := workspace.Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	p, err := s.process(args.ProcessID)
	switch {
	case err != nil:
		return tool.Failure("%v", err), nil
	case args.WaitSeconds < 0 || args.WaitSeconds > int64(MaxWait/time.Second):
		return tool.Failure("wait_seconds must be from 0 to %d", int64(MaxWait/time.Second)), nil
	}
	wait := time.NewTimer(time.Duration(args.WaitSeconds) * time.Second)
	defer wait.Stop()
	select {
	case <-p.unread.some():
	case <-p.ended:
	case <-wait.C:
	case <-ctx.Done():
		err := context.Cause(ctx)
		return tool.Result{}, &tool.Error{Message: "read_process was stopped: " + err.Error(), Err: err}
	}
	return s.state(p, fmt.Sprintf("[%s is running]", p.id)), nil
}

func (s *server) stopProcess(ctx context.Context, c tool.Call) (tool.Result, error) {
	var args struct {
		ProcessID string `json:"process_id"`
	}
	if err := workspace.Arguments(c.Arguments, &args); err != nil {
		return tool.Failure("%v", err), nil
	}
	p, err := s.process(args.ProcessID)
	if err != nil {
		return tool.Failure("%v", err), nil
	}
	p.program.Kill()
	select {
	case <-p.ended:
	case <-ctx.Done():
		err := context.Cause(ctx)
		return tool.Result{}, &tool.Error{Message: "stop_process was stopped: " + err.Error(), Sent: true, Err: err}
	}
	return s.state(p, ""), nil
}

// state is what was printed since the last time, and how the process is.
func (s *server) state(p *process, running string) tool.Result {
	over := p.isEnded() // asked first, so that the last output is not missed
	out := p.unread.take()
	if !over {
		return tool.Text(note(out, running))
	}
	how := fmt.Sprintf("[%s has ended with exit code %d]", p.id, p.end.Code)
	if p.err != nil {
		how = fmt.Sprintf("[%s has ended: %v]", p.id, p.err)
	}
	if l := s.limited(p.end.Limit); l != "" {
		how = l + "\n" + how
	}
	return tool.Text(note(out, how))
}

// unread is what a process printed and nobody read, the last output.Limit bytes
// of it. It is safe for use by many goroutines.
type unread struct {
	mu     sync.Mutex
	data   []byte
	cut    int64
	signal chan struct{} // closed once there is something
}

func newUnread() *unread { return &unread{signal: make(chan struct{})} }

// Write never fails.
func (u *unread) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.data = append(u.data, p...)
	if over := len(u.data) - output.Limit; over > output.Limit {
		u.data = append(u.data[:0], u.data[over:]...)
		u.cut += int64(over)
	}
	u.notify()
	return len(p), nil
}

func (u *unread) notify() {
	select {
	case <-u.signal:
	default:
		close(u.signal)
	}
}

func (u *unread) wake() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.notify()
}

// some is closed once there is something to read.
func (u *unread) some() <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.signal
}

func (u *unread) take() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	data, cut := u.data, u.cut
	if over := len(data) - output.Limit; over > 0 {
		data, cut = data[over:], cut+int64(over)
	}
	s := strings.ToValidUTF8(string(data), "\uFFFD")
	if cut > 0 {
		s = fmt.Sprintf("[%d bytes of output were cut here]\n", cut) + s
	}
	u.data, u.cut, u.signal = nil, 0, make(chan struct{})
	return s
}
