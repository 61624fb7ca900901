package shell

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

//go:embed kernel.py
var kernelSource string

// kernel is a Python process that runs code, one piece after another.
type kernel struct {
	program Process
	mark    []byte // stands before an answer in what the process prints
	ended   chan struct{}
	end     End // set when ended is closed
	err     error
	sent    int

	mu      sync.Mutex
	held    []byte // what may be the beginning of an answer
	cell    *cell
	between *unread // what was printed while no code ran
}

// cell is the code that runs.
type cell struct {
	id     int
	out    io.Writer
	answer chan int // the exit code
}

func startKernel(ctx context.Context, s Sandbox, python string) (*kernel, error) {
	token := rand.Text()
	k := &kernel{mark: []byte("\x1e" + token), ended: make(chan struct{}), between: newUnread()}
	p, err := s.Start(ctx, Command{Argv: []string{python, "-u", "-c", kernelSource, token}, Output: k})
	if err != nil {
		return nil, fmt.Errorf("start Python: %w", err)
	}
	k.program = p
	go func() {
		k.end, k.err = p.Wait()
		close(k.ended)
	}()
	return k, nil
}

// errKernelEnded says that the process ended before the code did.
var errKernelEnded = errors.New("the Python process ended")

// run returns the exit code of the code. After an error, the kernel is of no use
// any more, but for close.
func (k *kernel) run(ctx context.Context, code string, out io.Writer) (int, error) {
	k.sent++
	c := &cell{id: k.sent, out: out, answer: make(chan int, 1)}
	k.mu.Lock()
	k.cell = c
	io.WriteString(out, k.between.take()) //nolint:errcheck,gosec // it never fails
	k.mu.Unlock()
	defer func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.cell = nil
	}()
	request, err := json.Marshal(map[string]any{"id": c.id, "code": code})
	if err != nil {
		return 0, fmt.Errorf("encode the code: %w", err)
	}
	written := make(chan struct{})
	go func() { // a kernel that dies does not read it
		defer close(written)
		k.program.Stdin().Write(append(request, '\n')) //nolint:errcheck,gosec // then the process has ended, which is seen
	}()
	defer func() { <-written }()
	select {
	case code := <-c.answer:
		return code, nil
	case <-k.ended:
		return 0, errKernelEnded
	case <-ctx.Done():
		k.close()
		return 0, context.Cause(ctx)
	}
}

// close ends the process, and waits for it.
func (k *kernel) close() {
	k.program.Kill()
	<-k.ended
	k.program.Stdin().Close() //nolint:errcheck,gosec // a pipe
}

// Write takes what the process prints. It never fails.
func (k *kernel) Write(p []byte) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	b := slices.Concat(k.held, p)
	k.held = nil
	for {
		i := bytes.Index(b, k.mark)
		if i < 0 {
			break
		}
		k.print(b[:i])
		b = b[i:]
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			k.held = b
			return len(p), nil
		}
		k.answered(b[len(k.mark):end])
		b = b[end+1:]
	}
	keep := begun(b, k.mark)
	k.held = b[len(b)-keep:]
	k.print(b[:len(b)-keep])
	return len(p), nil
}

// begun is how many bytes at the end of b may be the beginning of the mark.
func begun(b, mark []byte) int {
	for n := min(len(mark)-1, len(b)); n > 0; n-- {
		if bytes.HasSuffix(b, mark[:n]) {
			return n
		}
	}
	return 0
}

func (k *kernel) print(b []byte) {
	if len(b) == 0 {
		return
	}
	var out io.Writer = k.between
	if k.cell != nil {
		out = k.cell.out
	}
	out.Write(b) //nolint:errcheck,gosec // it never fails
}

func (k *kernel) answered(b []byte) {
	var a struct {
		ID   int `json:"id"`
		Exit int `json:"exit"`
	}
	// The code can print what looks like an answer. It deceives itself only.
	if json.Unmarshal(b, &a) != nil || k.cell == nil || a.ID != k.cell.id {
		return
	}
	k.cell.answer <- a.Exit
	k.cell = nil
}
