package gvisor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/cgroup"
	"github.com/stayd/stayd/internal/environment/reexec"
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
)

// helperVariable has the test's own program be a runtime that is killed.
const helperVariable = "STAYD_TEST_GVISOR_RUNTIME"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperVariable); dir != "" {
		fmt.Println(runtimeToKill(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// runsc returns the path of runsc, or skips the test where there is none.
// Continuous integration has it.
func runsc(tb testing.TB) string {
	tb.Helper()
	path, err := find("")
	if err != nil {
		if os.Getenv("CI") == "" {
			tb.Skip(err)
		}
		tb.Fatal(err)
	}
	return path
}

// helper makes network namespaces.
func helper(tb testing.TB) []string {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return []string{self, reexec.Argument}
}

// open returns the sandbox of an environment, and how it confines programs. None
// is started ahead of its program.
func open(tb testing.TB, cfg Config) (*sandbox.Sandbox, *confinement) {
	tb.Helper()
	return openAhead(tb, cfg, nil)
}

func openAhead(tb testing.TB, cfg Config, ahead *sandbox.Standby) (*sandbox.Sandbox, *confinement) {
	tb.Helper()
	s, c, err := openIn(tb.TempDir(), runsc(tb), cfg, ahead)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	return s, c
}

func openIn(dir, runsc string, cfg Config, ahead *sandbox.Standby) (*sandbox.Sandbox, *confinement, error) {
	spec := environment.Spec{Dir: dir, Env: map[string]string{"GREETING": "hello", "IFS": "x", "a-name": "it's\n'mine'"}}
	if err := errors.Join(os.Mkdir(spec.WorkspaceDir(), 0o700), os.Mkdir(sandbox.TmpDir(spec), 0o700)); err != nil {
		return nil, nil, err
	}
	k := kind(cfg.orDefaults())
	k.Standby = ahead
	c := k.Confine(runsc, spec).(*confinement)
	return sandbox.Open(k, cgroup.Find(), c, spec), c, nil
}

func start(tb testing.TB, s *sandbox.Sandbox, command string, out *bytes.Buffer) shell.Process {
	tb.Helper()
	p, err := s.Start(tb.Context(), shell.Command{Argv: []string{"/bin/sh", "-c", command}, Output: out})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestPrograms(t *testing.T) {
	s, env := open(t, Config{Limits: shell.Limits{Processes: 32}})
	for _, c := range []struct {
		command, stdin, output string
		code                   int
	}{
		{"echo one; echo two >&2; echo three", "", "one\ntwo\nthree\n", 0},
		{"cat; echo end", "from stdin ", "from stdin end\n", 0},
		{"exit 3", "", "", 3},
		{"exit 128", "", "", 128},
		{"kill -9 $$", "", "", 137},
		{"id -u; id -un; hostname; pwd; echo $GREETING $HOME", "", "1000\nagent\nsandbox\n/workspace\nhello /workspace\n", 0},
		{"grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status", "", "CapEff:\t0000000000000000\nNoNewPrivs:\t1\n", 0},
		{"touch /usr/x /etc/x /x 2>/dev/null || echo no", "", "no\n", 0},
		{"echo x > /tmp/x && echo y > /dev/shm/y && cat /tmp/x /dev/shm/y", "", "x\ny\n", 0},
		{"for i in 1 2 3; do python3 -c 'print('$i')'; done", "", "1\n2\n3\n", 0},
		{"(for i in $(seq 60); do sleep 9 & done) 2>/dev/null; echo ended", "", "ended\n", 0},
	} {
		var out bytes.Buffer
		p := start(t, s, c.command, &out)
		if _, err := p.Stdin().Write([]byte(c.stdin)); err != nil {
			t.Fatal(err)
		}
		if err := p.Stdin().Close(); err != nil {
			t.Fatal(err)
		}
		end, err := p.Wait()
		if err != nil || end.Code != c.code || out.String() != c.output {
			t.Errorf("%s: code %d, error %v, output %q; want %d and %q", c.command, end.Code, err, out.String(), c.code, c.output)
		}
	}
	if left := runscs(t, env.scratch); left != "" {
		t.Errorf("left: %s", left)
	}
}

// Each may read, change and remove what the other wrote.
func TestFilesOfBoth(t *testing.T) {
	s, f := open(t, Config{})
	ours := filepath.Join(f.workspace, "ours")
	if err := os.WriteFile(ours, []byte("of the runtime\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := start(t, s, "umask 077; cat ours; echo changed > ours; mkdir -p a/b; echo theirs > a/b/c; echo t > /tmp/t; stat -c '%U/%G %n' ours a/b/c; touch -r a ours; chmod 600 ours", &out)
	if end, err := p.Wait(); err != nil || end.Code != 0 || out.String() != "of the runtime\nagent/agent ours\nagent/agent a/b/c\n" {
		t.Fatalf("code %d, error %v, output %q", end.Code, err, out.String())
	}
	for name, want := range map[string]string{ours: "changed\n", filepath.Join(f.workspace, "a/b/c"): "theirs\n", filepath.Join(f.tmp, "t"): "t\n"} {
		if b, err := os.ReadFile(name); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(f.workspace, "a")); err != nil {
		t.Error(err)
	}
}

func TestKillAndClose(t *testing.T) {
	for _, how := range []string{"kill", "close"} {
		s, f := open(t, Config{})
		p := start(t, s, "setsid sh -c 'while :; do echo x >> after; done' & (setsid nohup sleep 1000 &) & trap '' TERM; : > ready; sleep 1000", &bytes.Buffer{})
		waitFor(t, func() bool {
			_, err := os.Stat(filepath.Join(f.workspace, "ready"))
			return err == nil
		})
		scratch := f.scratch
		if how == "kill" {
			p.Kill()
		} else if err := s.Close(); err != nil {
			t.Error(err)
		}
		if end, err := p.Wait(); err != nil || end.Code != 137 {
			t.Errorf("%s: code %d, error %v", how, end.Code, err)
		}
		if left := runscs(t, scratch); left != "" {
			t.Errorf("after %s: %s", how, left)
		}
		p.Kill() // once more changes nothing
	}
}

func TestStartFails(t *testing.T) {
	s, f := open(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Start(ctx, shell.Command{Argv: []string{"/bin/true"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
	p, err := s.Start(t.Context(), shell.Command{Argv: []string{"/no/such/program"}})
	if err == nil {
		_, err = p.Wait()
	}
	if err == nil || !strings.Contains(err.Error(), "/no/such/program") {
		t.Errorf("a program that is not there: %v", err)
	}
	scratch := f.scratch
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Start(t.Context(), shell.Command{Argv: []string{"/bin/true"}}); !errors.Is(err, shell.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if _, err := os.Stat(scratch); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	s, _ := open(t, Config{})
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			var out bytes.Buffer
			p, err := s.Start(t.Context(), shell.Command{Argv: []string{"/bin/echo", strconv.Itoa(i)}, Output: &out})
			if err != nil {
				t.Error(err)
				return
			}
			if end, err := p.Wait(); err != nil || end.Code != 0 || out.String() != fmt.Sprintln(i) {
				t.Errorf("%d: code %d, error %v, output %q", i, end.Code, err, out.String())
			}
		})
	}
	all.Wait()
}

// runtimeToKill starts a program and waits for its end, which does not come. After
// the end of another, the third sandbox waits for its program.
func runtimeToKill(dir string) error {
	path, err := find("")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	s, env, err := openIn(dir, path, Config{Helper: []string{self, reexec.Argument}}, sandbox.NewStandby(1, 0, time.Hour))
	if err != nil {
		return err
	}
	p, err := s.Start(context.Background(), shell.Command{Argv: []string{"/bin/sh", "-c", "setsid sleep 1000 & echo started; exec sleep 1000"}, Output: os.Stdout})
	if err != nil {
		return err
	}
	ends, err := s.Start(context.Background(), shell.Command{Argv: []string{"/bin/true"}})
	if err != nil {
		return err
	}
	if _, err := ends.Wait(); err != nil {
		return err
	}
	fmt.Println(env.scratch)
	_, err = p.Wait()
	return err
}

// A runtime that is killed takes the programs with it, and what waits for one.
func TestRuntimeIsKilled(t *testing.T) {
	runsc(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperVariable+"="+t.TempDir())
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var scratch string
	started := false
	for lines := bufio.NewScanner(out); (scratch == "" || !started) && lines.Scan(); {
		if lines.Text() == "started" {
			started = true
		} else {
			scratch = lines.Text()
		}
	}
	if !started || runscs(t, scratch) == "" {
		t.Fatal("the program was not started")
	}
	waitFor(t, func() bool { return strings.Contains(runscs(t, scratch), filepath.Join(scratch, "3")) })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait() // it was killed
	waitFor(t, func() bool { return runscs(t, scratch) == "" })
	clearScratch()
	if _, err := os.Stat(scratch); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is left: %v", err)
	}
}

// runscs lists the processes of this machine whose command line has the folder.
func runscs(t *testing.T, dir string) string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.Contains(string(b), dir) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return strings.Join(found, "; ")
}

// waitFor waits for what gives no signal. A test fails by it only where it would
// hang.
func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("it does not come about")
		}
		time.Sleep(5 * time.Millisecond) // another process's doing
	}
}

func BenchmarkTrue(b *testing.B) {
	s, _ := open(b, Config{})
	for b.Loop() {
		p, err := s.Start(b.Context(), shell.Command{Argv: []string{"/bin/true"}})
		if err != nil {
			b.Fatal(err)
		}
		if end, err := p.Wait(); err != nil || end.Code != 0 {
			b.Fatal(end, err)
		}
	}
}
