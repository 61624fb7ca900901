// Package output collects what a program prints: it hands it on while the
// program runs, and keeps as much of it as fits. It knows nothing of programs.
package output

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
)

// Limit is how many bytes of a program's output are kept: the first three
// quarters and the last quarter of them, as a program that fails says so at its
// end.
const Limit = 256 << 10

const (
	headLimit = Limit / 4 * 3
	tailLimit = Limit - headLimit
)

// Capture keeps the output of one program. It is safe for use by many
// goroutines.
type Capture struct {
	stream func(chunk string)

	mu       sync.Mutex
	head     []byte
	tail     []byte // at most twice tailLimit
	total    int64
	streamed int
	partial  []byte // a character of which more is to come
}

// New returns a Capture that hands on to stream, where it is not nil, the first
// Limit bytes.
func New(stream func(chunk string)) *Capture { return &Capture{stream: stream} }

// Write takes what was printed. It never fails.
func (c *Capture) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total += int64(len(p))
	c.handOn(p)
	rest := p
	if room := headLimit - len(c.head); room > 0 {
		n := min(room, len(rest))
		c.head = append(c.head, rest[:n]...)
		rest = rest[n:]
	}
	if len(rest) > tailLimit {
		c.tail, rest = c.tail[:0], rest[len(rest)-tailLimit:]
	}
	c.tail = append(c.tail, rest...)
	if len(c.tail) > 2*tailLimit {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-tailLimit:]...)
	}
	return len(p), nil
}

func (c *Capture) handOn(p []byte) {
	if c.stream == nil || c.streamed >= Limit {
		return
	}
	b := slices.Concat(c.partial, p)
	b = b[:min(len(b), Limit-c.streamed)]
	whole := len(b)
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				whole = len(b) - i
			}
			break
		}
	}
	c.partial = b[whole:]
	if whole == 0 {
		return
	}
	c.streamed += whole
	c.stream(strings.ToValidUTF8(string(b[:whole]), "\uFFFD"))
}

// String is what was kept, with a note of what was cut.
func (c *Capture) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	tail := c.tail
	if len(tail) > tailLimit {
		tail = tail[len(tail)-tailLimit:]
	}
	s := string(c.head)
	if cut := c.total - int64(len(c.head)) - int64(len(tail)); cut > 0 {
		s += fmt.Sprintf("\n[%d bytes of output were cut here]\n", cut)
	}
	return strings.ToValidUTF8(s+string(tail), "\uFFFD")
}
