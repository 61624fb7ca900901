package shell

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment/output"
)

// Whatever code prints, in whatever pieces it comes, it is told apart from the
// answer of the kernel.
func FuzzKernelOutput(f *testing.F) {
	f.Add([]byte("text"), []byte("after"), 3)
	f.Add([]byte("\x1e\x1eTOK"), []byte("\x1eTOKEN"), 9)
	f.Add([]byte{}, []byte("\n"), 0)
	f.Add([]byte("\x1eTOKE"), []byte{}, 12)
	f.Fuzz(func(t *testing.T, before, after []byte, cut int) {
		mark := []byte("\x1eTOKEN")
		before, after = bytes.ReplaceAll(before, mark, nil), bytes.ReplaceAll(after, mark, nil)
		if bytes.Contains(append(bytes.Clone(before), mark...)[:len(before)+len(mark)-1], mark) {
			t.Skip("it makes a mark together with the one that follows")
		}
		var out bytes.Buffer
		c := &cell{id: 1, out: &out, answer: make(chan int, 1)}
		k := &kernel{mark: mark, cell: c, between: newUnread()}
		all := []byte(string(before) + "\x1eTOKEN{\"id\":1,\"exit\":3}\n" + string(after))
		cut = min(max(cut, 0), len(all))
		for _, piece := range [][]byte{all[:cut], all[cut:]} {
			if n, err := k.Write(piece); n != len(piece) || err != nil {
				t.Fatalf("%d of %d, %v", n, len(piece), err)
			}
		}
		select {
		case exit := <-c.answer:
			if exit != 3 {
				t.Errorf("exit code %d", exit)
			}
		default:
			t.Error("there is no answer")
		}
		if !bytes.Equal(out.Bytes(), before) {
			t.Errorf("printed %q, want %q", out.Bytes(), before)
		}
		k.between.mu.Lock()
		defer k.between.mu.Unlock()
		if got := string(k.between.data) + string(k.held); !strings.HasSuffix(string(after), got) && k.between.cut == 0 {
			t.Errorf("printed %q afterwards, want %q", got, after)
		}
	})
}

func TestUnread(t *testing.T) {
	u := newUnread()
	for range 3 {
		u.Write(bytes.Repeat([]byte("x"), output.Limit))
	}
	u.Write([]byte("end"))
	got := u.take()
	// 3 * 256 KiB and 3 bytes were written, 256 KiB are kept.
	if !strings.HasPrefix(got, "[524291 bytes of output were cut here]\nx") || !strings.HasSuffix(got, "xend") || len(got) != 262144+len("[524291 bytes of output were cut here]\n") {
		t.Errorf("%d bytes: %.60q", len(got), got)
	}
	if got := u.take(); got != "" {
		t.Errorf("it is read again: %.60q", got)
	}
}
