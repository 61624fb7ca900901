package mcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/stayd/stayd/internal/event"
)

// Bounds of what a process may write to its standard error, in bytes: of one
// line, and of all. What is beyond is dropped.
const (
	maxLine   = 4 << 10
	maxStderr = 1 << 20
)

// process is a server that talks over its standard input and output. What it
// starts is in its group, and ends with it.
type process struct {
	cmd    *exec.Cmd
	group  group
	stdin  io.WriteCloser
	stdout *os.File
	grace  time.Duration

	ended  chan struct{} // closed when the process has ended and its stderr was read
	stdinC sync.Once
}

func environment(tr *event.Transport) []string {
	var env []string
	for _, k := range append(inherited[:len(inherited):len(inherited)], tr.EnvVars...) {
		if v, ok := os.LookupEnv(k); ok {
			env = append(env, k+"="+v)
		}
	}
	for k, v := range tr.Env {
		env = append(env, k+"="+v)
	}
	return env
}

func startProcess(tr *event.Transport, log func(string), grace time.Duration) (*process, error) {
	if tr.Command == "" {
		return nil, errors.New("it has no command")
	}
	if err := keepFiles(); err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(tr.Command, tr.Args...), grace: grace, ended: make(chan struct{})} //nolint:gosec,noctx // it outlives the call that starts it; which commands may be started is decided by who configures the server
	p.cmd.Dir, p.cmd.Env = tr.Cwd, environment(tr)
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start the process: %w", err)
	}
	stdout, stdoutW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start the process: %w", err)
	}
	stderr, stderrW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the process: %w", err), stdout.Close(), stdoutW.Close())
	}
	p.stdin, p.stdout = stdin, stdout
	p.cmd.Stdout, p.cmd.Stderr = stdoutW, stderrW

	started := make(chan error, 1)
	go func() {
		// The kernel kills the process when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(p.ended)
		defer stderr.Close() //nolint:errcheck // it was only read
		err := p.group.start(p.cmd)
		stdoutW.Close() //nolint:errcheck,gosec // the process has its own
		stderrW.Close() //nolint:errcheck,gosec // the process has its own
		started <- err
		if err != nil {
			return
		}
		read := make(chan struct{})
		go func() {
			defer close(read)
			logLines(stderr, log)
		}()
		p.cmd.Wait() //nolint:errcheck,gosec // a server's exit code says nothing about a call
		// Whoever it started and left behind would keep the pipes open.
		p.group.kill()
		<-read
		p.group.close()
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start the process: %w", err), stdout.Close())
	}
	return p, nil
}

// logLines hands on what is read, line by line, within the bounds.
func logLines(r io.Reader, log func(string)) {
	if log == nil {
		log = func(string) {}
	}
	b := bufio.NewReaderSize(r, maxLine)
	total, dropped := 0, false
	for {
		line, more, err := b.ReadLine()
		if err != nil {
			return
		}
		if total += len(line); total <= maxStderr {
			log(string(line))
		} else if !dropped {
			dropped = true
			log("[the rest of the standard error is dropped]")
		}
		for more && err == nil {
			_, more, err = b.ReadLine()
		}
	}
}

func (p *process) transport() sdk.Transport {
	return &sdk.IOTransport{Reader: io.NopCloser(p.stdout), Writer: p, MaxLineLength: maxAnswer}
}

// Write writes to the process.
func (p *process) Write(b []byte) (int, error) { return p.stdin.Write(b) }

// Close tells the process that there is no more to come.
func (p *process) Close() error {
	var err error
	p.stdinC.Do(func() { err = p.stdin.Close() })
	return err
}

// stop ends the process: its input is closed, then it is told to end, then it is
// killed. It returns when the process has ended.
func (p *process) stop() error {
	err := p.Close()
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	for _, next := range []func(){p.group.terminate, p.group.kill} {
		select {
		case <-p.ended:
		case <-time.After(p.grace):
			next()
		}
	}
	<-p.ended
	return errors.Join(err, p.stdout.Close())
}

// noting notes, of each call, that it is about to be written.
type noting struct{ next sdk.Transport }

func (n *noting) Connect(ctx context.Context) (sdk.Connection, error) {
	c, err := n.next.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &notingConn{Connection: c}, nil
}

type notingConn struct{ sdk.Connection }

func (c *notingConn) Write(ctx context.Context, m jsonrpc.Message) error {
	if a := attemptOf(ctx); a != nil {
		if r, ok := m.(*jsonrpc.Request); ok && r.IsCall() {
			a.written.Store(true)
		}
	}
	return c.Connection.Write(ctx, m)
}
