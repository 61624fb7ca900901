package js

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"modernc.org/quickjs"

	"github.com/stayd/stayd/internal/environment/output"
	"github.com/stayd/stayd/internal/environment/workspace"
	"github.com/stayd/stayd/internal/tool"
)

//go:embed prelude.js
var prelude string

// evalAsync lets a script use await at its top level: the value is then a
// promise of {value: ...}. It is JS_EVAL_FLAG_ASYNC of quickjs.h.
const evalAsync = 1 << 7

// grace is how long an interpreter has after its time limit to notice it.
const grace = 2 * time.Second

var errTime = errors.New("the time limit was reached")

// outcome is how a program ended.
type outcome struct {
	failure string // what was thrown, or which limit was reached; empty if it ended well
	err     error  // of the interpreter itself
}

// run runs the code on the overlay, which it ends.
func (e *Engine) run(ctx context.Context, files *workspace.Overlay, code string, limit time.Duration, stream func(string)) (tool.Result, error) {
	limited, cancel := context.WithTimeoutCause(ctx, limit, errTime)
	defer cancel()
	p := &program{ctx: limited, files: files, out: output.New(stream), memory: e.limits.Memory}
	done := make(chan outcome, 1)
	go func() { done <- p.run(code) }()

	var o outcome
	select {
	case o = <-done:
	case <-limited.Done():
		select {
		case o = <-done:
		case <-time.After(grace):
			e.abandon(files, done)
			if ctx.Err() != nil {
				return tool.Result{}, context.Cause(ctx)
			}
			return ended(note(p.out.String(), stopped(limit)), 1), nil
		}
	}
	if o.err == nil && o.failure == "" && limited.Err() == nil {
		return p.commit()
	}
	if err := errors.Join(o.err, files.Discard()); err != nil {
		return tool.Result{}, err
	}
	if ctx.Err() != nil {
		return tool.Result{}, context.Cause(ctx)
	}
	if limited.Err() != nil {
		o.failure = stopped(limit)
	}
	return ended(note(p.out.String(), o.failure), 1), nil
}

func (p *program) commit() (tool.Result, error) {
	out := p.out.String()
	saved, err := json.Marshal(answer{Output: out})
	if err != nil {
		return tool.Result{}, errors.Join(fmt.Errorf("encode the output: %w", err), p.files.Discard())
	}
	if err := p.files.Commit(saved); err != nil {
		return tool.Result{}, fmt.Errorf("put the files in place: %w", err)
	}
	return ended(out, 0), nil
}

func stopped(limit time.Duration) string {
	return fmt.Sprintf("[stopped: the time limit of %v was reached; no file was changed]", limit)
}

func note(out, failure string) string {
	if out != "" && !strings.HasSuffix(out, "\n") {
		out += "\n"
	}
	return out + failure
}

// abandon leaves an interpreter that does not stop to itself. Its changes are
// forgotten when it ends; the workspace takes no other program until then.
func (e *Engine) abandon(files *workspace.Overlay, done <-chan outcome) {
	e.abandoned.Add(1)
	go func() {
		<-done
		files.Discard() //nolint:errcheck,gosec // the call is over; what is left is cleared when the workspace is opened
		e.abandoned.Add(-1)
	}()
}

// program is one run. Only its own goroutine uses the overlay.
type program struct {
	ctx    context.Context //nolint:containedctx // the run's, for the functions that the code calls
	files  *workspace.Overlay
	out    *output.Capture
	memory int64
}

func (p *program) run(code string) (o outcome) {
	vm, err := quickjs.NewVM()
	if err != nil {
		return outcome{err: fmt.Errorf("start the interpreter: %w", err)}
	}
	defer func() {
		// A panic of the interpreter leaves it in a state in which it can only be
		// closed. It is a fault of the code's, as far as the session goes.
		if r := recover(); r != nil {
			o = outcome{failure: fmt.Sprintf("[the interpreter failed: %v; no file was changed]", r)}
		}
		if err := vm.Close(); err != nil && o.err == nil {
			o.err = fmt.Errorf("close the interpreter: %w", err)
		}
	}()
	vm.SetMemoryLimit(uintptr(p.memory))
	stop := context.AfterFunc(p.ctx, vm.Interrupt)
	defer stop()
	if err := p.register(vm); err != nil {
		return outcome{err: fmt.Errorf("set up the interpreter: %w", err)}
	}
	show, err := vm.EvalValue(prelude, quickjs.EvalGlobal)
	if err != nil {
		return outcome{err: fmt.Errorf("set up the interpreter: %w", err)}
	}
	defer show.Free()
	return outcome{failure: p.eval(vm, show, code)}
}

// eval runs the code, and what it put off, and prints its value. It returns what
// the code threw.
func (p *program) eval(vm *quickjs.VM, show quickjs.Value, code string) string {
	if err := p.arm(vm); err != nil {
		return err.Error()
	}
	promise, err := vm.EvalValue(code, quickjs.EvalGlobal|evalAsync)
	if err != nil {
		return thrown(err)
	}
	defer promise.Free()
	var (
		settled bool
		failure string
	)
	then, err := promise.Then(
		func(v quickjs.Value) { settled, failure = true, p.printValue(vm, show, v) },
		func(v quickjs.Value) { settled, failure = true, thrown(quickjs.ErrorFromValue(v)) },
	)
	if err != nil {
		return thrown(err)
	}
	defer then.Free()
	if err := p.arm(vm); err != nil {
		return err.Error()
	}
	if _, err := vm.ExecutePendingJobs(); err != nil && failure == "" {
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
func (p *program) arm(vm *quickjs.VM) error {
	if err := p.ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := p.ctx.Deadline(); ok {
		return vm.SetEvalTimeout(max(time.Until(deadline), 0) + grace/8)
	}
	return nil
}

// printValue prints the value of the last expression, which is in result.value.
func (p *program) printValue(vm *quickjs.VM, show, result quickjs.Value) string {
	name, err := vm.NewAtom("value")
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
	shown, err := show.Call(quickjs.UndefinedValue, v)
	if err != nil {
		return thrown(err)
	}
	if s, ok := shown.(string); ok {
		p.out.Write([]byte(s)) //nolint:errcheck,gosec // it never fails
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
