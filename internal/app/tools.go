package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/stayd/stayd/internal/credential"
	"github.com/stayd/stayd/internal/environment"
	"github.com/stayd/stayd/internal/event"
	"github.com/stayd/stayd/internal/identity/workload"
	"github.com/stayd/stayd/internal/outbound"
	"github.com/stayd/stayd/internal/tool"
	"github.com/stayd/stayd/internal/tool/mcp"
)

// tools are what effects reach.
type tools struct {
	pool      *mcp.Pool
	sandboxes map[string]environment.Driver
	stdio     []string
	egress    egressOpener

	credentials *credential.Source // set before anything is called, as is issuer
	issuer      *workload.Issuer   // of tokens of agents

	choose sync.Once
	chosen string
}

func openTools(cfg *Config, log *slog.Logger) (*tools, error) {
	client, err := outbound.New(cfg.outside(toMCP))
	if err != nil {
		return nil, fmt.Errorf("allow-outbound: %w", err)
	}
	sandboxes, err := openSandboxes(cfg)
	if err != nil {
		return nil, err
	}
	egress, err := openEgress(cfg)
	if err != nil {
		return nil, err
	}
	t := &tools{sandboxes: sandboxes, egress: egress, stdio: cfg.AllowStdioMCP}
	t.pool = mcp.NewPool(mcp.PoolConfig{HTTP: client, Authorize: t.authorize, Log: func(session, label, line string) {
		log.Debug("an MCP server wrote to its standard error", "session", session, "server", label, "line", line)
	}})
	return t, nil
}

// Server implements effect.Servers. A command that the operator no longer allows
// is not started for a session that was made when it was allowed.
func (t *tools) Server(ctx context.Context, caller tool.Caller, cfg *event.Tool) (tool.Server, error) {
	if tr := cfg.Transport; tr != nil && tr.Type == "stdio" && !t.allowStdio(tr.Command) {
		return nil, &tool.Error{Message: fmt.Sprintf("the command %q of the MCP server '%s' is not allowed on this server; the operator may allow it with --allow-stdio-mcp", tr.Command, cfg.ServerLabel)}
	}
	return t.pool.Server(ctx, caller, cfg)
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

func (t *tools) close() error { return t.pool.Close() }
