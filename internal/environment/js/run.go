package js

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"modernc.org/quickjs"

	"github.com/stayd/stayd/internal/environment/output"
	"github.com/stayd/stayd/internal/environment/workspace"
)

//go:embed prelude.js
var prelude string

// evalAsync lets a script use await at its top level: the value is then a
// promise of {value: ...}. It is JS_EVAL_FLAG_ASYNC of quickjs.h.
const evalAsync = 1 << 7

// grace is how long an interpreter has after its time limit to notice it.
const grace = 2 * time.Second

var errTime = errors.New("the time limit was reached")

// outcome is how a run ended.
type outcome struct {
	failure string // what was thrown; empty if it ended well
	broken  bool   // the interpreter is not to be used again
	err     error  // of the interpreter itself
}

// run is one piece of code that runs.
type run struct {
	ctx context.Context //nolint:containedctx // the run's, for the functions that the code calls
	out *output.Capture
}

// machine is one interpreter. It is used by one run after another.
type machine struct {
	vm     *quickjs.VM
	show   quickjs.Value
	files  *workspace.Workspace
	memory int64
	now    *run
}

// start makes an interpreter.
func start(files *workspace.Workspace, memory int64) (*machine, error) {
	vm, err := quickjs.NewVM()
	if err != nil {
		return nil, fmt.Errorf("start the interpreter: %w", err)
	}
	m := &machine{vm: vm, files: files, memory: memory}
	vm.SetMemoryLimit(uintptr(memory))
	err = m.register()
	if err == nil {
		m.show, err = vm.EvalValue(prelude, quickjs.EvalGlobal)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up the interpreter: %w", err), vm.Close())
	}
	return m, nil
}

func (m *machine) close() error {
	m.show.Free()
	if err := m.vm.Close(); err != nil {
		return fmt.Errorf("close the interpreter: %w", err)
	}
	return nil
}

// run runs the code. Only one goroutine may do so at a time.
func (m *machine) run(r *run, code string) (o outcome) {
	m.now = r
	stop := context.AfterFunc(r.ctx, m.vm.Interrupt)
	defer func() {
		// A panic of the interpreter leaves it in a state in which it can only be
		// closed. It is a fault of the code's, as far as the session goes.
		if p := recover(); p != nil {
			o = outcome{failure: fmt.Sprintf("[the interpreter failed: %v]", p), broken: true}
		}
		if !stop() || strings.Contains(o.failure, "out of memory") {
			o.broken = true
		}
	}()
	return outcome{failure: m.eval(lasting(code))}
}

func stopped(limit time.Duration) string {
	return fmt.Sprintf("[stopped: the time limit of %v was reached]", limit)
}

func note(out, failure string) string {
	if out != "" && failure != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	return out + failure
}

// eval runs the code, and what it put off, and prints its value. It returns what
// the code threw.
func (m *machine) eval(code string) string {
	if err := m.arm(); err != nil {
		return err.Error()
	}
	promise, err := m.vm.EvalValue(code, quickjs.EvalGlobal|evalAsync)
	if err != nil {
		return thrown(err)
	}
	defer promise.Free()
	var (
		settled bool
		failure string
	)
	then, err := promise.Then(
		func(v quickjs.Value) { settled, failure = true, m.printValue(v) },
		func(v quickjs.Value) { settled, failure = true, thrown(quickjs.ErrorFromValue(v)) },
	)
	if err != nil {
		return thrown(err)
	}
	defer then.Free()
	if err := m.arm(); err != nil {
		return err.Error()
	}
	if _, err := m.vm.ExecutePendingJobs(); err != nil && failure == "" {
		failure = thrown(err)
	}
	if !settled && failure == "" {
		failure = "the code awaits a promise that nothing will settle"
	}
	return failure
}

// arm gives the interpreter the time that is left, and a little more: the end of
// the context stops it, too, and is what says why. An end that comes between two
// calls into the interpreter is lost, and this limit then stops it.
func (m *machine) arm() error {
	if err := m.now.ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := m.now.ctx.Deadline(); ok {
		return m.vm.SetEvalTimeout(max(time.Until(deadline), 0) + grace/8)
	}
	return nil
}

// printValue prints the value of the last expression, which is in result.value.
func (m *machine) printValue(result quickjs.Value) string {
	name, err := m.vm.NewAtom("value")
	if err != nil {
		return thrown(err)
	}
	v, err := result.GetPropertyValue(name)
	if err != nil {
		return thrown(err)
	}
	defer v.Free()
	if v.IsUndefined() {
		return ""
	}
	shown, err := m.show.Call(quickjs.UndefinedValue, v)
	if err != nil {
		return thrown(err)
	}
	if s, ok := shown.(string); ok {
		m.now.out.Write([]byte(s)) //nolint:errcheck,gosec // it never fails
	}
	return ""
}

// thrown is the text of what the code threw, with its stack.
func thrown(err error) string {
	var e *quickjs.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	text := e.Error()
	if e.Stack != "" && !strings.Contains(text, e.Stack) {
		text = strings.TrimRight(text, "\n") + "\n" + strings.TrimRight(e.Stack, "\n")
	}
	return strings.ToValidUTF8(text, string(utf8.RuneError))
}
