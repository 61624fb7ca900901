package gvisor

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/environment/sandbox"
	"github.com/stayd/stayd/internal/environment/shell"
	"github.com/stayd/stayd/internal/tool"
)

type args = environmenttest.Args

// driver returns a driver that works, or skips the test where runsc is missing.
func driver(tb testing.TB, cfg Config) *Driver {
	tb.Helper()
	runsc(tb)
	cfg.Code, cfg.Helper = js.NewEngine(js.Limits{}), helper(tb)
	d := New(cfg)
	if err := d.Check(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return d
}

// each has a test be of a driver that starts each sandbox for its program, and of
// one where each has waited for it.
func each(t *testing.T, cfg Config, test func(*testing.T, *Driver)) {
	t.Helper()
	runsc(t)
	cfg.Code, cfg.Helper = js.NewEngine(js.Limits{}), helper(t)
	for _, ahead := range []bool{false, true} {
		k := kind(cfg.orDefaults())
		k.Standby = nil
		if ahead {
			k = environmenttest.Ahead(k)
		}
		t.Run(map[bool]string{false: "Started", true: "Waiting"}[ahead], func(t *testing.T) { test(t, sandbox.New(k)) })
	}
}

func TestDriver(t *testing.T) {
	each(t, Config{}, func(t *testing.T, d *Driver) { environmenttest.Run(t, d) })
}

func TestEscape(t *testing.T) {
	limits := shell.Limits{Memory: 512 << 20, Processes: 64, CPUs: 2, Disk: 64 << 20}
	each(t, Config{Limits: limits}, func(t *testing.T, d *Driver) {
		has := limits
		if d.MemoryLimit() == "" {
			has.Memory, has.Processes = 0, 0
		}
		environmenttest.Escape(t, d, has)
	})
}

func TestUnavailable(t *testing.T) {
	fake := filepath.Join(t.TempDir(), "runsc")
	for path, want := range map[string]string{fake + "-missing": "there is no", fake: "could not be run in it"} {
		if err := os.WriteFile(fake, []byte("#!/bin/sh\necho broken >&2\nexit 1\n"), 0o755); err != nil { // it is a program
			t.Fatal(err)
		}
		d := New(Config{Path: path, Code: js.NewEngine(js.Limits{})})
		_, opened := d.Open(t.Context(), environment.Spec{Dir: t.TempDir()})
		for _, err := range []error{d.Check(t.Context()), opened} {
			var u *environment.UnavailableError
			if !errors.As(err, &u) || u.Sandbox != "gvisor" || !strings.Contains(u.Reason, want) || u.Install == "" {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

// answering is a proxy that says one thing to all.
type answering struct {
	mu       sync.Mutex
	listener net.Listener
}

func (a *answering) Serve(l net.Listener) error {
	a.mu.Lock()
	a.listener = l
	a.mu.Unlock()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		// What is closed with a request unread is reset, and the answer may be lost with it.
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nfrom the proxy") // the client sees it
		c.Close()
	}
}

func (a *answering) Variables() map[string]string { return nil }

func (a *answering) Certificates() []byte { return nil }

func (a *answering) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.listener == nil {
		return nil
	}
	return a.listener.Close()
}

func TestNetwork(t *testing.T) {
	d := driver(t, Config{})
	for _, p := range []environment.Proxy{nil, &answering{}} {
		s := environmenttest.New(t, d)
		s.Spec.Proxy = p
		s.Open(t)
		if p != nil {
			got := s.OK(t, "run_command", args{"command": "python3 -c 'import urllib.request; print(urllib.request.urlopen(\"http://example.com/\").read().decode())'"})
			if got != "from the proxy\n" {
				t.Errorf("through the proxy: %q", got)
			}
		}
		// Programs of one environment reach each other, and nothing else.
		s.OK(t, "run_command", args{"command": "python3 -m http.server 8000 --bind 127.0.0.1", "background": true})
		got := s.OK(t, "run_command", args{"command": "for i in $(seq 100); do python3 -c 'import urllib.request as u; print(u.build_opener(u.ProxyHandler({})).open(\"http://127.0.0.1:8000/given.txt\").read().decode(), end=\"\")' 2>/dev/null && break; done"})
		if got != "given\n" {
			t.Errorf("from another program: %q", got)
		}
	}
}

func TestMemoryLimit(t *testing.T) {
	d := driver(t, Config{Limits: shell.Limits{Memory: 256 << 20}})
	if d.MemoryLimit() == "" {
		t.Skip("no control group can be made on this machine")
	}
	s := environmenttest.New(t, d)
	res, err := s.Try(t.Context(), t, "", "run_command", args{"command": "python3 -c 'x = b\"x\" * (600 << 20)'"})
	if err != nil || res.ExitCode == nil || *res.ExitCode == 0 || !strings.Contains(string(res.Output), "the memory limit of 256 MiB was reached") {
		t.Errorf("error %v, exit code %v, output %s", err, res.ExitCode, res.Output)
	}
	s.OK(t, "run_command", args{"command": "true"})
}

func TestData(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "f"), []byte("data\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := environmenttest.New(t, driver(t, Config{Data: []shell.Mount{{Host: data, Path: "/data/set"}}}))
	if got := s.OK(t, "run_command", args{"command": "cat /data/set/f; echo x > /data/set/g || true"}); !strings.HasPrefix(got, "data\n") {
		t.Errorf("got %q", got)
	}
	if _, err := os.Stat(filepath.Join(data, "g")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a program wrote into the data: %v", err)
	}
}

func benchmark(b *testing.B, name string, a args) {
	b.Helper()
	srv, err := driver(b, Config{}).Open(b.Context(), environment.Spec{Dir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	raw, err := json.Marshal(a)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		res, err := srv.Call(b.Context(), tool.Call{EffectID: "eff_1", Name: name, Arguments: raw})
		if err != nil || res.ExitCode == nil || *res.ExitCode != 0 {
			b.Fatal(err, res)
		}
	}
}

func BenchmarkCommand(b *testing.B) { benchmark(b, "run_command", args{"command": "true"}) }

func BenchmarkPython(b *testing.B) {
	benchmark(b, "run_command", args{"command": "python3 -c 'print(1)'"})
}

func BenchmarkPythonCell(b *testing.B) {
	benchmark(b, "run_code", args{"language": "python", "code": "1 + 1"})
}

func BenchmarkColdStart(b *testing.B) {
	d := driver(b, Config{})
	for b.Loop() {
		srv, err := d.Open(b.Context(), environment.Spec{Dir: b.TempDir()})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := srv.Call(b.Context(), tool.Call{EffectID: "eff_1", Name: "run_command", Arguments: json.RawMessage(`{"command":"true"}`)}); err != nil {
			b.Fatal(err)
		}
		if err := srv.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
