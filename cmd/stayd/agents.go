package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/agentfile"
)

func newAgents() *cobra.Command {
	cmd := &cobra.Command{Use: "agents", Short: "Keep agents", Args: args(cobra.NoArgs), RunE: help}
	cmd.AddCommand(newAgentsApply(), newAgentsList(), newAgentsDelete())
	return cmd
}

func help(cmd *cobra.Command, _ []string) error { return cmd.Help() }

func newAgentsApply() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Create the agent of a file, or bring it to what the file says",
		Long: `Create the agent of a file, or bring the one of the same name to what the file
says. What the file leaves out gets its default. The environment belongs to each
session and is not kept with the agent.`,
		Example: "  stayd agents apply -f examples/agents/careful.yaml",
		Args:    args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usage("name the agent's file with -f")
			}
			a, err := agentfile.Read(file)
			if err == nil && a.Name == "" {
				err = fmt.Errorf("%s: the agent has no name", file)
			}
			if err != nil {
				return &coded{code: exitUsage, err: err}
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error { return apply(ctx, rt, a, cmd.OutOrStdout()) })
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the agent's file")
	addRuntimeFlags(cmd)
	return cmd
}

// apply creates the agent or updates the one of its name.
func apply(ctx context.Context, rt *runtime, a *agentfile.Agent, out io.Writer) error {
	var found []openai.Agent
	pages := rt.SDK.Beta.Agents.ListAutoPaging(ctx, openai.BetaAgentListParams{})
	for pages.Next() {
		if pages.Current().Name == a.Name {
			found = append(found, pages.Current())
		}
	}
	if err := pages.Err(); err != nil {
		return err
	}
	switch len(found) {
	case 0:
		body, err := json.Marshal(a)
		if err != nil {
			return fmt.Errorf("encode the agent: %w", err)
		}
		made, err := rt.SDK.Beta.Agents.New(ctx, openai.BetaAgentNewParams{}, option.WithRequestBody("application/json", body))
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "created %s (%s)\n", made.ID, a.Name)
		return err
	case 1:
		body, err := replacement(a)
		if err != nil {
			return err
		}
		if _, err := rt.SDK.Beta.Agents.Update(ctx, found[0].ID, openai.BetaAgentUpdateParams{}, option.WithRequestBody("application/json", body)); err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "updated %s (%s)\n", found[0].ID, a.Name)
		return err
	}
	return fmt.Errorf("%d agents are named %q; delete all but one, or rename them", len(found), a.Name)
}

// replacement is the agent with null for what the file leaves out, so that it
// gets its default.
func replacement(a *agentfile.Agent) ([]byte, error) {
	given, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode the agent: %w", err)
	}
	all := map[string]json.RawMessage{}
	for _, name := range []string{"instructions", "tools", "reasoning", "compaction", "limits", "metadata"} {
		all[name] = json.RawMessage("null")
	}
	if err := json.Unmarshal(given, &all); err != nil {
		return nil, fmt.Errorf("encode the agent: %w", err)
	}
	return json.Marshal(all)
}

func newAgentsList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the agents that are kept",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				pages := rt.SDK.Beta.Agents.ListAutoPaging(ctx, openai.BetaAgentListParams{})
				t := newTable(cmd.OutOrStdout(), asJSON, "ID", "NAME", "MODEL", "CREATED")
				for pages.Next() {
					a := pages.Current()
					t.row(a.RawJSON(), a.ID, a.Name, a.Model, since(a.CreatedAt))
				}
				return errors.Join(pages.Err(), t.flush())
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	addRuntimeFlags(cmd)
	return cmd
}

func newAgentsDelete() *cobra.Command {
	return eachID("delete", "Delete agents; sessions that were made with them stay", "deleted", func(ctx context.Context, rt *runtime, id string) error {
		_, err := rt.SDK.Beta.Agents.Delete(ctx, id)
		return err
	})
}

// eachID is a command that does something to each of the things that are named by
// their ids, and says for each that it is done.
func eachID(verb, short, done string, do func(ctx context.Context, rt *runtime, id string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use:   verb + " ID...",
		Short: short,
		Args:  args(cobra.MinimumNArgs(1)),
		RunE: func(cmd *cobra.Command, ids []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				for _, id := range ids {
					if err := do(ctx, rt, id); err != nil {
						return err
					}
					if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s %s\n", done, id); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	addRuntimeFlags(cmd)
	return cmd
}

// table prints rows under a heading, or as JSON objects.
type table struct {
	w    *tabwriter.Writer
	json io.Writer // nil for a table
	err  error     // the first of writing
}

func newTable(out io.Writer, asJSON bool, heading ...any) *table {
	if asJSON {
		return &table{json: out}
	}
	t := &table{w: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)}
	t.row("", heading...)
	return t
}

func (t *table) row(raw string, cells ...any) {
	if t.err != nil {
		return
	}
	if t.json != nil {
		_, t.err = fmt.Fprintln(t.json, raw)
		return
	}
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	_, t.err = fmt.Fprintln(t.w, strings.Join(texts, "\t"))
}

func (t *table) flush() error {
	if t.w == nil {
		return t.err
	}
	return errors.Join(t.err, t.w.Flush())
}

// since is how long ago a time in Unix seconds is.
func since(unix int64) string {
	d := time.Since(time.Unix(unix, 0))
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds ago", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	}
	return fmt.Sprintf("%dd ago", int(d.Hours()/24))
}
