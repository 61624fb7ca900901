package reexec_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stayd/stayd/internal/environment/reexec"
)

// The test's own program is the helper, too. A person who runs it is told that it
// is not for people.
func TestRunByAPerson(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "stayd: descriptor 3 is not a socket of the runtime: this command is run by the runtime only\n"},
		{[]string{"1"}, "stayd: this command is run by the runtime only\n"},
		{[]string{"x"}, "stayd: this command is run by the runtime only\n"},
		{[]string{"3", "4"}, "stayd: this command is run by the runtime only\n"},
	} {
		out, err := exec.CommandContext(t.Context(), self, append([]string{reexec.Argument}, c.args...)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 1 || string(out) != c.want {
			t.Errorf("%q: %v, %q; want %q", c.args, err, out, c.want)
		}
	}
}

// What the helper is told comes as it was sent, whatever bytes it has, and what
// follows is left unread.
func TestProgram(t *testing.T) {
	for _, p := range []reexec.Program{
		{Argv: []string{"/bin/true"}, Dir: "/", Env: []string{}},
		{
			Argv: []string{"/bin/sh", "-c", "\xff\n", ""}, Dir: "/a\n\xfe", Env: []string{"A=b\xfe", "GOGC=off"}, Handled: 1 << 60,
			Rules: []reexec.Rule{{Rights: 3, Path: "/"}, {Rights: 1 << 63, Path: "/tmp/a b"}},
		},
	} {
		var b bytes.Buffer
		if err := p.Write(&b); err != nil {
			t.Fatal(err)
		}
		sent := slices.Clone(b.Bytes())
		b.WriteString("g")
		got, err := reexec.ReadProgram(&b)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(&p, got); d != "" || b.String() != "g" {
			t.Errorf("%q follows; program (-sent +got):\n%s", b.String(), d)
		}
		for n := range sent {
			if p, err := reexec.ReadProgram(bytes.NewReader(sent[:n])); err == nil {
				t.Errorf("%d of %d bytes are %+v", n, len(sent), p)
			}
		}
		for i := range sent {
			broken := slices.Clone(sent)
			broken[i] ^= 0x80
			reexec.ReadProgram(bytes.NewReader(broken)) // it may be another program, but is read without a panic
		}
	}
	long := reexec.Program{Argv: []string{strings.Repeat("x", 9<<20)}}
	if err := long.Write(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "more than 8388608") {
		t.Errorf("a long command: %v", err)
	}
	if _, err := reexec.ReadProgram(strings.NewReader("\xff\xff\xff\xff")); err == nil {
		t.Error("4 GiB were announced, and waited for")
	}
}
