package gvisor

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/cgroup"
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
)

// launches is how many sandboxes the environment started.
func (c *confinement) launches() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// sandboxDir is the folder of the nth sandbox, which the command lines of all its
// processes have.
func (c *confinement) sandboxDir(n int) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return filepath.Join(c.scratch, strconv.Itoa(n)) + "/"
}

// run runs a command to its end, and returns what it printed.
func run(t *testing.T, s *sandbox.Sandbox, command string) string {
	t.Helper()
	var out bytes.Buffer
	end, err := start(t, s, command, &out).Wait()
	if err != nil || end.Code != 0 {
		t.Fatalf("%s: code %d, error %v, output %q", command, end.Code, err, out.String())
	}
	return out.String()
}

// A program has no notion of whether its sandbox has waited for it.
func TestAhead(t *testing.T) {
	s, env := openAhead(t, Config{}, sandbox.NewStandby(1, 0, time.Hour))
	seen := func() string {
		var out bytes.Buffer
		p, err := s.Start(t.Context(), shell.Command{Argv: []string{"/usr/bin/python3", "-c", `import os, sys
print(os.getcwd(), os.getpid(), sorted(os.environb.items()), sorted(os.listdir("/proc/self/fd")), sys.argv)
print(sorted(p for p in os.listdir("/proc") if p.isdigit()), os.sched_getaffinity(0), os.getsid(0), os.getpgid(0))`, "it's", "\n"}, Output: &out})
		if err != nil {
			t.Fatal(err)
		}
		if end, err := p.Wait(); err != nil || end.Code != 0 {
			t.Fatalf("code %d, error %v, output %q", end.Code, err, out.String())
		}
		return out.String()
	}
	first := seen()
	for _, want := range []string{"/workspace 1 [", "(b'GREETING', b'hello')", "(b'IFS', b'x')", `(b'a-name', b"it's\n'mine'")`, "['0', '1', '2', '3']", `['-c', "it's", '\n']`} {
		if !strings.Contains(first, want) {
			t.Errorf("there is no %s in %q", want, first)
		}
	}
	waitFor(t, func() bool { return env.launches() == 2 })
	if got := seen(); got != first {
		t.Errorf("it got %q\nthe first, which started its own, %q", got, first)
	}
	if n := env.launches(); n < 2 || runscs(t, env.sandboxDir(2)) != "" {
		t.Errorf("%d sandboxes were started, and the second has no program", n)
	}
}

// Variables are the program's alone: what waits for it would be influenced by them
// before there is one, and say so in the program's output.
func TestAheadVariables(t *testing.T) {
	spec := environment.Spec{Dir: t.TempDir(), Env: map[string]string{"LD_PRELOAD": "/workspace/none.so", "BASH_ENV": "/workspace/none", "SHLVL": "7"}}
	if err := errors.Join(os.Mkdir(spec.WorkspaceDir(), 0o700), os.Mkdir(sandbox.TmpDir(spec), 0o700)); err != nil {
		t.Fatal(err)
	}
	k := kind(Config{}.orDefaults())
	k.Standby = sandbox.NewStandby(1, 0, time.Hour)
	env := k.Confine(runsc(t), spec).(*confinement)
	s := sandbox.Open(k, cgroup.Find(), env, spec)
	defer s.Close()
	first := run(t, s, "echo $SHLVL")
	if !strings.Contains(first, "none.so") || !strings.HasSuffix(first, "7\n") {
		t.Errorf("it printed %q", first)
	}
	waitFor(t, func() bool { return env.launches() == 2 })
	if got := run(t, s, "echo $SHLVL"); got != first || runscs(t, env.sandboxDir(2)) != "" {
		t.Errorf("it printed %q\nthe first, which started its own, %q", got, first)
	}
}

// The first program has a sandbox that waits, too, where one is expected.
func TestAheadOfFirst(t *testing.T) {
	s, env := openAhead(t, Config{Helper: helper(t)}, sandbox.NewStandby(1, 0, time.Hour))
	s.Expect()
	waitFor(t, func() bool { return env.launches() == 1 })
	if got := run(t, s, "echo first"); got != "first\n" || runscs(t, env.sandboxDir(1)) != "" {
		t.Errorf("it printed %q, and what waited for it has no program", got)
	}
}

func TestAheadInput(t *testing.T) {
	s, env := openAhead(t, Config{}, sandbox.NewStandby(1, 0, time.Hour))
	run(t, s, "mkdir -p \"it's\"")
	waitFor(t, func() bool { return env.launches() == 2 })
	long := strings.Repeat("'x \n", 20_000)
	var out bytes.Buffer
	p, err := s.Start(t.Context(), shell.Command{Argv: []string{"/bin/sh", "-c", "cat; pwd; printf %s \"$0\"; exit 3", long}, Cwd: "/workspace/it's", Output: &out})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stdin().Write([]byte("input\n")); err != nil {
		t.Error(err)
	}
	p.Stdin().Close()
	end, err := p.Wait()
	if want := "input\n/workspace/it's\n" + long; err != nil || end.Code != 3 || out.String() != want {
		t.Errorf("code %d, error %v, %d bytes, want %d: %.60q", end.Code, err, out.Len(), len(want), out.String())
	}
}

// What waits in vain ends, as do those of an environment that is closed.
func TestAheadEnds(t *testing.T) {
	for _, how := range []string{"time", "close"} {
		lasts := time.Hour
		if how == "time" {
			lasts = time.Nanosecond
		}
		s, env := openAhead(t, Config{}, sandbox.NewStandby(1, 0, lasts))
		run(t, s, "true")
		waitFor(t, func() bool { return env.launches() == 2 })
		scratch := env.sandboxDir(2)
		if how == "close" {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		waitFor(t, func() bool {
			_, err := os.Stat(scratch)
			return os.IsNotExist(err)
		})
		if left := runscs(t, scratch); left != "" {
			t.Errorf("%s: left: %s", how, left)
		}
		if how == "time" {
			run(t, s, "true")
		}
	}
}

// Where what waits has ended, of the lack of memory say, a program does not suffer.
func TestAheadWasKilled(t *testing.T) {
	s, env := openAhead(t, Config{}, sandbox.NewStandby(1, 0, time.Hour))
	run(t, s, "true")
	waitFor(t, func() bool { return strings.Contains(runscs(t, env.sandboxDir(2)), "runsc-sandbox") })
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var killed []string
	for _, l := range lines {
		dir := filepath.Dir(l)
		pid, err := strconv.Atoi(filepath.Base(dir))
		if b, readErr := os.ReadFile(l); err == nil && readErr == nil && strings.Contains(string(b), env.sandboxDir(2)) {
			syscall.Kill(pid, syscall.SIGKILL) // it may have gone with another
			killed = append(killed, dir)
		}
	}
	waitFor(t, func() bool { return !slices.ContainsFunc(killed, lives) })
	if got := run(t, s, "echo here"); got != "here\n" {
		t.Errorf("it printed %q", got)
	}
}

// lives reports whether a process, by its folder in /proc, may still have open files.
func lives(dir string) bool {
	tasks, err := os.ReadDir(filepath.Join(dir, "task"))
	stat, statErr := os.ReadFile(filepath.Join(dir, "stat"))
	return err == nil && statErr == nil && (len(tasks) > 1 || !strings.Contains(string(stat), ") Z "))
}

// A driver has so many wait, and no more, whichever environments they are of.
func TestAheadOfMany(t *testing.T) {
	ahead := sandbox.NewStandby(1, 0, time.Hour)
	s, env := openAhead(t, Config{}, ahead)
	run(t, s, "true")
	waitFor(t, func() bool { return runscs(t, env.sandboxDir(2)) != "" })
	other, others := openAhead(t, Config{}, ahead)
	for range 4 {
		run(t, other, "true")
	}
	if n := others.launches(); n != 4 {
		t.Errorf("%d sandboxes were started for 4 programs, while one waits elsewhere", n)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	run(t, other, "true")
	waitFor(t, func() bool { return others.launches() == 6 })
}

// FuzzBecome has a shell become a program whose argument is foreign.
func FuzzBecome(f *testing.F) {
	for _, s := range []string{"", "it's", "a\nb", "\\", "$(id) `id` ${x} !", "\x81\x88\xff", "-n", "''"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, arg string) {
		if strings.ContainsRune(arg, 0) || len(arg) > 1000 {
			t.Skip("an argument has no NUL, and longer ones show nothing more")
		}
		script := become(shell.Command{Argv: []string{"/usr/bin/printf", "%s", arg}, Cwd: "/"}, map[string]string{"-u": arg})
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", script).Output()
		if err != nil || string(out) != arg {
			t.Errorf("%q: %v, it got %q", script, err, out)
		}
		cut := script[:len(script)/2]
		if out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", cut).Output(); err == nil || len(out) > 0 {
			t.Errorf("%q, a part of the script: %v, it printed %q", cut, err, out)
		}
	})
}
