package bubblewrap_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stayd/stayd/internal/environment/bubblewrap"
	"github.com/stayd/stayd/internal/environment/environmenttest"
	"github.com/stayd/stayd/internal/environment/shell"
)

// landlocked returns a driver that uses Landlock, or skips the test where the
// kernel has none.
func landlocked(tb testing.TB, cfg bubblewrap.Config) *bubblewrap.Driver {
	tb.Helper()
	d := driver(tb, cfg)
	if !d.Landlock() {
		tb.Skip("this kernel has no Landlock, or one before Linux 5.19")
	}
	return d
}

// The helper is mounted in the sandbox, and all may read and run it. Landlock
// alone keeps the programs from that, whichever way they are started.
func TestLandlockInEveryProgram(t *testing.T) {
	s := environmenttest.New(t, landlocked(t, bubblewrap.Config{}))
	path := "/run/" + filepath.Base(helper(t)[0])
	if got := s.OK(t, "run_command", args{"command": "stat -c %A " + path}); !strings.HasSuffix(got, "r-xr-xr-x\n") && !strings.HasSuffix(got, "rwxr-xr-x\n") {
		t.Fatalf("all may read and run what is at %s: %q", path, got)
	}
	probe := "cat " + path + " | wc -c; " + path + "; echo $?"
	denied := "cat: " + path + ": Permission denied\n0\n"
	if got := s.OK(t, "run_command", args{"command": probe}); !strings.HasPrefix(got, denied) || !strings.HasSuffix(got, "\n126\n") {
		t.Errorf("a command: %q", got)
	}
	// It writes to a file, since what it says may come in several pieces.
	id := s.Start(t, args{"command": "read _; (" + probe + ") > said 2>&1"})
	s.OK(t, "write_process", args{"process_id": id, "input": "go on\n"})
	for ended := false; !ended; {
		ended = strings.Contains(s.OK(t, "read_process", args{"process_id": id, "wait_seconds": 60}), "has ended")
	}
	if got := s.OK(t, "run_command", args{"command": "cat said"}); !strings.HasPrefix(got, denied) || !strings.HasSuffix(got, "\n126\n") {
		t.Errorf("a program in the background: %q", got)
	}
	if got := s.OK(t, "run_code", environmenttest.Python("try: open('"+path+"')\nexcept PermissionError as e: print(e.strerror)\n")); got != "Permission denied\n" {
		t.Errorf("code: %q", got)
	}
}

// What programs need is allowed.
func TestLandlockAllows(t *testing.T) {
	data := t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "program"), []byte("#!/bin/sh\necho ran\n"), 0o755); err != nil { // it is a program
		t.Fatal(err)
	}
	s := environmenttest.New(t, landlocked(t, bubblewrap.Config{Data: []shell.Mount{{Host: data, Path: "/data/set"}}}))
	for _, c := range []string{
		"ls / /run /dev /data >/dev/null", "cat /etc/passwd /proc/self/status /data/set/program >/dev/null", "test $(/data/set/program) = ran",
		"mkdir a b && echo x > a/f && mv a/f b/f && ln b/f a/g && ln -s f b/l && : > b/f && rm -r a b",
		"cp /bin/true own && ./own && truncate -s 5 own", "mkfifo p && (cat p & echo x > p; wait)",
		"echo x > /tmp/f && cp /tmp/f /dev/shm/f && mv /dev/shm/f f", "echo x > /dev/null; head -c 1 /dev/zero /dev/urandom >/dev/null",
		"echo x | cat /dev/stdin /dev/fd/0; echo x > /dev/stdout; cat <(echo y)",
		"python3 -c 'import os, pty; os.write(pty.openpty()[0], b\"x\")'",
		"python3 -c 'import multiprocessing as m; m.Lock(); m.Queue().put(1)'",
		`python3 -c 'import socket; l = socket.socket(socket.AF_UNIX); l.bind("/tmp/s"); l.listen(); socket.socket(socket.AF_UNIX).connect("/tmp/s")'`,
	} {
		s.OK(t, "run_command", args{"command": c})
	}
}
