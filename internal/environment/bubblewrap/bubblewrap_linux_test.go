package bubblewrap_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/bubblewrap"
	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/reexec"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

type args = environmenttest.Args

// The test's own program is a runtime that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BUBBLEWRAP_TEST_RUNTIME"); dir != "" {
		fmt.Println(beRuntime(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// helper is the command line of the test's own program as the helper.
func helper(tb testing.TB) []string {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return []string{self, reexec.Argument}
}

// driver returns a driver that works, or skips the test where bwrap is missing.
// Continuous integration has it.
func driver(tb testing.TB, cfg bubblewrap.Config) *bubblewrap.Driver {
	tb.Helper()
	if _, err := exec.LookPath("bwrap"); err != nil && os.Getenv("CI") == "" {
		tb.Skip("bwrap is not installed: apt-get install bubblewrap")
	}
	return works(tb, bubblewrap.New(full(tb, cfg)))
}

// full has what a server gives a driver.
func full(tb testing.TB, cfg bubblewrap.Config) bubblewrap.Config {
	tb.Helper()
	cfg.Code, cfg.Helper = js.NewEngine(js.Limits{}), helper(tb)
	return cfg
}

func works(tb testing.TB, d *bubblewrap.Driver) *bubblewrap.Driver {
	tb.Helper()
	if err := d.Check(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return d
}

// each has a test be of the driver, and of one where each sandbox has waited for
// its program.
func each(t *testing.T, cfg bubblewrap.Config, test func(*testing.T, *bubblewrap.Driver)) {
	t.Helper()
	d := driver(t, cfg)
	t.Run("Started", func(t *testing.T) { test(t, d) })
	t.Run("Waiting", func(t *testing.T) {
		ahead := bubblewrap.NewAhead(full(t, cfg))
		if ahead == nil {
			t.Skip("this kernel has no Landlock, or one before Linux 5.19")
		}
		test(t, works(t, ahead))
	})
}

func TestDriver(t *testing.T) {
	each(t, bubblewrap.Config{}, func(t *testing.T, d *bubblewrap.Driver) { environmenttest.Run(t, d) })
}

func TestUnavailable(t *testing.T) {
	d := bubblewrap.New(bubblewrap.Config{Path: filepath.Join(t.TempDir(), "bwrap"), Code: js.NewEngine(js.Limits{})})
	_, opened := d.Open(t.Context(), environment.Spec{Dir: t.TempDir()})
	for _, err := range []error{d.Check(t.Context()), opened} {
		var u *environment.UnavailableError
		if !errors.As(err, &u) || !strings.Contains(u.Install, "apt-get install bubblewrap") {
			t.Errorf("got %v", err)
		}
	}
	// One that makes no sandbox is not used either.
	fake := filepath.Join(t.TempDir(), "bwrap")
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	d = bubblewrap.New(bubblewrap.Config{Path: fake, Code: js.NewEngine(js.Limits{})})
	_, err := d.Open(t.Context(), environment.Spec{Dir: t.TempDir()})
	var u *environment.UnavailableError
	if !errors.As(err, &u) || !strings.Contains(u.Install, "user namespaces") || !strings.Contains(u.Reason, "No permissions") {
		t.Errorf("got %v", err)
	}
}

// What a command must not be able to do. Each line ends with success only if it
// could be done.
func TestConfined(t *testing.T) { each(t, bubblewrap.Config{}, confined) }

func confined(t *testing.T, d *bubblewrap.Driver) {
	t.Helper()
	s := environmenttest.New(t, d)
	secret := filepath.Join(filepath.Dir(s.Spec.Dir), "secret")
	for _, c := range []string{
		"cat " + secret,
		"cat /proc/self/root" + secret,
		"cat /proc/1/root" + secret,
		"cat ../secret", "ls ..//workspace/../unfinished", "ls /tmp/../unfinished",
		"cat /etc/shadow",
		"ls /root", "ls /home", "ls /sys/kernel", "ls /var/lib",
		"touch /usr/x", "touch /etc/x", "touch /x", "touch /dev/x", "touch /bin/x", "echo x > /etc/passwd",
		"echo x > /proc/sys/kernel/hostname", "echo core > /proc/sys/kernel/core_pattern", "echo h > /proc/sysrq-trigger", "echo -500 > /proc/self/oom_score_adj",
		"unshare -U true", "unshare -r true", "unshare -m true", "unshare -n true", "nsenter -t 1 -a true",
		"mount -t tmpfs none /tmp", "mount -o remount,rw /usr", "umount /proc", "chroot /tmp true",
		"mknod /workspace/dev b 8 0", "hostname x", "dmesg",
		"ln " + secret + " /workspace/hard",
		"python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 22), 1)'",
		"python3 -c 'import socket; socket.create_connection((\"1.1.1.1\", 53), 1)'",
		"python3 -c 'import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)'",
		"python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
		"kill -0 2 3 4 5 6 7 && test $(ls -d /proc/[0-9]* | wc -l) -gt 6",
		"test $(id -u) = 0", "test \"$(grep CapEff /proc/self/status)\" != 'CapEff:\t0000000000000000'",
		"test \"$(grep Seccomp: /proc/self/status)\" != 'Seccomp:\t2'",
		"env | grep -v -E '^(PATH|HOME|LANG|USER|TMPDIR|GREETING|PWD|SHLVL|_|OLDPWD)='",
		"ls /proc/self/fd | grep -v -E '^[0-3]$'",
	} {
		res, err := s.Try(t.Context(), t, "", "run_command", args{"command": c})
		if err != nil || res.ExitCode == nil || *res.ExitCode == 0 {
			t.Errorf("%s: %v, exit code %v, output %s", c, err, res.ExitCode, res.Output)
		}
	}
	// What must work.
	for _, c := range []string{"echo $$", "touch /tmp/x /workspace/x /dev/shm/x", "python3 -c 'import threading; t = threading.Thread(target=print); t.start(); t.join()' | cat", "cat /dev/null; head -c 8 /dev/urandom >/dev/null", "whoami", "sh -c 'sleep 0 & wait'"} {
		s.OK(t, "run_command", args{"command": c})
	}
}

func TestForbiddenSystemCalls(t *testing.T) {
	s := environmenttest.New(t, driver(t, bubblewrap.Config{}))
	// The numbers are those of x86-64: unshare(CLONE_NEWUSER), clone(CLONE_NEWUSER),
	// clone3, keyctl, bpf, ptrace(TRACEME), kexec_load, io_uring_setup, userfaultfd.
	script := `
import ctypes, errno, os, platform
if platform.machine() != 'x86_64': raise SystemExit('not x86-64')
libc = ctypes.CDLL(None, use_errno=True)
for n, args in [(272, (0x10000000,)), (56, (0x10000011, 0, 0, 0, 0)), (435, (0, 0)), (250, (0, 0)), (321, (0, 0, 0)), (101, (0, 0, 0, 0)), (246, (0, 0, 0, 0)), (425, (1, 0)), (323, (0,))]:
    r = libc.syscall(n, *args)
    print(n, r, errno.errorcode.get(ctypes.get_errno()))
`
	got := s.OK(t, "run_command", args{"command": "python3 -", "stdin": script})
	want := "272 -1 EPERM\n56 -1 EPERM\n435 -1 ENOSYS\n250 -1 EPERM\n321 -1 EPERM\n101 -1 EPERM\n246 -1 EPERM\n425 -1 EPERM\n323 -1 EPERM\n"
	if got != want && !strings.Contains(got, "not x86-64") {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestLimits(t *testing.T) {
	d := driver(t, bubblewrap.Config{Limits: shell.Limits{Memory: 64 << 20, Processes: 16}, FileSize: 1 << 20})
	s := environmenttest.New(t, d)
	run := func(command string) (int, string) {
		t.Helper()
		res, err := s.Try(t.Context(), t, "", "run_command", args{"command": command, "timeout_seconds": 30})
		if err != nil || res.ExitCode == nil {
			t.Fatalf("%s: %v %q", command, err, res.Error)
		}
		return *res.ExitCode, event.OutputText(res.Output)
	}
	if code, out := run("python3 -c \"x = b'x' * (200 << 20)\""); code == 0 || (d.MemoryLimit() != "RLIMIT_AS" && !strings.Contains(out, "the memory limit of 64 MiB was reached")) {
		t.Errorf("memory (%s): exit code %d, output %q", d.MemoryLimit(), code, out)
	}
	if code, _ := run("head -c 60000000 /dev/zero > /dev/shm/a"); code == 0 {
		t.Error("/dev/shm took 60 MB")
	}
	if code, out := run("head -c 2000000 /dev/zero > big"); code == 0 {
		t.Errorf("file size: exit code %d, output %q", code, out)
	}
	if code, _ := run("for i in $(seq 60); do sleep 20 & done; wait"); code == 0 && d.MemoryLimit() != "RLIMIT_AS" {
		t.Error("60 processes were started")
	}
	if code, out := run("echo fine"); code != 0 || out != "fine\n" {
		t.Errorf("afterwards: exit code %d, output %q", code, out)
	}
}

func TestOutput(t *testing.T) {
	s := environmenttest.New(t, driver(t, bubblewrap.Config{}))
	if got := s.OK(t, "run_command", args{"command": "for i in 1 2 3; do echo out$i; echo err$i >&2; done"}); got != "out1\nerr1\nout2\nerr2\nout3\nerr3\n" {
		t.Errorf("the order is %q", got)
	}
	got := s.OK(t, "run_command", args{"command": "head -c 1000000 /dev/zero | tr '\\0' x; echo end"})
	if !strings.Contains(got, "[737860 bytes of output were cut here]") || !strings.HasSuffix(got, "xend\n") {
		t.Errorf("%d bytes, the end is %q", len(got), got[len(got)-20:])
	}
	if got := s.OK(t, "run_command", args{"command": "cat; printf '\\377'", "stdin": "from stdin "}); got != "from stdin \uFFFD" {
		t.Errorf("got %q", got)
	}
	s.Fails(t, "run_command", args{}, "command is required")
	s.Fails(t, "run_command", args{"command": "true", "cwd": "/etc"}, "outside of /workspace")
	s.Fails(t, "run_command", args{"command": "true", "cwd": "missing"}, "does not exist")
	s.Fails(t, "run_command", args{"command": "true", "timeout_seconds": 3601}, "timeout_seconds")
	s.Fails(t, "run_command", args{"command": strings.Repeat("x", 1<<17)}, "at most")
	s.Exits(t, "run_command", args{"command": "kill -9 $$"}, 137)
}

// A command that started others in the background ends, and they with it.
// The limit leaves time for the program to begin on a busy machine.
func TestNothingIsLeft(t *testing.T) {
	s := environmenttest.New(t, driver(t, bubblewrap.Config{}))
	mark := fmt.Sprintf("%d.5", 100000+os.Getpid())
	for name, a := range map[string]args{
		"the end":  {"command": "setsid sleep " + mark + " & echo started"},
		"the time": {"command": "setsid sleep " + mark + " & setsid nohup sleep " + mark + " & echo started; sleep " + mark, "timeout_seconds": 10},
	} {
		res, err := s.Try(t.Context(), t, "", "run_command", a)
		if err != nil {
			t.Fatal(err)
		}
		if got := event.OutputText(res.Output); !strings.HasPrefix(got, "started\n") {
			t.Errorf("%s: %q", name, got)
		}
		if left := processes(t, mark); left != "" {
			t.Errorf("after %s: %s", name, left)
		}
		if name == "the time" && (*res.ExitCode != 124 || !strings.HasSuffix(event.OutputText(res.Output), "[stopped: the time limit of 10s was reached]")) {
			t.Errorf("exit code %d, output %s", *res.ExitCode, res.Output)
		}
	}
}

func TestCancelAndClose(t *testing.T) {
	d := driver(t, bubblewrap.Config{})
	mark := fmt.Sprintf("%d.25", 100000+os.Getpid())
	raw, err := json.Marshal(args{"command": "echo started; sleep " + mark})
	if err != nil {
		t.Fatal(err)
	}
	for _, how := range []string{"cancel", "close"} {
		s := environmenttest.New(t, d)
		ctx, cancel := context.WithCancel(t.Context())
		closed := make(chan error, 1)
		_, err = s.Server.Call(ctx, tool.Call{Name: "run_command", Arguments: raw, Output: func(string) {
			if how == "cancel" {
				cancel()
			} else {
				go func() { closed <- s.Server.Close() }()
			}
		}})
		var te *tool.Error
		if !errors.As(err, &te) || !te.Sent {
			t.Errorf("%s: got %v, want a tool.Error that says it was sent", how, err)
		}
		if how == "close" {
			if err := <-closed; err != nil {
				t.Error(err)
			}
			if _, err := s.Server.Call(t.Context(), tool.Call{Name: "run_command", Arguments: raw}); !errors.As(err, &te) || te.Sent {
				t.Errorf("after Close: %v", err)
			}
		}
		if left := processes(t, mark); left != "" {
			t.Errorf("after %s: %s", how, left)
		}
		cancel()
	}
}

// processes lists those of this machine whose command line has the mark.
func processes(t *testing.T, mark string) string {
	t.Helper()
	names, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, n := range names {
		if b, err := os.ReadFile(n); err == nil && strings.Contains(string(b), mark) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return strings.Join(found, "; ")
}

func TestBadEnvironment(t *testing.T) {
	d := driver(t, bubblewrap.Config{})
	for _, env := range []map[string]string{{"A=B": "x"}, {"": "x"}, {"A": "x\x00--bind\x00/\x00/workspace"}} {
		if _, err := d.Open(t.Context(), environment.Spec{Dir: t.TempDir(), Env: env}); err == nil {
			t.Errorf("%q was taken", env)
		}
	}
}

// beRuntime is a runtime with programs of all sorts in an environment. It says
// when they run, and waits to be killed.
func beRuntime(dir string) error {
	d := bubblewrap.New(bubblewrap.Config{Code: js.NewEngine(js.Limits{})})
	srv, err := d.Open(context.Background(), environment.Spec{Dir: dir})
	if err != nil {
		return err
	}
	mark := os.Getenv("BUBBLEWRAP_TEST_MARK")
	for _, call := range []struct {
		name string
		args args
	}{
		{"run_command", args{"command": "setsid sleep " + mark + " & sleep " + mark, "background": true}},
		{"run_code", args{"language": "python", "code": "import subprocess; subprocess.Popen(['sleep', '" + mark + "'], start_new_session=True).pid > 0"}},
	} {
		raw, err := json.Marshal(call.args)
		if err != nil {
			return err
		}
		if res, err := srv.Call(context.Background(), tool.Call{Name: call.name, Arguments: raw}); err != nil || res.Failed {
			return fmt.Errorf("%w %s", err, res.Error)
		}
	}
	raw, err := json.Marshal(args{"command": "echo runs; sleep " + mark})
	if err != nil {
		return err
	}
	_, err = srv.Call(context.Background(), tool.Call{Name: "run_command", Arguments: raw, Output: func(s string) { fmt.Print(s) }})
	return err
}

// When the runtime is killed, everything ends.
func TestKilledRuntime(t *testing.T) {
	driver(t, bubblewrap.Config{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	mark := fmt.Sprintf("%d.125", 100000+os.Getpid())
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), "BUBBLEWRAP_TEST_RUNTIME="+t.TempDir(), "BUBBLEWRAP_TEST_MARK="+mark)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if line != "runs\n" {
		t.Fatalf("%q, %v", line, err)
	}
	if left := processes(t, mark); !strings.Contains(left, "sleep") {
		t.Errorf("nothing runs: %s", left)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	// The kernel ends them by itself; how long it takes is its business.
	for deadline := time.Now().Add(time.Minute); processes(t, mark) != ""; {
		if time.Now().After(deadline) {
			t.Fatalf("left: %s", processes(t, mark))
		}
	}
}

// The limits are of all programs together, and of the environment alone.
func TestLimitsTogether(t *testing.T) {
	d := driver(t, bubblewrap.Config{Limits: shell.Limits{Memory: 128 << 20}})
	if d.MemoryLimit() == "RLIMIT_AS" {
		t.Skip("no control group can be made here, and so limits are of each process")
	}
	s, other := environmenttest.New(t, d), environmenttest.New(t, d)
	const hold = "python3 -c \"x = b'x' * (70 << 20); print('held', flush=True); import time; time.sleep(1000)\""
	id := s.Start(t, args{"command": hold})
	if got := s.OK(t, "read_process", args{"process_id": id, "wait_seconds": 60}); !strings.HasPrefix(got, "held\n") {
		t.Fatalf("got %q", got)
	}
	res, err := s.Try(t.Context(), t, "", "run_code", environmenttest.Python("x = b'x' * (70 << 20)"))
	if err != nil {
		t.Fatal(err)
	}
	out, wait := event.OutputText(res.Output), 0
	if out == "" {
		wait = 60 // then it is the other one that is killed
	}
	if end := s.OK(t, "read_process", args{"process_id": id, "wait_seconds": wait}); !strings.Contains(out+end, "[a process was killed: the memory limit of 128 MiB was reached]") {
		t.Errorf("two programs have 140 MiB under a limit of 128: %q, %q", out, end)
	}
	other.OK(t, "run_code", environmenttest.Python("x = b'x' * (70 << 20); None"))
}

func TestDiskLimit(t *testing.T) {
	s := environmenttest.New(t, driver(t, bubblewrap.Config{Limits: shell.Limits{Disk: 32 << 20}}))
	const said = "[the disk limit was reached: /workspace and /tmp together may have 32 MiB"
	res, err := s.Try(t.Context(), t, "", "run_command", args{"command": "for i in $(seq 100000); do head -c 4000000 /dev/zero > /tmp/$i; sleep 0.02; done"})
	if err != nil || *res.ExitCode != 137 || !strings.Contains(event.OutputText(res.Output), said) {
		t.Errorf("%v, exit code %v, %s", err, *res.ExitCode, res.Output)
	}
	// It can be tidied up.
	if got := s.OK(t, "run_command", args{"command": "rm /tmp/*; echo gone"}); got != "gone\n" {
		t.Errorf("tidied up: %q", got)
	}
	// What is too quick for the watcher is told at the end.
	res, err = s.Try(t.Context(), t, "", "run_command", args{"command": "for f in big1 big2; do head -c 20000000 /dev/zero > $f; done"})
	if err != nil || !strings.Contains(event.OutputText(res.Output), said) {
		t.Errorf("over the limit at the end: %v, %s", err, res.Output)
	}
	// No file alone can be larger than all of them together may be. At the limit
	// the watcher may end the command too, when it looks before rm does.
	s.OK(t, "run_command", args{"command": "rm big*"})
	if _, err := s.Try(t.Context(), t, "", "run_command", args{"command": "head -c 40000000 /dev/zero > big1"}); err != nil {
		t.Fatal(err)
	}
	if got := s.OK(t, "run_command", args{"command": "stat -c %s big1; rm big1"}); !strings.HasPrefix(got, "33554432\n") {
		t.Errorf("a file over the limit: %q", got)
	}
	res, err = s.Try(t.Context(), t, "", "run_command", args{"command": "for f in big1 big2; do head -c 20000000 /dev/zero > $f; done"})
	if err != nil || !strings.Contains(event.OutputText(res.Output), said) {
		t.Errorf("over the limit again: %v, %s", err, res.Output)
	}
	if got := s.OK(t, "run_code", environmenttest.Python("1")); !strings.HasPrefix(got, "1\n"+said) {
		t.Errorf("code over the limit: %q", got)
	}
	s.Fails(t, "write_file", args{"path": "f", "content": "x"}, "the disk limit of 32 MiB of /workspace and /tmp together would be exceeded: remove files")
	if got := s.OK(t, "run_code", args{"code": "fs.remove('big1'); fs.remove('big2'); fs.writeFile('f', 'x')"}); got != "" {
		t.Errorf("code that tidies up: %q", got)
	}
}

// TestManyCommands runs more commands in one environment than it may have
// processes, as quickly as they go.
func TestManyCommands(t *testing.T) {
	s := environmenttest.New(t, driver(t, bubblewrap.Config{Limits: shell.Limits{Processes: 64}}))
	for range 200 {
		s.OK(t, "run_command", args{"command": "true"})
	}
}

func TestData(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "set.csv"), []byte("a,b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(data, 0o755); err != nil {
		t.Fatal(err)
	}
	s := environmenttest.New(t, driver(t, bubblewrap.Config{Data: []shell.Mount{{Host: data, Path: "/data"}}}))
	if got := s.OK(t, "run_command", args{"command": "cat /data/set.csv; touch /data/x 2>/dev/null || echo read only"}); got != "a,b\nread only\n" {
		t.Errorf("got %q", got)
	}
}

// proxy answers one line to every connection.
type proxy struct{ closed chan struct{} }

func (p *proxy) Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nfrom the proxy\n")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, c)
		c.Close()
	}
}

func (p *proxy) Variables() map[string]string { return map[string]string{"TOKEN": "placeholder"} }

func (p *proxy) Certificates() []byte { return []byte("authorities\n") }

func (p *proxy) Close() error { close(p.closed); return nil }

func TestProxy(t *testing.T) {
	d := driver(t, bubblewrap.Config{})
	p := &proxy{closed: make(chan struct{})}
	srv, err := d.Open(t.Context(), environment.Spec{Dir: t.TempDir(), Proxy: p, Env: map[string]string{"HTTP_PROXY": "http://elsewhere", "SSL_CERT_FILE": "/workspace/own", "TOKEN": "own"}})
	if err != nil {
		t.Fatal(err)
	}
	specs, err := srv.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range specs {
		want := map[string]event.Class{"read_file": event.Pure, "list_files": event.Pure, "read_process": event.Pure, "run_command": event.Once, "write_process": event.Once, "run_code": event.Once}[spec.Name]
		if want == "" {
			want = event.Idempotent
		}
		if spec.Class != want {
			t.Errorf("%s has the class %s, want %s", spec.Name, spec.Class, want)
		}
		if told := strings.Contains(spec.Description, "The variables TOKEN hold placeholders of secrets"); told != (spec.Name == "run_command") {
			t.Errorf("%s is described by %s", spec.Name, spec.Description)
		}
	}
	raw, err := json.Marshal(args{"command": `python3 -c 'import urllib.request; print(urllib.request.urlopen("http://example.test/").read().decode(), end="")'; echo $TOKEN $HTTP_PROXY; cat $SSL_CERT_FILE; (echo >> $PIP_CERT) 2> /dev/null || echo read only`})
	if err != nil {
		t.Fatal(err)
	}
	res, err := srv.Call(t.Context(), tool.Call{Name: "run_command", Arguments: raw})
	if err != nil || event.OutputText(res.Output) != "from the proxy\nplaceholder http://127.0.0.1:3128\nauthorities\nread only\n" {
		t.Errorf("%v %s", err, res.Output)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	<-p.closed
}

func bench(b *testing.B, srv tool.Server, name, arguments string) {
	b.Helper()
	res, err := srv.Call(b.Context(), tool.Call{Name: name, Arguments: json.RawMessage(arguments)})
	if err != nil || *res.ExitCode != 0 {
		b.Fatal(err, res)
	}
}

// One command in an open environment.
func BenchmarkTrue(b *testing.B) {
	srv, err := driver(b, bubblewrap.Config{}).Open(b.Context(), environment.Spec{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	for b.Loop() {
		bench(b, srv, "run_command", `{"command":"true"}`)
	}
}

// An environment is opened, runs its first command, and is closed.
func BenchmarkColdStart(b *testing.B) {
	d, dir := driver(b, bubblewrap.Config{}), b.TempDir()
	for b.Loop() {
		srv, err := d.Open(b.Context(), environment.Spec{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		bench(b, srv, "run_command", `{"command":"true"}`)
		if err := srv.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// One piece of code in a Python that runs.
func BenchmarkPythonCell(b *testing.B) {
	srv, err := driver(b, bubblewrap.Config{}).Open(b.Context(), environment.Spec{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	for b.Loop() {
		bench(b, srv, "run_code", `{"language":"python","code":"1 + 1"}`)
	}
}
