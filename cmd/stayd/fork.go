package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stayd/stayd/cmd/stayd/internal/show"
	"github.com/stayd/stayd/internal/client"
)

// forkOptions are the flags of a fork.
type forkOptions struct {
	at     string
	input  string
	model  string
	cancel bool
}

func newSessionsFork() *cobra.Command {
	var o forkOptions
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
			body, err := o.body()
			if err != nil {
				return err
			}
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				var raw json.RawMessage
				if err := rt.Do(ctx, http.MethodPost, client.SessionPath(args[0], "/fork"), body, &raw); err != nil {
					return err
				}
				if asJSON {
					_, err := fmt.Fprintln(cmd.OutOrStdout(), string(raw))
					return err
				}
				return printFork(cmd.OutOrStdout(), raw)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&o.at, "at", "", "where: the number of a record, the id of a turn, or that of an item; default: the end")
	fs.StringVar(&o.input, "input", "", "a message that begins a new turn of the fork")
	fs.StringVar(&o.model, "model", "", "another model for the fork")
	fs.BoolVar(&o.cancel, "cancel", false, "end a turn that was under way; without it the fork goes on with it")
	fs.BoolVar(&asJSON, "json", false, "print the new session as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func (o *forkOptions) body() (map[string]any, error) {
	body := map[string]any{}
	switch n, err := strconv.ParseInt(o.at, 10, 64); {
	case o.at == "":
	case err == nil && n > 0:
		body["at"] = map[string]any{"record": n}
	case strings.HasPrefix(o.at, "turn_"):
		body["at"] = map[string]any{"turn": o.at}
	case strings.Contains(o.at, "_"):
		body["at"] = map[string]any{"item": o.at}
	default:
		return nil, usage("--at %q is neither the number of a record nor the id of a turn or an item", o.at)
	}
	if o.input != "" {
		body["input"] = o.input
	}
	if o.model != "" {
		body["agent"] = map[string]any{"model": o.model}
	}
	if o.cancel {
		body["turn"] = "cancel"
	}
	return body, nil
}

func printFork(w io.Writer, raw json.RawMessage) error {
	var s struct {
		ID     string `json:"id"`
		Status string `json:"status"`
		Forked struct {
			SessionID string `json:"session_id"`
			Record    int64  `json:"record"`
		} `json:"forked_from"`
	}
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("read the session: %w", err)
	}
	_, err := fmt.Fprintf(w, "%s: %s, forked from %s after record %d\n", s.ID, s.Status, s.Forked.SessionID, s.Forked.Record)
	return err
}

// difference is what two sessions have beyond their common past.
type difference struct {
	Common *struct {
		SessionID string `json:"session_id"`
		Record    int64  `json:"record"`
	} `json:"common"`
	A     side         `json:"a"`
	B     side         `json:"b"`
	Files []fileChange `json:"files"`
	More  int          `json:"files_omitted"`
}

type side struct {
	SessionID string            `json:"session_id"`
	Items     []json.RawMessage `json:"items_after"`
	Usage     struct {
		TotalTokens int64 `json:"total_tokens"`
	} `json:"usage"`
	CostNanoUSD int64 `json:"cost_nano_usd"`
}

type fileChange struct {
	Path       string `json:"path"`
	Kind       string `json:"kind"`
	SizeBefore *int64 `json:"size_before"`
	SizeAfter  *int64 `json:"size_after"`
}

func newSessionsDiff() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Show in what two sessions differ: messages, files, cost",
		Args:  args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return with(cmd, func(ctx context.Context, rt *runtime) error {
				var raw json.RawMessage
				if err := rt.Do(ctx, http.MethodGet, client.SessionPath(args[0], "/diff?with="+url.QueryEscape(args[1])), nil, &raw); err != nil {
					return err
				}
				if asJSON {
					_, err := fmt.Fprintln(cmd.OutOrStdout(), string(raw))
					return err
				}
				var d difference
				if err := json.Unmarshal(raw, &d); err != nil {
					return fmt.Errorf("read the difference: %w", err)
				}
				o := newOutput(cmd, false)
				return printDiff(&d, show.NewPrinter(o.out, o.width, time.Now))
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the difference as JSON")
	addRuntimeFlags(cmd)
	return cmd
}

func printDiff(d *difference, p *show.Printer) error {
	if d.Common == nil {
		p.Line(show.Warn, "They have no past in common.")
	} else {
		p.Line(show.Dim, "The same up to record %d of %s.", d.Common.Record, d.Common.SessionID)
	}
	for _, s := range []*side{&d.A, &d.B} {
		p.Line(show.Good, "%s: %d items since, %d tokens, %s", s.SessionID, len(s.Items), s.Usage.TotalTokens, dollars(s.CostNanoUSD))
		for _, raw := range s.Items {
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
	case d.More > 0:
		p.Line(show.Dim, "  and %d more", d.More)
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
