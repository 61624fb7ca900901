package egress_test

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment/egress"
	"github.com/stayd/stayd/internal/environment/netns"
	"github.com/stayd/stayd/internal/environment/reexec"
	"github.com/stayd/stayd/internal/outbound"
)

// A program in a sandbox reaches what the policy and the operator allow, and
// nothing else.
func TestSandbox(t *testing.T) {
	if _, err := exec.LookPath("bwrap"); err != nil && os.Getenv("CI") == "" {
		t.Skip("bwrap is not installed: apt-get install bubblewrap")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	n, err := netns.Open(t.Context(), netns.Config{Helper: []string{self, reexec.Argument}, Listen: true})
	if err != nil {
		t.Fatal(err)
	}
	allowed, port := server(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "allowed") })
	_, secret := server(t, func(http.ResponseWriter, *http.Request) { t.Error("a server of this machine was reached") })
	dial, err := outbound.NewDialer(outbound.Policy{Allow: []string{allowed.Listener.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	records := make(chan egress.Request, 100)
	x, err := egress.New(egress.Policy{Access: egress.Restricted, Allowed: []string{"127.0.0.1:" + port, "127.0.0.1:" + secret, "169.254.169.254"}}, nil, dial, func(r egress.Request) { records <- r })
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- x.Serve(n.Listener()) }()
	defer func() {
		for _, err := range []error{x.Close(), <-served, n.Close()} {
			if err != nil {
				t.Error(err)
			}
		}
		if len(records) != 5 {
			t.Errorf("%d requests were recorded", len(records))
		}
	}()
	const program = `
import socket, sys, urllib.request, urllib.error
via = urllib.request.build_opener(urllib.request.ProxyHandler({"http": "http://127.0.0.1:3128", "https": "http://127.0.0.1:3128"}))
no_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
def get(how, url):
    try: return how.open(url, timeout=10).read().decode()
    except urllib.error.HTTPError as e: return "%d %s" % (e.code, e.read().decode())
    except OSError as e: return "error " + str(e.reason)
def raw(*a):
    try: socket.socket(*a); return "a raw socket"
    except OSError as e: return "error"
def udp():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try: s.sendto(b"x", ("1.1.1.1", 53)); return "sent"
    except OSError as e: return "error"
ok, secret = sys.argv[1:]
print(get(via, "http://127.0.0.1:" + ok))
print(get(no_proxy, "http://127.0.0.1:" + ok))
print(get(via, "http://127.0.0.1:" + secret))
print(get(no_proxy, "http://127.0.0.1:" + secret))
print(get(via, "http://169.254.169.254/latest/meta-data"))
print(get(no_proxy, "http://169.254.169.254/latest/meta-data"))
print(get(via, "http://other.test/"))
print(get(via, "https://other.test/"))
print(udp())
print(raw(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP))
print(raw(socket.AF_PACKET, socket.SOCK_RAW, 0))
`
	argv := n.Command([]string{"bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--die-with-parent", "--", "python3", "-c", program, port, secret})
	out, err := exec.CommandContext(t.Context(), argv[0], argv[1:]...).Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var lines []string
	for l := range strings.Lines(string(out)) {
		if l != "\n" {
			lines = append(lines, l)
		}
	}
	want := []string{"allowed", "error", "403 ", "error", "403 ", "error", "403 ", "error Tunnel connection failed: 403 Refused by the network policy of the environment: other.test is not among the domains that this environment may reach", "error", "error", "error"}
	reasons := map[int]string{2: "loopback", 4: "link-local", 6: "host_not_allowed"}
	if len(lines) != len(want) {
		t.Fatalf("got\n%s", out)
	}
	for i, w := range want {
		if !strings.HasPrefix(lines[i], w) || !strings.Contains(lines[i], reasons[i]) {
			t.Errorf("line %d is %q, want %q", i, lines[i], w)
		}
	}
}
