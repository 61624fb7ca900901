package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/stayd/stayd/internal/effect"
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/environment/bubblewrap"
	"github.com/stayd/stayd/internal/environment/js"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/tool"
)

// tools are what effects reach.
type tools struct {
	servers   effect.Servers
	sandboxes map[string]environment.Driver
	stdio     []string
}

type noServers struct{}

func (noServers) Server(context.Context, string, *event.Tool) (tool.Server, error) {
	return nil, errors.New("no MCP")
}

func openTools(cfg *Config, _ *slog.Logger) (*tools, error) {
	code := js.NewEngine(js.Limits{})
	return &tools{
		servers: noServers{},
		sandboxes: map[string]environment.Driver{
			event.SandboxJS:         js.New(code),
			event.SandboxBubblewrap: bubblewrap.New(bubblewrap.Config{Code: code}),
		},
		stdio: cfg.AllowStdioMCP,
	}, nil
}

// check reports whether this machine has what a sandbox needs.
func (t *tools) check(ctx context.Context, name string) error {
	driver := t.sandboxes[name]
	if driver == nil {
		names := make([]string, 0, len(t.sandboxes))
		for n := range t.sandboxes {
			names = append(names, n)
		}
		slices.Sort(names)
		return fmt.Errorf("there is no sandbox %q, only %s", name, strings.Join(names, " and "))
	}
	return driver.Check(ctx)
}

// allowStdio reports whether sessions may start the command as an MCP server.
func (t *tools) allowStdio(command string) bool {
	return slices.Contains(t.stdio, "*") || slices.Contains(t.stdio, command)
}

func (t *tools) close() error { return nil }
