package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/internal/app"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the HTTP API",
		Long: `Serve the HTTP API until SIGTERM or SIGINT. Then nothing new is begun, what is
under way may end for a while, and the rest is taken up by the next start. A
second signal stops at once, which loses nothing either.

A flag goes before its STAYD_ variable (--lease-ttl before STAYD_LEASE_TTL), that
before the key of the same name in the file that --config or STAYD_CONFIG names.
Where other machines reach the address, every caller has to show an API key, one
of --keys or one that was made with stayd keys, or a token of one of --issuers. The
first key is told when the server first starts. On loopback nobody has to, unless
--require-key, --keys or --issuers is given.`,
		Example: `  stayd serve
  stayd serve --listen 127.0.0.1:9090 --data /var/lib/stayd --models models.yaml`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(cmd.Flags(), os.Getenv)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg)
		},
	}
	addSettings(cmd.Flags(), runtimeSettings, serverSettings)
	return cmd
}

func serve(ctx context.Context, cfg app.Config) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.LogLevel}))
	ctx, stop := stopOnSignal(ctx, log)
	defer stop()
	a, err := app.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Listen)
	if err != nil {
		err = fmt.Errorf("listen on %s: %w; choose another address with --listen", cfg.Listen, err)
		return errors.Join(err, a.Close(ctx))
	}
	if err := showFirstKey(ctx, a); err != nil {
		return errors.Join(err, l.Close(), a.Close(ctx))
	}
	url := "http://" + l.Addr().String()
	name := filepath.Join(cfg.Data, urlFile)
	if err := os.WriteFile(name, []byte(url+"\n"), 0o600); err != nil {
		return errors.Join(fmt.Errorf("write the server's URL: %w", err), l.Close(), a.Close(ctx))
	}
	fmt.Fprintf(os.Stderr, "listening on %s\n", url)
	err = a.Serve(ctx, l)
	if removed := os.Remove(name); removed != nil && !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return err
}

// showFirstKey makes the first API key, where one is needed, and tells it.
func showFirstKey(ctx context.Context, a *app.App) error {
	text, err := a.FirstKey(ctx)
	if err != nil || text == "" {
		return err
	}
	fmt.Fprintf(os.Stderr, "the first API key, which is not told again:\n\n  %s\n\nmake others with it: STAYD_API_KEY=... stayd keys create NAME\n\n", text)
	return nil
}

// stopOnSignal returns a context that ends with the first SIGTERM or SIGINT. The
// second one ends the process.
func stopOnSignal(ctx context.Context, log *slog.Logger) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		select {
		case s := <-signals:
			log.Info("stopping; another signal stops at once", "signal", s.String())
			cancel()
		case <-ctx.Done():
			return
		}
		if s, ok := <-signals; ok {
			log.Warn("stopped at once", "signal", s.String())
			os.Exit(exitFailed)
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(signals)
		cancel()
	}
}
