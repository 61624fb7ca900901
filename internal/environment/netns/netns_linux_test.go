package netns_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment/netns"
	"github.com/stayd/stayd/internal/environment/reexec"
)

func helper(tb testing.TB) []string {
	tb.Helper()
	self, err := os.Executable()
	if err != nil {
		tb.Fatal(err)
	}
	return []string{self, reexec.Argument}
}

func open(tb testing.TB, listen bool) *netns.Namespace {
	tb.Helper()
	n, err := netns.Open(tb.Context(), netns.Config{Helper: helper(tb), Listen: listen})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Close(); err != nil {
			tb.Error(err)
		}
	})
	return n
}

// in runs a command in the namespace, in a sandbox if so asked.
func in(t *testing.T, n *netns.Namespace, argv ...string) (string, error) {
	t.Helper()
	argv = n.Command(argv)
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	return string(out), err
}

func sandboxed(command string) []string {
	return []string{"bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--die-with-parent", "--", "sh", "-c", command}
}

func TestOnlyLoopback(t *testing.T) {
	n := open(t, false)
	if n.Listener() != nil {
		t.Error("there is a listener that nobody asked for")
	}
	// /proc/net/dev has a line for each device, after two of heading.
	out, err := in(t, n, "sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1 | grep -v -E '(lo|sit0|tunl0|ip6tnl0|gre0|gretap0|erspan0|ip_vti0|ip6_vti0|ip6gre0)$'")
	if err == nil || out != "" {
		t.Errorf("there are devices other than the loopback: %q, %v", out, err)
	}
	out, err = in(t, n, "python3", "-c", `
import socket
l = socket.create_server(("127.0.0.1", 0))
socket.create_connection(l.getsockname(), 1)
for a in [("1.1.1.1", 80), ("169.254.169.254", 80), ("127.0.0.1", 3128)]:
    try:
        socket.create_connection(a, 1)
        print("reached", a)
    except OSError as e: pass
`)
	if err != nil || out != "" {
		t.Errorf("%v, %q", err, out)
	}
}

// Sandboxed programs, one after another and in sandboxes of their own, share the
// namespace and reach the listener.
func TestListener(t *testing.T) {
	n := open(t, true)
	served := make(chan error, 1)
	go func() {
		for {
			c, err := n.Listener().Accept()
			if err != nil {
				served <- err
				return
			}
			io.WriteString(c, "hello from the runtime\n")
			c.Close()
		}
	}()
	const ask = `python3 -c 'import socket; print(socket.create_connection(("127.0.0.1", 3128), 5).makefile().read(), end="")'`
	for range 3 {
		if out, err := in(t, n, sandboxed(ask)...); err != nil || out != "hello from the runtime\n" {
			t.Fatalf("%v, %q", err, out)
		}
	}
	for name, command := range map[string]string{
		"take the port":            `python3 -c 'import socket; socket.create_server(("127.0.0.1", 3128), reuse_port=True)'`,
		"take the port everywhere": `python3 -c 'import socket; socket.create_server(("", 3128))'`,
		"take the port by IPv6":    `python3 -c 'import socket; socket.create_server(("::", 3128), family=socket.AF_INET6, dualstack_ipv6=True)'`,
		"set an address":           `ip addr add 10.0.0.1/8 dev lo`,
		"end the loopback":         `ip link set lo down`,
		"add a device":             `ip link add d0 type dummy`,
		"send raw packets":         `python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'`,
		"see the runtime":          fmt.Sprintf(`ls /proc/%d`, os.Getpid()),
	} {
		if out, err := in(t, n, sandboxed(command)...); err == nil {
			t.Errorf("%s: it could be done: %q", name, out)
		}
	}
	if out, err := in(t, n, sandboxed(ask)...); err != nil || out != "hello from the runtime\n" {
		t.Fatalf("afterwards: %v, %q", err, out)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the listener ended with %v", err)
	}
	if _, err := in(t, n, "true"); err == nil {
		t.Error("a closed namespace was joined")
	}
}

// Two namespaces share nothing, and one does not reach the listener of this
// machine.
func TestApart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	a, b := open(t, true), open(t, true)
	id := func(n *netns.Namespace) string {
		out, err := in(t, n, "readlink", "/proc/self/ns/net")
		if err != nil {
			t.Fatal(err, out)
		}
		return out
	}
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if x, y := id(a), id(b); x == y || x == host+"\n" || x != id(a) {
		t.Errorf("namespaces %q, %q, of the machine %q", x, y, host)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if out, err := in(t, a, "python3", "-c", "import socket; socket.create_connection((\"127.0.0.1\", "+port+"), 1)"); err == nil || !strings.Contains(out, "refused") {
		t.Errorf("%v, %q", err, out)
	}
}

// What a program gets is what it was started with.
func TestCommandKeepsIdentityAndFiles(t *testing.T) {
	n := open(t, false)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	argv := n.Command([]string{"sh", "-c", "id -u >&3; grep CapEff /proc/self/status >&3"})
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.ExtraFiles = []*os.File{w}
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	uid, caps, _ := strings.Cut(string(got), "\n")
	if uid != strconv.Itoa(os.Geteuid()) {
		t.Errorf("it runs as %s, not as %d", uid, os.Geteuid())
	}
	if os.Geteuid() != 0 && caps != "CapEff:\t0000000000000000\n" {
		t.Errorf("it has capabilities: %q", caps)
	}
}

// The helper leaves neither a process nor a file behind.
func TestNothingIsLeft(t *testing.T) {
	count := func() int {
		fds, err := filepath.Glob("/proc/self/fd/*")
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	open(t, true)
	before := count()
	for range 5 {
		n, err := netns.Open(t.Context(), netns.Config{Helper: helper(t), Listen: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
		if err := n.Close(); err != nil {
			t.Errorf("closed twice: %v", err)
		}
	}
	if after := count(); after != before {
		t.Errorf("%d open files, before it were %d", after, before)
	}
	threads, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil || len(threads) == 0 {
		t.Fatal(threads, err)
	}
	for _, name := range threads {
		if b, err := os.ReadFile(name); err == nil && len(b) != 0 {
			t.Errorf("%s has %q", name, b)
		}
	}
}

func TestBadHelper(t *testing.T) {
	for want, argv := range map[string][]string{
		"no helper":        nil,
		"start the helper": {"/nonexistent/helper"},
		"exit status 3":    {"/bin/sh", "-c", "echo a reason >&2; exit 3"},
		"a reason":         {"/bin/sh", "-c", "echo a reason >&2; exit 3"},
	} {
		n, err := netns.Open(t.Context(), netns.Config{Helper: argv})
		if err == nil || n != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", argv, err, want)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := netns.Open(ctx, netns.Config{Helper: []string{"/bin/sleep", "60"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a helper that hangs: %v", err)
	}
}

// The helper's command, run by a person, does nothing.
func TestPrepareAlone(t *testing.T) {
	argv := helper(t)
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "run by the runtime only") {
		t.Errorf("%v, %s", err, out)
	}
}

func BenchmarkOpen(b *testing.B) {
	argv := helper(b)
	for b.Loop() {
		n, err := netns.Open(b.Context(), netns.Config{Helper: argv, Listen: true})
		if err != nil {
			b.Fatal(err)
		}
		if err := n.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// What a command costs more for being in the namespace is nsenter.
func BenchmarkCommand(b *testing.B) {
	n := open(b, false)
	argv := n.Command([]string{"/bin/true"})
	for b.Loop() {
		if err := exec.CommandContext(b.Context(), argv[0], argv[1:]...).Run(); err != nil {
			b.Fatal(err)
		}
	}
}
