// Command stayd is the runtime and its command line. What a command needs of the
// runtime it asks for over the HTTP API: of a server that runs, or of a runtime
// that it opens in its own process.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"github.com/stayd/stayd/cmd/stayd/internal/login"
	"github.com/stayd/stayd/internal/client"
	"github.com/stayd/stayd/internal/cluster"
	"github.com/stayd/stayd/internal/environment/host"
	"github.com/stayd/stayd/internal/environment/reexec"
)

// sandboxHelper is the argument with which this program is run again to make a
// network namespace for a sandbox, or in one, to confine a program.
const sandboxHelper = reexec.Argument

func main() {
	if len(os.Args) > 2 && os.Args[1] == hostHelper {
		code, err := host.Supervise(os.Args[2:])
		if err != nil {
			fmt.Fprintf(os.Stderr, "stayd: %v\n", err)
			os.Exit(exitFailed)
		}
		os.Exit(code)
	}
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	if err == nil {
		return 0
	}
	code := exitCode(err)
	if !errors.As(err, new(*quiet)) {
		fmt.Fprintf(os.Stderr, "stayd: %s\n", message(err))
		if code == exitUsage {
			fmt.Fprintln(os.Stderr, "stayd: try `stayd help`, or --help after a command")
		}
	}
	return code
}

// message is an error in one sentence.
func message(err error) string {
	if e := new(login.Error); errors.As(err, &e) {
		return e.Error()
	}
	var u *url.Error
	if !errors.As(err, &u) {
		return client.Message(err)
	}
	where := u.URL
	if parsed, err := url.Parse(u.URL); err == nil {
		where = parsed.Scheme + "://" + parsed.Host
	}
	cause := u.Err
	if op := new(net.OpError); errors.As(u.Err, &op) {
		cause = op.Err
	}
	return fmt.Sprintf("the server %s does not answer: %v; start it with `stayd serve`, or leave out --server and STAYD_SERVER", where, cause)
}

// Exit codes. They are documented in the help of the root command.
const (
	exitFailed   = 1
	exitUsage    = 2
	exitInUse    = 3
	exitPerson   = 4
	exitUnsound  = 5
	exitCanceled = 130
)

// coded is an error with an exit code of its own.
type coded struct {
	code int
	err  error
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// quiet is an error of which everything was said already.
type quiet struct{ error }

func (e *quiet) Unwrap() error { return e.error }

func usage(format string, args ...any) error {
	return &coded{code: exitUsage, err: fmt.Errorf(format, args...)}
}

func exitCode(err error) int {
	var c *coded
	var held *cluster.HeldError
	switch {
	case errors.As(err, &c):
		return c.code
	case errors.As(err, &held):
		return exitInUse
	case errors.Is(err, context.Canceled):
		return exitCanceled
	}
	return exitFailed
}
