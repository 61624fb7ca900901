package cgroup

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stayd/stayd/internal/environment/shell"
)

func TestGroups(t *testing.T) {
	for _, how := range []string{"added", "enters"} {
		t.Run(how, func(t *testing.T) { testGroups(t, how == "enters") })
	}
}

func testGroups(t *testing.T, enters bool) {
	t.Helper()
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
	entrances, err := g.Entrances()
	if err != nil {
		t.Fatal(err)
	}
	var enter strings.Builder
	for i := range entrances {
		if enters {
			fmt.Fprintf(&enter, "echo 0 >&%d; ", 3+i)
		}
	}
	cmd := exec.Command("/bin/sh", "-c", "read _; "+enter.String()+"for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 100 & done; wait")
	cmd.ExtraFiles = entrances
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
	for _, f := range entrances {
		f.Close() // the shell has its own
	}
	if !enters {
		if err := g.Add(cmd.Process.Pid); err != nil {
			t.Error(err)
		}
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

// Where the machine has version 2 for one controller only, that one shows how a
// place is found: in the group of a process no other is limited, but above it.
func TestPlaceInV2(t *testing.T) {
	m, ok := cgroupMounts()[""]
	if !ok {
		t.Skip("no hierarchy of version 2 is mounted")
	}
	above := filepath.Join(m.dir, fmt.Sprintf("stayd-%d-test", os.Getpid()))
	if err := os.Mkdir(above, 0o750); err != nil {
		t.Skip("no control group of version 2 can be made: ", err)
	}
	own := filepath.Join(above, "a", "own")
	t.Cleanup(func() {
		for _, dir := range []string{own, filepath.Dir(own), above} {
			if err := removeGroup(dir); err != nil {
				t.Error(err)
			}
		}
	})
	if err := os.MkdirAll(own, 0o750); err != nil {
		t.Fatal(err)
	}
	const limit = "hugetlb.2MB.max"
	if !limits(m.dir, limit) {
		t.Skip("version 2 has no controller for huge pages here")
	}
	for _, dir := range []string{above, filepath.Dir(own)} {
		if !limits(dir, limit) {
			t.Fatalf("%s limits no groups in it", dir)
		}
	}
	cmd := exec.Command("/bin/cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := (&Group{v2: true, memory: own, pids: own}).Add(cmd.Process.Pid); err != nil {
		t.Error(err)
	}
	if got, want := m.writable(m.root+own[len(m.dir)+1:], limit), filepath.Dir(own); got != want {
		t.Errorf("groups are made in %q, want %q", got, want)
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if got := m.writable(m.root+own[len(m.dir)+1:], limit); got != own {
		t.Errorf("without a process in it, groups are made in %q, want %q", got, own)
	}
	for _, elsewhere := range []string{"/../other", "/stayd-is-not-there/x"} {
		if got := m.writable(elsewhere, limit); got != m.dir {
			t.Errorf("of %s, groups are made in %q, want %q", elsewhere, got, m.dir)
		}
	}
	if got := m.writable("/", "memory.none"); got != "" {
		t.Errorf("a limit that there is not is in %q", got)
	}
}

// The words of version 2, in a folder that is none.
func TestFilesOfV2(t *testing.T) {
	dir := t.TempDir()
	h := &Hierarchies{version: "cgroup v2", memory: dir, pids: dir, cpu: dir, name: "g"}
	if err := os.Mkdir(filepath.Join(dir, "g1"), 0o750); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"memory.max", "memory.swap.max", "pids.max", "cpu.max", "cgroup.procs"} {
		if err := os.WriteFile(filepath.Join(dir, "g1", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g, err := h.Create(shell.Limits{Memory: 64 << 20, Processes: 8, CPUs: 1.5}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Add(1234); err != nil {
		t.Fatal(err)
	}
	if entrances, err := g.Entrances(); len(entrances) != 0 || err != nil {
		t.Errorf("entrances %v, %v", entrances, err)
	}
	for name, want := range map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "pids.max": "10", "cpu.max": "150000 100000", "cgroup.procs": "1234"} {
		if b, err := os.ReadFile(filepath.Join(dir, "g1", name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v; want %q", name, b, err, want)
		}
	}
	// As the kernel writes them; see "memory.events" in its description of version 2.
	const events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n"
	if err := os.WriteFile(filepath.Join(dir, "g1", "memory.events"), []byte(events), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := g.Killed(); got != 2 {
		t.Errorf("%d processes were killed, want 2", got)
	}
}
