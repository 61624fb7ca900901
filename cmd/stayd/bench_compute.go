package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/bench"
	"github.com/stayd/stayd/internal/store"
)

func newBenchCompute() *cobra.Command {
	var m measurement
	cmd := &cobra.Command{
		Use:   "compute",
		Short: "Measure environments, workspaces and forks on this machine",
		Long: `Measure environments, workspaces and forks on this machine.

Cold is a new environment and the first command in it, warm one more command in
an open one, 0.3 s after the last, as a model is asked what to do next; without a
pause it comes right after the last. A cell is one more piece of Python where
there was some before. A workspace of 100 MiB in 1,000 files is captured and
resumed from the store, with a copy of the same files beside it as the machine's
limit. Environments are opened many at once, and a session with a workspace of
50 MiB is forked 10,000 times.

For reference, others publish for the start of a sandbox: E2B about 150 ms,
Daytona 27 to 90 ms. Those figures are theirs, from their machines, and were not
measured here.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return benchCompute(cmd.Context(), &m, cmd.OutOrStdout()) },
	}
	m.addFlags(cmd.Flags(), "for how long each thing is done again and again")
	return cmd
}

func benchCompute(ctx context.Context, m *measurement, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cfg := app.Default()
	cfg.SandboxHelper = []string{self, sandboxHelper}
	drivers, err := app.Sandboxes(&cfg)
	if err != nil {
		return err
	}
	return measure(m, out, func(dir string, progress func(string)) (*bench.ComputeResult, error) {
		return bench.Compute(ctx, bench.ComputeOptions{
			Drivers: drivers, Dir: dir, Duration: m.duration, Sizes: bench.DefaultSizes(),
			Open:     func(ctx context.Context, name string) (store.Store, error) { return openBench(ctx, "", dir, name) },
			Progress: progress,
		})
	}, printCompute)
}

// timing prints how long something took, where it was measured.
func (f *figures) timing(what string, m *bench.Timing, beside string) {
	if m != nil {
		f.row("%s\t%.2f ms\t%.2f ms\t%d\t%s", what, m.P50MS, m.P99MS, m.Count, beside)
	}
}

func printCompute(t *figures, r *bench.ComputeResult) {
	times := func(m, limit *bench.Timing, what string) string {
		if m == nil || limit == nil || limit.P50MS == 0 {
			return ""
		}
		return fmt.Sprintf("%.3g times %s", m.P50MS/limit.P50MS, what)
	}
	t.row("figure\tp50\tp99\tcount\tbeside the limit")
	t.timing("/bin/true without a sandbox", &r.Exec, "")
	t.timing("/bin/true without a sandbox, after a pause", &r.Paused, "")
	t.timing("Python without a sandbox", r.Python, "")
	for i := range r.Drivers {
		d := &r.Drivers[i]
		if d.Unavailable != "" {
			t.row("%s\t-\t-\t-\t%s", d.Sandbox, d.Unavailable)
			continue
		}
		t.timing(d.Sandbox+", cold", d.Cold, times(d.Cold, &r.Exec, "/bin/true"))
		t.timing(d.Sandbox+", warm", d.Warm, times(d.Warm, &r.Paused, "/bin/true after a pause"))
		t.timing(d.Sandbox+", without a pause", d.Next, times(d.Next, &r.Exec, "/bin/true"))
		t.timing(d.Sandbox+", Python cell", d.Cell, times(d.Cell, r.Python, "Python"))
	}
	printResume(t, &r.Resume, times)
	t.row("\t\t\t\t")
	t.row("figure\tvalue\t\t\t")
	t.row("capture of the workspace, the first\t%.0f ms\t\t\t", r.Resume.CaptureMS)
	for i := range r.Many {
		printMany(t, &r.Many[i])
	}
	f := &r.Forks
	t.row("%d forks of a session with %d MiB\t%.0f/s\t\t\t", f.Count, f.WorkspaceBytes>>20, f.PerSecond)
	t.row("stored for a fork\t%.0f bytes\t%.4f%% of the workspace\t\t", f.BytesPerFork, 100*f.Share)
	t.row("stored for a fork with %d new bytes in a file\t%.0f bytes\t%.4f%% of the workspace\t\t", f.ChangedBytes, f.BytesPerChangedFork, 100*f.ChangedShare)
}

func printResume(t *figures, r *bench.Resume, times func(m, limit *bench.Timing, what string) string) {
	size := fmt.Sprintf("%d MiB in %d files", r.Bytes>>20, r.Files)
	t.timing("copy of "+size, &r.Copy, "")
	t.timing("restore of "+size, &r.Restore, times(&r.Restore, &r.Copy, "the copy"))
	t.timing("resume in "+r.Sandbox+", with the first command", &r.Whole, times(&r.Whole, &r.Copy, "the copy"))
	t.timing("resume where nothing differs", &r.Equal, "")
}

func printMany(t *figures, m *bench.Many) {
	name := fmt.Sprintf("%d environments at once, %s", m.Environments, m.Sandbox)
	t.row("%s\t%.0f ms\tfor all\t\t", name, m.WallMS)
	t.row("  command\t%.0f ms\tp50\t%.0f ms\tp99", m.Command.P50MS, m.Command.P99MS)
	t.row("  memory of this process\t%.1f MB\t\t\t", m.ProcessMB)
	t.row("  memory of %d processes in them\t%.1f MB\t%.2f MB each environment\t\t", m.Processes, m.ProgramsMB, m.ProgramsMB/float64(m.Environments))
	t.row("  close of all\t%.0f ms\t%d processes left, %d files missing\t\t", m.CloseMS, m.Left, m.Missing)
}
