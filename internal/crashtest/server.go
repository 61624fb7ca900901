package crashtest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Server is the server under test: one process after another, each with the
// data that the one before it left.
type Server struct {
	// URL is the same for all the processes.
	URL string

	binary string
	args   []string
	log    *os.File
	cmd    *exec.Cmd
}

// startTimeout bounds how long a process may take to say that it listens.
const startTimeout = 30 * time.Second

// NewServer prepares a server of the binary on a free port. What its processes
// write to standard error goes to the file logPath.
func NewServer(binary, logPath string, args ...string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return nil, fmt.Errorf("find a free port: %w", err)
	}
	log, err := os.Create(logPath)
	if err != nil {
		return nil, fmt.Errorf("make the server's log: %w", err)
	}
	return &Server{URL: "http://" + addr, binary: binary, args: append([]string{"serve", "--listen", addr}, args...), log: log}, nil
}

// Start starts a process, and returns when it says that it listens.
func (s *Server) Start(ctx context.Context) error {
	cmd := exec.Command(s.binary, s.args...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.cmd = cmd
	ready := make(chan error, 1)
	go s.copyLog(stderr, ready)
	limit := time.NewTimer(startTimeout)
	defer limit.Stop()
	select {
	case err = <-ready:
	case <-limit.C:
		err = fmt.Errorf("the server does not listen after %s", startTimeout)
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		return errors.Join(err, s.Kill())
	}
	return nil
}

// KillEarly starts a process and kills it after a while, whether it listens or
// not.
func (s *Server) KillEarly(after time.Duration) error {
	cmd := exec.Command(s.binary, s.args...)
	cmd.Stderr = s.log
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the server: %w", err)
	}
	s.cmd = cmd
	timer := time.NewTimer(after)
	defer timer.Stop()
	<-timer.C
	return s.Kill()
}

// copyLog copies what the process writes, and tells when it listens or ends.
func (s *Server) copyLog(r io.Reader, ready chan<- error) {
	sc := bufio.NewScanner(r)
	told := false
	for sc.Scan() {
		fmt.Fprintln(s.log, sc.Text()) // a log that is cut short is found out by what is missing
		if !told && strings.HasPrefix(sc.Text(), "listening on ") {
			told = true
			ready <- nil
		}
	}
	if !told {
		ready <- errors.New("the server ended before it listened")
	}
}

// Kill kills the process with SIGKILL, if there is one, and returns when it is
// gone.
func (s *Server) Kill() error {
	if s.cmd == nil {
		return nil
	}
	err := s.cmd.Process.Kill()
	s.cmd.Wait() // it was killed, and says so
	s.cmd = nil
	if err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the server: %w", err)
	}
	return nil
}

// Log returns what all the processes wrote.
func (s *Server) Log() (string, error) {
	b, err := os.ReadFile(s.log.Name())
	if err != nil {
		return "", fmt.Errorf("read the server's log: %w", err)
	}
	return string(b), nil
}
