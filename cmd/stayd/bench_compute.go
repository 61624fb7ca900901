package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/bench"
	"github.com/stayd/stayd/internal/store"
)

// computeFlags are the flags of bench compute.
type computeFlags struct {
	dir      string
	duration time.Duration
	json     bool
}

func newBenchCompute() *cobra.Command {
	var f computeFlags
	cmd := &cobra.Command{
		Use:   "compute",
		Short: "Measure environments, workspaces and forks on this machine",
		Long: `Measure environments, workspaces and forks on this machine.

Cold is a new environment and the first command in it, warm one more command in
an open one, a cell one more piece of Python where there was some before. A
workspace of 100 MiB in 1,000 files is captured and resumed from the store, with a
copy of the same files beside it as the machine's limit. Environments are opened
many at once, and a session with a workspace of 50 MiB is forked 10,000 times.

For reference, others publish for the start of a sandbox: E2B about 150 ms,
Daytona 27 to 90 ms. Those figures are theirs, from their machines, and were not
measured here.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.dir, "dir", "", "folder on the disk to measure; a temporary one without it")
	fs.DurationVar(&f.duration, "duration", 5*time.Second, "for how long each thing is done again and again")
	fs.BoolVar(&f.json, "json", false, "print one JSON object")
	return cmd
}

func (f *computeFlags) run(ctx context.Context, out io.Writer) (err error) {
	dir, err := os.MkdirTemp(f.dir, "stayd-bench-*")
	if err != nil {
		return fmt.Errorf("make the folder of the bench: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
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
	shown := newProgress(os.Stderr)
	done := func() {}
	result, err := bench.Compute(ctx, bench.ComputeOptions{
		Drivers: drivers, Dir: dir, Duration: f.duration, Sizes: bench.DefaultSizes(),
		Open: func(ctx context.Context, name string) (store.Store, error) { return openBench(ctx, "", dir, name) },
		Progress: func(what string) {
			done()
			done = shown.during(what)
		},
	})
	done()
	if err != nil {
		return err
	}
	if f.json {
		return json.NewEncoder(out).Encode(result)
	}
	return printCompute(out, result)
}

// computeTable is a table that is being printed.
type computeTable struct {
	w    *tabwriter.Writer
	errs []error
}

func (t *computeTable) row(format string, args ...any) {
	_, err := fmt.Fprintf(t.w, format+"\n", args...)
	t.errs = append(t.errs, err)
}

func (t *computeTable) timing(what string, m *bench.Timing, beside string) {
	if m != nil {
		t.row("%s\t%.2f ms\t%.2f ms\t%d\t%s", what, m.P50MS, m.P99MS, m.Count, beside)
	}
}

func printCompute(out io.Writer, r *bench.ComputeResult) error {
	t := &computeTable{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	times := func(m, limit *bench.Timing, what string) string {
		if m == nil || limit == nil || limit.P50MS == 0 {
			return ""
		}
		return fmt.Sprintf("%.3g times %s", m.P50MS/limit.P50MS, what)
	}
	t.row("figure\tp50\tp99\tcount\tbeside the limit")
	t.timing("/bin/true without a sandbox", &r.Exec, "")
	t.timing("Python without a sandbox", r.Python, "")
	for i := range r.Drivers {
		d := &r.Drivers[i]
		if d.Unavailable != "" {
			t.row("%s\t-\t-\t-\t%s", d.Sandbox, d.Unavailable)
			continue
		}
		t.timing(d.Sandbox+", cold", d.Cold, times(d.Cold, &r.Exec, "/bin/true"))
		t.timing(d.Sandbox+", warm", d.Warm, times(d.Warm, &r.Exec, "/bin/true"))
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
	return errors.Join(errors.Join(t.errs...), t.w.Flush())
}

func printResume(t *computeTable, r *bench.Resume, times func(m, limit *bench.Timing, what string) string) {
	size := fmt.Sprintf("%d MiB in %d files", r.Bytes>>20, r.Files)
	t.timing("copy of "+size, &r.Copy, "")
	t.timing("restore of "+size, &r.Restore, times(&r.Restore, &r.Copy, "the copy"))
	t.timing("resume in "+r.Sandbox+", with the first command", &r.Whole, times(&r.Whole, &r.Copy, "the copy"))
	t.timing("resume where nothing differs", &r.Equal, "")
}

func printMany(t *computeTable, m *bench.Many) {
	name := fmt.Sprintf("%d environments at once, %s", m.Environments, m.Sandbox)
	t.row("%s\t%.0f ms\tfor all\t\t", name, m.WallMS)
	t.row("  command\t%.0f ms\tp50\t%.0f ms\tp99", m.Command.P50MS, m.Command.P99MS)
	t.row("  memory of this process\t%.1f MB\t\t\t", m.ProcessMB)
	t.row("  memory of %d processes in them\t%.1f MB\t%.2f MB each environment\t\t", m.Processes, m.ProgramsMB, m.ProgramsMB/float64(m.Environments))
	t.row("  close of all\t%.0f ms\t%d processes left, %d files missing\t\t", m.CloseMS, m.Left, m.Missing)
}
