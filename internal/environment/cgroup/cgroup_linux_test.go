package cgroup

import (
	"bufio"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stayd/stayd/internal/environment/shell"
)

func TestGroups(t *testing.T) {
	h := Find()
	if h.MemoryLimit() == "" {
		t.Skip("no control group can be made on this machine")
	}
	g, err := h.Create(shell.Limits{Memory: 64 << 20, Processes: 8, CPUs: 1}, 2)
	if err != nil {
		t.Fatal(err)
	}
	// Another of the same process has groups of its own.
	other, err := Find().Create(shell.Limits{Memory: 64 << 20, Processes: 8, CPUs: 1}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Remove(); err != nil {
		t.Error(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "read _; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; wait")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	in.Close()
	line, _ := bufio.NewReader(out).ReadString('\n') // at the limit, the shell says so and ends
	syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	cmd.Wait() // it was killed
	if g.LimitsProcesses() && !strings.Contains(line, "fork") {
		t.Errorf("over 10 processes were started: %q", line)
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}

func TestMemory(t *testing.T) {
	h := Find()
	if h.MemoryLimit() == "" {
		t.Skip("no control group can be made on this machine")
	}
	g, err := h.Create(shell.Limits{Memory: 32 << 20, Processes: 8, CPUs: 1}, 2)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "read _; head -c 200000000 /dev/zero | tail -c 150000000 | wc -c")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	in.Close()
	cmd.Wait() // a part of it was killed
	if g.Killed() == 0 {
		t.Error("no process was killed for its memory")
	}
	if err := g.Remove(); err != nil {
		t.Error(err)
	}
}
