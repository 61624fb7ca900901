//go:build unix

package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
)

// The exit codes of a program that could not be run, as a shell has them.
const (
	notExecutable = 126
	notFound      = 127
)

// controlFD is the file by which the helper's parent holds it: at its end, which
// comes with the parent's, the program is ended.
const controlFD = 3

// Supervise is the helper: it runs a program, ends what the program started and
// left running, and returns its exit code. It returns early where its parent
// asks for it or ends.
func Supervise(argv []string) (int, error) {
	if len(argv) == 0 {
		return 0, errors.New("there is no program to run")
	}
	control := os.NewFile(controlFD, "control")
	syscall.CloseOnExec(controlFD)
	if err := adopt(); err != nil {
		return 0, fmt.Errorf("become the parent of orphans: %w", err)
	}
	// What a program sends to all that it sees must not end its helper before it.
	// A handler, other than an ignored signal, is not inherited.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	path, err := exec.LookPath(argv[0])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return notFound, nil
	}
	child, err := os.StartProcess(path, argv, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Env: os.Environ(), Sys: ownGroup(),
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return notExecutable, nil
	}
	os.Stdin.Close() //nolint:errcheck,gosec // the child has it
	left := make(chan struct{})
	go func() {
		io.Copy(io.Discard, control) //nolint:errcheck,gosec // any end of it is the end
		close(left)
	}()
	ended := make(chan outcome, 1)
	go func() { ended <- await(child.Pid) }()
	var end outcome
	select {
	case end = <-ended:
	case <-left:
		killGroup(child.Pid)
		end = <-ended
	}
	if end.err != nil {
		return 0, fmt.Errorf("wait for the program: %w", end.err)
	}
	status, err := endAll(child.Pid, end.status)
	if err != nil {
		return 0, fmt.Errorf("end what the program left: %w", err)
	}
	if status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return status.ExitStatus(), nil
}

// outcome is how a wait for the program ended.
type outcome struct {
	status syscall.WaitStatus
	err    error
}

// killGroup kills the child, which is not reaped yet, and its group.
func killGroup(pid int) {
	syscall.Kill(-pid, syscall.SIGKILL) //nolint:errcheck,gosec // it fails where there is nobody left
	syscall.Kill(pid, syscall.SIGKILL)  //nolint:errcheck,gosec // it may have left its group
}

func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
