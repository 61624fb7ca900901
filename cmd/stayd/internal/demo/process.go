package demo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a server that runs as a process of its own.
type process struct {
	cmd     *exec.Cmd
	url     string
	started time.Time
	log     *os.File
	read    sync.WaitGroup // of its standard error
	ended   bool
}

// startTimeout bounds how long the server may take to be ready.
const startTimeout = 30 * time.Second

// start starts the server and waits until it is ready. What it logs is added to
// server.log.
func (d *Demo) start() (*process, error) {
	args := []string{
		"serve", "--listen", "127.0.0.1:0", "--data", filepath.Join(d.cfg.Dir, "data"), "--scripts", filepath.Join(d.cfg.Dir, "scripts"),
		"--allow-stdio-mcp", d.cfg.Executable, "--lease-ttl", "1s",
	}
	if d.cfg.Models != "" {
		args = append(args, "--models", d.cfg.Models)
	}
	log, err := os.OpenFile(filepath.Join(d.cfg.Dir, "server.log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.Command(d.cfg.Executable, args...), log: log, started: time.Now()} //nolint:gosec,noctx // it runs this very binary, and ends by a signal of its own
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start the server: %w", err), log.Close())
	}
	ready := make(chan string, 1)
	p.read.Go(func() { readURL(stderr, log, ready) })
	select {
	case url, ok := <-ready:
		if ok {
			p.url = url
			return p, nil
		}
		err = errors.New("the server ended before it was ready")
	case <-time.After(startTimeout):
		err = fmt.Errorf("the server was not ready within %s", startTimeout)
	}
	return nil, errors.Join(fmt.Errorf("%w; it says why in %s", err, log.Name()), p.kill())
}

// readURL copies what the server says, and hands on the URL that it listens on.
func readURL(from io.Reader, to io.Writer, ready chan<- string) {
	defer close(ready)
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		if url, ok := strings.CutPrefix(lines.Text(), "listening on "); ok {
			ready <- url
		}
		fmt.Fprintln(to, lines.Text()) //nolint:errcheck // a log that cannot be written does not stop the demonstration
	}
}

// kill ends the process with SIGKILL: it gets to do nothing any more.
func (p *process) kill() error { return p.end(os.Kill) }

// stopTimeout bounds how long the server may take to stop when it is asked to.
const stopTimeout = 15 * time.Second

// stop asks the process to end.
func (p *process) stop() error {
	timer := time.AfterFunc(stopTimeout, func() { p.cmd.Process.Kill() }) //nolint:errcheck,gosec // it may have ended
	defer timer.Stop()
	return p.end(syscall.SIGTERM)
}

func (p *process) end(sig os.Signal) error {
	if p.ended {
		return nil
	}
	p.ended = true
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end the server: %w", err)
	}
	p.read.Wait()
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) && sig == os.Kill {
		err = nil
	}
	return errors.Join(err, p.log.Close())
}

func (p *process) pid() int { return p.cmd.Process.Pid }
