package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
)

func newSessionsFork() *cobra.Command {
	var f client.Fork
	var at string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "fork ID",
		Short: "Make a session that has the past of another",
		Long: `Make a session that has the past of another: its conversation and its files as
they were at a point. Nothing is copied, and the other session does not notice.
Calls that were open there are not made by the fork; its agent is told so.`,
		Example: `  stayd sessions fork sess_1                           at the end of its log
  stayd sessions fork sess_1 --at 120                  after record 120
  stayd sessions fork sess_1 --at turn_7 --input "Do it without the chart."
  stayd sessions fork sess_1 --at item_3 --cancel`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := forkAt(&f, at); err != nil {
				return err
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				made, err := rt.Fork(ctx, args[0], f)
				if err != nil {
					return err
				}
				return printFork(cmd.OutOrStdout(), made, asJSON)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&at, "at", "", "where: the number of a record, the id of a turn, or that of an item; default: the end")
	fs.StringVar(&f.Input, "input", "", "a message that begins a new turn of the fork")
	fs.StringVar(&f.Model, "model", "", "another model for the fork")
	fs.BoolVar(&f.Cancel, "cancel", false, "end a turn that was under way; without it the fork goes on with it")
	fs.BoolVar(&asJSON, "json", false, "print the new session as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

// forkAt reads where the fork is to begin; nothing is the end of the log.
func forkAt(f *client.Fork, at string) error {
	switch n, err := strconv.ParseInt(at, 10, 64); {
	case at == "":
	case err == nil && n > 0:
		f.Record = n
	case strings.HasPrefix(at, "turn_"):
		f.Turn = at
	case strings.Contains(at, "_"):
		f.Item = at
	default:
		return usage("--at %q is neither the number of a record nor the id of a turn or an item", at)
	}
	return nil
}

func printFork(w io.Writer, s *openai.AgentSession, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintln(w, s.RawJSON())
		return err
	}
	from := client.ForkedFrom(s)
	if from == nil {
		return fmt.Errorf("the server does not say what %s is a fork of", s.ID)
	}
	_, err := fmt.Fprintf(w, "%s: %s, forked from %s after record %d\n", s.ID, s.Status, from.SessionID, from.Record)
	return err
}

func newSessionsDiff() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show in what two sessions differ: messages, files, cost",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				d, err := rt.Diff(ctx, args[0], args[1])
				if err != nil {
					return err
				}
				if asJSON {
					_, err := fmt.Fprintln(cmd.OutOrStdout(), d.RawJSON())
					return err
				}
				o := newOutput(cmd, false)
				return printDiff(d, show.NewPrinter(o.out, o.width, time.Now))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the difference as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func printDiff(d *client.Diff, p *show.Printer) error {
	if d.Common == nil {
		p.Line(show.Warn, "They have no past in common.")
	} else {
		p.Line(show.Dim, "The same up to record %d of %s.", d.Common.Record, d.Common.SessionID)
	}
	for _, s := range []*client.Side{&d.A, &d.B} {
		p.Line(show.Good, "%s: %d items since, %d tokens, %s", s.SessionID, len(s.ItemsAfter), s.Usage.TotalTokens, dollars(s.CostNanoUSD))
		for _, raw := range s.ItemsAfter {
			var it show.Item
			if err := json.Unmarshal(raw, &it); err != nil {
				return fmt.Errorf("read an item: %w", err)
			}
			p.Item(&it)
		}
	}
	p.Line(show.Dim, "Files, from the first to the second:")
	for i := range d.Files {
		f := &d.Files[i]
		p.Line(show.Dim, "  %-8s %s  %s → %s", f.Kind, f.Path, size(f.SizeBefore), size(f.SizeAfter))
	}
	switch {
	case len(d.Files) == 0:
		p.Line(show.Dim, "  none")
	case d.FilesOmitted > 0:
		p.Line(show.Dim, "  and %d more", d.FilesOmitted)
	}
	return nil
}

func size(n *int64) string {
	if n == nil {
		return "–"
	}
	return fmt.Sprintf("%d bytes", *n)
}

func dollars(nano int64) string { return fmt.Sprintf("$%.4f", float64(nano)/1e9) }
