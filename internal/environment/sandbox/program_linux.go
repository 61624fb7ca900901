package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/stayd/stayd/internal/environment/shell"
)

// program is one program in its own namespaces.
type program struct {
	sandbox     *Sandbox
	shared      Shared
	outOfMemory int // processes killed by the kernel for memory, before
	full        atomic.Bool

	mu     sync.Mutex
	box    *box // nil until there is one
	killed bool

	done chan struct{} // closed at the end; end and err are set before
	end  shell.End
	err  error
}

// Stdin implements shell.Process.
func (p *program) Stdin() io.WriteCloser { return p.box.stdin }

// Wait implements shell.Process.
func (p *program) Wait() (shell.End, error) {
	<-p.done
	return p.end, p.err
}

// Kill implements shell.Process.
func (p *program) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.killed = true
	if p.box != nil {
		p.box.kill()
	}
}

// has takes note of the box that the program is to be in.
func (p *program) has(b *box) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.box = b
	if p.killed {
		b.kill()
	}
}

// start starts the program: in the box that waits for it, if there is one. After
// an error, nothing of it is left.
func (p *program) start(ctx context.Context, c shell.Command, standby *box) error {
	if standby != nil && p.startIn(ctx, standby, c) {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	launch, err := p.sandbox.confinement.Launch(c, p.shared)
	if err != nil {
		return err
	}
	b, err := newBox(launch, p.sandbox.starts)
	if err != nil {
		return err
	}
	p.has(b)
	b.copyTo(c.Output)
	if err := b.admit(ctx); err != nil {
		return errors.Join(err, b.discard())
	}
	return nil
}

// startIn has what waits in a box become the program. Where it does not wait any
// more, the program was not started, and nothing of the box is left.
func (p *program) startIn(ctx context.Context, b *box, c shell.Command) bool {
	p.has(b)
	stop := context.AfterFunc(ctx, b.kill)
	err := b.launch.(AheadLaunch).Tell(c)
	stop()
	if err == nil { // it may have begun, even if it was killed at once
		b.copyTo(c.Output)
		return true
	}
	p.mu.Lock()
	p.box = nil
	p.mu.Unlock()
	b.discard() //nolint:errcheck,gosec // it is seen of the next one what is wrong
	return false
}

// supervise waits for the end of the program, and until nothing of it is left.
func (p *program) supervise() {
	defer close(p.done)
	b := p.box
	waited := b.wait()
	err := b.endNamespace()
	if copyErr := <-b.copied; err == nil && copyErr != nil {
		err = fmt.Errorf("read the output: %w", copyErr)
	}
	switch s := p.sandbox; {
	case p.full.Load():
		p.end.Limit = "disk"
	case p.shared.Group.Killed() > p.outOfMemory:
		p.end.Limit = "memory"
	case s.disk.Over():
		p.end.Limit = "disk"
	}
	if err == nil {
		p.end.Code, err = b.launch.Ended(waited, b.wasKilled() || p.end.Limit == "memory")
	}
	b.output.Close() //nolint:errcheck,gosec // a pipe that was read
	p.err = errors.Join(err, b.launch.Close())
}
