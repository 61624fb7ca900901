package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/demo"
	"github.com/stayd/stayd/cmd/stayd/internal/station"
	"github.com/stayd/stayd/internal/app"
	"github.com/stayd/stayd/internal/version"
)

func newDemo() *cobra.Command {
	var cfg demo.Config
	var scripted bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See an agent work, be killed half-way, and do nothing twice",
		Long: `An agent analyses real weather data in a sandbox, draws a chart and publishes a
report. While a call is under way, its server is killed with SIGKILL and started
again. The work goes on to its end; the log and a ledger that the tools keep show
that nothing was done twice. Then a session that works with Python is forked in
the middle, and both go on.

Where a model is ready (an API key, a local Ollama, or --model) it is a real one;
otherwise a script plays its part. It needs nothing but this binary.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if scripted {
				cfg.Model = demo.Script
			}
			return runDemo(ctx, cmd, cfg)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&cfg.Dir, "dir", "stayd-demo", "folder for what the demonstration makes; it is emptied")
	fs.StringVar(&cfg.Model, "model", "", "model, as provider/name; default: the first that is ready")
	fs.StringVar(&cfg.Models, "models", "", "YAML file of models, prices and fallbacks")
	fs.BoolVar(&scripted, "script", false, "play the script, even where a real model is ready")
	fs.BoolVar(&cfg.Fast, "fast", false, "without the pauses that let one read along")
	return cmd
}

func runDemo(ctx context.Context, cmd *cobra.Command, cfg demo.Config) error {
	var err error
	if cfg.Executable, err = os.Executable(); err != nil {
		return err
	}
	if cfg.Dir, err = filepath.Abs(cfg.Dir); err != nil {
		return err
	}
	if cfg.Models != "" {
		if cfg.Models, err = filepath.Abs(cfg.Models); err != nil {
			return err
		}
	}
	if cfg.Model == "" {
		if cfg.Model, err = demoModel(ctx, cfg.Models); err != nil {
			return err
		}
	}
	o := newOutput(cmd, false)
	cfg.Out, cfg.Width = o.out, o.width
	return demo.Run(ctx, cfg)
}

// demoModel is the first real model that is ready, or the script.
func demoModel(ctx context.Context, models string) (name string, err error) {
	dir, err := os.MkdirTemp("", "stayd-demo-")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg := app.Default()
	cfg.Data, cfg.Models = dir, models
	a, err := app.Open(ctx, cfg, slog.New(slog.NewTextHandler(io.Discard, nil)))
	if err != nil {
		return "", err
	}
	name, ok := a.Models().FirstAvailable(ctx)
	if !ok {
		name = demo.Script
	}
	return name, a.Close(ctx)
}

func newMCPDemo() *cobra.Command {
	var cfg station.Config
	cmd := &cobra.Command{
		Use:    "mcp-demo",
		Short:  "The MCP server of the demonstration, on standard input and output",
		Hidden: true,
		Args:   args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return station.Serve(cmd.Context(), cfg, version.String())
		},
	}
	cmd.Flags().StringVar(&cfg.Dir, "dir", ".", "folder to work in")
	cmd.Flags().DurationVar(&cfg.Hold, "hold", 3*time.Second, "how long the first chart takes at most")
	return cmd
}
