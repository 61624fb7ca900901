package bench

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/bubblewrap"
	"github.com/stayd/stayd/internal/environment/gvisor"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/store"
	"github.com/stayd/stayd/internal/store/sqlite"
)

// small is a run that is over soon.
func small(t *testing.T, drivers map[string]environment.Driver) ComputeOptions {
	t.Helper()
	dir := t.TempDir()
	return ComputeOptions{
		Drivers: drivers, Dir: dir, Duration: time.Millisecond, Progress: func(s string) { t.Log(s) },
		Open: func(ctx context.Context, name string) (store.Store, error) {
			return sqlite.Open(ctx, filepath.Join(dir, name+".db"), sqlite.Options{})
		},
		Sizes: Sizes{
			Pause: time.Millisecond, ResumeFiles: 40, ResumeBytes: 4 << 20, ForkFiles: 40, ForkBytes: 4 << 20, Forks: 200, Changed: 10,
			Many: map[string]int{event.SandboxBubblewrap: 4, event.SandboxGVisor: 2},
		},
	}
}

// TestCompute shows that each figure is measured in each sandbox that works on
// the machine, and that nothing is left of what was run.
func TestCompute(t *testing.T) {
	code := js.NewEngine(js.Limits{})
	drivers := map[string]environment.Driver{
		event.SandboxJS:         js.New(code),
		event.SandboxBubblewrap: bubblewrap.New(bubblewrap.Config{Code: code}),
		event.SandboxGVisor:     gvisor.New(gvisor.Config{Code: code}),
	}
	works := map[string]bool{}
	for name, d := range drivers {
		works[name] = d.Check(t.Context()) == nil
	}
	r, err := Compute(t.Context(), small(t, drivers))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", *r)
	measured(t, "a program without a sandbox", &r.Exec)
	measured(t, "the same after a pause", &r.Paused)
	if len(r.Drivers) != 3 {
		t.Fatalf("%d sandboxes are in the report, want 3", len(r.Drivers))
	}
	for _, s := range r.Drivers {
		if !works[s.Sandbox] {
			if s.Unavailable == "" || s.Cold != nil || s.Warm != nil {
				t.Errorf("%s cannot be used here, and the report has %+v", s.Sandbox, s)
			}
			continue
		}
		measured(t, s.Sandbox+" cold", s.Cold)
		measured(t, s.Sandbox+" warm", s.Warm)
		measured(t, s.Sandbox+" without a pause", s.Next)
		if s.Sandbox != event.SandboxJS && r.Python != nil {
			measured(t, "Python in "+s.Sandbox, s.Cell)
		}
	}
	for what, timing := range map[string]*Timing{
		"the copy": &r.Resume.Copy, "the restoring": &r.Resume.Restore, "the resumption": &r.Resume.Whole, "that of what is equal": &r.Resume.Equal,
	} {
		measured(t, what, timing)
	}
	var many []string
	for _, m := range r.Many {
		many = append(many, m.Sandbox)
		measured(t, "many in "+m.Sandbox, &m.Command)
		if m.WallMS <= 0 || m.ProcessMB <= 0 || m.ProgramsMB <= 0 || m.Processes < m.Environments || m.Left != 0 || m.Missing != 0 {
			t.Errorf("many environments: %+v", m)
		}
	}
	for _, name := range []string{event.SandboxBubblewrap, event.SandboxGVisor} {
		if slices.Contains(many, name) != works[name] {
			t.Errorf("many were measured in %v; %s works: %v", many, name, works[name])
		}
	}
	if f := r.Forks; f.PerSecond <= 0 || f.BytesPerFork <= 0 || f.Share >= 0.05 || f.BytesPerChangedFork < forkChange || f.ChangedShare >= 0.05 {
		t.Errorf("forks: %+v", f)
	}
}

// TestComputeUnavailable shows that what cannot be used is named with the reason,
// and that the rest is measured all the same.
func TestComputeUnavailable(t *testing.T) {
	code := js.NewEngine(js.Limits{})
	r, err := Compute(t.Context(), small(t, map[string]environment.Driver{
		event.SandboxJS:     js.New(code),
		event.SandboxGVisor: gvisor.New(gvisor.Config{Code: code, Path: filepath.Join(t.TempDir(), "runsc")}),
	}))
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Sandboxes []map[string]any `json:"sandboxes"`
		Resume    struct {
			Sandbox string `json:"sandbox"`
		} `json:"resume"`
		Many []any `json:"many"`
	}
	if err := json.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Sandboxes) != 2 || report.Sandboxes[1]["sandbox"] != "gvisor" || report.Sandboxes[1]["unavailable"] == nil || report.Sandboxes[1]["cold"] != nil {
		t.Errorf("the sandboxes are %v", report.Sandboxes)
	}
	if report.Resume.Sandbox != "js" || report.Many != nil {
		t.Errorf("resumed in %q, many %v", report.Resume.Sandbox, report.Many)
	}
}

// TestDescendants shows that a process is found and weighed as long as it lives.
func TestDescendants(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("processes are listed in /proc, which only Linux has")
	}
	cmd := exec.CommandContext(t.Context(), "sleep", "3600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	all, err := descendants(os.Getpid())
	parent, started, ok := readStat(cmd.Process.Pid)
	p := procID{cmd.Process.Pid, started}
	if err != nil || !slices.Contains(all, p) {
		t.Errorf("the descendants are %v, %v, without %v", all, err, p)
	}
	if !ok || parent != os.Getpid() || !p.lives() {
		t.Errorf("the process %v of %d is not seen to live", p, parent)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	if p.lives() {
		t.Errorf("the process %v lives after its end", p)
	}
}

func measured(t *testing.T, what string, m *Timing) {
	t.Helper()
	if m == nil || m.Count < 2 || m.P50MS <= 0 || m.P99MS < m.P50MS {
		t.Errorf("%s was not measured: %+v", what, m)
	}
}
