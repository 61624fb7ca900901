package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/bench"
	"github.com/stayd/stayd/internal/store"
)

// benchFlags are the flags of bench.
type benchFlags struct {
	measurement
	store string
}

func newBench() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure the engine on this machine, beside the limit of its disk",
		Long: `Measure the engine on this machine, beside the limit of its disk.

A step is a model call or a tool call whose outcome is durable before the next
one begins; the model and the tool of the bench take no time. The raw limit is
what the same disk does in the same run when 1 KiB records are appended to a file
with fdatasync. A PostgreSQL store should be made for the bench: what the bench
writes stays in it.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd.Context(), cmd.OutOrStdout()) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.store, "store", "", "postgres:// URL of the store to measure; without it a SQLite file")
	f.addFlags(fs, "how long each throughput is measured")
	cmd.AddCommand(newBenchCompute(), newBenchChild())
	return cmd
}

func (f *benchFlags) run(ctx context.Context, out io.Writer) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	return measure(&f.measurement, out, func(dir string, progress func(string)) (*bench.Result, error) {
		return bench.Run(ctx, bench.Options{
			Run: "bench_" + strconv.FormatInt(time.Now().UnixMilli(), 36), Dir: dir, Duration: f.duration,
			Open: func(ctx context.Context, name string) (store.Store, error) { return openBench(ctx, f.store, dir, name) },
			Child: func(mode, name, project string) *exec.Cmd {
				c := exec.CommandContext(ctx, self, "bench", "child", mode, project, "--dir", filepath.Join(dir, name), "--store", f.store) //nolint:gosec // this program itself
				c.Stderr = os.Stderr
				return c
			},
			Progress: progress,
		})
	}, printBench)
}

func openBench(ctx context.Context, url, dir, name string) (store.Store, error) {
	dir = filepath.Join(dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the store: %w", err)
	}
	return app.OpenStore(ctx, url, dir, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
}

// newBenchChild runs what has to be a process of its own.
func newBenchChild() *cobra.Command {
	var url, dir string
	cmd := &cobra.Command{
		Use: "child MODE PROJECT", Hidden: true, Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) error {
			began := time.Now()
			st, err := openBench(cmd.Context(), url, dir, "")
			if err != nil {
				return err
			}
			return bench.Child(cmd.Context(), argv[0], argv[1], st, began, os.Stdin, os.Stdout)
		},
	}
	cmd.Flags().StringVar(&url, "store", "", "as of bench")
	cmd.Flags().StringVar(&dir, "dir", "", "folder of the store")
	return cmd
}

func printBench(f *figures, r *bench.Result) {
	share := func(v, limit float64) string { return fmt.Sprintf("%.0f%%", 100*v/limit) }
	f.row("figure\tvalue\tof the raw limit")
	f.row("raw append and fdatasync, 1 writer\t%.0f/s\t", r.RawLimit1)
	f.row("raw append and fdatasync, 64 writers\t%.0f/s\t", r.RawLimit64)
	f.row("durable steps, 1 session\t%.0f/s\t%s of 1 writer", r.Steps1, share(r.Steps1, r.RawLimit1))
	f.row("durable steps, 16 sessions\t%.0f/s\t%s of 64 writers", r.Steps16, share(r.Steps16, r.RawLimit64))
	f.row("durable steps, 64 sessions\t%.0f/s\t%s of 64 writers", r.Steps64, share(r.Steps64, r.RawLimit64))
	f.row("durable steps, 256 sessions\t%.0f/s\t%s of 64 writers", r.Steps256, share(r.Steps256, r.RawLimit64))
	f.row("one step alone, p50\t%.3f ms\t%.1f appends", r.StepP50MS, r.StepP50MS*r.RawLimit1/1000)
	f.row("one step alone, p99\t%.3f ms\t", r.StepP99MS)
	f.row("stored for each new byte\t%.2f bytes\t", r.BytesPerNewByte)
	f.row("memory with 10,000 waiting sessions\t%.1f MB\t", r.RSSWaiting10kMB)
	f.row("recovery of 1,000 sessions after SIGKILL\t%.0f ms\t", r.Recover1kMS)
}
