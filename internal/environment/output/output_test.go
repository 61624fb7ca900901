package output_test

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stayd/stayd/internal/environment/output"
)

func TestWhole(t *testing.T) {
	var chunks []string
	c := output.New(func(s string) { chunks = append(chunks, s) })
	for _, p := range []string{"a", "\xe2", "\x82", "\xac b", "\xff", "c"} {
		c.Write([]byte(p))
	}
	if got := c.String(); got != "a€ b\uFFFDc" {
		t.Errorf("kept %q", got)
	}
	if got := strings.Join(chunks, ""); got != "a€ b\uFFFDc" {
		t.Errorf("streamed %q", chunks)
	}
}

func TestCut(t *testing.T) {
	streamed := 0
	c := output.New(func(s string) { streamed += len(s) })
	line := bytes.Repeat([]byte("x"), 1023)
	for range 1024 {
		c.Write(append(line, '\n'))
	}
	c.Write([]byte("the end"))
	got := c.String()
	// 1 MiB and 7 bytes were written, 192 KiB and 64 KiB are kept.
	if want := "\n[786439 bytes of output were cut here]\n"; !strings.Contains(got, want) {
		t.Errorf("no note %q in it", want)
	}
	if !strings.HasSuffix(got, "xx\nthe end") || !strings.HasPrefix(got, "xxx") || len(got) != 262144+40 {
		t.Errorf("%d bytes, the end is %q", len(got), got[len(got)-10:])
	}
	if streamed != 262144 {
		t.Errorf("streamed %d bytes", streamed)
	}
}

func TestOneLargeWrite(t *testing.T) {
	c := output.New(nil)
	c.Write(bytes.Repeat([]byte("é"), 1<<20))
	if got := c.String(); !utf8.ValidString(got) || len(got) > output.Limit+64 {
		t.Errorf("%d bytes, valid: %v", len(got), utf8.ValidString(got))
	}
}
