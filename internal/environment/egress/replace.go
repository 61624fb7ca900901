package egress

import (
	"bytes"
	"io"
	"slices"
)

// pair is a text, and what comes in its place. One that is refused may not pass.
type pair struct {
	old, new string
	refused  *refusal
}

// replacer replaces texts: the leftmost first, and of several at one place the
// longest.
type replacer struct{ pairs []pair }

func newReplacer(pairs []pair) *replacer {
	r := &replacer{}
	for _, p := range pairs {
		if p.old != "" && !slices.ContainsFunc(r.pairs, func(q pair) bool { return q.old == p.old }) {
			r.pairs = append(r.pairs, p)
		}
	}
	slices.SortStableFunc(r.pairs, func(a, b pair) int { return len(b.old) - len(a.old) })
	return r
}

// all replaces in a whole text.
func (r *replacer) all(s string) (string, error) {
	out, _, err := r.some(nil, []byte(s), true)
	return string(out), err
}

// some replaces in b as far as that is settled without what comes after it, and
// appends it to out. It returns what is left of b: nothing, at the end of a text.
func (r *replacer) some(out, b []byte, end bool) (replaced, left []byte, err error) {
	from, held := 0, len(b)
	if !end {
		held = r.begun(b, 0)
	}
	next := make([]int, len(r.pairs)) // where each is next, from the last look on
	for {
		at, found := len(b), -1
		for i := range r.pairs {
			if next[i] < len(b) && (from == 0 || next[i] < from) {
				next[i] = index(b, from, r.pairs[i].old)
			}
			if next[i] < at {
				at, found = next[i], i
			}
		}
		if found < 0 || !end && held <= at {
			return append(out, b[from:held]...), b[held:], nil
		}
		p := &r.pairs[found]
		if p.refused != nil {
			return out, nil, p.refused
		}
		out = append(append(out, b[from:at]...), p.new...)
		if from = at + len(p.old); !end && from > held {
			held = r.begun(b, from)
		}
	}
}

// index is where the text is next; the length of b where it is not.
func index(b []byte, from int, text string) int {
	if i := bytes.Index(b[from:], []byte(text)); i >= 0 {
		return from + i
	}
	return len(b)
}

// begun is the first place at which one of the texts begins that is cut off by
// the end of b.
func (r *replacer) begun(b []byte, from int) int {
	first := len(b)
	for i := range r.pairs {
		old := []byte(r.pairs[i].old)
		for j := max(from, len(b)-len(old)+1); j < first; j++ {
			k := bytes.IndexByte(b[j:first], old[0])
			if k < 0 {
				break
			}
			if j += k; bytes.HasPrefix(old, b[j:]) {
				first = j
			}
		}
	}
	return first
}

// replacing is what is read of a reader, with texts replaced.
type replacing struct {
	src       io.Reader
	texts     *replacer
	chunk     []byte
	left, out []byte
	read      int // of out
	err       error
}

// maxChunk is how much is read at once, in bytes. It is less where that would grow
// by much.
const maxChunk = 32 << 10

func (r *replacer) reader(src io.Reader) *replacing {
	size := maxChunk
	for _, p := range r.pairs {
		size = min(size, max(len(p.old), maxFilled/max(1, len(p.new)/len(p.old))))
	}
	return &replacing{src: src, texts: r, chunk: make([]byte, size)}
}

func (x *replacing) Read(p []byte) (int, error) {
	for x.read == len(x.out) {
		if x.err != nil {
			return 0, x.err
		}
		n, err := x.src.Read(x.chunk)
		x.left, x.err = append(x.left, x.chunk[:n]...), err
		var refused error
		if x.out, x.left, refused = x.texts.some(x.out[:0], x.left, err == io.EOF); refused != nil { //nolint:errorlint // as readers are to return it
			x.out, x.err = nil, refused
		}
		x.read = 0
	}
	n := copy(p, x.out[x.read:])
	x.read += n
	return n, nil
}
