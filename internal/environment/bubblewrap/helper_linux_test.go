package bubblewrap

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment/reexec"
	"github.com/stayd/stayd/internal/environment/sandbox"
)

// become has the test's own program be the helper, without a sandbox around it,
// and returns what it printed, once it has ended.
func become(t *testing.T, p program) (string, error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	own, theirs, err := sandbox.OpenGate()
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close() // it was read
	var out bytes.Buffer
	cmd := exec.CommandContext(t.Context(), self, reexec.Argument, "3")
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = &out, &out, []*os.File{theirs}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	theirs.Close() // the helper has its own
	pid, err := tell(own, p)
	if err == nil && pid != cmd.Process.Pid {
		t.Errorf("process %d waits, and not %d", pid, cmd.Process.Pid)
	}
	if err == nil {
		err = letThrough(own)
	}
	err = errors.Join(err, cmd.Wait())
	return out.String(), err
}

// The helper confines what it becomes, even where it is root.
func TestHelper(t *testing.T) {
	if !reexec.HasLandlock() {
		t.Skip("this kernel has no Landlock, or one before Linux 5.19")
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(here, "/tmp/") || strings.HasPrefix(here, "/usr/") {
		t.Skipf("in a sandbox, %s may be read", here)
	}
	source := filepath.Join(here, "bubblewrap.go")
	for _, c := range []struct {
		data    []string
		command string
		works   bool
	}{
		{nil, "cat " + source, false},
		{nil, "cat /proc/self/root" + source, false},
		{nil, ": >> " + source, false},
		{nil, ": >> /etc/passwd || : >> /usr/bin/env", false},
		{nil, "mount -t tmpfs none /tmp", false},
		{nil, "ls " + here, true},
		{nil, "cat /etc/passwd", true},
		{nil, "test \"$GODEBUG $PWD\" = 'inittrace=1 /' && ! test -e /proc/self/fd/3", true},
		{[]string{here}, "cat " + source, true},
		{[]string{here}, ": >> " + source, false},
	} {
		out, err := become(t, program{Argv: []string{"/bin/sh", "-c", "cd /; " + c.command}, Cwd: "/", Env: map[string]string{"GODEBUG": "inittrace=1", "PATH": "/usr/bin:/bin"}, Data: c.data})
		if works := err == nil; works != c.works || strings.Contains(out, "init ") {
			t.Errorf("%s, with %q: %v, %s", c.command, c.data, err, out)
		}
	}
	if out, err := become(t, program{Argv: []string{"/no/such/program"}, Cwd: "/"}); err == nil || !strings.Contains(out, "run /no/such/program: no such file") {
		t.Errorf("a program that is not there: %v, %q", err, out)
	}
}
