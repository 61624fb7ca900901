package egress

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

// slowly replaces as replacer does, one place after the other.
func slowly(pairs []pair, s string) string {
	var out strings.Builder
	for s != "" {
		longest := pair{}
		for _, p := range pairs {
			if strings.HasPrefix(s, p.old) && len(p.old) > len(longest.old) {
				longest = p
			}
		}
		if longest.old == "" {
			out.WriteByte(s[0])
			s = s[1:]
			continue
		}
		out.WriteString(longest.new)
		s = s[len(longest.old):]
	}
	return out.String()
}

// cut gives a text in pieces of the lengths that sizes has, again and again.
type cut struct {
	text  string
	sizes []byte
	n     int
}

func (c *cut) Read(p []byte) (int, error) {
	if c.text == "" {
		return 0, io.EOF
	}
	size := 1
	if len(c.sizes) > 0 {
		size = max(1, int(c.sizes[c.n%len(c.sizes)]))
		c.n++
	}
	n := copy(p, c.text[:min(len(c.text), size)])
	c.text = c.text[n:]
	return n, nil
}

func FuzzReplacer(f *testing.F) {
	f.Add("a stayd_secret_0 b", "stayd_secret_0", "stayd_secret_01", "secret", []byte{1})
	f.Add("aaaaab", "aab", "ab", "aaaa", []byte{2, 3})
	f.Add("abcabcabd", "abcabd", "bca", "abc", []byte{1, 5})
	f.Add("ababababc", "abababc", "babab", "c", []byte{3})
	f.Add("xyz", "x", "xy", "xyzz", []byte{0, 1})
	f.Fuzz(func(t *testing.T, text, a, b, c string, sizes []byte) {
		if len(text) > 1<<12 || len(a)+len(b)+len(c) > 1<<10 {
			return
		}
		pairs := []pair{{old: a, new: "<1>"}, {old: b, new: ""}, {old: c, new: a + b}}
		if a == b || b == c || a == c {
			pairs = pairs[:1]
		}
		r, want := newReplacer(pairs), slowly(pairs, text)
		if got, err := r.all(text); err != nil || got != want {
			t.Fatalf("as a whole: %q, want %q (%v)", got, want, err)
		}
		got, err := io.ReadAll(r.reader(&cut{text: text, sizes: sizes}))
		if err != nil || string(got) != want {
			t.Fatalf("in pieces: %q, want %q (%v)", got, want, err)
		}
		got, err = io.ReadAll(iotest.OneByteReader(r.reader(iotest.DataErrReader(strings.NewReader(text)))))
		if err != nil || string(got) != want {
			t.Fatalf("read in pieces: %q, want %q (%v)", got, want, err)
		}
	})
}

// What can be passed on is not held until more comes, and what breaks off is not
// taken for the end.
func TestReplacingDoesNotWait(t *testing.T) {
	r, w := io.Pipe()
	x := newReplacer([]pair{{old: "secret", new: "*"}}).reader(r)
	b := make([]byte, 100)
	for _, step := range []struct{ in, out string }{{"event: 1\n", "event: 1\n"}, {"a secret and se", "a * and "}, {"t", "set"}} {
		go w.Write([]byte(step.in))
		if n, err := x.Read(b); err != nil || string(b[:n]) != step.out {
			t.Errorf("after %q: %q, want %q (%v)", step.in, b[:n], step.out, err)
		}
	}
	broken := errors.New("broken")
	go func() {
		w.Write([]byte("the sec"))
		w.CloseWithError(broken)
	}()
	rest, err := io.ReadAll(x)
	if string(rest) != "the " || !errors.Is(err, broken) {
		t.Errorf("%q, %v", rest, err)
	}
}

func BenchmarkReplacing(b *testing.B) {
	r := newReplacer([]pair{{old: strings.Repeat("k", 40), new: "x"}, {old: "stayd_secret_" + strings.Repeat("0", 40), new: "y"}})
	body := bytes.Repeat([]byte("What is said in a body that has no secrets in it. "), 20_000)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if n, err := io.Copy(io.Discard, r.reader(bytes.NewReader(body))); err != nil || n != int64(len(body)) {
			b.Fatal(n, err)
		}
	}
}
